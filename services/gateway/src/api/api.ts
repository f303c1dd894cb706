import { MomentText } from "@millrace/readmodel"
import { Bytes, Count, Cut, CutText, EpochMillis, Sequence } from "@millrace/schemas"
import { Authentication, Wellformed } from "@millrace/service"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { JobRequest } from "../domain/request.ts"
import { AskGroup } from "./ask-endpoints.ts"
import { BlobBytes, JobBytes } from "./bytes.ts"
import { BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unavailable } from "./errors.ts"
import { Metered } from "./metered.ts"
import { EventGroup, HookGroup, TriggerGroup } from "./trigger-endpoints.ts"

export const JobAnswer = Schema.Struct({
  jobId: Schema.String,
  /** Pass it as `after` to read what this write changed. */
  cut: Cut,
  repeated: Schema.Boolean
})

export const JobState = Schema.Literals(["queued", "waiting", "placed", "running", "succeeded", "failed", "cancelled", "lost", "refused"])

/** How many tasks of an array stand where. */
export const TaskCounts = Schema.Record(Schema.String, Count)

export const JobView = Schema.Struct({
  jobId: Schema.String,
  state: JobState,
  name: Schema.optionalKey(Schema.String),
  submittedBy: Schema.String,
  submittedAtMs: EpochMillis,
  /** The grant that it was submitted under. */
  grant: Schema.optionalKey(Schema.String),
  /** The job whose program submitted it. */
  parent: Schema.optionalKey(Schema.String),
  /** The trigger that started it. */
  trigger: Schema.optionalKey(Schema.String),
  /** Of an array: how many tasks it has. */
  tasks: Schema.optionalKey(Count),
  attempt: Count,
  hostId: Schema.NullOr(Schema.String),
  exitCode: Schema.NullOr(Schema.Int),
  /** Why it is where it is, in words. */
  because: Schema.NullOr(Schema.String),
  settledAtMs: Schema.NullOr(EpochMillis),
  /** What it has cost by now, in pico-dollars. */
  spentPico: Schema.optionalKey(Schema.String)
})
export type JobView = typeof JobView.Type

export const TaskView = Schema.Struct({
  task: Count,
  state: JobState,
  attempt: Count,
  hostId: Schema.NullOr(Schema.String),
  exitCode: Schema.NullOr(Schema.Int),
  because: Schema.NullOr(Schema.String),
  settledAtMs: Schema.NullOr(EpochMillis)
})
export type TaskView = typeof TaskView.Type

export const StoryLine = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  text: Schema.String,
  atMs: EpochMillis,
  actor: Schema.String,
  causedBy: Schema.NullOr(Schema.String),
  stream: Schema.String,
  sequence: Sequence,
  /** Of an array: which task it is about. */
  task: Schema.optionalKey(Count)
})
export type StoryLine = typeof StoryLine.Type

const natural = (minimum: number, maximum: number) => Schema.NumberFromString.pipe(Schema.check(Schema.isInt()), Schema.check(Schema.isBetween({ minimum, maximum })))

const fresh = { after: Schema.optionalKey(CutText), waitMs: Schema.optionalKey(natural(0, 30_000)) }
const read = {
  ...fresh,
  at: Schema.optionalKey(MomentText)
}
const job = { params: { jobId: Schema.String } }
const page = {
  limit: Schema.optionalKey(natural(1, 1000)),
  cursor: Schema.optionalKey(Schema.String.annotate({ description: "where the next page begins, as `next` of the one before says" }))
}

const described = (summary: string, description: string) => OpenApi.annotations({ summary, description })

