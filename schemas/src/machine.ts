import { Schema } from "effect"
import { FactId, HostId, LeaseId, Principal, ProviderName } from "./ids.ts"
import { Count, Digest, EpochMillis, Millis, PicoDollars, Resources } from "./quantities.ts"
import { kind } from "./story.ts"

/** Which lease, at which provider: the head of everything that is said of a machine. */
const which = { leaseId: LeaseId, provider: ProviderName }

/** How capacity is sold. Spot capacity can be taken back; what is reserved is paid for already, used or not. */
export const Market = Schema.Literals(["on_demand", "spot", "reserved"])
export type Market = typeof Market.Type

/** Something that can be rented: what the provider calls it, and where. */
export const Column = Schema.Struct({
  region: Schema.NonEmptyString,
  zone: Schema.optionalKey(Schema.NonEmptyString),
  machineType: Schema.NonEmptyString,
  market: Market,
  /** The provider's own id of an offer that lives for seconds. */
  offer: Schema.optionalKey(Schema.NonEmptyString)
})
export type Column = typeof Column.Type

/** We mean to rent a machine. Said before the provider is called, so that nothing bought is unknown. */
export const LeaseRequested = Schema.TaggedStruct("LeaseRequested", {
  ...which,
  column: Column,
  resources: Resources,
  gpuModel: Schema.optionalKey(Schema.NonEmptyString),
  /** A fast network joins it with the provider's others of its region that have one. Absent: nothing is known to. */
  fabric: Schema.optionalKey(Schema.Boolean),
  pricePicoPerSecondMax: PicoDollars,
  /** The provider's idempotency token or the machine's name: asking twice under it buys one machine. */
  token: Schema.NonEmptyString,
  /** The tag by which a sweep knows our cell's machines. */
  cell: Schema.NonEmptyString,
  /** With the key behind this digest one host may enrol, once, until `answerByMs` and its boot time. */
  oneTimeKeyDigest: Digest,
  answerByMs: EpochMillis,
  /** The plan that wanted it. */
  plan: Schema.optionalKey(FactId),
  /** A second attempt at what that lease is late with. Whichever machine is ready first stays, the other is given back. */
  insteadOf: Schema.optionalKey(LeaseId),
  /** It is to take the place of that lease's machine, which costs more. That one goes once this one's host is there and its work has ended. */
  replaces: Schema.optionalKey(LeaseId)
})
export type LeaseRequested = typeof LeaseRequested.Type

/**
 * The provider is called for the machine. Said before each call that would buy one: by whoever is overtaken it cannot be
 * said, so whoever takes over knows which calls may still be under way, and that there are no others.
 */
export const MachineAskedFor = Schema.TaggedStruct("MachineAskedFor", {
  ...which,
  /** The term of the broker that calls. */
  term: Count,
  /** The call has been answered, or has been given up, by then. */
  untilMs: EpochMillis
})
export type MachineAskedFor = typeof MachineAskedFor.Type

/** The provider has handed over a machine. From here on it costs money. */
export const LeaseGranted = Schema.TaggedStruct("LeaseGranted", {
  ...which,
  /** The provider's own id of it. */
  machine: Schema.NonEmptyString,
  region: Schema.NonEmptyString,
  pricePicoPerSecond: PicoDollars,
  /** Where the price comes from, and when it was read there. */
  quote: Schema.Struct({ source: Schema.NonEmptyString, readAtMs: EpochMillis }),
  /** The provider bills whole steps of this length, and at least `billedMsMin`. */
  billedStepMs: Millis,
  billedMsMin: Millis,
  /** From when it costs money, as far as we know: right before the call that bought it. Absent: when this was said. */
  billedSinceMs: Schema.optionalKey(EpochMillis),
  /** When the machine ends by itself unless that is pushed forward. */
  deadManAtMs: Schema.optionalKey(EpochMillis)
})
export type LeaseGranted = typeof LeaseGranted.Type

/** The provider will not, and nothing was bought. `narrows` says what else would get the same answer. */
export const LeaseRefused = Schema.TaggedStruct("LeaseRefused", {
  ...which,
  reason: Schema.Literals(["out_of_capacity", "quota", "price_moved", "unauthorised", "rate_limited", "offer_gone", "invalid"]),
  narrows: Schema.Literals(["provider", "region", "zone", "type", "market", "offer"]),
  detail: Schema.String,
  notBeforeMs: Schema.optionalKey(EpochMillis)
})
export type LeaseRefused = typeof LeaseRefused.Type

