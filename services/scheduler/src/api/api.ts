import { MomentText } from "@millrace/readmodel"
import { Count, Cut, CutText, Dialect, EpochMillis, GangTerms, Gpu, GpuWish, QuotaLimit, Resources, Runtime, Trust, Where } from "@millrace/schemas"
import { Authentication } from "@millrace/service"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, OpenApi } from "effect/http-api"
import { hostStates } from "../domain/nearest.ts"
import { BadRequest, Forbidden, NotFound, Unavailable } from "./errors.ts"

const text = Schema.NullOr(Schema.String)
const moment = Schema.NullOr(EpochMillis)
const HostState = Schema.Literals(hostStates)
/** Room, in the units of a job's request. Free room can be below zero where a host came back smaller. */
const Room = Schema.Struct({ cpuMilli: Schema.Int, memoryMib: Schema.Int, diskMib: Schema.Int, gpus: Schema.Int, gpuMilli: Schema.optionalKey(Schema.Int) })

export const HostView = Schema.Struct({
  hostId: Schema.String,
  state: HostState,
  /** Whether new work may go there, room aside. */
  takesWork: Schema.Boolean,
  /** Why it is in its state, where somebody said so. */
  cause: text,
  sinceMs: EpochMillis,
  /** When anything was last said of the host itself. */
  changedAtMs: EpochMillis,
  capabilities: Schema.NullOr(Schema.Struct({
    resources: Resources,
    gpus: Schema.Array(Gpu),
    runtimes: Schema.Array(Schema.String),
    trusts: Schema.Array(Schema.String),
    labels: Schema.Record(Schema.String, Schema.String)
  })),
  /** What is placed there and has not ended. */
  held: Schema.Struct({ ...Room.fields, attempts: Count }),
  free: Room,
  bootId: text,
  agentVersion: text,
  joinedAtMs: moment,
  /** GPUs that it suspects: most of them take nothing new until it has cleared them. */
  suspects: Schema.optionalKey(Schema.Array(Schema.Struct({ gpu: Schema.Int, symptom: Schema.String, sinceMs: EpochMillis }))),
  /** When it was last declared lost; it may have returned since. */
  lost: Schema.NullOr(Schema.Struct({ lastHeardAtMs: moment, leaseEndedAtMs: moment })),
  /** The rented machine that it is. */
  rented: Schema.NullOr(Schema.Struct({
    leaseId: Schema.String, provider: Schema.String, region: text, machineType: text, market: text, pricePicoPerSecond: text, reclaimAtMs: moment, released: text, ended: text
  }))
})
export type HostView = typeof HostView.Type

export const NearView = Schema.Struct({
  hostId: Schema.String,
  state: HostState,
  takesWork: Schema.Boolean,
  /** It takes such work, and has the room now. */
  fits: Schema.Boolean,
  fitsWhenEmpty: Schema.Boolean,
  free: Room,
  /** What is missing; 0 where there is enough. */
  short: Room,
  /** What it does not offer at all. */
  lacks: Schema.Array(Schema.String)
})

export const WhyView = Schema.Struct({
  jobId: Schema.String,
  stage: Schema.Literals(["submitted", "waiting", "backing_off", "running", "over"]),
  sentence: Schema.String,
  needs: Schema.Struct({ ...Room.fields, runtime: Schema.String, trust: Schema.String, tasks: Count }),
  /** What the scheduler said when it could not go on. */
  waits: Schema.NullOr(Schema.Struct({ reason: Schema.String, arithmetic: Schema.String, unblockedBy: Schema.String, saidAtMs: EpochMillis, sinceMs: EpochMillis, dueAtMs: moment })),
  /** The hosts that come nearest, by the room that there is at this cut. */
  nearest: Schema.Array(NearView),
  changes: Schema.Array(Schema.String),
  /** Its newest attempts, newest first. */
  placed: Schema.Array(Schema.Struct({
    hostId: Schema.String, task: Schema.NullOr(Count), attempt: Count, attemptId: Schema.String, reason: Schema.String, placedAtMs: EpochMillis, over: Schema.Boolean
  })),
  ended: Schema.NullOr(Schema.Struct({ outcome: Schema.String, cause: Schema.String, exitCode: Schema.NullOr(Schema.Int), hostId: text, atMs: EpochMillis })),
  tasks: Schema.NullOr(Schema.Struct({
    total: Count, notBegun: Count, running: Count, between: Count, succeeded: Count, failed: Count, cancelled: Count, lost: Count, refused: Count
  })),
  cut: Cut
})
export type WhyView = typeof WhyView.Type

/** What somebody thinks of submitting, as far as hosts matter. */
export const NeedAsked = Schema.Struct({
  resources: Resources,
  runtime: Runtime,
  trust: Trust,
  dialect: Schema.optionalKey(Dialect),
  gpu: Schema.optionalKey(Schema.Array(GpuWish)),
  where: Schema.optionalKey(Where),
  /** Of an array; 1 unless said. */
  tasks: Schema.optionalKey(Count),
  gang: Schema.optionalKey(Schema.Struct({ members: GangTerms.fields.members, topology: GangTerms.fields.topology })),
  runMsMax: Schema.optionalKey(Count)
})

