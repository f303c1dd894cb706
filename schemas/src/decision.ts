import { Effect, Schema } from "effect"
import { MissingCapability, Request } from "./authority.ts"
import { Cut } from "./cut.ts"
import { AttemptId, FactId, GrantId, HostId, JobId, WorkspaceName } from "./ids.ts"
import { Bytes, Digest, EpochMillis, Millis, PicoDollars } from "./quantities.ts"
import { kind, type StreamName } from "./story.ts"

/** Where something is allowed or refused. */
export const DecisionPoint = Schema.Literals(["gateway", "scheduler", "access", "host"])
export type DecisionPoint = typeof DecisionPoint.Type

/**
 * A point has said yes or no to a request. Every no is told so, and every yes that causes no other fact;
 * a yes that does carries its decision inside that fact. Replay decides again from `view`, `bundle` and
 * `decidedAtMs`, and demands the same.
 */
export const DecisionMade = Schema.TaggedStruct("DecisionMade", {
  point: DecisionPoint,
  workspace: WorkspaceName,
  request: Request,
  verdict: Schema.Literals(["allow", "deny"]),
  /** The rule that decided, by its stable name. */
  rule: Schema.NonEmptyString,
  reason: Schema.Literals([
    "allowed", "no_grant", "no_role", "grant_over", "grant_suspended", "grant_not_yet", "action", "resource",
    "constraint", "depth", "uses", "concurrency", "budget", "guard_rail", "needs_approval", "token_invalid",
    "stale_view", "engine"
  ]),
  /** What would have been needed. There whenever the verdict is no and a capability could cure it. */
  missing: Schema.optionalKey(MissingCapability),
  /** From the root of the delegation to the grant that was named. */
  grantPath: Schema.Array(GrantId),
  /** Guard-rails that took part, by name, and the errors of those that could not be evaluated. */
  policies: Schema.Array(Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed([]))),
  errors: Schema.Array(Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed([]))),
  bundle: Schema.optionalKey(Digest),
  view: Cut,
  viewAgeMs: Millis,
  decidedAtMs: EpochMillis,
  /** In which sandbox it was asked for, where there was one. */
  jobId: Schema.optionalKey(JobId),
  hostId: Schema.optionalKey(HostId),
  attemptId: Schema.optionalKey(AttemptId)
})
export type DecisionMade = typeof DecisionMade.Type

/** What was allowed was then done, and this came of it. */
export const CapabilityUsed = Schema.TaggedStruct("CapabilityUsed", {
  point: DecisionPoint,
  workspace: WorkspaceName,
  /** The `DecisionMade` that allowed it, or the fact with the decision inside. */
  decision: FactId,
  request: Request,
  startedAtMs: EpochMillis,
  tookMs: Millis,
  outcome: Schema.Literals(["done", "failed", "cut_off"]),
  inBytes: Schema.optionalKey(Bytes),
  outBytes: Schema.optionalKey(Bytes),
  costPico: Schema.optionalKey(PicoDollars)
})
export type CapabilityUsed = typeof CapabilityUsed.Type

const decision = <const Stream extends StreamName>(stream: Stream, point: "gateway" | "scheduler" | "access") =>
  kind({ kind: "decision", scope: "point", only: point, stream }, DecisionMade, CapabilityUsed)

/** What each point has decided lies in the stream that the point itself writes. */
export const decisionGateway = decision("GATEWAY", "gateway")
export const decisionScheduler = decision("SCHEDULER", "scheduler")
export const decisionAccess = decision("ACCESS", "access")
/** Each host is a point of its own: `mill.decision.host.<hostId>`. */
export const decisionHost = kind(
  { kind: "decision", scope: "point", only: "host", story: "host", stream: "HOSTS" },
  DecisionMade,
  CapabilityUsed
)
