import { Schema } from "effect"
import { ProviderName } from "./ids.ts"
import { Column } from "./machine.ts"
import { BlobRef, Count, EpochMillis, Millis, PicoDollars } from "./quantities.ts"
import { kind } from "./story.ts"

/** What a provider offers, and at what price, as of a moment. The offers themselves lie in the blob store. */
export const OffersObserved = Schema.TaggedStruct("OffersObserved", {
  provider: ProviderName,
  observedAtMs: EpochMillis,
  offers: BlobRef,
  count: Count,
  /** The page or call that said so. */
  source: Schema.NonEmptyString
})
export type OffersObserved = typeof OffersObserved.Type

/** We ask nothing of this provider, or of one of its regions, until it resumes. */
export const ProviderSuspended = Schema.TaggedStruct("ProviderSuspended", {
  provider: ProviderName,
  region: Schema.optionalKey(Schema.NonEmptyString),
  reason: Schema.Literals(["unauthorised", "outage", "rate_limited", "quota", "lies", "asked"]),
  detail: Schema.String,
  untilMs: Schema.optionalKey(EpochMillis)
})
export type ProviderSuspended = typeof ProviderSuspended.Type

/** We ask this provider again, at first for no more than a share of what it could have. */
export const ProviderResumed = Schema.TaggedStruct("ProviderResumed", {
  provider: ProviderName,
  region: Schema.optionalKey(Schema.NonEmptyString),
  /** Thousandths of what we would ask it for otherwise. */
  sharePermilleMax: Count
})
export type ProviderResumed = typeof ProviderResumed.Type

/** One provider, as we see it. */
export const market = kind(
  { kind: "market", scope: "provider", stream: "BROKER" },
  OffersObserved,
  ProviderSuspended,
  ProviderResumed
)

/** How many machines of a column the plan wants, and how many run there now. */
export const Target = Schema.Struct({
  provider: ProviderName,
  column: Column,
  wanted: Count,
  running: Count,
  /** Why these, in words. */
  reason: Schema.String
})
export type Target = typeof Target.Type

/** This is what we mean to have. Inputs and weights are kept, so that it can be solved again. */
export const PlanChosen = Schema.TaggedStruct("PlanChosen", {
  method: Schema.Literals(["greedy", "linear", "integer"]),
  inputs: BlobRef,
  targets: Schema.Array(Target),
  /** Machines of all classes that the plan leaves without capacity. */
  unmet: Count,
  costPicoPerHour: PicoDollars,
  /** No plan over these inputs costs less. */
  boundPicoPerHour: Schema.optionalKey(PicoDollars),
  tookMs: Millis
})
export type PlanChosen = typeof PlanChosen.Type

/** What the cell means to rent, over all providers. */
export const plan = kind({ kind: "plan", scope: "cell", only: "cell", stream: "BROKER" }, PlanChosen)
