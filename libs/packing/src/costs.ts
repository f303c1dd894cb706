import { devicesMax, wholeMilli } from "./host.ts"
import type { Mix } from "./mix.ts"
import { Patterns } from "./patterns.ts"
import type { Size } from "./request.ts"
import { Scarcity } from "./scarcity.ts"
import type { Stock } from "./stock.ts"
import { Usable } from "./usable.ts"
import type { Weights } from "./weights.ts"

/** What one size costs on each host, as far as it was asked and the host has not changed since. */
export interface Costs {
  /** By slot, in thousandths of a point; and the device for a part of one. */
  milli: Int32Array
  device: Int8Array
  /** The host's version for which that holds. */
  at: Float64Array
  mixVersion: number
}

/** Sizes whose costs are kept; of more, those that were asked for least recently are forgotten. */
const sizesMax = 192

/** A device is 100 points: so many thousandths of a point are a thousandth of it. */
const pointsMilliPerMilli = 100

/** Works out costs of fragmentation and prices, and keeps them until what they follow from changes. */
export class CostBook {
  readonly #stock: Stock
  readonly #mix: Mix
  readonly #weights: Weights
  readonly #bySize = new Map<string, Costs>()
  #mixVersion = -1
  #typicalSum = 0
  #usable: Array<Usable | undefined> = []
  #usableNow = new Float64Array(0)
  #usableAt = new Float64Array(0)
  #scarcity: Scarcity | undefined
  #patterns: Patterns | undefined
  #classes = 0
  #prices = new Float64Array(0)

  constructor(stock: Stock, mix: Mix, weights: Weights) {
    this.#stock = stock
    this.#mix = mix
    this.#weights = weights
  }

  /** The costs of a size, to be worked out for each slot whose version is another. */
  of(key: string): Costs {
    this.#fresh()
    const known = this.#bySize.get(key)
    const { slots } = this.#stock
    if (known !== undefined && known.at.length >= slots) {
      if (known.mixVersion !== this.#mix.version) {
        known.at.fill(-1)
        known.mixVersion = this.#mix.version
      }
      this.#bySize.delete(key)
      this.#bySize.set(key, known)
      return known
    }
    const length = this.#stock.classOf.length
    const costs: Costs = { milli: new Int32Array(length), device: new Int8Array(length), at: new Float64Array(length).fill(-1), mixVersion: this.#mix.version }
    this.#bySize.delete(key)
    this.#bySize.set(key, costs)
    if (this.#bySize.size > sizesMax) this.#bySize.delete(this.#bySize.keys().next().value!)
    return costs
  }

  /**
   * Works out what the size costs on the host of a slot, at the device where it costs least. In steps: what typical
   * tasks could use before less what they could use after, less the devices it takes itself. For a part of a device
   * also, and first of all, what the device's rest is worth less than before, less what an empty one would be.
   */
  workOut(costs: Costs, size: Size, slot: number): void {
    const stock = this.#stock
    const { cpuMilli, deviceMilli, devices, memoryMib } = size
    const from = slot * devicesMax
    const count = stock.hosts[slot]!.gpus
    costs.at[slot] = stock.version[slot]!
    costs.milli[slot] = 0
    costs.device[slot] = -1
    if (stock.gpuMilli[slot] === 0) return
    const usable = this.#usableOf(slot)
    const before = this.#nowOf(slot, usable, from, count)
    usable.on(stock.deviceMilli, from, count)
    usable.beside(stock.cpuMilli[slot]! - cpuMilli, stock.memoryMib[slot]! - memoryMib)
    if (deviceMilli === wholeMilli || devices === 0) {
      costs.milli[slot] = this.#stepsMilli(size, before - (devices === 0 ? usable.now() : usable.withoutWhole(devices)))
      return
    }
    const patterns = this.#patterns ??= new Patterns(this.#mix.typical)
    let least = Infinity
    for (let at = 0; at < count; at += 1) {
      const free = stock.deviceMilli[from + at]!
      if (free < deviceMilli || isEarlier(stock.deviceMilli, from, at, free)) continue
      const rest = Math.round((patterns.cost(free, deviceMilli) - patterns.cost(wholeMilli, deviceMilli)) * wholeMilli)
      const cost = this.#stepsMilli(size, before - usable.withoutPart(free, deviceMilli)) + Math.round(rest * this.#weights.restTimes * pointsMilliPerMilli)
      if (cost >= least) continue
      least = cost
      costs.milli[slot] = cost
      costs.device[slot] = at
    }
  }

  /** Given how much less typical tasks could use: in milli-devices times their number. */
  #stepsMilli({ deviceMilli, devices }: Size, less: number): number {
    if (this.#typicalSum === 0) return 0
    const { stepMilli } = this.#weights
    return -Math.floor((devices * deviceMilli * this.#typicalSum - less) / (stepMilli * this.#typicalSum)) * stepMilli * pointsMilliPerMilli
  }

  /** What a device of each class is worth to those who can use no other; 1 is the average. */
  prices(): Float64Array {
    this.#fresh()
    const { classes, freeMilliOf } = this.#stock
    if (this.#scarcity === undefined || this.#classes !== classes.all.length) {
      this.#classes = classes.all.length
      this.#scarcity = new Scarcity(this.#mix.typical, classes.all)
      this.#prices = new Float64Array(this.#classes)
    }
    this.#scarcity.pricesInto(this.#prices, freeMilliOf)
    return this.#prices
  }

  #fresh(): void {
    if (this.#mixVersion === this.#mix.version) return
    this.#mixVersion = this.#mix.version
    this.#typicalSum = this.#mix.typical.reduce((sum, { count }) => sum + count, 0)
    this.#usable = []
    this.#usableAt.fill(-1)
    this.#scarcity = undefined
    this.#patterns = undefined
  }

  #usableOf(slot: number): Usable {
    const number = this.#stock.classOf[slot]!
    return this.#usable[number] ??= new Usable(this.#mix.typical, this.#stock.classes.all[number]!)
  }

  #nowOf(slot: number, usable: Usable, from: number, count: number): number {
    const stock = this.#stock
    if (this.#usableAt.length < stock.classOf.length) {
      this.#usableAt = new Float64Array(stock.classOf.length).fill(-1)
      this.#usableNow = new Float64Array(stock.classOf.length)
    }
    if (this.#usableAt[slot] !== stock.version[slot]) {
      usable.on(stock.deviceMilli, from, count)
      usable.beside(stock.cpuMilli[slot]!, stock.memoryMib[slot]!)
      this.#usableNow[slot] = usable.now()
      this.#usableAt[slot] = stock.version[slot]!
    }
    return this.#usableNow[slot]!
  }
}

/** Whether a device before this one has as much free: it would cost the same. */
const isEarlier = (milli: Int32Array, from: number, at: number, free: number): boolean => {
  for (let other = from; other < from + at; other += 1) if (milli[other] === free) return true
  return false
}
