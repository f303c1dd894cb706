import { Schema } from "effect"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** What the sky is like. A number counts down with each request that it meets; a switch holds until it is set again. */
export const Weather = Schema.Struct({
  /** Types (or `type@region`) that cannot be had, or `*` for none at all. */
  noCapacity: Schema.Array(Schema.String),
  /** Launches that are refused for the account's limit. */
  quotaExceeded: Schema.Boolean,
  /** The key is taken for another's. */
  unauthorised: Schema.Boolean,
  /** Requests that are answered 429, besides those that come too fast. */
  tooMany: Count,
  /** Requests that are answered 503, before anything happens. */
  failing: Count,
  /** How long every answer takes, in ms. */
  slowMs: Count,
  /** Launches that happen and whose connection is cut instead of answered. */
  answersLost: Count,
  /** Launches that make two machines and name one. */
  doubled: Count,
  /** Requests to end a machine that are refused. */
  endsRefused: Count,
  /** How long a new machine is missing from the list, in ms. */
  invisibleMs: Count
})
export type Weather = typeof Weather.Type

export const fair: Weather = {
  noCapacity: [],
  quotaExceeded: false,
  unauthorised: false,
  tooMany: 0,
  failing: 0,
  slowMs: 0,
  answersLost: 0,
  doubled: 0,
  endsRefused: 0,
  invisibleMs: 0
}

/** A part of the weather, as somebody sets it. */
export const WeatherChange = Schema.Struct(Object.fromEntries(
  Object.entries(Weather.fields).map(([name, field]) => [name, Schema.optionalKey(field)])
) as { readonly [K in keyof typeof Weather.fields]: Schema.optionalKey<(typeof Weather.fields)[K]> })

type Counted = { [K in keyof Weather]: Weather[K] extends number ? K : never }[keyof Weather]

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

  hasCapacity(type: string, region: string): boolean {
    return !this.#now.noCapacity.some((name) => name === "*" || name === type || name === `${type}@${region}`)
  }
}
