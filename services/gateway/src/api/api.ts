import { Count, Cut, EpochMillis, Sequence } from "@millrace/schemas"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { JobRequest } from "../domain/request.ts"
import { BlobBytes, JobBytes } from "./bytes.ts"
import { Authentication } from "./caller.ts"
import { BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unavailable } from "./errors.ts"
import { Wellformed } from "./wellformed.ts"

/** A cut as it travels in a query: `GATEWAY=12,SCHEDULER=40`. */
export const CutText = Schema.String.pipe(Schema.check(Schema.isPattern(/^([A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9})?$/u)))

export const JobAnswer = Schema.Struct({
  jobId: Schema.String,
  /** Pass it as `after` to read what this write changed. */
  cut: Cut,
  repeated: Schema.Boolean
})

export const JobState = Schema.Literals(["queued", "waiting", "placed", "running", "succeeded", "failed", "cancelled", "lost", "refused"])

export const JobView = Schema.Struct({
  jobId: Schema.String,
  state: JobState,
  submittedBy: Schema.String,
  submittedAtMs: EpochMillis,
  attempt: Count,
  hostId: Schema.NullOr(Schema.String),
  exitCode: Schema.NullOr(Schema.Int),
  /** Why it is where it is, in words. */
  because: Schema.NullOr(Schema.String),
  settledAtMs: Schema.NullOr(EpochMillis)
})
export type JobView = typeof JobView.Type

export const StoryLine = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  text: Schema.String,
  atMs: EpochMillis,
  actor: Schema.String,
  causedBy: Schema.NullOr(Schema.String),
  stream: Schema.String,
  sequence: Sequence
})
export type StoryLine = typeof StoryLine.Type

const read = { after: Schema.optionalKey(CutText), waitMs: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 30_000 })))) }
const job = { params: { jobId: Schema.String } }

export class Jobs extends HttpApiGroup.make("jobs")
  .add(
    HttpApiEndpoint.post("submit", "/", {
      headers: { "idempotency-key": Schema.optionalKey(Schema.String) },
      payload: JobRequest,
      success: JobAnswer,
      error: [BadRequest, Forbidden, Conflict, TooLarge, Unavailable]
    }),
    HttpApiEndpoint.get("list", "/", {
      query: { ...read, limit: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 1000 })))) },
      success: Schema.Struct({ jobs: Schema.Array(JobView), cut: Cut }),
      error: [Forbidden, Unavailable]
    }),
    HttpApiEndpoint.get("show", "/:jobId", { ...job, query: read, success: Schema.Struct({ job: JobView, cut: Cut }), error: [NotFound, Forbidden, Unavailable] }),
    HttpApiEndpoint.get("story", "/:jobId/story", { ...job, query: read, success: Schema.Struct({ lines: Schema.Array(StoryLine), over: Schema.Boolean, cut: Cut }), error: [NotFound, Forbidden, Unavailable] }),
    HttpApiEndpoint.post("cancel", "/:jobId/cancel", { ...job, success: Schema.Struct({ cut: Cut }), error: [NotFound, Forbidden, Unavailable] })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1/jobs")
{}

/** What the outside can ask of a cell. */
export class Api extends HttpApi.make("millrace").add(Jobs).add(JobBytes).add(BlobBytes).annotateMerge(OpenApi.annotations({
  title: "Millrace",
  description: "An execution control plane for AI workloads",
  version: "1"
})) {}

