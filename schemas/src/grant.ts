import { Effect, Schema } from "effect"
import { Reach, Request } from "./authority.ts"
import { AccountId, AskId, FactId, GrantId, Principal, WorkspaceName } from "./ids.ts"
import { Count, Digest, EpochMillis } from "./quantities.ts"
import { kind } from "./story.ts"

/** Which tree of delegations: the grant at its root names it. */
const inTree = { workspace: WorkspaceName, tree: GrantId }

/** The holder may do what the reach says, from now until its end, unless it is taken back. */
export const GrantIssued = Schema.TaggedStruct("GrantIssued", {
  ...inTree,
  grantId: GrantId,
  holder: Principal,
  issuer: Principal,
  reach: Reach,
  /** Whose money it may spend. */
  account: Schema.optionalKey(AccountId),
  /** It stays when its issuer loses the role that it was issued by. */
  durable: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false))),
  reason: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type GrantIssued = typeof GrantIssued.Type

/** A part of the parent's authority is handed on. It lasts no longer than every grant above it. */
export const GrantDelegated = Schema.TaggedStruct("GrantDelegated", {
  ...inTree,
  grantId: GrantId,
  parent: GrantId,
  /** Links from the root, which has depth 0. */
  depth: Count,
  holder: Principal,
  issuer: Principal,
  reach: Reach,
  account: Schema.optionalKey(AccountId),
  reason: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type GrantDelegated = typeof GrantDelegated.Type

/** The grant rests, and with it everything below it. */
export const GrantSuspended = Schema.TaggedStruct("GrantSuspended", {
  ...inTree,
  grantId: GrantId,
  suspendedBy: Principal,
  cause: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type GrantSuspended = typeof GrantSuspended.Type

/** The resting grant holds again. What was suspended below it for itself still rests. */
export const GrantResumed = Schema.TaggedStruct("GrantResumed", {
  ...inTree,
  grantId: GrantId,
  resumedBy: Principal,
  cause: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type GrantResumed = typeof GrantResumed.Type

/** The grant is over for good, and with it everything below it, without a word for each. */
export const GrantRevoked = Schema.TaggedStruct("GrantRevoked", {
  ...inTree,
  grantId: GrantId,
  revokedBy: Principal,
  cause: Schema.String,
  /** How many grants below it end too. Informative: authority is computed, never counted. */
  below: Count,
  answers: Schema.optionalKey(AskId)
})
export type GrantRevoked = typeof GrantRevoked.Type

/** A token that was narrowed without asking us was shown for the first time; from here on we know its links. */
export const ChainObserved = Schema.TaggedStruct("ChainObserved", {
  ...inTree,
  grantId: GrantId,
  tokenDigest: Digest,
  /** One per link, in hexadecimal. Revoking one revokes every token that contains it. */
  revocationIds: Schema.Array(Schema.String.pipe(Schema.check(Schema.isPattern(/^[0-9a-f]{16,256}$/u)))),
  firstSeenBy: Principal
})
export type ChainObserved = typeof ChainObserved.Type

/** One link of a narrowed token is void, and so is every token that contains it. */
export const LinkRevoked = Schema.TaggedStruct("LinkRevoked", {
  ...inTree,
  grantId: GrantId,
  revocationId: Schema.NonEmptyString,
  revokedBy: Principal,
  cause: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type LinkRevoked = typeof LinkRevoked.Type

/** Exactly this request waits for a person's yes, until `expiresAtMs`. */
export const ApprovalAsked = Schema.TaggedStruct("ApprovalAsked", {
  ...inTree,
  grantId: GrantId,
  request: Request,
  /** The version of what it is done to. When that has moved, an approval is void. */
  target: Schema.optionalKey(Digest),
  /** The reach that a yes would add, in words that are computed and never the agent's. */
  adds: Schema.String,
  expiresAtMs: EpochMillis
})
export type ApprovalAsked = typeof ApprovalAsked.Type

/** A person said yes to exactly that request, once. It is decided afresh, with this yes in view. */
export const ApprovalGiven = Schema.TaggedStruct("ApprovalGiven", {
  ...inTree,
  grantId: GrantId,
  approval: FactId,
  approver: Principal,
  request: Request,
  expiresAtMs: EpochMillis,
  answers: Schema.optionalKey(AskId)
})
export type ApprovalGiven = typeof ApprovalGiven.Type

/** A person said no to that request. */
export const ApprovalWithheld = Schema.TaggedStruct("ApprovalWithheld", {
  ...inTree,
  grantId: GrantId,
  approval: FactId,
  approver: Principal,
  reason: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type ApprovalWithheld = typeof ApprovalWithheld.Type

/** One tree of delegations. It is guarded as a whole: narrowing and revoking meet in one order. */
export const grant = kind(
  { kind: "grant", scope: "workspace", story: "tree", stream: "ACCESS" },
  GrantIssued,
  GrantDelegated,
  GrantSuspended,
  GrantResumed,
  GrantRevoked,
  ChainObserved,
  LinkRevoked,
  ApprovalAsked,
  ApprovalGiven,
  ApprovalWithheld
)
