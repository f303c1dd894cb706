import type { HostClass } from "./host.ts"
import type { Typical } from "./mix.ts"
import { keyOfTerms, rankOf, sizeOf } from "./request.ts"

/** Sets of classes that are told apart; what is asked for under still other terms is too rare to plan for. */
const termsMax = 48

/** No price is more than so many times the average one: where next to nothing is left there is little to keep. */
const priceMost = 4

/** What typical tasks ask of devices under one set of terms, and the classes that they may go to. */
interface Demand {
  readonly classes: ReadonlyArray<number>
  readonly milli: number
}

/**
 * What a device of each class is worth to those who can use no other.
 *
 * Suppose that the rest of the fleet is filled by what is typical. Then those with the same terms bring their share of
 * all that is free, spread evenly over the devices that they may use. A class's price is the sum of that over all who
 * may use it, and its root, so that the last of a class is not kept at any price: 1 where everybody may go everywhere,
 * above 1 where more will come for it than there is. It is the opportunity cost of a device, without which work that
 * could go anywhere is put where only some can go.
 */
export class Scarcity {
  readonly #demands: ReadonlyArray<Demand>
  readonly #milliSum: number

  constructor(typical: ReadonlyArray<Typical>, classes: ReadonlyArray<HostClass>) {
    const byTerms = new Map<string, { readonly classes: ReadonlyArray<number>; milli: number }>()
    for (const { count, request } of typical) {
      const { deviceMilli, devices } = sizeOf(request)
      if (devices === 0) continue
      const key = keyOfTerms(request)
      let demand = byTerms.get(key)
      if (demand === undefined) {
        demand = { classes: classes.flatMap((one, at) => (rankOf(request, one) < 0 ? [] : [at])), milli: 0 }
        byTerms.set(key, demand)
      }
      demand.milli += count * devices * deviceMilli
    }
    this.#demands = [...byTerms.values()].sort((left, right) => right.milli - left.milli).slice(0, termsMax)
    this.#milliSum = this.#demands.reduce((sum, { milli }) => sum + milli, 0)
  }

  /** The price of each class, given how much of its devices is free. */
  pricesInto(prices: Float64Array, freeMilli: Float64Array): void {
    prices.fill(0)
    let allFree = 0
    for (const free of freeMilli) allFree += free
    if (allFree === 0 || this.#milliSum === 0) return
    for (const { classes, milli } of this.#demands) {
      let free = 0
      for (const one of classes) free += freeMilli[one]!
      if (free === 0) continue
      const each = (milli * allFree) / (this.#milliSum * free)
      for (const one of classes) prices[one]! += each
    }
    for (let at = 0; at < prices.length; at += 1) prices[at] = Math.min(priceMost, Math.sqrt(prices[at]!))
  }
}
