import type { Size } from "./request.ts"
import { wholeMilli } from "./host.ts"
import type { Stock } from "./stock.ts"

const blockLength = 64

/**
 * The hosts in the order of their ids, in blocks that know the most that any of their hosts has free: those with room
 * are found without looking at every host that has none.
 */
export class Line {
  readonly #stock: Stock
  #slots = new Int32Array(0)
  #placeOf = new Int32Array(0)
  #dirty = new Uint8Array(0)
  #anyDirty: Array<number> = []
  #cpuMilli = new Float64Array(0)
  #memoryMib = new Float64Array(0)
  #diskMib = new Float64Array(0)
  #gpus = new Int32Array(0)
  #largestMilli = new Int32Array(0)
  #stale = false

  constructor(stock: Stock) {
    this.#stock = stock
  }

  /** A host came or went. The line is made again when it is next looked at. */
  joinedOrLeft(): void {
    this.#stale = true
  }

  changed(slot: number): void {
    if (this.#stale) return
    const block = Math.floor(this.#placeOf[slot]! / blockLength)
    if (this.#dirty[block] === 1) return
    this.#dirty[block] = 1
    this.#anyDirty.push(block)
  }

  /** Slots by the ids of their hosts. */
  get slots(): Int32Array {
    if (this.#stale) this.#makeAgain()
    return this.#slots
  }

  /** Writes the first hosts with room for this into `into`, of those whose class has this rank, and says how many. */
  fitting({ cpuMilli, deviceMilli, devices, diskMib, memoryMib }: Size, ranks: Int8Array, rank: number, into: Int32Array): number {
    const slots = this.slots
    for (let block = this.#anyDirty.pop(); block !== undefined; block = this.#anyDirty.pop()) this.#measure(block)
    const wholeMin = deviceMilli === wholeMilli ? devices : 0
    const { classOf, cpuMilli: cpuFree, diskMib: diskFree, gpus, largestMilli, memoryMib: memoryFree, open } = this.#stock
    let found = 0
    for (let block = 0, from = 0; from < slots.length; block += 1, from += blockLength) {
      if (this.#gpus[block]! < wholeMin || this.#largestMilli[block]! < deviceMilli || this.#cpuMilli[block]! < cpuMilli || this.#memoryMib[block]! < memoryMib || this.#diskMib[block]! < diskMib) continue
      const to = Math.min(from + blockLength, slots.length)
      for (let at = from; at < to; at += 1) {
        const slot = slots[at]!
        if (largestMilli[slot]! < deviceMilli || gpus[slot]! < wholeMin || cpuFree[slot]! < cpuMilli || memoryFree[slot]! < memoryMib || diskFree[slot]! < diskMib || ranks[classOf[slot]!] !== rank || open[slot] === 0) continue
        into[found] = slot
        found += 1
        if (found === into.length) return found
      }
    }
    return found
  }

  #measure(block: number): void {
    const stock = this.#stock
    let cpuMilli = -Infinity
    let memoryMib = -Infinity
    let diskMib = -Infinity
    let gpus = 0
    let most = 0
    const to = Math.min((block + 1) * blockLength, this.#slots.length)
    for (let at = block * blockLength; at < to; at += 1) {
      const slot = this.#slots[at]!
      if (stock.open[slot] === 0) continue
      if (stock.cpuMilli[slot]! > cpuMilli) cpuMilli = stock.cpuMilli[slot]!
      if (stock.memoryMib[slot]! > memoryMib) memoryMib = stock.memoryMib[slot]!
      if (stock.diskMib[slot]! > diskMib) diskMib = stock.diskMib[slot]!
      if (stock.gpus[slot]! > gpus) gpus = stock.gpus[slot]!
      if (stock.largestMilli[slot]! > most) most = stock.largestMilli[slot]!
    }
    this.#cpuMilli[block] = cpuMilli
    this.#memoryMib[block] = memoryMib
    this.#diskMib[block] = diskMib
    this.#gpus[block] = gpus
    this.#largestMilli[block] = most
    this.#dirty[block] = 0
  }

  #makeAgain(): void {
    this.#stale = false
    const hosts = [...this.#stock.slotOf].sort(([left], [right]) => (left < right ? -1 : 1))
    this.#slots = Int32Array.from(hosts, ([, slot]) => slot)
    this.#placeOf = new Int32Array(this.#stock.slots)
    for (const [place, slot] of this.#slots.entries()) this.#placeOf[slot] = place
    const blocks = Math.ceil(this.#slots.length / blockLength)
    this.#cpuMilli = new Float64Array(blocks)
    this.#memoryMib = new Float64Array(blocks)
    this.#diskMib = new Float64Array(blocks)
    this.#gpus = new Int32Array(blocks)
    this.#largestMilli = new Int32Array(blocks)
    this.#dirty = new Uint8Array(blocks).fill(1)
    this.#anyDirty = Array.from({ length: blocks }, (_, block) => block)
  }
}
