import { Effect, Schema } from "effect"
import { Cut } from "./cut.ts"
import { AttemptId, FactId, GrantId, ImageId, JobId, JobName, Principal, SnapshotId, TriggerName, WorkspaceName } from "./ids.ts"
import { GpuWish } from "./gpu.ts"
import { BlobRef, Count, Digest, EpochMillis, Millis, Resources, Sealed } from "./quantities.ts"
import { Priority } from "./quota.ts"
import { kind } from "./story.ts"
import { Where } from "./where.ts"

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

/**
 * One job of many tasks that differ in their number alone: the program finds it in `MILLRACE_TASK`
 * (0 to `tasks` - 1) and the total in `MILLRACE_TASKS`. Each task is tried and ends by itself; the job
 * is over when every task is.
 */
export const ArrayTerms = Schema.Struct({
  tasks: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))),
  /** How many may run at once; without it as many as there is room for. */
  parallelismMax: Schema.optionalKey(Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(1)))),
  /** With more failed tasks than this the rest is not begun, and the job fails. Without it every task is tried. */
  failuresMax: Schema.optionalKey(Count)
})
export type ArrayTerms = typeof ArrayTerms.Type

/**
 * One job of several members that run at the same time or not at all. Each is one attempt on one host; the program
 * finds its number in `MILLRACE_RANK` (0 to `members` - 1), their number in `MILLRACE_MEMBERS` and where each is found,
 * in the order of ranks and joined by commas, in `MILLRACE_ADDRESSES`: in the network that they have to themselves, or
 * else where their hosts are.
 */
export const GangTerms = Schema.Struct({
  members: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 2, maximum: 256 }))),
  /** How near to each other they must be; `fabric` is one fast network, as its hosts' label says. */
  topology: Schema.Literals(["host", "fabric", "zone", "provider", "anywhere"]),
  /** When a member ends otherwise than well: begin all again while attempts are left, or end the whole job. */
  onLoss: Schema.Literals(["restart", "end"]),
  /**
   * `private`: the members find each other, and nobody else, in a network of their own, and only hosts that can make
   * one take them. `none`: they have no network. Without it they get one where all of their hosts offer it.
   */
  network: Schema.optionalKey(Schema.Literals(["private", "none"]))
})
export type GangTerms = typeof GangTerms.Type

/** A job that must be over first; with `succeeded`, one that ends otherwise has this one refused. */
export const Dependency = Schema.Struct({
  jobId: JobId,
  on: Schema.Literals(["succeeded", "over"])
})
export type Dependency = typeof Dependency.Type

/**
 * What a host's agent must understand beyond a plain program. Raised by one whenever a placement or a program
 * gains something that an older agent would pass over. 1, which nobody says: argv and env. 2: tasks of an
 * array, input files, a working folder, snapshots to start from and to end with, egress; and its agent holds
 * a lease by its beats. 3: GPUs by their devices' numbers, and parts of one; and its scheduler minds where work may run;
 * members of a gang. 4: how long a start may take, and idleness.
 */
export const Dialect = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 255 })))
export type Dialect = typeof Dialect.Type
/** What today's agents understand. */
export const dialectNow: Dialect = 4

