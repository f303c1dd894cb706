import { foldHistory, history } from "@millrace/readmodel"
import type { Fact } from "@millrace/journal"
import type {
  Capabilities,
  GpuCleared,
  GpuSuspected,
  HostAdmitted,
  HostDeclaredLost,
  HostDismissed,
  HostDraining,
  HostJoined,
  HostLeft,
  HostReturned,
  LeaseEnded,
  LeaseGranted,
  LeaseRefused,
  LeaseReleased,
  LeaseRequested,
  MachineEnrolled,
  MillFact,
  ReclaimNoticed,
  SchedulerTookOver
} from "@millrace/schemas"
import type { SchemaModule, Transaction } from "kysely"

/** Whether a host may speak, in access's words. */
export interface AdmissionRow {
  readonly host_id: string
  readonly admitted_by: string | null
  readonly dismissed_by: string | null
  readonly cause: string | null
  readonly changed_at_ms: number
}

/** What a host said last of itself. */
export interface ReportRow {
  readonly host_id: string
  readonly said: "joined" | "draining" | "left"
  readonly cause: string | null
  readonly boot_id: string | null
  readonly agent_version: string | null
  readonly dialect: number | null
  readonly capabilities: Capabilities | null
  readonly joined_at_ms: number | null
  /** GPUs that it suspects, in the order in which it said so. */
  readonly suspects: ReadonlyArray<Suspect> | null
  readonly changed_at_ms: number
}

/** A GPU that behaves badly, in its host's words. */
export interface Suspect {
  readonly gpu: number
  readonly symptom: string
  readonly sinceMs: number
}

/** Our newest judgement of a host. */
export interface JudgementRow {
  readonly host_id: string
  readonly judged: "lost" | "returned"
  readonly last_heard_at_ms: number | null
  readonly lease_ended_at_ms: number | null
  readonly changed_at_ms: number
}

/** A machine that was rented, as far as it concerns the host on it. */
export interface RentalRow {
  readonly lease_id: string
  readonly provider: string
  readonly host_id: string | null
  readonly region: string | null
  readonly machine_type: string | null
  readonly market: string | null
  readonly price_pico_per_second: string | null
  readonly reclaim_at_ms: number | null
  readonly released: string | null
  readonly ended: string | null
  readonly changed_at_ms: number
}

/** Which scheduler decides. */
export interface TermRow {
  readonly scheduler: string
  readonly term: number
  readonly code_version: string
  readonly since_ms: number
}

interface Kept {
  readonly valid_from_seq: number
  readonly valid_to_seq: number | null
}

export interface HostTables {
  readonly admissions: AdmissionRow & Kept
  readonly reports: ReportRow & Kept
  readonly judgements: JudgementRow & Kept
  readonly rentals: RentalRow & Kept
  readonly terms: TermRow & Kept
}

export const admissions = history({ table: "admissions", stream: "ACCESS", key: ["host_id"] })
export const reports = history({ table: "reports", stream: "HOSTS", key: ["host_id"] })
export const judgements = history({ table: "judgements", stream: "SCHEDULER", key: ["host_id"] })
export const rentals = history({ table: "rentals", stream: "BROKER", key: ["lease_id"] })
export const terms = history({ table: "terms", stream: "SCHEDULER", key: ["scheduler"] })

type Reporting = HostJoined | HostDraining | HostLeft | GpuSuspected | GpuCleared
type Renting = LeaseRequested | LeaseGranted | LeaseRefused | MachineEnrolled | ReclaimNoticed | LeaseReleased | LeaseEnded
export type OfHosts = HostAdmitted | HostDismissed | Reporting | HostDeclaredLost | HostReturned | Renting | SchedulerTookOver

/** What is minded here, by name. */
export const hostFacts = [
  "HostAdmitted", "HostDismissed", "HostJoined", "HostDraining", "HostLeft", "GpuSuspected", "GpuCleared", "HostDeclaredLost", "HostReturned", "SchedulerTookOver",
  "LeaseRequested", "LeaseGranted", "LeaseRefused", "MachineEnrolled", "ReclaimNoticed", "LeaseReleased", "LeaseEnded"
] as const satisfies ReadonlyArray<OfHosts["_tag"]>

