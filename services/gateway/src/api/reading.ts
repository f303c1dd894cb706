import type { Journal } from "@millrace/journal"
import { Database, type DatabaseUnavailable, MomentMalformed, pastOf, read, type ReadOptions, type ReadTooOld, type StatementFailed } from "@millrace/readmodel"
import { type Cut, JobId, type WorkspaceName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import { type Expression, type ExpressionBuilder, type Kysely, type SqlBool, sql } from "kysely"
import { after, type Change, type State } from "../domain/standing.ts"
import type { CauseRow, JobRow, JobTables, LineRow, TaskRow } from "../projections/jobs.ts"
import { tables } from "../projections/tables.ts"
import { BadRequest, noSuchJob, Unavailable } from "./errors.ts"

/** The most lines of a story that are told at once. */
export const linesMax = 10_000

type Trouble = ReadTooOld | DatabaseUnavailable | StatementFailed | { readonly _tag: string; readonly message: string }

/** The tables do not answer, or are not as far as they were asked to be. */
export const unreadable = (error: Trouble): Unavailable =>
  new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "the gateway's tables",
    remedy: "ask again in a moment; what was submitted is safe in the log"
  })

/** The cut that `at` names: a cut as text, or what was stored by a moment. */
export const pastAt = (at: string): Effect.Effect<Cut, BadRequest | Unavailable, Database | Journal> =>
  Effect.mapBoth(pastOf(at, tables.hears), { onFailure: (error) => error instanceof MomentMalformed ? new BadRequest(error.words) : unreadable(error), onSuccess: ({ cut }) => cut })

/** One job of the workspace, as its row says now. */
export const jobRow = Effect.fnUntraced(function*(workspace: WorkspaceName, jobId: string, options: ReadOptions = {}) {
  if (!Schema.is(JobId)(jobId)) return yield* noSuchJob(jobId)
  const { cut, value } = yield* Effect.mapError(read(tables, ({ db }) =>
    db.selectFrom("jobs").selectAll().where("job_id", "=", jobId).where("workspace", "=", workspace).executeTakeFirst(), options), unreadable)
  if (value === undefined) return yield* noSuchJob(jobId)
  return { row: value, cut }
})

/** The job as it was at a cut: what its lines up to there changed. A job that was submitted later is unknown. */
export const jobAt = Effect.fnUntraced(function*(workspace: WorkspaceName, jobId: string, at: Cut, waitMsMax?: number) {
  const { row } = yield* jobRow(workspace, jobId, { after: at, ...(waitMsMax === undefined ? {} : { waitMsMax }) })
  const { value } = yield* Effect.mapError(read(tables, ({ db }) => standingsAt(db, [row.job_id], at)), unreadable)
  const past = value.get(row.job_id)
  if (past?.submitted_at_ms === undefined) return yield* noSuchJob(jobId)
  return { row: rowFrom(row, past), cut: at }
})

/** Holds for what lies at or before a cut. */
const upTo = (at: Cut) => ({ and, eb, or }: ExpressionBuilder<any, any>): Expression<SqlBool> =>
  or(Object.entries(at).map(([stream, sequence]) => and([eb("stream", "=", stream), eb("sequence", "<=", sequence)])))

/** Holds for what lies behind a cut; a stream that it does not name lies behind it altogether. */
const behind = (cut: Cut) => ({ and, eb, not }: ExpressionBuilder<any, any>): Expression<SqlBool> =>
  and(Object.entries(cut).map(([stream, sequence]) => not(and([eb("stream", "=", stream), eb("sequence", "<=", sequence)]))))

const standingsAt = async (db: Kysely<JobTables>, jobIds: ReadonlyArray<string>, at: Cut): Promise<ReadonlyMap<string, Change>> => {
  const standings = new Map<string, Change>()
  if (jobIds.length === 0) return standings
  const lines = await db.selectFrom("lines").select(["job_id", "change"]).where("job_id", "in", [...jobIds]).where("change", "is not", null)
    .where(upTo(at)).orderBy("stream").orderBy("sequence").orderBy("ordinal").execute()
  for (const { change, job_id } of lines) standings.set(job_id, after(standings.get(job_id) ?? {}, change!))
  return standings
}

const rowFrom = ({ job_id, workspace }: Pick<JobRow, "job_id" | "workspace">, change: Change): JobRow => ({
  job_id,
  workspace,
  submitted_by: null,
  submitted_at_ms: null,
  submitted_sequence: null,
  name: null,
  tasks: null,
  grant_id: null,
  parent_job_id: null,
  trigger: null,
  attempt: 0,
  host_id: null,
  waits: null,
  started_attempt: 0,
  outcome: null,
  exit_code: null,
  cause: null,
  settled_at_ms: null,
  spent_pico: "0",
  ...change
})

