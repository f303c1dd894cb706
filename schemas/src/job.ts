import { Effect, Schema } from "effect"
import { Cut } from "./cut.ts"
import { GrantId, JobId, Principal, WorkspaceName } from "./ids.ts"
import { Count, Digest, Millis, Resources, Sealed } from "./quantities.ts"
import { kind } from "./story.ts"

/** What an allowing gate knew and why it allowed. A denial is a fact of its own, `DecisionMade`. */
export const Allowed = Schema.Struct({
  rule: Schema.NonEmptyString,
  view: Cut
})
export type Allowed = typeof Allowed.Type

/**
 * How the work runs. `noop` starts and exits at once; `process` is a plain child process and takes only
 * work that is our own (`trust: own`); `sandbox` is an isolated one.
 */
export const Runtime = Schema.Literals(["noop", "process", "sandbox"])
export type Runtime = typeof Runtime.Type

/** Whether somebody vouches for the work. The work of others runs only where isolation is enforced. */
export const Trust = Schema.Literals(["own", "others"])
export type Trust = typeof Trust.Type

/** How long work may go on when its host no longer hears from us. */
export const OnSilence = Schema.Struct({
  keepMs: Millis.pipe(Schema.check(Schema.isLessThanOrEqualTo(600_000)))
})

/** What is asked for. Everything that may hold a secret lies sealed under the workspace's key. */
export const JobSpec = Schema.Struct({
  runtime: Runtime,
  trust: Trust,
  resources: Resources,
  /** argv, env, prompt and labels together: sealed, because people put secrets there. */
  program: Schema.optionalKey(Sealed),
  attemptsMax: Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1))),
  runMsMax: Millis.pipe(Schema.withDecodingDefaultKey(Effect.succeed(3_600_000))),
  onSilence: OnSilence.pipe(Schema.withDecodingDefaultKey(Effect.succeed({ keepMs: 300_000 })))
})
export type JobSpec = typeof JobSpec.Type

/** The opened `program` of a job. Never in a fact, a log line or another process's environment. */
export const Program = Schema.Struct({
  argv: Schema.Array(Schema.String),
  env: Schema.Record(Schema.String, Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
  labels: Schema.Record(Schema.String, Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed({})))
})
export type Program = typeof Program.Type

/** Somebody who may do so has asked for work. From here on the job cannot be lost. */
export const JobSubmitted = Schema.TaggedStruct("JobSubmitted", {
  jobId: JobId,
  workspace: WorkspaceName,
  submittedBy: Principal,
  grant: Schema.optionalKey(GrantId),
  spec: JobSpec,
  /** Tells a repetition from another request under the same idempotency key. */
  requestDigest: Digest,
  decision: Allowed
})
export type JobSubmitted = typeof JobSubmitted.Type

/** Somebody who may do so wants the job to end. It may already have. */
export const JobCancelRequested = Schema.TaggedStruct("JobCancelRequested", {
  jobId: JobId,
  workspace: WorkspaceName,
  requestedBy: Principal,
  decision: Allowed
})
export type JobCancelRequested = typeof JobCancelRequested.Type

/** A job as its submitter sees it. */
export const job = kind(
  { kind: "job", scope: "workspace", story: "job", stream: "GATEWAY" },
  JobSubmitted,
  JobCancelRequested
)