/** We have stopped waiting for the machine. Should it still come, it is given straight back. */
export const LeaseWithdrawn = Schema.TaggedStruct("LeaseWithdrawn", {
  ...which,
  cause: Schema.Literals(["too_late", "not_needed", "cap_reached"]),
  /** More of the cause, in words. */
  detail: Schema.optionalKey(Schema.String)
})
export type LeaseWithdrawn = typeof LeaseWithdrawn.Type

/** The machine's host has enrolled: this lease is that host. */
export const MachineEnrolled = Schema.TaggedStruct("MachineEnrolled", { ...which, hostId: HostId })
export type MachineEnrolled = typeof MachineEnrolled.Type

/** The provider will take the machine back at the deadline. What runs there must be elsewhere by then. */
export const ReclaimNoticed = Schema.TaggedStruct("ReclaimNoticed", {
  ...which,
  hostId: Schema.optionalKey(HostId),
  deadlineAtMs: EpochMillis,
  /** The provider's own id of the machine. */
  machine: Schema.optionalKey(Schema.NonEmptyString)
})
export type ReclaimNoticed = typeof ReclaimNoticed.Type

/** Nothing new begins on the machine: what runs there ends first, then it is given back. A cheaper one is there in its place. */
export const MachineRetiring = Schema.TaggedStruct("MachineRetiring", {
  ...which,
  hostId: Schema.optionalKey(HostId),
  /** The lease that takes its place. */
  by: LeaseId
})
export type MachineRetiring = typeof MachineRetiring.Type

/** We want the machine no longer. It costs money until the provider confirms its end. */
export const LeaseReleased = Schema.TaggedStruct("LeaseReleased", {
  ...which,
  /** `unused`: it never had any work, so buying it again for the same demand would be no use. */
  cause: Schema.Literals(["idle", "drained", "unhealthy", "never_enrolled", "came_too_late", "reclaimed", "orphan", "asked", "unused", "replaced"]),
  /** More of the cause, in words. */
  detail: Schema.optionalKey(Schema.String),
  /** Who asked for its end, where somebody did. */
  askedBy: Schema.optionalKey(Principal)
})
export type LeaseReleased = typeof LeaseReleased.Type

/** The provider confirms that the machine is gone. From here on it costs nothing. */
export const LeaseEnded = Schema.TaggedStruct("LeaseEnded", {
  ...which,
  confirmed: Schema.Literals(["terminated", "reclaimed", "not_there"]),
  endedAtMs: EpochMillis,
  /** What it has cost in all, by the provider's steps and minimum. */
  costPico: PicoDollars
})
export type LeaseEnded = typeof LeaseEnded.Type

/** A machine with our cell's tag runs that no open lease accounts for. Its lease id is made from its name. */
export const OrphanFound = Schema.TaggedStruct("OrphanFound", {
  ...which,
  machine: Schema.NonEmptyString,
  cell: Schema.NonEmptyString,
  runningSinceMs: EpochMillis,
  costSoFarPico: PicoDollars,
  /** What its provider's list says that it costs, and in which steps that is billed. Absent: to be told from what it has cost so far. */
  pricePicoPerSecond: Schema.optionalKey(PicoDollars),
  billedStepMs: Schema.optionalKey(Millis),
  billedMsMin: Schema.optionalKey(Millis),
  /** How many sweeps have seen it. The first one lists and never ends. */
  sweeps: Count
})
export type OrphanFound = typeof OrphanFound.Type

/** A lease is open here, and the provider knows no such machine. */
export const GhostFound = Schema.TaggedStruct("GhostFound", {
  ...which,
  machine: Schema.NonEmptyString,
  lastSeenAtMs: EpochMillis,
  sweeps: Count,
  /** What it has cost until then, should it run after all: nobody has seen it end. */
  costSoFarPico: Schema.optionalKey(PicoDollars)
})
export type GhostFound = typeof GhostFound.Type

/** One machine lease: capacity rented from a provider, from the intent to the provider's last word. */
export const machine = kind(
  { kind: "machine", scope: "provider", story: "lease", stream: "BROKER" },
  LeaseRequested,
  MachineAskedFor,
  LeaseGranted,
  LeaseRefused,
  LeaseWithdrawn,
  MachineEnrolled,
  ReclaimNoticed,
  MachineRetiring,
  LeaseReleased,
  LeaseEnded,
  OrphanFound,
  GhostFound
)
