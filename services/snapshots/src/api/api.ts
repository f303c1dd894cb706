import { MomentText } from "@millrace/readmodel"
import { Bytes, Cut, CutText, EpochMillis, JobId, SnapshotId } from "@millrace/schemas"
import { Authentication, BadRequest, Forbidden, NotFound, Unavailable, Wellformed } from "@millrace/service"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const maybe = <S extends Schema.Top>(schema: S) => Schema.NullOr(schema)

/** A cut as it travels in a query (`SNAPSHOTS=12`), or a moment (`2026-11-22T08:00:00Z`). */

export const SnapshotStands = Schema.Literals(["planned", "available", "abandoned", "expired"])

export const SnapshotView = Schema.Struct({
  snapshotId: Schema.String,
  jobId: maybe(Schema.String),
  attemptId: maybe(Schema.String),
  hostId: maybe(Schema.String),
  form: maybe(Schema.String),
  stands: SnapshotStands,
  digest: maybe(Schema.String),
  sizeBytes: maybe(Bytes),
  runtime: maybe(Schema.String),
  plannedAtMs: maybe(EpochMillis),
  availableAtMs: maybe(EpochMillis),
  endedAtMs: maybe(EpochMillis),
  untilMs: maybe(EpochMillis),
  /** Why it is not there, where it is not. */
  because: maybe(Schema.String)
})
export type SnapshotView = typeof SnapshotView.Type

const read = {
  after: Schema.optionalKey(CutText),
  at: Schema.optionalKey(MomentText),
  waitMs: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 30_000 }))))
}

export class Snapshots extends HttpApiGroup.make("snapshots")
  .add(
    HttpApiEndpoint.get("list", "/snapshots", {
      query: {
        ...read,
        job: Schema.optionalKey(JobId),
        stands: Schema.optionalKey(SnapshotStands),
        limit: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))))
      },
      success: Schema.Struct({ snapshots: Schema.Array(SnapshotView), cut: Cut }),
      error: [BadRequest, Forbidden, Unavailable]
    }),
    HttpApiEndpoint.get("show", "/snapshots/:id", {
      params: { id: SnapshotId },
      query: read,
      success: Schema.Struct({ snapshot: SnapshotView, cut: Cut }),
      error: [BadRequest, Forbidden, NotFound, Unavailable]
    })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** What the service answers from its own tables. */
export class Api extends HttpApi.make("millrace-snapshots").add(Snapshots).annotateMerge(OpenApi.annotations({ title: "Millrace snapshots", version: "1" })) {}