export const PlanView = Schema.Struct({
  /** It would be placed at once; it would wait for room; or no host that is here could ever run it. */
  verdict: Schema.Literals(["now", "later", "nowhere"]),
  sentence: Schema.String,
  /** How many tasks have room now, and on how many hosts. */
  roomNow: Count,
  hostsNow: Count,
  nearest: Schema.Array(NearView),
  changes: Schema.Array(Schema.String),
  /** What else keeps it from being placed, whatever room there is: its workspace's quota, or the caller's grant. */
  limits: Schema.Array(Schema.Struct({ kind: Schema.Literals(["quota", "grant"]), never: Schema.Boolean, sentence: Schema.String })),
  cut: Cut
})

export const AttemptView = Schema.Struct({
  jobId: Schema.String, task: Schema.NullOr(Count), attempt: Count, attemptId: Schema.String, cpuMilli: Count, memoryMib: Count, diskMib: Count, gpus: Count,
  placedAtMs: EpochMillis, reason: Schema.String
})

/** What a workspace or a cohort is due, and how it stands to that. */
export const QuotaView = Schema.Struct({
  node: Schema.String,
  parent: text,
  weight: Count,
  priorityDefault: Schema.NullOr(Count),
  priorityMax: Schema.NullOr(Count),
  limits: Schema.Array(Schema.Struct({
    ...QuotaLimit.fields,
    /** What it holds of this, with all below it; what of that is not its own; and how much more it could have now. */
    held: Schema.Int,
    borrowed: Schema.Int,
    available: Schema.Int
  })),
  setBy: Schema.String,
  changedAtMs: EpochMillis
})
export type QuotaView = typeof QuotaView.Type

const read = {
  /** Rows at least as new as this cut. */
  after: Schema.optionalKey(CutText),
  waitMs: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: 30_000 })))),
  /** As it was at a cut or at a moment. */
  at: Schema.optionalKey(MomentText)
}
const error = [BadRequest, Forbidden, Unavailable] as const

/** Turns what does not fit a schema into our own form of error, naming the field. */
export class Wellformed extends HttpApiMiddleware.Service<Wellformed>()("millrace/scheduler/Wellformed", { error: BadRequest }) {}

/** Where work could run, and why it does or does not: now, or as it was. */
export class Looks extends HttpApiGroup.make("looks")
  .add(
    HttpApiEndpoint.get("hosts", "/hosts", {
      query: {
        ...read,
        state: Schema.optionalKey(HostState),
        limit: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 1_000 })))),
        /** Where the page before ended. */
        cursor: Schema.optionalKey(Schema.String.pipe(Schema.check(Schema.isMaxLength(100))))
      },
      success: Schema.Struct({ hosts: Schema.Array(HostView), next: text, cut: Cut }),
      error
    }).annotateMerge(OpenApi.annotations({ summary: "The cell's hosts", description: "Where work can run: how each host stands, what it can do, what it holds and what is free." })),
    HttpApiEndpoint.get("host", "/hosts/:hostId", {
      params: { hostId: Schema.String },
      query: read,
      success: Schema.Struct({
        host: HostView,
        /** What it holds of the caller's workspace, newest first, at most 100. */
        attempts: Schema.Array(AttemptView),
        /** How many attempts of other workspaces it holds. */
        attemptsElsewhere: Count,
        cut: Cut
      }),
      error: [...error, NotFound]
    }).annotateMerge(OpenApi.annotations({ summary: "One host", description: "A host, and what it holds of the caller's workspace." })),
    HttpApiEndpoint.get("why", "/jobs/:jobId/why", { params: { jobId: Schema.String }, query: read, success: WhyView, error: [...error, NotFound] })
      .annotateMerge(OpenApi.annotations({ summary: "Why a job is where it is", description: "What a job waits for and which hosts come nearest; where it runs and why there; or how it ended." })),
    HttpApiEndpoint.get("plan", "/plan", {
      query: {
        ...read,
        /** What is thought of, as JSON: resources, runtime, trust, and what else hosts are asked for. */
        need: Schema.fromJsonString(NeedAsked)
      },
      success: PlanView,
      error
    }).annotateMerge(OpenApi.annotations({ summary: "What would become of work", description: "Where work would go if it were submitted now, or what it would wait for: looked at, and nothing submitted." })),
    HttpApiEndpoint.get("quotas", "/quotas", { query: read, success: Schema.Struct({ quotas: Schema.Array(QuotaView), cut: Cut }), error })
      .annotateMerge(OpenApi.annotations({ summary: "Who is due how much", description: "The tree of quotas: what each workspace and cohort is due, holds, has borrowed and could have now." })),
    HttpApiEndpoint.get("scheduler", "/scheduler", {
      query: read,
      success: Schema.Struct({
        /** Who decides, as the log has it. */
        scheduler: Schema.NullOr(Schema.Struct({ term: Count, codeVersion: Schema.String, sinceMs: EpochMillis })),
        /** What the process that answers has decided since it started; null where it decides nothing. */
        deciding: Schema.NullOr(Schema.Struct({ rounds: Count, lastRoundAtMs: EpochMillis })),
        jobs: Schema.Struct({ submitted: Count, waiting: Count, backingOff: Count, placed: Count, over: Count }),
        hosts: Schema.Struct({ admitted: Count, joined: Count, draining: Count, left: Count, lost: Count, returned: Count, dismissed: Count, takenBack: Count }),
        cut: Cut
      }),
      error
    }).annotateMerge(OpenApi.annotations({ summary: "How the cell stands", description: "Who decides, the workspace's jobs by stage, and the hosts by state." }))
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** What the outside can ask of where work runs. */
export class Api extends HttpApi.make("millrace-scheduler").add(Looks).annotateMerge(OpenApi.annotations({ title: "Millrace scheduler", version: "1" })) {}
