import { Schema } from "effect"
import { AttemptId, FactId, HostId, JobId, WorkspaceName } from "./ids.ts"
import { Count, EpochMillis } from "./quantities.ts"
import { kind } from "./story.ts"

/** What would let a waiting job go on. */
export const Unblocking = Schema.Literals(["capacity", "quota", "budget", "time"])

/** The job waits. The arithmetic says what is short, in words that `millrace why` can show. */
export const JobDeferred = Schema.TaggedStruct("JobDeferred", {
  jobId: JobId,
  workspace: WorkspaceName,
  reason: Schema.Literals(["no_host", "no_room", "quota", "budget", "backing_off"]),
  arithmetic: Schema.String,
  unblockedBy: Unblocking,
  dueAtMs: Schema.optionalKey(EpochMillis)
})
export type JobDeferred = typeof JobDeferred.Type

/** The job will never run: no machine that we could have would fit it, or it may not. */
export const JobRefused = Schema.TaggedStruct("JobRefused", {
  jobId: JobId,
  workspace: WorkspaceName,
  reason: Schema.Literals(["never_fits", "not_isolated", "not_allowed"]),
  remedy: Schema.String
})
export type JobRefused = typeof JobRefused.Type

/** An attempt failed and another follows, no earlier than `notBeforeMs`. */
export const JobRetried = Schema.TaggedStruct("JobRetried", {
  jobId: JobId,
  workspace: WorkspaceName,
  failedAttempt: Count,
  cause: Schema.String,
  notBeforeMs: EpochMillis
})
export type JobRetried = typeof JobRetried.Type

/** The job is over, once and for all: the first terminal fact in the cell's order. */
export const JobSettled = Schema.TaggedStruct("JobSettled", {
  jobId: JobId,
  workspace: WorkspaceName,
  outcome: Schema.Literals(["succeeded", "failed", "cancelled", "lost", "refused"]),
  attempt: Count,
  attemptId: Schema.optionalKey(AttemptId),
  hostId: Schema.optionalKey(HostId),
  exitCode: Schema.optionalKey(Schema.Int),
  /** The fact that ended it. */
  endedBy: Schema.optionalKey(FactId),
  cause: Schema.String
})
export type JobSettled = typeof JobSettled.Type

/** Something terminal was said of a job that is already over. It changes nothing, and is not forgotten. */
export const LateWordNoted = Schema.TaggedStruct("LateWordNoted", {
  jobId: JobId,
  workspace: WorkspaceName,
  attempt: Count,
  word: Schema.NonEmptyString,
  said: FactId
})
export type LateWordNoted = typeof LateWordNoted.Type

/** What the scheduler makes of a workspace's jobs. */
export const schedule = kind(
  { kind: "schedule", scope: "workspace", stream: "SCHEDULER" },
  JobDeferred,
  JobRefused,
  JobRetried,
  JobSettled,
  LateWordNoted
)
