import type { Column, LeaseId, Offer, ProviderName, RentalQuota } from "@millrace/schemas"
import { type Effect, Schema } from "effect"
import type { Theirs } from "../domain/bill.ts"
import type { Billing } from "../domain/money.ts"
import type { Listed } from "../domain/sweep.ts"

/** What a provider is like, as data: who chooses among providers reads it, and no one asks for a name. */
export interface Capabilities extends Billing {
  /**
   * How it is bought from. `instances`: asked for and looked at. `market`: single offers that live for seconds.
   * `pool`: a target is declared and may be met much later, or never, without an error.
   */
  readonly manner: "instances" | "market" | "pool"
  /** Whole machines, or containers on somebody's machine: no isolation of our own fits into the latter. */
  readonly sells: "machines" | "containers"
  readonly spot: boolean
  /** How long before a machine is taken back we are told, in ms. Undefined: never, or nobody says. */
  readonly noticeMs: number | undefined
  /** Its machines of one region can be joined by a fast network of their own. */
  readonly fabric: boolean
  /** A machine ends by itself after so long unless that is pushed forward with `extend`, in ms. Undefined: it never does. */
  readonly deadManMs: number | undefined
  /** A machine that turns itself off has ended, and costs nothing any more: so it may have a dead man of its own. */
  readonly endsWhenOff: boolean
  /** A machine can be told at its start what to run. */
  readonly userData: boolean
  /** A create that is repeated under one token buys one machine, by the provider's own word. */
  readonly idempotent: boolean
  /** A machine may be missing from the provider's list for so long after it was bought, in ms. */
  readonly visibleWithinMs: number
  /** How often it may be asked, by its own documents. */
  readonly requestsEvery: { readonly anyMs: number; readonly createMs: number }
  /** The description that the adapter was written from. */
  readonly writtenFrom: string
}

/** What a machine is asked for under. */
export interface Wish {
  readonly leaseId: LeaseId
  readonly token: string
  readonly cell: string
  readonly column: Column
  /** The most that we would pay: the bid, where the column is a market of bids. */
  readonly pricePicoPerSecondMax: bigint
  /** What its first program is told, as cloud-init's user data. Holds the one-time key: never logged. */
  readonly userData: string
  /** Right before the call, in ms since 1970: kept beside the machine, as from when it costs money. */
  readonly askedAtMs: number
  /**
   * Waited for right before the request that buys is sent, after every turn in a line and every look, and each time anew.
   * It answers at once while whoever asks is known to be the one that buys, and never again when it may not be.
   */
  readonly maySend: Effect.Effect<void>
}

/** A request is given up after so long without an answer, in ms. What it does, it has done by then: whoever asks again relies on it. */
export const answerMsMax = 30_000

/** The provider has handed over a machine. */
export interface Bought {
  readonly _tag: "Bought"
  readonly machine: string
  /** From when it costs money, where the provider says so. Otherwise: from right before the call. */
  readonly billedSinceMs?: number
}

/**
 * The wish is declared, and no machine has come of it yet: nothing costs money. Asking again under the token
 * says how far it is: still `Coming`, `Bought`, or a `Refusal`. What is declared and wanted no longer, `terminate` takes back.
 */
export interface Coming {
  readonly _tag: "Coming"
  readonly detail: string
  /** When it is worth asking again, in ms from now. */
  readonly askAgainMs: number
}

/** What was seen, or done. */
export interface Told<A> {
  readonly _tag: "Told"
  readonly value: A
}

/**
 * An answer that we do not like. Nothing was bought or changed. `narrows` says what else would get the same
 * answer, and `untilMs` for how long it is useless to ask, in ms since 1970.
 */
export interface Refusal {
  readonly _tag: "Refusal"
  readonly reason: "out_of_capacity" | "quota" | "price_moved" | "unauthorised" | "rate_limited" | "offer_gone" | "invalid"
  readonly narrows: "provider" | "region" | "zone" | "type" | "market" | "offer"
  readonly detail: string
  readonly untilMs?: number
}

/** One thing that we must be allowed to do there, tried without buying or changing anything. */
export interface Check {
  /** The provider's own name of the permission or call. */
  readonly permission: string
  readonly allowed: boolean
  /** What the provider said, and what to do where it said no. */
  readonly detail: string
}

/** What a provider says that a machine has cost within a period. */
export type BillLine = Theirs

/** Perhaps it happened, perhaps it did not. The one kind of answer that costs money: look, then ask again. */
export class ProviderUnclear extends Schema.TaggedError<ProviderUnclear>()("ProviderUnclear", {
  provider: Schema.String,
  doing: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.provider} gave no clear answer while ${this.doing}: ${this.detail}. It is looked at again before anything is repeated`
  }
}

/**
 * One cloud. Every implementation runs one suite of promises:
 *
 * - creating twice under one token, looking in between, leaves one machine;
 * - ending a machine that is gone is no error;
 * - `list` gives every machine of the account, with the token and the cell that it was asked for under;
 * - nothing that was made for a machine outlives it: keys, scripts, disks, addresses, pools. Where something
 *   does for now, `list` shows the machine as `ending`, or as `declared` where there was none, and `terminate`
 *   removes what is left;
 * - every documented error is a `Refusal`; whatever leaves open whether something happened is `ProviderUnclear`.
 */
export interface Provider {
  readonly name: ProviderName
  readonly can: Capabilities
  /** What is for sale, and what our account may have at most, where the provider says that. */
  readonly offers: Effect.Effect<Told<{ readonly rows: ReadonlyArray<Offer>; readonly source: string; readonly quotas?: ReadonlyArray<RentalQuota> }> | Refusal, ProviderUnclear>
  readonly create: (wish: Wish) => Effect.Effect<Bought | Coming | Refusal, ProviderUnclear>
  readonly list: Effect.Effect<Told<ReadonlyArray<Listed>> | Refusal, ProviderUnclear>
  /** Asks for the end of a machine. `list` says when it has come. */
  readonly terminate: (machine: string) => Effect.Effect<Told<"ending" | "not_there"> | Refusal, ProviderUnclear>
  /** Credentials and permissions, one by one. Never fails: what cannot be found out is not allowed, and says why. */
  readonly check: Effect.Effect<ReadonlyArray<Check>>
  /**
   * Does for the machines of our cell what a look has shown to be due: what is declared and would be filled anew is
   * taken back, and what outlived its machine is removed. Called before each sweep; changes nothing when nothing is due.
   */
  readonly tend?: (cell: string) => Effect.Effect<void, ProviderUnclear>
  /** Pushes a machine's dead-man time forward to this moment, in ms since 1970. Only where `can.deadManMs` is set. */
  readonly extend?: (machine: string, untilMs: number) => Effect.Effect<Told<"extended" | "not_there"> | Refusal, ProviderUnclear>
  /** What the provider charges for our machines from one moment to another. Only where it can be asked. */
  readonly bill?: (fromMs: number, untilMs: number) => Effect.Effect<Told<ReadonlyArray<BillLine>> | Refusal, ProviderUnclear>
}

/** An offer's price for whole cents an hour, in pico-dollars a second, rounded up: 10^10 pico are a cent. */
export const picoPerSecondOfCents = (centsPerHour: number): bigint => (BigInt(centsPerHour) * 10_000_000_000n + 3599n) / 3600n
