import { foldHistory, history, projection } from "@millrace/readmodel"
import type { SnapshotAbandoned, SnapshotAvailable, SnapshotExpired, SnapshotPlanned } from "@millrace/schemas"

/** One snapshot as it stands. */
export interface SnapshotRow {
  readonly snapshot_id: string
  readonly workspace: string
  readonly job_id: string | null
  readonly attempt_id: string | null
  readonly host_id: string | null
  readonly form: string | null
  readonly stands: "planned" | "available" | "abandoned" | "expired"
  readonly digest: string | null
  readonly size_bytes: number | null
  readonly runtime: string | null
  readonly planned_at_ms: number | null
  readonly available_at_ms: number | null
  readonly ended_at_ms: number | null
  readonly until_ms: number | null
  readonly because: string | null
}

export interface SnapshotTables {
  readonly snapshots: SnapshotRow
}

type Minded = SnapshotPlanned | SnapshotAvailable | SnapshotAbandoned | SnapshotExpired

export const snapshotsHistory = history({ table: "snapshots", stream: "SNAPSHOTS", key: ["snapshot_id"] })

/** Every snapshot there was. Answers "which states of which jobs can be started from, how large are they, and what became of the others". */
export const snapshotsKept = projection<SnapshotTables>()<Minded>({
  name: "snapshots.snapshots",
  version: 1,
  hears: ["SNAPSHOTS"],
  only: ["SnapshotPlanned", "SnapshotAvailable", "SnapshotAbandoned", "SnapshotExpired"],
  tables: (schema) => [
    ...snapshotsHistory.create(schema, (table) =>
      table.addColumn("snapshot_id", "text", (column) => column.notNull())
        .addColumn("workspace", "text", (column) => column.notNull())
        .addColumn("job_id", "text")
        .addColumn("attempt_id", "text")
        .addColumn("host_id", "text")
        .addColumn("form", "text")
        .addColumn("stands", "text", (column) => column.notNull())
        .addColumn("digest", "text")
        .addColumn("size_bytes", "bigint")
        .addColumn("runtime", "text")
        .addColumn("planned_at_ms", "bigint")
        .addColumn("available_at_ms", "bigint")
        .addColumn("ended_at_ms", "bigint")
        .addColumn("until_ms", "bigint")
        .addColumn("because", "text"))
  ],
  history: [snapshotsHistory],
  apply: (tx, facts) =>
    foldHistory<SnapshotRow, Minded>(tx, facts, snapshotsHistory, {
      about: ({ event }) => ({ snapshot_id: event.snapshotId }),
      evolve: (row, { commit, event }) => after(row, event, commit.happenedAtMs)
    })
})

const fresh = ({ snapshotId, workspace }: Minded): SnapshotRow => ({
  snapshot_id: snapshotId, workspace, job_id: null, attempt_id: null, host_id: null, form: null, stands: "planned", digest: null, size_bytes: null, runtime: null,
  planned_at_ms: null, available_at_ms: null, ended_at_ms: null, until_ms: null, because: null
})

const after = (before: SnapshotRow | undefined, event: Minded, atMs: number): SnapshotRow => {
  const row = before ?? fresh(event)
  switch (event._tag) {
    case "SnapshotPlanned":
      return {
        ...row,
        job_id: event.jobId,
        attempt_id: event.attemptId ?? null,
        host_id: event.hostId ?? null,
        form: event.form,
        planned_at_ms: atMs,
        until_ms: event.retention.untilMs ?? null
      }
    case "SnapshotAvailable":
      return {
        ...row,
        stands: "available",
        job_id: event.jobId,
        form: event.form,
        digest: event.blob.digest,
        size_bytes: event.blob.sizeBytes,
        runtime: event.runtime,
        available_at_ms: atMs
      }
    case "SnapshotAbandoned":
      return { ...row, stands: "abandoned", ended_at_ms: atMs, because: `${event.cause}: ${event.detail}` }
    case "SnapshotExpired":
      return { ...row, stands: "expired", ended_at_ms: atMs, because: event.cause }
    default:
      return event satisfies never
  }
}
