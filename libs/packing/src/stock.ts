import { devicesMax, type Free, type Host, HostClasses, type Placed, wholeMilli } from "./host.ts"

const slotsAtFirst = 64

/**
 * What every host has and what of it is free, in typed arrays: a slot for each host, used again when the host is gone.
 *
 * It keeps the books and judges nothing: what is taken beyond what there is leaves less than nothing free, and fits
 * nothing more.
 */
export class Stock {
  readonly classes = new HostClasses()
  readonly slotOf = new Map<string, number>()
  readonly hosts: Array<Host | undefined> = []
  /** By slot. -1 as class where there is no host. */
  classOf = new Int32Array(slotsAtFirst)
  cpuMilli = new Float64Array(slotsAtFirst)
  memoryMib = new Float64Array(slotsAtFirst)
  diskMib = new Float64Array(slotsAtFirst)
  open = new Uint8Array(slotsAtFirst)
  /** Devices of which nothing is taken, what is free of all, and of the one of which most is. */
  gpus = new Int32Array(slotsAtFirst)
  gpuMilli = new Int32Array(slotsAtFirst)
  largestMilli = new Int32Array(slotsAtFirst)
  /** `devicesMax` a slot: what may be taken of each device, and what is. */
  deviceMilli = new Int32Array(slotsAtFirst * devicesMax)
  readonly #empty: Array<number> = []
  #deviceTaken = new Int32Array(slotsAtFirst * devicesMax)
  #deviceShut = new Uint8Array(slotsAtFirst * devicesMax)
  /** A number that is another after every change of the slot's host. */
  version = new Float64Array(slotsAtFirst)
  #versions = 0
  /** What is free on open hosts, by class. */
  freeMilliOf = new Float64Array(0)

  get slots(): number {
    return this.hosts.length
  }

  put(host: Host): number {
    if (!Number.isInteger(host.gpus) || host.gpus < 0 || host.gpus > devicesMax) throw new RangeError(`host ${host.id} has ${host.gpus} devices: 0 to ${devicesMax} can be kept account of`)
    const slot = this.slotOf.get(host.id) ?? this.#newSlot(host.id)
    this.#leave(slot)
    const before = this.hosts[slot]
    this.hosts[slot] = host
    this.classOf[slot] = this.classes.numberOf(host)
    if (this.freeMilliOf.length < this.classes.all.length) this.freeMilliOf = grown(this.freeMilliOf, this.classes.all.length)
    this.cpuMilli[slot]! += host.cpuMilli - (before?.cpuMilli ?? 0)
    this.memoryMib[slot]! += host.memoryMib - (before?.memoryMib ?? 0)
    this.diskMib[slot]! += host.diskMib - (before?.diskMib ?? 0)
    this.open[slot] = host.open ? 1 : 0
    this.#count(slot)
    return slot
  }

  remove(slot: number): void {
    this.#leave(slot)
    this.slotOf.delete(this.hosts[slot]!.id)
    this.hosts[slot] = undefined
    this.classOf[slot] = -1
    this.cpuMilli[slot] = this.memoryMib[slot] = this.diskMib[slot] = 0
    this.open[slot] = 0
    this.#deviceTaken.fill(0, slot * devicesMax, (slot + 1) * devicesMax)
    this.#deviceShut.fill(0, slot * devicesMax, (slot + 1) * devicesMax)
    this.#count(slot)
    this.#empty.push(slot)
  }

  /** Takes what was placed, or gives it back where `times` is -1. */
  move(slot: number, { cpuMilli, diskMib, gpuMilli, gpus, memoryMib }: Placed, times: 1 | -1): void {
    this.#leave(slot)
    this.cpuMilli[slot]! -= times * cpuMilli
    this.memoryMib[slot]! -= times * memoryMib
    this.diskMib[slot]! -= times * diskMib
    for (const gpu of gpus) {
      if (!(gpu >= 0 && gpu < devicesMax)) throw new RangeError(`host ${this.hosts[slot]!.id} has no device ${gpu}`)
      this.#deviceTaken[slot * devicesMax + gpu]! += times * gpuMilli
    }
    this.#count(slot)
  }

  setOpen(slot: number, open: boolean): void {
    this.#leave(slot)
    this.open[slot] = open ? 1 : 0
    this.#count(slot)
  }

  shutDevices(slot: number, devices: ReadonlyArray<number>): void {
    this.#leave(slot)
    for (let device = 0; device < devicesMax; device += 1) this.#deviceShut[slot * devicesMax + device] = devices.includes(device) ? 1 : 0
    this.#count(slot)
  }

  shutDevicesOf(slot: number): ReadonlyArray<number> {
    return Array.from({ length: devicesMax }, (_, device) => device).filter((device) => this.#deviceShut[slot * devicesMax + device] === 1)
  }

  free(slot: number): Free {
    return {
      cpuMilli: this.cpuMilli[slot]!, memoryMib: this.memoryMib[slot]!, diskMib: this.diskMib[slot]!,
      gpus: this.gpus[slot]!, gpuMilli: this.gpuMilli[slot]!, largestMilli: this.largestMilli[slot]!
    }
  }

  /** Takes the slot's devices out of its class's sum, before they change. */
  #leave(slot: number): void {
    if (this.open[slot] === 1) this.freeMilliOf[this.classOf[slot]!]! -= this.gpuMilli[slot]!
  }

  /** Works out again what follows from the devices, and puts them into their class's sum. */
  #count(slot: number): void {
    const devices = this.hosts[slot]?.gpus ?? 0
    let whole = 0
    let sum = 0
    let most = 0
    for (let at = slot * devicesMax, device = 0; device < devicesMax; at += 1, device += 1) {
      const free = device < devices && this.#deviceShut[at] === 0 ? Math.max(0, wholeMilli - this.#deviceTaken[at]!) : 0
      this.deviceMilli[at] = free
      if (free === wholeMilli) whole += 1
      if (free > most) most = free
      sum += free
    }
    this.gpus[slot] = whole
    this.gpuMilli[slot] = sum
    this.largestMilli[slot] = most
    if (this.open[slot] === 1) this.freeMilliOf[this.classOf[slot]!]! += sum
    this.#versions += 1
    this.version[slot] = this.#versions
  }

  #newSlot(id: string): number {
    const slot = this.#empty.pop() ?? this.hosts.push(undefined) - 1
    this.slotOf.set(id, slot)
    if (slot < this.classOf.length) return slot
    const slots = 2 * this.classOf.length
    this.classOf = grown(this.classOf, slots)
    this.cpuMilli = grown(this.cpuMilli, slots)
    this.memoryMib = grown(this.memoryMib, slots)
    this.diskMib = grown(this.diskMib, slots)
    this.open = grown(this.open, slots)
    this.gpus = grown(this.gpus, slots)
    this.gpuMilli = grown(this.gpuMilli, slots)
    this.largestMilli = grown(this.largestMilli, slots)
    this.version = grown(this.version, slots)
    this.deviceMilli = grown(this.deviceMilli, slots * devicesMax)
    this.#deviceTaken = grown(this.#deviceTaken, slots * devicesMax)
    this.#deviceShut = grown(this.#deviceShut, slots * devicesMax)
    return slot
  }
}

const grown = <A extends Float64Array | Int32Array | Uint8Array>(old: A, length: number): A => {
  const larger = new (old.constructor as new (length: number) => A)(length)
  larger.set(old)
  return larger
}
