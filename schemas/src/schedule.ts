import { Schema } from "effect"
import { AccountId, AskId, AttemptId, FactId, HostId, JobId, Principal, WorkspaceName } from "./ids.ts"
import { Count, EpochMillis, PicoDollars } from "./quantities.ts"
import { Priority } from "./quota.ts"
import { kind } from "./story.ts"

/** What would let a waiting job go on. */
export const Unblocking = Schema.Literals(["capacity", "quota", "budget", "time", "job", "snapshot"])

/** The job waits. The arithmetic says what is short, in words that `millrace why` can show. */
export const JobDeferred = Schema.TaggedStruct("JobDeferred", {
  jobId: JobId,
  workspace: WorkspaceName,
  reason: Schema.Literals(["no_host", "no_room", "quota", "budget", "backing_off", "after", "snapshot"]),
  arithmetic: Schema.String,
  unblockedBy: Unblocking,
  dueAtMs: Schema.optionalKey(EpochMillis),
  /** Of a job that waits for its budget: whose money, and how much of it one placement needs. */
  budget: Schema.optionalKey(Schema.Struct({ account: AccountId, needsPico: PicoDollars })),
  /**
   * Hosts that take nothing else until it is placed: what was made to end there ended for it, or it has waited so
   * long that others go round it. Without them it holds none, whatever was said before.
   */
  heldOn: Schema.optionalKey(Schema.Array(HostId))
})
export type JobDeferred = typeof JobDeferred.Type

/** The job will never run: no machine that we could have would fit it, or it may not. */
export const JobRefused = Schema.TaggedStruct("JobRefused", {
  jobId: JobId,
  workspace: WorkspaceName,
  reason: Schema.Literals(["never_fits", "not_isolated", "not_allowed", "over_budget", "dependency_failed", "snapshot_gone"]),
  remedy: Schema.String
})
export type JobRefused = typeof JobRefused.Type

/** An attempt failed and another follows, no earlier than `notBeforeMs`. */
export const JobRetried = Schema.TaggedStruct("JobRetried", {
  jobId: JobId,
  workspace: WorkspaceName,
  /** Of an array: which task is tried again. */
  task: Schema.optionalKey(Count),
  failedAttempt: Count,
  cause: Schema.String,
  notBeforeMs: EpochMillis,
  /** Its host was lost: the failure is not the work's, and takes none of its attempts. */
  lost: Schema.optionalKey(Schema.Boolean),
  /** It gave way to other work: that is no failure, and takes none of its attempts. */
  preempted: Schema.optionalKey(Schema.Boolean),
  /** Of a gang: another of its members was lost or gave way, and all begin again together. That takes none of its attempts. */
  gang: Schema.optionalKey(Schema.Boolean)
})
export type JobRetried = typeof JobRetried.Type

/** How one task or one job can end. */
export const Outcome = Schema.Literals(["succeeded", "failed", "cancelled", "lost", "refused"])
export type Outcome = typeof Outcome.Type

/** One task of an array is over, once and for all. Those that were never begun are told by `JobSettled` alone. */
export const TaskSettled = Schema.TaggedStruct("TaskSettled", {
  jobId: JobId,
  workspace: WorkspaceName,
  task: Count,
  outcome: Outcome,
  attempt: Count,
  attemptId: Schema.optionalKey(AttemptId),
  hostId: Schema.optionalKey(HostId),
  exitCode: Schema.optionalKey(Schema.Int),
  endedBy: Schema.optionalKey(FactId),
  cause: Schema.String
})
export type TaskSettled = typeof TaskSettled.Type

/** The job is over, once and for all: the first terminal fact in the cell's order. */
export const JobSettled = Schema.TaggedStruct("JobSettled", {
  jobId: JobId,
  workspace: WorkspaceName,
  outcome: Outcome,
  attempt: Count,
  attemptId: Schema.optionalKey(AttemptId),
  hostId: Schema.optionalKey(HostId),
  exitCode: Schema.optionalKey(Schema.Int),
  /** The fact that ended it. */
  endedBy: Schema.optionalKey(FactId),
  cause: Schema.String,
  /** Of an array: how its tasks ended. Those never begun count as `skipped`. */
  tasks: Schema.optionalKey(Schema.Struct({ succeeded: Count, failed: Count, cancelled: Count, lost: Count, skipped: Count }))
})
export type JobSettled = typeof JobSettled.Type

/** The job counts as this urgent from here on, whatever it was submitted with. */
export const PriorityChanged = Schema.TaggedStruct("PriorityChanged", {
  jobId: JobId,
  workspace: WorkspaceName,
  priority: Priority,
  changedBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type PriorityChanged = typeof PriorityChanged.Type

/** Something terminal was said of a job that is already over. It changes nothing, and is not forgotten. */
export const LateWordNoted = Schema.TaggedStruct("LateWordNoted", {
  jobId: JobId,
  workspace: WorkspaceName,
  task: Schema.optionalKey(Count),
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
  PriorityChanged,
  TaskSettled,
  JobSettled,
  LateWordNoted
)
