import type { Fact } from "@millrace/journal"
import type { MillFact } from "@millrace/schemas"
import { sql, type Transaction } from "kysely"
import { after, type Change, changesOf } from "../domain/standing.ts"
import { sentence } from "../domain/story.ts"
import { part } from "./part.ts"

/** One job as it stands now. */
export interface JobRow {
  readonly job_id: string
  readonly workspace: string
  readonly submitted_by: string | null
  readonly submitted_at_ms: number | null
  readonly submitted_sequence: number | null
  readonly name: string | null
  readonly tasks: number | null
  readonly grant_id: string | null
  readonly parent_job_id: string | null
  readonly trigger: string | null
  readonly attempt: number
  readonly host_id: string | null
  readonly waits: string | null
  readonly started_attempt: number
  readonly outcome: string | null
  readonly exit_code: number | null
  readonly cause: string | null
  readonly settled_at_ms: number | null
  readonly spent_pico: string
}

/** One task of an array as it stands now. */
export interface TaskRow {
  readonly job_id: string
  readonly task: number
  readonly workspace: string
  readonly attempt: number
  readonly host_id: string | null
  readonly waits: string | null
  readonly started_attempt: number
  readonly outcome: string | null
  readonly exit_code: number | null
  readonly cause: string | null
  readonly settled_at_ms: number | null
}

/** One fact of a job's story, in words, with what it changed of where the job stands. */
export interface LineRow {
  readonly job_id: string
  readonly stream: string
  readonly sequence: number
  readonly ordinal: number
  readonly workspace: string
  readonly id: string
  readonly name: string
  readonly actor: string
  readonly caused_by: string | null
  readonly stored_at_ms: number
  readonly task: number | null
  readonly text: string
  readonly change: Change | null
}

/** A fact that is no job's own, and that facts of jobs name as their cause. */
export type CauseRow = Omit<LineRow, "job_id" | "task" | "change" | "workspace">

export interface JobTables {
  readonly jobs: JobRow
  readonly tasks: TaskRow
  readonly lines: LineRow
  readonly causes: CauseRow
}

const ofJobs = [
  "JobSubmitted", "JobCancelRequested", "SessionOpened", "SessionClosed", "TriggerFired", "SnapshotAsked", "DecisionMade",
  "JobDeferred", "JobRefused", "JobRetried", "TaskSettled", "JobSettled", "LateWordNoted", "PlacementMade", "SliceExtended", "PlacementWithdrawn",
  "AttemptStarted", "AttemptReady", "PhaseEntered", "AttemptExited", "AttemptRefused", "SnapshotWritten", "ArtefactKept",
  "SnapshotPlanned", "SnapshotAvailable", "SnapshotAbandoned", "SpendCommitted"
] as const satisfies ReadonlyArray<MillFact["_tag"]>

const ofOthers = [
  "HostDeclaredLost", "HostReturned", "HostDraining", "HostLeft", "GrantRevoked", "GrantSuspended", "GrantResumed", "BudgetExhausted"
] as const satisfies ReadonlyArray<MillFact["_tag"]>

/**
 * Every job with where it stands, each task of its array, and its story. Answers "what became of my job,
 * and why is it where it is", now and at any cut: a line is never changed, so what a job was at a cut is
 * what its lines up to there changed.
 */