export class Jobs extends HttpApiGroup.make("jobs")
  .add(
    HttpApiEndpoint.post("submit", "/", {
      headers: { "idempotency-key": Schema.optionalKey(Schema.String) },
      payload: JobRequest.annotate({ examples: [{ argv: ["python3", "work.py"], env: {}, labels: {}, resources: { cpuMilli: 500, memoryMib: 256, diskMib: 0, gpus: 0 }, attemptsMax: 2, runMsMax: 600_000, onSilence: { keepMs: 300_000 } }] }),
      success: JobAnswer,
      error: [BadRequest, Forbidden, Conflict, TooLarge, Unavailable]
    }).annotateMerge(described(
      "Submit a job",
      "Once this has answered, the job cannot be lost. The same `Idempotency-Key` with the same request answers the first job (`repeated`); with another request it is refused. argv, env, labels and files are sealed under the workspace's key; what looks like a credential anywhere but in env is refused."
    )),
    HttpApiEndpoint.get("list", "/", {
      query: {
        ...read,
        ...page,
        state: Schema.optionalKey(JobState),
        name: Schema.optionalKey(Schema.String),
        parent: Schema.optionalKey(Schema.String),
        submittedBy: Schema.optionalKey(Schema.String)
      },
      success: Schema.Struct({ jobs: Schema.Array(JobView), next: Schema.optionalKey(Schema.String), cut: Cut }),
      error: [BadRequest, Forbidden, Unavailable]
    }).annotateMerge(described("List the workspace's jobs", "The newest first, 100 unless told. A page's `next` is the next one's `cursor`; jobs that come meanwhile move nothing.")),
    HttpApiEndpoint.get("show", "/:jobId", { ...job, query: read, success: Schema.Struct({ job: JobView, cut: Cut }), error: [BadRequest, NotFound, Forbidden, Unavailable] })
      .annotateMerge(described("Show where a job stands, and why", "Now, or with `at` as it was.")),
    HttpApiEndpoint.get("story", "/:jobId/story", {
      ...job,
      query: { ...read, task: Schema.optionalKey(natural(0, 999_999)) },
      success: Schema.Struct({ lines: Schema.Array(StoryLine), over: Schema.Boolean, more: Schema.optionalKey(Schema.Boolean), cut: Cut }),
      error: [BadRequest, NotFound, Forbidden, Unavailable]
    }).annotateMerge(described("Tell a job's story", "Every fact of it, causes before what they caused. Of an array, `task` tells the story of one; a story of more than 10,000 lines is cut, and says `more`.")),
    HttpApiEndpoint.get("events", "/:jobId/events", {
      ...job,
      query: { from: Schema.optionalKey(Schema.String) },
      headers: { "last-event-id": Schema.optionalKey(Schema.String) },
      success: HttpApiSchema.StreamUint8Array({ contentType: "text/event-stream" }),
      error: [BadRequest, NotFound, Forbidden, Unavailable]
    }).annotateMerge(described(
      "Follow a job's story",
      "Server-sent events: `line` carries a line of the story as it comes, `over` is the last. The id of an event, sent back as `Last-Event-ID` (or `from`), goes on right behind it: nothing is missed or told twice, on this or any other gateway."
    )),
    HttpApiEndpoint.get("tasks", "/:jobId/tasks", {
      ...job,
      query: { ...fresh, ...page, state: Schema.optionalKey(JobState) },
      success: Schema.Struct({ tasks: Schema.Array(TaskView), counts: TaskCounts, next: Schema.optionalKey(Schema.String), cut: Cut }),
      error: [BadRequest, NotFound, Forbidden, Unavailable]
    }).annotateMerge(described("List the tasks of an array", "In their order, those that were begun or are over; `counts` has the others as queued.")),
    HttpApiEndpoint.post("cancel", "/:jobId/cancel", { ...job, success: Schema.Struct({ cut: Cut }), error: [NotFound, Forbidden, Unavailable] })
      .annotateMerge(described("Ask for a job's end", "It may have ended already. Asking again adds nothing."))
  )
  .middleware(Metered)
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1/jobs")
{}

/** What the outside can ask of a cell. */
export class Api extends HttpApi.make("millrace")
  .add(Jobs)
  .add(JobBytes)
  .add(BlobBytes)
  .add(AskGroup)
  .add(TriggerGroup)
  .add(EventGroup)
  .add(HookGroup)
  // Fields that are not known are misspelt: saying so is kinder than to ignore them.
  .annotate(HttpApi.ParseOptions, { onExcessProperty: "error" })
  .annotate(HttpApi.HeadersParseOptions, {})
  .annotate(HttpApi.SuccessParseOptions, {})
  .annotate(HttpApi.ErrorParseOptions, {})
  .annotateMerge(OpenApi.annotations({
    title: "Millrace",
    description: "An execution control plane for AI workloads. Every error has a stable `code`, says `what` is wrong and `where`, and one `remedy`; the codes stand in the gateway's README. Every write returns a `cut`: pass it as `after` to read what it changed.",
    version: "1"
  }))
{}

/** Bytes of a JSON body at most. Larger things are blobs. */
export const bodyBytesMax: typeof Bytes.Type = 1024 * 1024
