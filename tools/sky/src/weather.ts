import { Schema } from "effect"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Names = Schema.Array(Schema.String)

/**
 * What a cloud is like. A number counts down with each request that it meets; a switch, a list or a time holds until
 * it is set again. Lists of what can be had name `type`, `type@place` and `type/market`, or both:
 * `p5.48xlarge@us-east-1a/spot`; a place is a region or a zone, and `*` is any type.
 */
export const Weather = Schema.Struct({
  /** What cannot be had: `*` is nothing at all. */
  noCapacity: Names,
  /** At most so many machines at a time of what is named so. */
  stock: Schema.Record(Schema.String, Count),
  /** Machines that are promised, and then fail for want of capacity when they should be up. */
  lateFailures: Count,
  /** Launches that are refused for the account's limit. */
  quotaExceeded: Schema.Boolean,
  /** Launches of what is named so are refused for the account's limit. */
  noQuota: Names,
  /** The key is taken for another's. */
  unauthorised: Schema.Boolean,
  /** The key was right once. */
  expired: Schema.Boolean,
  /** Calls that the key may not make, by the vendor's names. */
  forbidden: Names,
  /** Nobody answers: each connection is cut, before anything happens. */
  down: Schema.Boolean,
  /** Requests that are answered 429, besides those that come too fast. */
  tooMany: Count,
  /** Requests that are answered 5xx, before anything happens. */
  failing: Count,
  /** How long every answer takes, in ms. */
  slowMs: Count,
  /** Launches that happen and whose connection is cut instead of answered. */
  answersLost: Count,
  /** Requests to end a machine that happen and whose connection is cut instead of answered. */
  endAnswersLost: Count,
  /** Launches that make two machines and name one. */
  doubled: Count,
  /** Launches whose machine gets the id of one that has ended. */
  duplicateIds: Count,
  /** Lists name each machine twice. */
  listedTwice: Schema.Boolean,
  /** Requests to end a machine that are refused. */
  endsRefused: Count,
  /** No machine can be ended before it is so old, in ms. */
  minimumTermMs: Count,
  /** Machines whose end is confirmed, and which run and cost on. */
  zombies: Count,
  /** Machines that are said to run, cost money, and never boot. */
  neverBoots: Count,
  /** Machines that are said to run and are not there. */
  lies: Count,
  /** How long a new machine is missing from the list, in ms. */
  invisibleMs: Count,
  /** What is offered for nothing: a mistake of the price list, not of ours. */
  priceZero: Names,
  /** Thousandths of its ordinary price that spot and what is bid for costs now. */
  spotPricePermille: Count
})
export type Weather = typeof Weather.Type

export const fair: Weather = {
  noCapacity: [],
  stock: {},
  lateFailures: 0,
  quotaExceeded: false,
  noQuota: [],
  unauthorised: false,
  expired: false,
  forbidden: [],
  down: false,
  tooMany: 0,
  failing: 0,
  slowMs: 0,
  answersLost: 0,
  endAnswersLost: 0,
  doubled: 0,
  duplicateIds: 0,
  listedTwice: false,
  endsRefused: 0,
  minimumTermMs: 0,
  zombies: 0,
  neverBoots: 0,
  lies: 0,
  invisibleMs: 0,
  priceZero: [],
  spotPricePermille: 1_000
}

/** A part of the weather, as somebody sets it. */
export const WeatherChange = Schema.Struct(Object.fromEntries(
  Object.entries(Weather.fields).map(([name, field]) => [name, Schema.optionalKey(field)])
) as { readonly [K in keyof typeof Weather.fields]: Schema.optionalKey<(typeof Weather.fields)[K]> })

type Counted = Exclude<{ [K in keyof Weather]: Weather[K] extends number ? K : never }[keyof Weather], "slowMs" | "invisibleMs" | "minimumTermMs" | "spotPricePermille">

/** What somebody wants to have: a type, where, and as what. */
export interface Wanted {
  readonly type: string
  readonly region: string
  readonly zone?: string
  readonly market?: string
}

/** Whether a name of the weather, such as `*@us-east-1a/spot`, means this. */
export const means = (name: string, { market, region, type, zone }: Wanted): boolean => {
  const [what = "", as] = name.split("/")
  const [named, place] = what.split("@")
  return (named === "*" || named === type) && (place === undefined || place === region || place === zone) && (as === undefined || as === market)
}

/** The weather as it is, and as it wears off. */
export class Sky {
  #now: Weather

  constructor(first: Partial<Weather> = {}) {
    this.#now = { ...fair, ...first }
  }

  get now(): Weather {
    return this.#now
  }

  set(change: Partial<Weather>): Weather {
    this.#now = { ...this.#now, ...change }
    return this.#now
  }

  /** Whether this request meets it; one less is left. */
  strikes(what: Counted): boolean {
    const left = this.#now[what]
    if (left === 0) return false
    this.#now = { ...this.#now, [what]: left - 1 }
    return true
  }

  /** `there`: what runs already, of which there may be only so many. */
  hasCapacity(wanted: Wanted, there: ReadonlyArray<Wanted> = []): boolean {
    return !this.#now.noCapacity.some((name) => means(name, wanted)) &&
      Object.entries(this.#now.stock).every(([name, most]) => !means(name, wanted) || there.filter((one) => means(name, one)).length < most)
  }

  hasQuota(wanted: Wanted): boolean {
    return !this.#now.quotaExceeded && !this.#now.noQuota.some((name) => means(name, wanted))
  }

  /** What it is offered for now. */
  priceOf(picoPerHour: bigint, wanted: Wanted): bigint {
    if (this.#now.priceZero.some((name) => means(name, wanted))) return 0n
    return wanted.market === "spot" ? (picoPerHour * BigInt(this.#now.spotPricePermille)) / 1000n : picoPerHour
  }
}