export const jobs = part<JobTables>()<MillFact>({
  hears: ["GATEWAY", "SCHEDULER", "HOSTS", "METERING", "ACCESS", "SNAPSHOTS"],
  only: [...ofJobs, ...ofOthers],
  tables: (schema) => [
    schema.createTable("jobs")
      .addColumn("job_id", "text", (column) => column.primaryKey())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("submitted_by", "text")
      .addColumn("submitted_at_ms", "bigint")
      .addColumn("submitted_sequence", "bigint")
      .addColumn("name", "text")
      .addColumn("tasks", "integer")
      .addColumn("grant_id", "text")
      .addColumn("parent_job_id", "text")
      .addColumn("trigger", "text")
      .addColumn("attempt", "integer", (column) => column.notNull().defaultTo(0))
      .addColumn("host_id", "text")
      .addColumn("waits", "text")
      .addColumn("started_attempt", "integer", (column) => column.notNull().defaultTo(0))
      .addColumn("outcome", "text")
      .addColumn("exit_code", "integer")
      .addColumn("cause", "text")
      .addColumn("settled_at_ms", "bigint")
      .addColumn("spent_pico", "numeric", (column) => column.notNull().defaultTo(0))
      // A job's row changes a few times within its first seconds: there is room for that on its page.
      .modifyEnd(sql`with (fillfactor = 60)`),
    schema.createIndex("jobs_by_age").on("jobs").columns(["workspace", "submitted_at_ms desc", "job_id"]),
    schema.createTable("tasks")
      .addColumn("job_id", "text", (column) => column.notNull())
      .addColumn("task", "integer", (column) => column.notNull())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("attempt", "integer", (column) => column.notNull().defaultTo(0))
      .addColumn("host_id", "text")
      .addColumn("waits", "text")
      .addColumn("started_attempt", "integer", (column) => column.notNull().defaultTo(0))
      .addColumn("outcome", "text")
      .addColumn("exit_code", "integer")
      .addColumn("cause", "text")
      .addColumn("settled_at_ms", "bigint")
      .addPrimaryKeyConstraint("tasks_pk", ["job_id", "task"]),
    schema.createTable("lines")
      .addColumn("job_id", "text", (column) => column.notNull())
      .addColumn("stream", "text", (column) => column.notNull())
      .addColumn("sequence", "bigint", (column) => column.notNull())
      .addColumn("ordinal", "integer", (column) => column.notNull())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("id", "text", (column) => column.notNull())
      .addColumn("name", "text", (column) => column.notNull())
      .addColumn("actor", "text", (column) => column.notNull())
      .addColumn("caused_by", "text")
      .addColumn("stored_at_ms", "bigint", (column) => column.notNull())
      .addColumn("task", "integer")
      .addColumn("text", "text", (column) => column.notNull())
      .addColumn("change", "jsonb")
      .addPrimaryKeyConstraint("lines_pk", ["job_id", "stream", "sequence", "ordinal"]),
    schema.createTable("causes")
      .addColumn("id", "text", (column) => column.primaryKey())
      .addColumn("stream", "text", (column) => column.notNull())
      .addColumn("sequence", "bigint", (column) => column.notNull())
      .addColumn("ordinal", "integer", (column) => column.notNull())
      .addColumn("name", "text", (column) => column.notNull())
      .addColumn("actor", "text", (column) => column.notNull())
      .addColumn("caused_by", "text")
      .addColumn("stored_at_ms", "bigint", (column) => column.notNull())
      .addColumn("text", "text", (column) => column.notNull())
  ],
  apply: async (tx, facts) => {
    const batch = gathered(facts)
    if (batch.lines.length > 0) await writeLines(tx, batch.lines)
    if (batch.jobs.size > 0) await writeJobs(tx, [...batch.jobs.values()])
    if (batch.tasks.size > 0) await writeTasks(tx, [...batch.tasks.values()])
    if (batch.causes.length > 0) await writeCauses(tx, batch.causes)
  }
})

type Keyed = Change | Readonly<Record<string, unknown>>

/** What a batch says, with no row twice: one statement touches a row once. */
const gathered = (facts: ReadonlyArray<Fact>) => {
  const lines: Array<Keyed> = []
  const causes: Array<Keyed> = []
  const jobs = new Map<string, Change & { job_id: string; workspace: string }>()
  const tasks = new Map<string, Change & { job_id: string; task: number; workspace: string }>()
  for (const { causedBy, commit, event, id, ordinal } of facts) {
    const { sequence, storedAtMs, stream } = commit.place
    const line = { stream, sequence, ordinal, id, name: event._tag, actor: commit.actor, caused_by: causedBy ?? null, stored_at_ms: storedAtMs, text: sentence(event) }
    if (!("jobId" in event) || event.jobId === undefined) {
      if (event._tag !== "DecisionMade") causes.push(line)
      continue
    }
    const { jobId: job_id, workspace } = event
    const { job, task } = changesOf(event, commit.place)
    lines.push({ ...line, job_id, workspace, task: ("task" in event ? event.task : undefined) ?? null, change: job ?? null })
    const before = jobs.get(job_id)
    // Whose a job is, its submission says, whatever was heard of it first.
    if (job !== undefined) jobs.set(job_id, { ...after(before ?? {}, job), job_id, workspace: event._tag === "JobSubmitted" ? workspace : before?.workspace ?? workspace })
    if (task !== undefined) {
      const key = `${job_id} ${task.number}`
      tasks.set(key, { ...after(tasks.get(key) ?? {}, task.change), job_id, task: task.number, workspace })
    }
  }
  return { lines, causes, jobs, tasks }
}

