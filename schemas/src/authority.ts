import { Effect, Schema } from "effect"
import { GrantId, Principal, ProviderName } from "./ids.ts"
import { Count, CpuMilli, Digest, EpochMillis, Mebibytes, Millis, PicoDollars } from "./quantities.ts"

/** One thing that can be done, from the coarse word to the fine one: `job.submit`, `sandbox.exec`. */
export const Action = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*){1,3}$/u)),
  Schema.brand("Action")
)
export type Action = typeof Action.Type

/** Actions that a grant gives: one of them, all under a word (`sandbox.*`), or every one (`*`). */
export const ActionPattern = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^(\*|[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*){0,3}(\.\*)?)$/u)),
  Schema.brand("ActionPattern")
)
export type ActionPattern = typeof ActionPattern.Type

/** What an action is done to, from the outside in: `workspace/acme/job/job_01K9...`. */
export const Resource = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[a-z][a-z0-9-]*(\/[A-Za-z0-9._:-]{1,128}){1,9}$/u)),
  Schema.brand("Resource")
)
export type Resource = typeof Resource.Type

/** Resources that a grant covers: one of them, or with `/*` at its end everything below it. */
export const ResourcePattern = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[a-z][a-z0-9-]*(\/[A-Za-z0-9._:-]{1,128}){0,9}(\/\*)?$/u)),
  Schema.brand("ResourcePattern")
)
export type ResourcePattern = typeof ResourcePattern.Type

/**
 * The limits of a grant. A limit that is not there does not limit, so a narrower grant has more of
 * them or smaller ones. An empty list allows nothing of its kind: `egress: []` is no network.
 * `usesMax`, `concurrencyMax` and `spendPicoMax` are exact where the scheduler counts them.
 */
export const Constraints = Schema.Struct({
  cpuMilliMax: Schema.optionalKey(CpuMilli),
  memoryMibMax: Schema.optionalKey(Mebibytes),
  diskMibMax: Schema.optionalKey(Mebibytes),
  gpusMax: Schema.optionalKey(Count),
  gpuModels: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  providers: Schema.optionalKey(Schema.Array(ProviderName)),
  regions: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  /** Where traffic may go, as `host:port`. */
  egress: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  /** Names of the secrets that may be mounted. */
  secrets: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  runMsMax: Schema.optionalKey(Millis),
  spendPicoMax: Schema.optionalKey(PicoDollars),
  usesMax: Schema.optionalKey(Count),
  concurrencyMax: Schema.optionalKey(Count)
})
export type Constraints = typeof Constraints.Type

/**
 * What a grant gives its holder. Everything here narrows with each link of a delegation: the child's
 * reach is at most its parent's, its end no later, its depth smaller.
 */
export const Reach = Schema.Struct({
  actions: Schema.Array(ActionPattern),
  resources: Schema.Array(ResourcePattern),
  constraints: Constraints.pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
  notBeforeMs: EpochMillis,
  /** There is no grant without an end. */
  expiresAtMs: EpochMillis,
  /** How many further links may follow this one. */
  depthMax: Count
})
export type Reach = typeof Reach.Type

/** Exactly what is asked at a decision point. `argumentsDigest` binds an approval to these arguments alone. */
export const Request = Schema.Struct({
  principal: Principal,
  action: Action,
  resource: Resource,
  grant: Schema.optionalKey(GrantId),
  argumentsDigest: Digest
})
export type Request = typeof Request.Type

/** The capability that a refused request would have needed, so that somebody can ask for just that. */
export const MissingCapability = Schema.Struct({
  action: Action,
  resource: Resource,
  /** The limit that was too small, by its name in `Constraints`. */
  limit: Schema.optionalKey(Schema.NonEmptyString),
  needs: Schema.optionalKey(Schema.String),
  has: Schema.optionalKey(Schema.String),
  /** The link of the delegation that is too narrow. */
  narrowedBy: Schema.optionalKey(GrantId)
})
export type MissingCapability = typeof MissingCapability.Type