/** What is asked for. Everything that may hold a secret lies sealed under the workspace's key. */
export const JobSpec = Schema.Struct({
  runtime: Runtime,
  trust: Trust,
  resources: Resources,
  /** argv, env, prompt and labels together: sealed, because people put secrets there. */
  program: Schema.optionalKey(Sealed),
  attemptsMax: Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1))),
  runMsMax: Millis.pipe(Schema.withDecodingDefaultKey(Effect.succeed(3_600_000))),
  onSilence: OnSilence.pipe(Schema.withDecodingDefaultKey(Effect.succeed({ keepMs: 300_000 }))),
  /** How long it may wait for a place; without it for ever. */
  queueMsMax: Schema.optionalKey(Millis),
  /** How long each attempt may take on its host until it runs: its files, its snapshot, its sandbox. Without it as long as the host lets it. */
  startMsMax: Schema.optionalKey(Millis),
  /**
   * How long an attempt may do nothing before it is ended: no word said, no more than a tenth of a core used, nothing asked
   * over its socket, nothing said between it and the other members of its gang. Without it for as long as it may run.
   */
  idleMsMax: Schema.optionalKey(Millis),
  /**
   * When each task should be over, and how long it takes where nothing disturbs it. Nothing is ended by it: where spot is
   * tolerated, machines are chosen so that it is kept.
   */
  deadline: Schema.optionalKey(Schema.Struct({ atMs: EpochMillis, workMs: Millis })),
  array: Schema.optionalKey(ArrayTerms),
  /** Jobs of the same workspace that come first, at most 16. */
  after: Schema.optionalKey(Schema.Array(Dependency).pipe(Schema.check(Schema.isMaxLength(16)))),
  /** The kept state that it starts from, instead of an empty one. */
  startFrom: Schema.optionalKey(SnapshotId),
  /** Kinds of GPU that would do, the most wished for first. All devices of one attempt are of one kind. Without it any do. */
  gpu: Schema.optionalKey(Schema.Array(GpuWish).pipe(Schema.check(Schema.isMaxLength(16)))),
  /** Where it may run; without it anywhere but on machines that can be taken back. */
  where: Schema.optionalKey(Where),
  /** What it reads when it begins, beside its snapshot: a host that holds it ready begins it sooner. Placing alone minds it. */
  reads: Schema.optionalKey(Schema.Struct({
    images: Schema.optionalKey(Schema.Array(ImageId).pipe(Schema.check(Schema.isMaxLength(16)))),
    blobs: Schema.optionalKey(Schema.Array(BlobRef).pipe(Schema.check(Schema.isMaxLength(64))))
  })),
  /** How urgent it is; without it as urgent as its workspace's jobs are. */
  priority: Schema.optionalKey(Priority),
  gang: Schema.optionalKey(GangTerms),
  /** Where it may connect to, as `host:port`. Without it the work has no network at all. */
  egress: Schema.optionalKey(Schema.Array(Schema.NonEmptyString).pipe(Schema.check(Schema.isMaxLength(64)))),
  /** Its files are kept as a snapshot when it ends. */
  snapshotAtEnd: Schema.optionalKey(Schema.Literals(["files"])),
  /** The least that its host's agent must understand; without it any does. */
  dialect: Schema.optionalKey(Dialect)
})
export type JobSpec = typeof JobSpec.Type

/** A file that the work finds at `path` (absolute, inside its sandbox). */
export const InputFile = Schema.Struct({
  path: Schema.String.pipe(Schema.check(Schema.isPattern(/^\/(?!.*(^|\/)\.\.(\/|$))[^\0]{1,255}$/u))),
  blob: BlobRef,
  executable: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false)))
})
export type InputFile = typeof InputFile.Type

/** The opened `program` of a job. Never in a fact, a log line or another process's environment. */
export const Program = Schema.Struct({
  argv: Schema.Array(Schema.String),
  env: Schema.Record(Schema.String, Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
  labels: Schema.Record(Schema.String, Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
  /** Files beside the program, fetched by digest before it starts. */
  files: Schema.optionalKey(Schema.Array(InputFile)),
  /** Where it starts; without it `/work`. */
  cwd: Schema.optionalKey(Schema.String)
})
export type Program = typeof Program.Type

/** Somebody who may do so has asked for work. From here on the job cannot be lost. */
export const JobSubmitted = Schema.TaggedStruct("JobSubmitted", {
  jobId: JobId,
  workspace: WorkspaceName,
  submittedBy: Principal,
  /** What its submitter calls it, in the open: many jobs may have one name. */
  name: Schema.optionalKey(JobName),
  grant: Schema.optionalKey(GrantId),
  spec: JobSpec,
  /** Tells a repetition from another request under the same idempotency key. */
  requestDigest: Digest,
  decision: Allowed,
  /** The attempt whose program submitted this one, over its host's local socket; and how many such steps deep it is. */
  parent: Schema.optionalKey(Schema.Struct({ jobId: JobId, attemptId: AttemptId, depth: Count })),
  /**
   * The trigger that started it. `path` names the triggers before it in the chain of causes, oldest first; `depth`
   * is the trigger's own, where a program defined it.
   */
  origin: Schema.optionalKey(Schema.Struct({ trigger: TriggerName, firedBy: FactId, path: Schema.Array(TriggerName), depth: Schema.optionalKey(Count) }))
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