const writeLines = (tx: Transaction<JobTables>, rows: ReadonlyArray<Keyed>) =>
  sql`
    insert into lines (job_id, stream, sequence, ordinal, workspace, id, name, actor, caused_by, stored_at_ms, task, text, change)
    select * from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as told(
      job_id text, stream text, sequence bigint, ordinal integer, workspace text, id text, name text, actor text, caused_by text,
      stored_at_ms bigint, task integer, text text, change jsonb)
    on conflict do nothing`.execute(tx)

const writeCauses = (tx: Transaction<JobTables>, rows: ReadonlyArray<Keyed>) =>
  sql`
    insert into causes (id, stream, sequence, ordinal, name, actor, caused_by, stored_at_ms, text)
    select * from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as told(
      id text, stream text, sequence bigint, ordinal integer, name text, actor text, caused_by text, stored_at_ms bigint, text text)
    on conflict do nothing`.execute(tx)

const writeJobs = (tx: Transaction<JobTables>, rows: ReadonlyArray<Keyed>) =>
  sql`
    insert into jobs as known (job_id, workspace, submitted_by, submitted_at_ms, submitted_sequence, name, tasks, grant_id, parent_job_id, trigger,
      attempt, host_id, waits, started_attempt, outcome, exit_code, cause, settled_at_ms, spent_pico)
    select job_id, workspace, submitted_by, submitted_at_ms, submitted_sequence, name, tasks, grant_id, parent_job_id, trigger,
      coalesce(attempt, 0), host_id, waits, coalesce(started_attempt, 0), outcome, exit_code, cause, settled_at_ms, coalesce(spent_pico, 0)
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as told(
      job_id text, workspace text, submitted_by text, submitted_at_ms bigint, submitted_sequence bigint, name text, tasks integer, grant_id text,
      parent_job_id text, trigger text, attempt integer, host_id text, waits text, started_attempt integer, outcome text, exit_code integer,
      cause text, settled_at_ms bigint, spent_pico numeric)
    on conflict (job_id) do update set
      workspace = case when excluded.submitted_by is null then known.workspace else excluded.workspace end,
      submitted_by = coalesce(excluded.submitted_by, known.submitted_by),
      submitted_at_ms = coalesce(excluded.submitted_at_ms, known.submitted_at_ms),
      submitted_sequence = coalesce(excluded.submitted_sequence, known.submitted_sequence),
      name = coalesce(excluded.name, known.name),
      tasks = coalesce(excluded.tasks, known.tasks),
      grant_id = coalesce(excluded.grant_id, known.grant_id),
      parent_job_id = coalesce(excluded.parent_job_id, known.parent_job_id),
      trigger = coalesce(excluded.trigger, known.trigger),
      attempt = greatest(excluded.attempt, known.attempt),
      host_id = coalesce(excluded.host_id, known.host_id),
      waits = coalesce(excluded.waits, known.waits),
      started_attempt = greatest(excluded.started_attempt, known.started_attempt),
      outcome = coalesce(excluded.outcome, known.outcome),
      exit_code = coalesce(excluded.exit_code, known.exit_code),
      cause = coalesce(excluded.cause, known.cause),
      settled_at_ms = coalesce(excluded.settled_at_ms, known.settled_at_ms),
      spent_pico = excluded.spent_pico + known.spent_pico`.execute(tx)

const writeTasks = (tx: Transaction<JobTables>, rows: ReadonlyArray<Keyed>) =>
  sql`
    insert into tasks as known (job_id, task, workspace, attempt, host_id, waits, started_attempt, outcome, exit_code, cause, settled_at_ms)
    select job_id, task, workspace, coalesce(attempt, 0), host_id, waits, coalesce(started_attempt, 0), outcome, exit_code, cause, settled_at_ms
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as told(
      job_id text, task integer, workspace text, attempt integer, host_id text, waits text, started_attempt integer, outcome text,
      exit_code integer, cause text, settled_at_ms bigint)
    on conflict (job_id, task) do update set
      attempt = greatest(excluded.attempt, known.attempt),
      host_id = coalesce(excluded.host_id, known.host_id),
      waits = coalesce(excluded.waits, known.waits),
      started_attempt = greatest(excluded.started_attempt, known.started_attempt),
      outcome = coalesce(excluded.outcome, known.outcome),
      exit_code = coalesce(excluded.exit_code, known.exit_code),
      cause = coalesce(excluded.cause, known.cause),
      settled_at_ms = coalesce(excluded.settled_at_ms, known.settled_at_ms)`.execute(tx)
