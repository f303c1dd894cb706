import type { ArtefactKept, AttemptExited, AttemptRefused, AttemptStarted, JobRefused, JobRetried, JobSettled, PlacementMade, SnapshotWritten, TaskSettled } from "@millrace/schemas"
import { sql } from "kysely"
import { part } from "./part.ts"

/** The task of a job that is no array. */
export const noTask = -1

/** One try of one task, as the scheduler says. */
export interface AttemptRow {
  readonly job_id: string
  readonly task: number
  readonly attempt: number
  readonly workspace: string
  readonly attempt_id: string | null
  readonly host_id: string | null
  /** Its host was given up before it had said how it ended. */
  readonly lost: boolean
}

/** What a host said of an attempt. It counts where the attempt was placed on that host: streams come in no order, so that is seen where it is read. */
export interface WordRow {
  readonly attempt_id: string
  readonly host_id: string
  readonly started: boolean
  /** `exited` or `refused`; null while it may still say something. */
  readonly over: string | null
}

/** One thing that an attempt made or said, under its name, in the words of a host. It counts as `WordRow` does. */
export interface ArtefactRow {
  readonly attempt_id: string
  readonly host_id: string
  /** `output` is stdout or stderr, `file` a file that the work left, `snapshot` its kept state. */
  readonly form: string
  readonly name: string
  readonly workspace: string
  readonly job_id: string
  readonly task: number
  readonly attempt: number
  readonly digest: string
  readonly size_bytes: string
  readonly dropped_bytes: string
}

/** How one task, or the whole job (`noTask`), ended. */
export interface EndingRow {
  readonly job_id: string
  readonly task: number
  readonly workspace: string
  readonly outcome: string
  readonly exit_code: number | null
  readonly attempt: number
}

export interface AttemptTables {
  readonly attempts: AttemptRow
  readonly words: WordRow
  readonly artefacts: ArtefactRow
  readonly endings: EndingRow
}

type Minded =
  | PlacementMade | AttemptStarted | AttemptExited | AttemptRefused | ArtefactKept | SnapshotWritten
  | JobRetried | TaskSettled | JobSettled | JobRefused

