import { projection } from "@millrace/readmodel"
import type { AttemptStarted, JobDeferred, JobRefused, JobRetried, JobSettled, JobSubmitted, PlacementMade } from "@millrace/schemas"
import { sql } from "kysely"

/** One job. Each column belongs to one stream, so that facts of different streams may come in any order. */
export interface JobRow {
  readonly job_id: string
  readonly workspace: string
  readonly story: string | null
  readonly submitted_by: string | null
  readonly submitted_at_ms: string | null
  readonly attempt: number
  readonly host_id: string | null
  readonly waits: string | null
  readonly started_attempt: number
  readonly outcome: string | null
  readonly exit_code: number | null
  readonly cause: string | null
  readonly settled_at_ms: string | null
}

export interface JobTables {
  readonly jobs: JobRow
}

type Minded = JobSubmitted | JobDeferred | JobRefused | JobRetried | JobSettled | PlacementMade | AttemptStarted

/** Every job with where it stands. Answers "what became of my job, and why is it where it is". */
export const jobs = projection<JobTables>()<Minded>({
  name: "gateway.jobs",
  version: 1,
  hears: ["GATEWAY", "SCHEDULER", "HOSTS"],
  only: ["JobSubmitted", "JobDeferred", "JobRefused", "JobRetried", "JobSettled", "PlacementMade", "AttemptStarted"],
  tables: (schema) => [
    schema.createTable("jobs")
      .addColumn("job_id", "text", (column) => column.primaryKey())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("story", "text")
      .addColumn("submitted_by", "text")
      .addColumn("submitted_at_ms", "bigint")
      .addColumn("attempt", "integer", (column) => column.notNull().defaultTo(0))
      .addColumn("host_id", "text")
      .addColumn("waits", "text")
      .addColumn("started_attempt", "integer", (column) => column.notNull().defaultTo(0))
      .addColumn("outcome", "text")
      .addColumn("exit_code", "integer")
      .addColumn("cause", "text")
      .addColumn("settled_at_ms", "bigint"),
    schema.createIndex("jobs_by_age").on("jobs").columns(["workspace", "submitted_at_ms desc", "job_id"])
  ],
  apply: async (tx, facts) => {
    // The newest word of each job and column group, so that no row is touched twice in one statement.
    const rows = new Map<string, Record<string, unknown>>()
    for (const { commit, event, id } of facts) {
      const row = rows.get(event.jobId) ?? { job_id: event.jobId, workspace: event.workspace }
      rows.set(event.jobId, row)
      switch (event._tag) {
        case "JobSubmitted":
          Object.assign(row, { story: id, submitted_by: event.submittedBy, submitted_at_ms: commit.place.storedAtMs })
          break
        case "JobDeferred":
          Object.assign(row, { waits: event.arithmetic })
          break
        case "JobRetried":
          Object.assign(row, { waits: `attempt ${event.failedAttempt} failed: ${event.cause}` })
          break
        case "PlacementMade":
          Object.assign(row, { attempt: event.attempt, host_id: event.hostId, waits: "" })
          break
        case "AttemptStarted":
          Object.assign(row, { started_attempt: Math.max(event.attempt, Number(row["started_attempt"] ?? 0)) })
          break
        case "JobRefused":
          Object.assign(row, { outcome: "refused", cause: event.reason, settled_at_ms: commit.place.storedAtMs })
          break
        case "JobSettled":
          Object.assign(row, { outcome: event.outcome, exit_code: event.exitCode ?? null, cause: event.cause, settled_at_ms: commit.place.storedAtMs })
          break
        default:
          return event satisfies never
      }
    }
    await sql`
      insert into jobs as known (job_id, workspace, story, submitted_by, submitted_at_ms, attempt, host_id, waits, started_attempt, outcome, exit_code, cause, settled_at_ms)
      select job_id, workspace, story, submitted_by, submitted_at_ms, coalesce(attempt, 0), host_id, nullif(waits, ''), coalesce(started_attempt, 0), outcome, exit_code, cause, settled_at_ms
      from jsonb_to_recordset(${JSON.stringify([...rows.values()])}::text::jsonb) as told(
        job_id text, workspace text, story text, submitted_by text, submitted_at_ms bigint, attempt integer, host_id text, waits text,
        started_attempt integer, outcome text, exit_code integer, cause text, settled_at_ms bigint)
      on conflict (job_id) do update set
        story = coalesce(excluded.story, known.story),
        submitted_by = coalesce(excluded.submitted_by, known.submitted_by),
        submitted_at_ms = coalesce(excluded.submitted_at_ms, known.submitted_at_ms),
        attempt = greatest(excluded.attempt, known.attempt),
        host_id = coalesce(excluded.host_id, known.host_id),
        waits = case when excluded.host_id is not null or excluded.waits is not null then excluded.waits else known.waits end,
        started_attempt = greatest(excluded.started_attempt, known.started_attempt),
        outcome = coalesce(excluded.outcome, known.outcome),
        exit_code = coalesce(excluded.exit_code, known.exit_code),
        cause = coalesce(excluded.cause, known.cause),
        settled_at_ms = coalesce(excluded.settled_at_ms, known.settled_at_ms)
    `.execute(tx)
  }
})
