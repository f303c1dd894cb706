import { Journal } from "@millrace/journal"
import { type AsOf, Database, type MomentMalformed, read, type Reading, readOptionsOf } from "@millrace/readmodel"
import { Authority, BadRequest, mayRead, NotFound, Unavailable } from "@millrace/service"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { type SnapshotRow, snapshotsHistory, snapshotsKept, type SnapshotTables } from "../projections/snapshots.ts"
import { Api, type SnapshotView } from "./api.ts"

/** What the outside asks of snapshots, answered from the service's own tables. A caller sees its own workspace alone. */
export const SnapshotsLive = HttpApiBuilder.group(Api, "snapshots", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const database = yield* Database
  const journal = yield* Journal

  const allowed = (...within: ReadonlyArray<string>) => Effect.provideService(mayRead("snapshot.read", ...within), Authority, authority)

  const unreadable = (error: MomentMalformed | { readonly _tag: "ReadTooOld" | "HistoryNotKept" | "DatabaseUnavailable" | "StatementFailed" | "JournalUnavailable"; readonly message: string }) => error._tag === "MomentMalformed" ? new BadRequest(error.words) : new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "the tables of snapshots",
    remedy: "ask again in a moment"
  })

  const reading = <A>(query: AsOf, ask: (reading: Reading<SnapshotTables>) => Promise<A>) =>
    Effect.flatMap(readOptionsOf(query, ["SNAPSHOTS"]), (given) => read(snapshotsKept, ask, given)).pipe(
      Effect.provideService(Database, database),
      Effect.provideService(Journal, journal),
      Effect.mapError(unreadable)
    )

  return handlers.handleAll({
    list: Effect.fnUntraced(function*({ query }) {
      const workspace = yield* allowed()
      const { cut, value } = yield* reading(query, ({ db, valid }) => {
        let all = db.selectFrom("snapshots").selectAll().where(valid(snapshotsHistory)).where("workspace", "=", workspace)
        if (query.job !== undefined) all = all.where("job_id", "=", query.job)
        if (query.stands !== undefined) all = all.where("stands", "=", query.stands)
        return all.orderBy("snapshot_id", "desc").limit(query.limit ?? 100).execute()
      })
      return { snapshots: value.map(viewOf), cut }
    }),
    show: Effect.fnUntraced(function*({ params, query }) {
      const workspace = yield* allowed("snapshot", params.id)
      const { cut, value } = yield* reading(query, ({ db, valid }) =>
        db.selectFrom("snapshots").selectAll().where(valid(snapshotsHistory)).where("workspace", "=", workspace).where("snapshot_id", "=", params.id).executeTakeFirst())
      if (value !== undefined) return { snapshot: viewOf(value), cut }
      return yield* new NotFound({ code: "snapshot_unknown", what: `there is no snapshot ${params.id}`, where: `workspace ${workspace}`, remedy: "list them with GET /v1/snapshots" })
    })
  })
}))

const numberOf = (value: number | string | null): number | null => (value === null ? null : Number(value))

const viewOf = (row: SnapshotRow): SnapshotView => ({
  snapshotId: row.snapshot_id,
  jobId: row.job_id,
  attemptId: row.attempt_id,
  hostId: row.host_id,
  form: row.form,
  stands: row.stands,
  digest: row.digest,
  sizeBytes: numberOf(row.size_bytes),
  runtime: row.runtime,
  plannedAtMs: numberOf(row.planned_at_ms),
  availableAtMs: numberOf(row.available_at_ms),
  endedAtMs: numberOf(row.ended_at_ms),
  untilMs: numberOf(row.until_ms),
  because: row.because
})