export const hostHistories = [admissions, reports, judgements, rentals, terms]

export const createHosts = (schema: SchemaModule) => [
  ...admissions.create(schema, (table) => table.addColumn("host_id", "text").addColumn("admitted_by", "text").addColumn("dismissed_by", "text").addColumn("cause", "text")
    .addColumn("changed_at_ms", "bigint")),
  ...reports.create(schema, (table) => table.addColumn("host_id", "text").addColumn("said", "text").addColumn("cause", "text").addColumn("boot_id", "text")
    .addColumn("agent_version", "text").addColumn("dialect", "integer").addColumn("capabilities", "jsonb").addColumn("joined_at_ms", "bigint").addColumn("suspects", "jsonb").addColumn("changed_at_ms", "bigint")),
  ...judgements.create(schema, (table) => table.addColumn("host_id", "text").addColumn("judged", "text").addColumn("last_heard_at_ms", "bigint")
    .addColumn("lease_ended_at_ms", "bigint").addColumn("changed_at_ms", "bigint")),
  ...rentals.create(schema, (table) => table.addColumn("lease_id", "text").addColumn("provider", "text").addColumn("host_id", "text").addColumn("region", "text")
    .addColumn("machine_type", "text").addColumn("market", "text").addColumn("price_pico_per_second", "text").addColumn("reclaim_at_ms", "bigint")
    .addColumn("released", "text").addColumn("ended", "text").addColumn("changed_at_ms", "bigint")),
  schema.createIndex("rentals_by_host").on("rentals").columns(["host_id"]),
  ...terms.create(schema, (table) => table.addColumn("scheduler", "text").addColumn("term", "integer").addColumn("code_version", "text").addColumn("since_ms", "bigint"))
]

export const applyToHosts = async (tx: Transaction<any>, facts: ReadonlyArray<Fact<MillFact>>): Promise<void> => {
  await foldHistory<AdmissionRow, MillFact>(tx, facts, admissions, {
    about: ({ event }) => (event._tag === "HostAdmitted" || event._tag === "HostDismissed" ? { host_id: event.hostId } : undefined),
    evolve: (row, { commit, event }) => admissionAfter(row, event as HostAdmitted | HostDismissed, commit.place.storedAtMs)
  })
  await foldHistory<ReportRow, MillFact>(tx, facts, reports, {
    // The log lets a host write on its own subject alone: what lies there about another is nobody's word.
    about: ({ commit, event }) => (reporting(event) && commit.subject.scope === event.hostId ? { host_id: event.hostId } : undefined),
    evolve: (row, { commit, event }) => reportAfter(row, event as Reporting, commit.place.storedAtMs)
  })
  await foldHistory<JudgementRow, MillFact>(tx, facts, judgements, {
    about: ({ event }) => (event._tag === "HostDeclaredLost" || event._tag === "HostReturned" ? { host_id: event.hostId } : undefined),
    evolve: (row, { commit, event }) => judgementAfter(row, event as HostDeclaredLost | HostReturned, commit.place.storedAtMs)
  })
  await foldHistory<RentalRow, MillFact>(tx, facts, rentals, {
    about: ({ event }) => ("leaseId" in event ? { lease_id: event.leaseId } : undefined),
    evolve: (row, { commit, event }) => rentalAfter(row, event as Renting, commit.place.storedAtMs)
  })
  await foldHistory<TermRow, MillFact>(tx, facts, terms, {
    about: ({ event }) => (event._tag === "SchedulerTookOver" ? { scheduler: event.scheduler } : undefined),
    evolve: (row, { commit, event }) => event._tag === "SchedulerTookOver"
      ? { scheduler: event.scheduler, term: event.term, code_version: event.codeVersion, since_ms: commit.place.storedAtMs }
      : row
  })
}