/** Each attempt with where its bytes are. Answers "what did it say, what did it make, and where do I read it". */
export const attempts = part<AttemptTables>()<Minded>({
  hears: ["SCHEDULER", "HOSTS"],
  only: [
    "PlacementMade", "AttemptStarted", "AttemptExited", "AttemptRefused", "ArtefactKept", "SnapshotWritten",
    "JobRetried", "TaskSettled", "JobSettled", "JobRefused"
  ],
  tables: (schema) => [
    schema.createTable("attempts")
      .addColumn("job_id", "text", (column) => column.notNull())
      .addColumn("task", "integer", (column) => column.notNull())
      .addColumn("attempt", "integer", (column) => column.notNull())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("attempt_id", "text")
      .addColumn("host_id", "text")
      .addColumn("lost", "boolean", (column) => column.notNull().defaultTo(false))
      .addPrimaryKeyConstraint("attempts_pk", ["job_id", "task", "attempt"]),
    schema.createIndex("attempts_by_id").on("attempts").columns(["attempt_id"]),
    schema.createTable("words")
      .addColumn("attempt_id", "text", (column) => column.notNull())
      .addColumn("host_id", "text", (column) => column.notNull())
      .addColumn("started", "boolean", (column) => column.notNull().defaultTo(false))
      .addColumn("over", "text")
      .addPrimaryKeyConstraint("words_pk", ["attempt_id", "host_id"]),
    schema.createTable("artefacts")
      .addColumn("attempt_id", "text", (column) => column.notNull())
      .addColumn("host_id", "text", (column) => column.notNull())
      .addColumn("form", "text", (column) => column.notNull())
      .addColumn("name", "text", (column) => column.notNull())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("job_id", "text", (column) => column.notNull())
      .addColumn("task", "integer", (column) => column.notNull())
      .addColumn("attempt", "integer", (column) => column.notNull())
      .addColumn("digest", "text", (column) => column.notNull())
      .addColumn("size_bytes", "bigint", (column) => column.notNull())
      .addColumn("dropped_bytes", "bigint", (column) => column.notNull())
      .addPrimaryKeyConstraint("artefacts_pk", ["attempt_id", "host_id", "form", "name"]),
    schema.createIndex("artefacts_of_job").on("artefacts").columns(["job_id", "task", "form", "name", "attempt"]),
    schema.createIndex("artefacts_by_digest").on("artefacts").columns(["workspace", "digest"]),
    schema.createTable("endings")
      .addColumn("job_id", "text", (column) => column.notNull())
      .addColumn("task", "integer", (column) => column.notNull())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("outcome", "text", (column) => column.notNull())
      .addColumn("exit_code", "integer")
      .addColumn("attempt", "integer", (column) => column.notNull())
      .addPrimaryKeyConstraint("endings_pk", ["job_id", "task"])
  ],
  apply: async (tx, facts) => {
    const tries = new Map<string, Record<string, unknown>>()
    const words = new Map<string, Record<string, unknown>>()
    const kept = new Map<string, Record<string, unknown>>()
    const ended = new Map<string, Record<string, unknown>>()
    for (const { event } of facts) {
      switch (event._tag) {
        case "PlacementMade":
          told(tries, event, { attempt_id: event.attemptId, host_id: event.hostId })
          break
        case "AttemptStarted":
          heard(words, event, { started: true })
          break
        case "AttemptExited":
          heard(words, event, { over: "exited" })
          break
        case "AttemptRefused":
          heard(words, event, { over: "refused" })
          break
        case "JobRetried":
          // What failed by itself says so itself, on its host; what was lost may never.
          if (event.lost === true) told(tries, { ...event, attempt: event.failedAttempt }, { lost: true })
          break
        case "ArtefactKept":
          keptAs(kept, event, event.name === "stdout" || event.name === "stderr" ? "output" : "file", event.name, event.droppedBytes)
          break
        case "SnapshotWritten":
          keptAs(kept, event, "snapshot", event.snapshotId, 0)
          break
        case "TaskSettled":
        case "JobSettled":
          firstEnd(ended, event, event._tag === "TaskSettled" ? event.task : noTask, event)
          break
        case "JobRefused":
          firstEnd(ended, event, noTask, { outcome: "refused", attempt: 0 })
          break
        default:
          return event satisfies never
      }
    }
    // Most batches speak of few of these, and each statement is a way to Postgres and back.
    if (tries.size > 0) await sql`
      insert into attempts as known (job_id, task, attempt, workspace, attempt_id, host_id, lost)
      select job_id, task, attempt, workspace, attempt_id, host_id, coalesce(lost, false)
      from jsonb_to_recordset(${JSON.stringify([...tries.values()])}::text::jsonb) as told(
        job_id text, task integer, attempt integer, workspace text, attempt_id text, host_id text, lost boolean)
      on conflict (job_id, task, attempt) do update set
        attempt_id = coalesce(excluded.attempt_id, known.attempt_id),
        host_id = coalesce(excluded.host_id, known.host_id),
        lost = excluded.lost or known.lost
    `.execute(tx)
    if (words.size > 0) await sql`
      insert into words as known (attempt_id, host_id, started, over)
      select attempt_id, host_id, coalesce(started, false), over
      from jsonb_to_recordset(${JSON.stringify([...words.values()])}::text::jsonb) as told(attempt_id text, host_id text, started boolean, over text)
      on conflict (attempt_id, host_id) do update set
        started = excluded.started or known.started,
        over = coalesce(known.over, excluded.over)
    `.execute(tx)
    if (kept.size > 0) await sql`
      insert into artefacts (attempt_id, host_id, form, name, workspace, job_id, task, attempt, digest, size_bytes, dropped_bytes)
      select * from jsonb_to_recordset(${JSON.stringify([...kept.values()])}::text::jsonb) as told(
        attempt_id text, host_id text, form text, name text, workspace text, job_id text, task integer, attempt integer, digest text, size_bytes bigint, dropped_bytes bigint)
      on conflict do nothing
    `.execute(tx)
    if (ended.size > 0) await sql`
      insert into endings (job_id, task, workspace, outcome, exit_code, attempt)
      select * from jsonb_to_recordset(${JSON.stringify([...ended.values()])}::text::jsonb) as told(
        job_id text, task integer, workspace text, outcome text, exit_code integer, attempt integer)
      on conflict do nothing
    `.execute(tx)
  }
})

interface Which {
  readonly jobId: string
  readonly workspace: string
  readonly task?: number
  readonly attempt: number
}

/** What this batch tells of one attempt, in one row: no row may be touched twice in one statement. */
const told = (rows: Map<string, Record<string, unknown>>, { attempt, jobId, task = noTask, workspace }: Which, words: Record<string, unknown>): void => {
  const key = `${jobId}\n${task}\n${attempt}`
  rows.set(key, { ...rows.get(key), job_id: jobId, workspace, task, attempt, ...words })
}

/** What this batch tells of a host's words about one attempt, in one row. */
const heard = (rows: Map<string, Record<string, unknown>>, { attemptId, hostId }: { readonly attemptId: string; readonly hostId: string }, said: Record<string, unknown>): void => {
  const key = `${attemptId}\n${hostId}`
  rows.set(key, { ...said, ...rows.get(key), attempt_id: attemptId, host_id: hostId })
}

const keptAs = (
  rows: Map<string, Record<string, unknown>>,
  { attempt, attemptId, blob, hostId, jobId, task = noTask, workspace }: ArtefactKept | SnapshotWritten,
  form: ArtefactRow["form"],
  name: string,
  droppedBytes: number
): void => {
  const key = `${attemptId}\n${hostId}\n${form}\n${name}`
  if (rows.has(key)) return
  rows.set(key, {
    attempt_id: attemptId,
    host_id: hostId,
    form,
    name,
    workspace,
    job_id: jobId,
    task,
    attempt,
    digest: blob.digest,
    size_bytes: blob.sizeBytes,
    dropped_bytes: droppedBytes
  })
}

const firstEnd = (
  rows: Map<string, Record<string, unknown>>,
  { jobId, workspace }: { readonly jobId: string; readonly workspace: string },
  task: number,
  { attempt, exitCode, outcome }: { readonly outcome: string; readonly exitCode?: number; readonly attempt: number }
): void => {
  const key = `${jobId}\n${task}`
  if (!rows.has(key)) rows.set(key, { job_id: jobId, task, workspace, outcome, exit_code: exitCode ?? null, attempt })
}
