import { Journal, type JournalUnavailable } from "@millrace/journal"
import {
  type AsOf, Database, type DatabaseUnavailable, type HistoryNotKept, type MomentMalformed, type Reading, type ReadOptions, readOptionsOf, type ReadTooOld, type StatementFailed
} from "@millrace/readmodel"
import type { Cut, Resources } from "@millrace/schemas"
import { Effect } from "effect"
import { sql } from "kysely"
import { type HostRoom, hostStateOf, type Said, takesWork } from "../domain/nearest.ts"
import { labelsOf } from "../domain/fleet.ts"
import { minus, noResources } from "../domain/resources.ts"
import { cell, type CellTables } from "../projections/cell.ts"
import { type AdmissionRow, admissions, type JudgementRow, judgements, type RentalRow, rentals, type ReportRow, reports } from "../projections/hosts.ts"
import type { PlacementRow } from "../projections/jobs.ts"
import { BadRequest, Unavailable } from "./errors.ts"

type Trouble = ReadTooOld | HistoryNotKept | DatabaseUnavailable | StatementFailed | JournalUnavailable

/** The tables do not answer, or are not as far as they were asked to be, for which nothing that is decided waits; or what was asked names no moment. */
export const unreadable = (error: Trouble | MomentMalformed): BadRequest | Unavailable =>
  error._tag === "MomentMalformed" ? new BadRequest(error.words) : new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "the scheduler's tables",
    remedy: "ask again in a moment; work is placed meanwhile as ever"
  })

/** Which rows are read: the newest, those behind a write, or those of a cut or a moment in the past. */
export const optionsOf = (asked: AsOf): Effect.Effect<ReadOptions, BadRequest | Unavailable, Database | Journal> => Effect.mapError(readOptionsOf(asked, cell.hears), unreadable)

/** A host with everything that was said of it, and what it holds. */
export interface HostKept extends HostRoom {
  readonly admission: AdmissionRow | undefined
  readonly report: ReportRow | undefined
  readonly judgement: JudgementRow | undefined
  readonly rental: RentalRow | undefined
  readonly held: Resources
  readonly attempts: number
}

/** Holds for the placements whose room is taken at the cut that is read. */
export const heldAt = (cut: Cut, past: boolean, alias = "placements") => {
  const column = (name: string) => sql.ref(`${alias}.${name}`)
  return past
    ? sql<boolean>`(${column("placed_seq")} <= ${cut["SCHEDULER"] ?? 0} and (${column("over_seq")} is null or ${column("over_seq")} > ${cut["HOSTS"] ?? 0}))`
    : sql<boolean>`(${column("placed_seq")} is not null and ${column("over_seq")} is null)`
}

/** The cell's hosts, in the order of their ids; or one of them. */
export const hostsAt = async ({ cut, db, valid }: Reading<CellTables>, past: boolean, only?: string): Promise<ReadonlyArray<HostKept>> => {
  let admitted = db.selectFrom("admissions").selectAll().where(valid(admissions))
  let reported = db.selectFrom("reports").selectAll().where(valid(reports))
  let judged = db.selectFrom("judgements").selectAll().where(valid(judgements))
  let rented = db.selectFrom("rentals").selectAll().where(valid(rentals)).where("host_id", "is not", null)
  let holding = db.selectFrom("placements").select("host_id").select([
    sql<string>`count(*)`.as("attempts"), sql<string>`sum(cpu_milli)`.as("cpu_milli"), sql<string>`sum(memory_mib)`.as("memory_mib"),
    sql<string>`sum(disk_mib)`.as("disk_mib"), sql<string>`sum(gpus)`.as("gpus")
  ]).where(heldAt(cut, past)).groupBy("host_id")
  // A device counts as free only when nothing is on it: parts of one are counted device by device.
  let onDevices = db.selectFrom("placements").select(["host_id", "devices", "device_milli"]).where("devices", "is not", null).where(heldAt(cut, past))
  if (only !== undefined) {
    onDevices = onDevices.where("host_id", "=", only)
    admitted = admitted.where("host_id", "=", only)
    reported = reported.where("host_id", "=", only)
    judged = judged.where("host_id", "=", only)
    rented = rented.where("host_id", "=", only)
    holding = holding.where("host_id", "=", only)
  }
  const byHost = <R extends { readonly host_id: string | null }>(rows: ReadonlyArray<R>) => new Map(rows.map((row) => [row.host_id!, row]))
  const admissionOf = byHost<AdmissionRow>(await admitted.execute())
  const reportOf = byHost<ReportRow>(await reported.execute())
  const judgementOf = byHost<JudgementRow>(await judged.execute())
  const rentalOf = byHost<RentalRow>(await rented.orderBy("changed_at_ms").execute())
  const heldOf = byHost(await holding.execute())
  const takenOf = devicesTaken(await onDevices.execute())
  return [...new Set([...admissionOf.keys(), ...reportOf.keys()])].sort().map((hostId) => {
    const holds = heldOf.get(hostId)
    const held = holds === undefined
      ? noResources
      : { cpuMilli: Number(holds.cpu_milli), memoryMib: Number(holds.memory_mib), diskMib: Number(holds.disk_mib), gpus: Number(holds.gpus) }
    const said = { admission: admissionOf.get(hostId), report: reportOf.get(hostId), judgement: judgementOf.get(hostId), rental: rentalOf.get(hostId) }
    const known = knownOf(said)
    const capabilities = said.report?.capabilities ?? undefined
    const freeMilli = (capabilities?.gpus ?? []).map(({ index }) => 1000 - (takenOf.get(hostId)?.get(index) ?? 0))
    const { rental } = said
    return {
      hostId, ...said, capabilities, dialect: said.report?.dialect ?? 1, held, attempts: Number(holds?.attempts ?? 0),
      state: hostStateOf(known), takesWork: takesWork(known),
      free: { ...minus(capabilities?.resources ?? noResources, held), gpus: freeMilli.filter((milli) => milli === 1000).length },
      freeMilliMost: Math.max(0, ...freeMilli),
      labels: labelsOf(capabilities?.labels ?? {}, rental === undefined ? undefined : { provider: rental.provider, region: rental.region ?? undefined, spot: rental.market === "spot" })
    }
  })
}

/** How much of each device of each host is taken. */
const devicesTaken = (rows: ReadonlyArray<Pick<PlacementRow, "host_id" | "devices" | "device_milli">>): ReadonlyMap<string, ReadonlyMap<number, number>> => {
  const taken = new Map<string, Map<number, number>>()
  for (const { device_milli, devices, host_id } of rows) {
    const here = taken.get(host_id) ?? new Map<number, number>()
    taken.set(host_id, here)
    for (const device of devices ?? []) here.set(device, (here.get(device) ?? 0) + Number(device_milli))
  }
  return taken
}

const knownOf = ({ admission, judgement, rental, report }: Pick<HostKept, "admission" | "report" | "judgement" | "rental">): Said => ({
  admitted: admission !== undefined && admission.admitted_by !== null,
  dismissed: admission !== undefined && admission.dismissed_by !== null,
  said: report?.said,
  judged: judgement?.judged,
  takenBack: rental !== undefined && (rental.released !== null || rental.ended !== null || rental.reclaim_at_ms !== null)
})