const admissionAfter = (row: AdmissionRow | undefined, event: HostAdmitted | HostDismissed, atMs: number): AdmissionRow | undefined => {
  const { hostId: host_id } = event
  if (row?.dismissed_by !== undefined && row.dismissed_by !== null) return row
  return event._tag === "HostAdmitted"
    ? row ?? { host_id, admitted_by: event.admittedBy, dismissed_by: null, cause: null, changed_at_ms: atMs }
    : { host_id, admitted_by: row?.admitted_by ?? null, dismissed_by: event.dismissedBy, cause: event.cause, changed_at_ms: atMs }
}

const reporting = (event: MillFact): event is Reporting =>
  event._tag === "HostJoined" || event._tag === "HostDraining" || event._tag === "HostLeft" || event._tag === "GpuSuspected" || event._tag === "GpuCleared"

const reportAfter = (row: ReportRow | undefined, event: Reporting, atMs: number): ReportRow | undefined => {
  const { hostId: host_id } = event
  if (event._tag === "GpuSuspected" || event._tag === "GpuCleared") return row === undefined ? row : { ...row, suspects: suspectsAfter(row.suspects ?? [], event, atMs) }
  if (event._tag === "HostJoined") {
    const { agentVersion, bootId, capabilities, dialect = 1 } = event
    return { host_id, said: "joined", cause: null, boot_id: bootId, agent_version: agentVersion, dialect, capabilities, joined_at_ms: atMs, suspects: row?.suspects ?? null, changed_at_ms: atMs }
  }
  const before = row ?? { boot_id: null, agent_version: null, dialect: null, capabilities: null, joined_at_ms: null, suspects: null }
  return { ...before, host_id, said: event._tag === "HostDraining" ? "draining" : "left", cause: event.cause, changed_at_ms: atMs }
}

/** It may say so again, as when its agent began anew: since when it does stays. */
const suspectsAfter = (before: ReadonlyArray<Suspect>, event: GpuSuspected | GpuCleared, atMs: number): ReadonlyArray<Suspect> | null => {
  if (event._tag === "GpuSuspected" && before.some(({ gpu }) => gpu === event.gpu)) return before
  const others = before.filter(({ gpu }) => gpu !== event.gpu)
  const after = event._tag === "GpuCleared" ? others : [...others, { gpu: event.gpu, symptom: event.symptom, sinceMs: atMs }]
  return after.length === 0 ? null : after
}

const judgementAfter = (row: JudgementRow | undefined, event: HostDeclaredLost | HostReturned, atMs: number): JudgementRow | undefined => {
  if (event._tag === "HostReturned") return row === undefined ? row : { ...row, judged: "returned", changed_at_ms: atMs }
  const { hostId: host_id, lastHeardAtMs: last_heard_at_ms, leaseEndedAtMs: lease_ended_at_ms } = event
  return { host_id, judged: "lost", last_heard_at_ms, lease_ended_at_ms, changed_at_ms: atMs }
}

const rentalAfter = (row: RentalRow | undefined, event: Renting, atMs: number): RentalRow | undefined => {
  const known = { ...(row ?? asked(event)), changed_at_ms: atMs }
  switch (event._tag) {
    case "LeaseRequested":
      return row ?? { ...known, region: event.column.region, machine_type: event.column.machineType, market: event.column.market }
    case "LeaseGranted":
      return { ...known, region: event.region, price_pico_per_second: String(event.pricePicoPerSecond) }
    case "LeaseRefused":
      return undefined
    case "MachineEnrolled":
      return { ...known, host_id: event.hostId }
    case "ReclaimNoticed":
      return { ...known, host_id: known.host_id ?? event.hostId ?? null, reclaim_at_ms: event.deadlineAtMs }
    case "LeaseReleased":
      return { ...known, released: known.released ?? event.cause }
    case "LeaseEnded":
      return { ...known, ended: event.confirmed }
    default:
      return row
  }
}

const asked = ({ leaseId, provider }: Renting): Omit<RentalRow, "changed_at_ms"> => ({
  lease_id: leaseId, provider, host_id: null, region: null, machine_type: null, market: null, price_pico_per_second: null, reclaim_at_ms: null, released: null, ended: null
})
