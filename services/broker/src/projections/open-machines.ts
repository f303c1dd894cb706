import type { Reading } from "@millrace/readmodel"
import { sql } from "kysely"
import { type CapacityTables, type LeaseRow, leasesHistory } from "./leases.ts"

type LeaseReading = Pick<Reading<CapacityTables>, "db" | "valid">

/** How many machines, and what they cost an hour together, as decimal text in pico-dollars. */
export interface Together {
  readonly machines: number
  readonly picoPerHour: string
}

const paid = ({ db, valid }: LeaseReading) =>
  db.selectFrom("leases").where(valid(leasesHistory)).where("stands", "not in", ["refused", "ended"]).where("machine", "is not", null)

/** Endings that no provider has confirmed, machines that nobody accounts for, and those that a list has missed. */
const leaking = (reading: LeaseReading) =>
  paid(reading).where(({ eb, or }) => or([eb("stands", "in", ["released", "orphan"]), eb("missed", ">", 0)]))

const together = async (rows: ReturnType<typeof paid>): Promise<Together> => {
  const { machines, pico } = await rows.select(({ fn }) => [fn.countAll<string>().as("machines"), sql<string | null>`(sum(price_pico_per_second::numeric) * 3600)::text`.as("pico")]).executeTakeFirstOrThrow()
  return { machines: Number(machines), picoPerHour: pico ?? "0" }
}

/** Answers "what costs money now, as far as we know": of all machines, however many. */
export const openMachines = (reading: LeaseReading): Promise<Together> => together(paid(reading))

/** Answers "what leaks": what all of it costs, and the first so many of it, the oldest first. */
export const leaksIn = async (reading: LeaseReading, rowsMax: number): Promise<Together & { readonly rows: ReadonlyArray<LeaseRow> }> => ({
  ...(await together(leaking(reading))),
  rows: await leaking(reading).selectAll().orderBy("lease_id").limit(rowsMax).execute()
})
