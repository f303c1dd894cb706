import { devicesMax, wholeMilli } from "./host.ts"
import type { Size } from "./request.ts"
import type { Stock } from "./stock.ts"

/** Hosts of one block have a bit each in a word. */
const blockLength = 32
/** Devices are told apart by tenths of what is free on them; what lies between is looked at. */
const bucketMilli = 100
const buckets = wholeMilli / bucketMilli

/** The hosts that a request may go to by its terms, as bits in the order of the line. */
export interface Places {
  readonly epoch: number
  readonly words: Int32Array
}

/**
 * The hosts in the order of their ids, in blocks that know which of their hosts have how many devices free and the most
 * that any has of the rest: those with room are found without looking at every host that has none.
 */
export class Line {
  readonly #stock: Stock
  #slots = new Int32Array(0)
  #placeOf = new Int32Array(0)
  #blocks = 0
  #dirty = new Uint8Array(0)
  #anyDirty: Array<number> = []
  #cpuMilli = new Float64Array(0)
  #memoryMib = new Float64Array(0)
  #diskMib = new Float64Array(0)
  #open = new Int32Array(0)
  /** A word a block for each number of whole devices, and for each bucket of the most that is free on one. */
  #whole = new Int32Array(0)
  #part = new Int32Array(0)
  #epoch = 0
  #stale = false

  constructor(stock: Stock) {
    this.#stock = stock
  }

  /** A host came or went. The line is made again when it is next looked at. */
  joinedOrLeft(): void {
    this.#stale = true
  }

  /** A host is of another class now. */
  reclassed(): void {
    this.#epoch += 1
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

  /** The hosts whose class has this rank. What was worked out before is given back while it holds. */
  placesOf(before: Places | undefined, ranks: Int8Array, rank: number): Places {
    const slots = this.slots
    if (before?.epoch === this.#epoch) return before
    const words = new Int32Array(this.#blocks)
    for (let at = 0; at < slots.length; at += 1) if (ranks[this.#stock.classOf[slots[at]!]!] === rank) words[at >> 5]! |= 1 << (at & 31)
    return { epoch: this.#epoch, words }
  }

  /** Writes the first hosts with room for this into `into`, of the given places, and says how many. */
  fitting({ cpuMilli, deviceMilli, devices, diskMib, memoryMib }: Size, { words }: Places, into: Int32Array): number {
    const slots = this.slots
    for (let block = this.#anyDirty.pop(); block !== undefined; block = this.#anyDirty.pop()) this.#measure(block)
    const { cpuMilli: cpuFree, diskMib: diskFree, largestMilli, memoryMib: memoryFree } = this.#stock
    const isWhole = deviceMilli === wholeMilli
    const ofDevices = isWhole ? this.#whole : this.#part
    const from = (isWhole ? devices : Math.floor(deviceMilli / bucketMilli)) * this.#blocks
    let found = 0
    for (let block = 0; block < this.#blocks; block += 1) {
      let bits = words[block]! & this.#open[block]! & ofDevices[from + block]!
      if (bits === 0 || this.#cpuMilli[block]! < cpuMilli || this.#memoryMib[block]! < memoryMib || this.#diskMib[block]! < diskMib) continue
      for (; bits !== 0; bits &= bits - 1) {
        const slot = slots[block * blockLength + 31 - Math.clz32(bits & -bits)]!
        if (cpuFree[slot]! < cpuMilli || memoryFree[slot]! < memoryMib || diskFree[slot]! < diskMib || largestMilli[slot]! < deviceMilli) continue
        into[found] = slot
        found += 1
        if (found === into.length) return found
      }
    }
    return found
  }

  #measure(block: number): void {
    const { cpuMilli, diskMib, gpus, largestMilli, memoryMib, open } = this.#stock
    let cpuMost = -Infinity
    let memoryMost = -Infinity
    let diskMost = -Infinity
    for (let number = 0; number <= devicesMax; number += 1) this.#whole[number * this.#blocks + block] = 0
    for (let bucket = 0; bucket <= buckets; bucket += 1) this.#part[bucket * this.#blocks + block] = 0
    this.#open[block] = 0
    const first = block * blockLength
    const to = Math.min(first + blockLength, this.#slots.length)
    for (let at = first; at < to; at += 1) {
      const slot = this.#slots[at]!
      if (open[slot] === 0) continue
      const bit = 1 << (at - first)
      this.#open[block]! |= bit
      for (let number = gpus[slot]!; number >= 0; number -= 1) this.#whole[number * this.#blocks + block]! |= bit
      for (let bucket = Math.floor(largestMilli[slot]! / bucketMilli); bucket >= 0; bucket -= 1) this.#part[bucket * this.#blocks + block]! |= bit
      if (cpuMilli[slot]! > cpuMost) cpuMost = cpuMilli[slot]!
      if (memoryMib[slot]! > memoryMost) memoryMost = memoryMib[slot]!
      if (diskMib[slot]! > diskMost) diskMost = diskMib[slot]!
    }
    this.#cpuMilli[block] = cpuMost
    this.#memoryMib[block] = memoryMost
    this.#diskMib[block] = diskMost
    this.#dirty[block] = 0
  }

  #makeAgain(): void {
    this.#stale = false
    this.#epoch += 1
    const hosts = [...this.#stock.slotOf].sort(([left], [right]) => (left < right ? -1 : 1))
    this.#slots = Int32Array.from(hosts, ([, slot]) => slot)
    this.#placeOf = new Int32Array(this.#stock.slots)
    for (const [place, slot] of this.#slots.entries()) this.#placeOf[slot] = place
    this.#blocks = Math.ceil(this.#slots.length / blockLength)
    this.#cpuMilli = new Float64Array(this.#blocks)
    this.#memoryMib = new Float64Array(this.#blocks)
    this.#diskMib = new Float64Array(this.#blocks)
    this.#open = new Int32Array(this.#blocks)
    this.#whole = new Int32Array((devicesMax + 1) * this.#blocks)
    this.#part = new Int32Array((buckets + 1) * this.#blocks)
    this.#dirty = new Uint8Array(this.#blocks).fill(1)
    this.#anyDirty = Array.from({ length: this.#blocks }, (_, block) => block)
  }
}
