import { type HostClass, wholeMilli } from "./host.ts"
import type { Typical } from "./mix.ts"
import { rankOf, sizeOf } from "./request.ts"

/** Typical tasks that ask alike of devices: how many of them, and what CPU and memory each wants. */
interface Group {
  readonly devices: number
  readonly milli: number
  readonly cpuMilli: Array<number>
  readonly memoryMib: Array<number>
  readonly count: Array<number>
  countSum: number
  cpuMilliMost: number
  memoryMibMost: number
}

/**
 * How much of a host's free devices typical tasks could use, for hosts of one class.
 *
 * The fragmentation of Weng et al. (Beware of Fragmentation, USENIX ATC 2023, section 4) is what is free less what is
 * usable, for each typical task in turn: nothing of the host where the task does not fit; else what is free on devices
 * that are each free enough for it. Here memory is looked at beside CPU. All amounts are whole numbers: milli-devices
 * times the number of typical tasks.
 */
export class Usable {
  readonly #groups: ReadonlyArray<Group>
  /** By group: how many of its tasks fit in CPU and memory, and what of the devices is usable. */
  readonly #fitting: Float64Array
  readonly #milli: Float64Array
  #whole = 0

  constructor(typical: ReadonlyArray<Typical>, host: HostClass) {
    const groups = new Map<string, Group>()
    for (const { count, request } of typical) {
      const { cpuMilli, deviceMilli, devices, memoryMib } = sizeOf(request)
      if (devices === 0 || rankOf(request, host) < 0) continue
      const key = `${devices}x${deviceMilli}`
      let group = groups.get(key)
      if (group === undefined) {
        group = { devices, milli: deviceMilli, cpuMilli: [], memoryMib: [], count: [], countSum: 0, cpuMilliMost: 0, memoryMibMost: 0 }
        groups.set(key, group)
      }
      group.cpuMilli.push(cpuMilli)
      group.memoryMib.push(memoryMib)
      group.count.push(count)
      group.countSum += count
      group.cpuMilliMost = Math.max(group.cpuMilliMost, cpuMilli)
      group.memoryMibMost = Math.max(group.memoryMibMost, memoryMib)
    }
    this.#groups = [...groups.values()]
    this.#fitting = new Float64Array(this.#groups.length)
    this.#milli = new Float64Array(this.#groups.length)
  }

  /** Says what CPU and memory the host has free, for what is asked next, behind what its devices have. */
  beside(cpuMilli: number, memoryMib: number): void {
    for (let at = 0; at < this.#groups.length; at += 1) {
      const group = this.#groups[at]!
      // Where no device is free enough CPU and memory are worth nothing, nor will they be when less is free.
      if (this.#milli[at] === 0) continue
      if (cpuMilli >= group.cpuMilliMost && memoryMib >= group.memoryMibMost) {
        this.#fitting[at] = group.countSum
        continue
      }
      let fitting = 0
      for (let one = 0; one < group.count.length; one += 1) {
        if (cpuMilli >= group.cpuMilli[one]! && memoryMib >= group.memoryMib[one]!) fitting += group.count[one]!
      }
      this.#fitting[at] = fitting
    }
  }

  /** Says what each device has free: `count` values of `milli`, from `from` on. */
  on(milli: Int32Array, from: number, count: number): void {
    this.#whole = 0
    for (let device = from; device < from + count; device += 1) if (milli[device] === wholeMilli) this.#whole += 1
    for (let at = 0; at < this.#groups.length; at += 1) {
      const group = this.#groups[at]!
      if (group.milli === wholeMilli) {
        this.#milli[at] = this.#whole >= group.devices ? this.#whole * wholeMilli : 0
        continue
      }
      let usable = 0
      for (let device = from; device < from + count; device += 1) if (milli[device]! >= group.milli) usable += milli[device]!
      this.#milli[at] = usable
    }
  }

  now(): number {
    let sum = 0
    for (let at = 0; at < this.#groups.length; at += 1) sum += this.#fitting[at]! * this.#milli[at]!
    return sum
  }

  /** If so many whole devices were taken. */
  withoutWhole(devices: number): number {
    const whole = this.#whole - devices
    let sum = 0
    for (let at = 0; at < this.#groups.length; at += 1) {
      const group = this.#groups[at]!
      if (group.milli < wholeMilli) sum += this.#fitting[at]! * (this.#milli[at]! - devices * wholeMilli)
      else if (whole >= group.devices) sum += this.#fitting[at]! * whole * wholeMilli
    }
    return sum
  }

  /** If so much were taken of one device that has `free` now. */
  withoutPart(free: number, milli: number): number {
    const left = free - milli
    const whole = free === wholeMilli ? this.#whole - 1 : this.#whole
    let sum = 0
    for (let at = 0; at < this.#groups.length; at += 1) {
      const group = this.#groups[at]!
      if (group.milli === wholeMilli) {
        if (whole >= group.devices) sum += this.#fitting[at]! * whole * wholeMilli
      } else sum += this.#fitting[at]! * (this.#milli[at]! - (free >= group.milli ? free : 0) + (left >= group.milli ? left : 0))
    }
    return sum
  }
}
