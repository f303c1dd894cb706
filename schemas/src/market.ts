import { Schema } from "effect"
import { Principal, ProviderName } from "./ids.ts"
import { Column, Market } from "./machine.ts"
import { BlobRef, Count, EpochMillis, Mebibytes, Millis, PicoDollars, Resources } from "./quantities.ts"
import { kind } from "./story.ts"

/** One type of machine at a price, and where it could be had at that moment. */
export const Offer = Schema.Struct({
  machineType: Schema.NonEmptyString,
  market: Market,
  resources: Resources,
  gpuModel: Schema.optionalKey(Schema.NonEmptyString),
  /** Memory of one GPU. */
  gpuMemoryMib: Schema.optionalKey(Mebibytes),
  pricePicoPerSecond: PicoDollars,
  /** Where the provider says that it has one. Empty: nowhere now. */
  regions: Schema.Array(Schema.NonEmptyString),
  /** Of one zone alone, where the provider sells by zones. Then `regions` holds the zone's region. */
  zone: Schema.optionalKey(Schema.NonEmptyString),
  /** The provider's own id of a single machine on a market: there is one of it, and it lives for seconds. */
  offer: Schema.optionalKey(Schema.NonEmptyString),
  /** Whole machines, or containers on somebody's; where it is not the same for all that the provider sells. */
  sells: Schema.optionalKey(Schema.Literals(["machines", "containers"])),
  /** Thousandths: how surely the machine stays, by the provider's own word. */
  reliabilityPermille: Schema.optionalKey(Count),
  /** How long it usually takes until a machine is there, by the provider's own word. */
  arrivesMs: Schema.optionalKey(Millis),
  /** Machines of it in one region can be joined by a fast network of their own. */
  fabric: Schema.optionalKey(Schema.Boolean),
  /** How many more of it could be had now, by the provider's own word. Of the market `reserved`: how many are paid for and idle. */
  stock: Schema.optionalKey(Count)
})
export type Offer = typeof Offer.Type

/**
 * No more than so many at once of what is named, at one provider; running ones included. A `machineType` that ends in `*`
 * names all types that begin so. Without any name it is over everything there.
 */
export const RentalQuota = Schema.Struct({
  region: Schema.optionalKey(Schema.NonEmptyString),
  machineType: Schema.optionalKey(Schema.NonEmptyString),
  market: Schema.optionalKey(Market),
  gpuModel: Schema.optionalKey(Schema.NonEmptyString),
  machinesMax: Schema.optionalKey(Count),
  gpusMax: Schema.optionalKey(Count),
  /** Cores as the provider counts them, virtual ones where it sells those. */
  coresMax: Schema.optionalKey(Count)
})
export type RentalQuota = typeof RentalQuota.Type

/** Machines of a provider that are paid for, used or not. They are taken before anything that costs more. */
export const Reserved = Schema.Struct({
  region: Schema.NonEmptyString,
  zone: Schema.optionalKey(Schema.NonEmptyString),
  machineType: Schema.NonEmptyString,
  machines: Count
})
export type Reserved = typeof Reserved.Type

/** What bounds what is rented from one provider, as its operator says. */
export const ProviderLimits = Schema.Struct({
  provider: ProviderName,
  quotas: Schema.optionalKey(Schema.Array(RentalQuota).pipe(Schema.check(Schema.isMaxLength(256)))),
  /** No more of all GPUs than this with it, in thousandths of those that are rented or waited for. */
  sharePermilleMax: Schema.optionalKey(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 1000 })))),
  reserved: Schema.optionalKey(Schema.Array(Reserved).pipe(Schema.check(Schema.isMaxLength(256))))
})
export type ProviderLimits = typeof ProviderLimits.Type

/**
 * A part of what a provider offers as of a moment, where it is too much for one fact. It counts for nothing until
 * `OffersObserved` names the same list: that one holds the last part.
 */
export const OffersListed = Schema.TaggedStruct("OffersListed", {
  provider: ProviderName,
  offers: BlobRef,
  rows: Schema.Array(Offer)
})
export type OffersListed = typeof OffersListed.Type

/** What a provider offers, and at what price, as of a moment. The offers themselves lie in the blob store. */
export const OffersObserved = Schema.TaggedStruct("OffersObserved", {
  provider: ProviderName,
  observedAtMs: EpochMillis,
  offers: BlobRef,
  count: Count,
  /** The page or call that said so. */
  source: Schema.NonEmptyString,
  /** The same offers, where they are few enough for a fact: what a greedy choice is made from. */
  rows: Schema.optionalKey(Schema.Array(Offer)),
  /** The provider takes one ask for a machine in so long: more asks wait in line there. */
  asksEveryMs: Schema.optionalKey(Millis),
  /** What it lets our account have at most, where it says so. */
  quotas: Schema.optionalKey(Schema.Array(RentalQuota))
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
  OffersListed,
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
  /** What has no place, how much of it and why, in words that name who was asked; the first few. Absent: nothing, or an older plan. */
  unmetBecause: Schema.optionalKey(Schema.Array(Schema.Struct({ class: Schema.String, units: Count, reason: Schema.String }))),
  costPicoPerHour: PicoDollars,
  /** No plan over these inputs costs less. */
  boundPicoPerHour: Schema.optionalKey(PicoDollars),
  tookMs: Millis
})
export type PlanChosen = typeof PlanChosen.Type

/**
 * A part of a plan that is too long for one fact. It counts for nothing until `PlanChosen` names the same inputs:
 * that one holds the last part.
 */
export const PlanPrepared = Schema.TaggedStruct("PlanPrepared", {
  inputs: BlobRef,
  targets: Schema.Array(Target)
})
export type PlanPrepared = typeof PlanPrepared.Type

/** What the cell means to rent, over all providers. */
export const plan = kind({ kind: "plan", scope: "cell", only: "cell", stream: "BROKER" }, PlanChosen, PlanPrepared)

/**
 * Another broker decides from here on, and every append of the one before it fails. What bounds its choices
 * is said with it, so that a replay decides within the same bounds.
 */
export const BrokerTookOver = Schema.TaggedStruct("BrokerTookOver", {
  term: Count,
  broker: Principal,
  codeVersion: Schema.NonEmptyString,
  /** The tag by which a sweep knows our machines. */
  cell: Schema.NonEmptyString,
  /** No machine is asked for past these, whatever waits. */
  machinesMax: Count,
  spendPicoPerHourMax: PicoDollars,
  /** How long we wait for a provider's answer, and then for the machine's host. */
  answerMsMax: Millis,
  bootMsMax: Millis,
  /** A machine without work for so long is given back. */
  idleMsMax: Millis,
  /** Idle machines that are kept ready, in thousandths of what demand for their kind of GPU grows by while one is on its way. Absent: none. */
  bufferPermille: Schema.optionalKey(Count),
  /** It decides and says what it would buy, and buys nothing. */
  dryRun: Schema.optionalKey(Schema.Boolean),
  /** Whom it buys from. Until each of them has said what it offers, nobody knows what could be had. Absent: it did not say. */
  providers: Schema.optionalKey(Schema.Array(ProviderName)),
  /** What bounds what is rented from each. Absent: nothing but what they refuse. */
  limits: Schema.optionalKey(Schema.Array(ProviderLimits))
})
export type BrokerTookOver = typeof BrokerTookOver.Type

/** Who buys for the cell, and within what bounds. */
export const brokerage = kind({ kind: "brokerage", scope: "cell", only: "cell", stream: "BROKER" }, BrokerTookOver)