export interface Filter {
  readonly state?: State
  readonly name?: string
  readonly parent?: string
  readonly submittedBy?: string
}

/** Where a page of jobs begins: behind this one. */
export interface JobCursor {
  readonly submittedAtMs: number
  readonly jobId: string
}

/** `stateOf` in SQL, so that a page can be filtered where it is read. */
const stateSql = sql<State>`case
  when outcome is not null then outcome
  when tasks is not null and started_attempt > 0 then 'running'
  when coalesce(waits, '') <> '' then 'waiting'
  when attempt = 0 then 'queued'
  when started_attempt >= attempt then 'running'
  else 'placed' end`

const taskStateSql = sql<State>`case
  when outcome is not null then outcome
  when coalesce(waits, '') <> '' then 'waiting'
  when attempt = 0 then 'queued'
  when started_attempt >= attempt then 'running'
  else 'placed' end`

/** The workspace's jobs, the newest first; one more than the limit says that there is another page. */
export const jobRows = (workspace: WorkspaceName, { name, parent, state, submittedBy }: Filter, page: { readonly limit: number; readonly cursor?: JobCursor }, options: ReadOptions, at?: Cut) =>
  Effect.mapError(read(tables, async ({ db }) => {
    let query = db.selectFrom("jobs").selectAll().where("workspace", "=", workspace).where("submitted_at_ms", "is not", null)
    if (name !== undefined) query = query.where("name", "=", name)
    if (parent !== undefined) query = query.where("parent_job_id", "=", parent)
    if (submittedBy !== undefined) query = query.where("submitted_by", "=", submittedBy)
    if (page.cursor !== undefined) {
      const { jobId, submittedAtMs } = page.cursor
      query = query.where(({ and, eb, or }) => or([eb("submitted_at_ms", "<", submittedAtMs), and([eb("submitted_at_ms", "=", submittedAtMs), eb("job_id", ">", jobId)])]))
    }
    if (at === undefined && state !== undefined) query = query.where(stateSql, "=", state)
    if (at !== undefined) query = query.where("submitted_sequence", "<=", at["GATEWAY"] ?? 0)
    const rows = await query.orderBy("submitted_at_ms", "desc").orderBy("job_id").limit(page.limit + 1).execute()
    if (at === undefined) return rows
    const past = await standingsAt(db, rows.map(({ job_id }) => job_id), at)
    return rows.map((row) => rowFrom(row, past.get(row.job_id) ?? {}))
  }, options), unreadable)

/** Tasks of an array that were begun or are over, in their order. */
export const taskRows = (jobId: string, { cursor, limit, state }: { readonly cursor?: number; readonly limit: number; readonly state?: State }, options: ReadOptions) =>
  Effect.mapError(read(tables, async ({ db }) => {
    let query = db.selectFrom("tasks").selectAll().where("job_id", "=", jobId)
    if (cursor !== undefined) query = query.where("task", ">", cursor)
    if (state !== undefined) query = query.where(taskStateSql, "=", state)
    const rows: ReadonlyArray<TaskRow> = await query.orderBy("task").limit(limit + 1).execute()
    const counted = await db.selectFrom("tasks").where("job_id", "=", jobId).select([taskStateSql.as("state"), sql<number>`count(*)::int`.as("count")]).groupBy(sql`1`).execute()
    return { rows, counts: new Map(counted.map(({ count, state }) => [state as string, count])) }
  }, options), unreadable)

export interface StoryRows {
  readonly lines: ReadonlyArray<LineRow>
  /** Facts of other stories that these name as their cause. */
  readonly causes: ReadonlyArray<CauseRow>
  readonly more: boolean
}

/** The lines of a job's story, behind one cut and up to another, with the causes that lie outside it. */
export const storyRows = (jobId: string, { at, limit = linesMax, since, task }: { readonly at?: Cut; readonly since?: Cut; readonly task?: number; readonly limit?: number }, options: ReadOptions = {}) =>
  Effect.mapError(read(tables, async ({ db }): Promise<StoryRows> => {
    let query = db.selectFrom("lines").selectAll().where("job_id", "=", jobId)
    if (at !== undefined) query = query.where(upTo(at))
    if (since !== undefined && Object.keys(since).length > 0) query = query.where(behind(since))
    if (task !== undefined) query = query.where(({ eb, or }) => or([eb("task", "=", task), eb("task", "is", null)]))
    const lines = await query.orderBy("stored_at_ms").orderBy("stream").orderBy("sequence").orderBy("ordinal").limit(limit + 1).execute()
    const named = [...new Set(lines.flatMap(({ caused_by }) => (caused_by === null ? [] : [caused_by])))]
    const causes = named.length === 0 ? [] : await db.selectFrom("causes").selectAll().where("id", "in", named).execute()
    return { lines: lines.slice(0, limit), causes, more: lines.length > limit }
  }, options), unreadable)
