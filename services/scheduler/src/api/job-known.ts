import type { Reading } from "@millrace/readmodel"
import type { WorkspaceName } from "@millrace/schemas"
import { sql } from "kysely"
import type { JobKnown, TaskCounts } from "../domain/why.ts"
import type { CellTables } from "../projections/cell.ts"
import { type JobRow, type PlacementRow, type StandingRow, standings } from "../projections/jobs.ts"
import { type HostKept, hostsAt } from "./reading.ts"

/** Attempts that an answer shows. */
const placedMax = 5

/** A job with all that bears on why it is where it is, in one snapshot. */
export interface JobKept {
  readonly row: JobRow & { readonly resources: NonNullable<JobRow["resources"]> }
  readonly standing: StandingRow | undefined
  readonly placed: ReadonlyArray<PlacementRow & { readonly over: boolean }>
  readonly known: JobKnown
  readonly hosts: ReadonlyArray<HostKept>
}

/** A job of the workspace, as it was at the cut that is read; undefined where there is none. */
export const jobAt = async (reading: Reading<CellTables>, past: boolean, workspace: WorkspaceName, jobId: string): Promise<JobKept | undefined> => {
  const { cut, db, valid } = reading
  const row = await db.selectFrom("jobs").selectAll().where("job_id", "=", jobId).where("workspace", "=", workspace)
    .where("submitted_seq", "<=", cut["GATEWAY"] ?? 0).executeTakeFirst()
  if (row === undefined || row.resources === null) return undefined
  const standing = await db.selectFrom("standings").selectAll().where("job_id", "=", jobId).where(valid(standings)).executeTakeFirst()
  const hostsHeard = cut["HOSTS"] ?? 0
  const placements = await db.selectFrom("placements").selectAll().where("job_id", "=", jobId).where("placed_seq", "<=", cut["SCHEDULER"] ?? 0)
    .orderBy("placed_seq", "desc").orderBy("attempt_id").limit(placedMax).execute()
  const placed = placements.map((placement) => ({ ...placement, over: placement.over_seq !== null && Number(placement.over_seq) <= hostsHeard }))
  const waits = standing?.said === "deferred" || row.tasks !== null
  return {
    row: { ...row, resources: row.resources },
    standing,
    placed,
    hosts: waits ? await hostsAt(reading, past) : [],
    known: {
      need: { resources: row.resources, runtime: row.runtime!, trust: row.trust!, dialect: row.dialect ?? 1, gpu: row.gpu ?? undefined, where: row.places ?? undefined },
      cancelled: row.cancelled_seq !== null && Number(row.cancelled_seq) <= (cut["GATEWAY"] ?? 0),
      parallelismMax: row.parallelism_max ?? undefined,
      said: standing === undefined ? undefined : saidBy(standing),
      placed: placed.map(({ attempt, host_id, over, reason, task }) => ({ hostId: host_id, task: task ?? undefined, attempt, reason: reason ?? "", over })),
      tasks: row.tasks === null ? undefined : await tasksAt(reading, jobId, row.tasks, standing),
      after: (row.after ?? []).map(({ jobId }) => jobId)
    }
  }
}

const saidBy = ({ attempt, due_at_ms, host_id, outcome, reason, said, unblocked_by, words }: StandingRow): NonNullable<JobKnown["said"]> => ({
  what: said,
  reason: reason ?? undefined,
  words: words ?? undefined,
  unblockedBy: unblocked_by ?? undefined,
  dueAtMs: due_at_ms === null ? undefined : Number(due_at_ms),
  outcome: outcome ?? undefined,
  hostId: host_id ?? undefined,
  attempt: attempt ?? undefined
})

/** Counts, by the database: an array may have more tasks than anybody wants to read. */
const tasksAt = async ({ cut, db }: Reading<CellTables>, jobId: string, total: number, standing: StandingRow | undefined): Promise<TaskCounts> => {
  const decided = cut["SCHEDULER"] ?? 0
  const heard = cut["HOSTS"] ?? 0
  const { rows: [counted] } = await sql<{ begun: string; running: string }>`
    select count(distinct task) as begun,
      count(*) filter (where (over_seq is null or over_seq > ${heard})
        and not exists (select from tasks_over t where t.job_id = p.job_id and t.task = p.task and t.settled_seq <= ${decided})
        and not exists (select from judgements j where j.host_id = p.host_id and j.judged = 'lost' and j.valid_from_seq > p.placed_seq and j.valid_from_seq <= ${decided})) as running
    from placements p where p.job_id = ${jobId} and p.placed_seq <= ${decided}`.execute(db)
  const overs = await db.selectFrom("tasks_over").select(["outcome", sql<string>`count(*)`.as("count")])
    .where("job_id", "=", jobId).where("settled_seq", "<=", decided).groupBy("outcome").execute()
  const ended = { succeeded: 0, failed: 0, cancelled: 0, lost: 0, refused: 0 }
  for (const { count, outcome } of overs) ended[outcome as keyof typeof ended] = Number(count)
  const begun = Number(counted?.begun ?? 0)
  const running = Number(counted?.running ?? 0)
  const over = Object.values(ended).reduce((sum, count) => sum + count, 0)
  const isOver = standing?.said === "settled" || standing?.said === "refused"
  return { total, notBegun: total - begun, running: isOver ? 0 : running, between: isOver ? 0 : Math.max(0, begun - running - over), ...ended }
}
