import { devicesMax, type Host } from "@millrace/packing"
import { type Arrival, milliOf } from "./openb.ts"

/** Where an arrival went: the place of its host in the list, and the devices. */
export interface Put {
  readonly host: number
  readonly gpus: ReadonlyArray<number>
}

/** Places one arrival and takes its room, or says that it fits nowhere. */
export type Policy = (arrival: Arrival) => Put | undefined

/** What the baselines know of the hosts: plain arrays, and nothing of ours. */
class Room {
  readonly hosts: ReadonlyArray<Host>
  readonly cpuMilli: Float64Array
  readonly memoryMib: Float64Array
  readonly free: Int32Array

  constructor(hosts: ReadonlyArray<Host>) {
    this.hosts = hosts
    this.cpuMilli = Float64Array.from(hosts, ({ cpuMilli }) => cpuMilli)
    this.memoryMib = Float64Array.from(hosts, ({ memoryMib }) => memoryMib)
    this.free = new Int32Array(hosts.length * devicesMax)
    for (const [at, { gpus }] of hosts.entries()) this.free.fill(1000, at * devicesMax, at * devicesMax + gpus)
  }

  fits({ cpuMilli, deviceMilli, devices, memoryMib, models }: Arrival, host: number): boolean {
    if (this.cpuMilli[host]! < cpuMilli || this.memoryMib[host]! < memoryMib) return false
    if (devices === 0) return true
    const { gpuModel } = this.hosts[host]!
    if (models.length > 0 && (gpuModel === undefined || !models.includes(gpuModel))) return false
    let fitting = 0
    for (let at = host * devicesMax; at < (host + 1) * devicesMax; at += 1) if (this.free[at]! >= deviceMilli) fitting += 1
    return fitting >= devices
  }

  firstDevices({ deviceMilli, devices }: Arrival, host: number): Array<number> {
    const gpus: Array<number> = []
    for (let gpu = 0; gpus.length < devices; gpu += 1) if (this.free[host * devicesMax + gpu]! >= deviceMilli) gpus.push(gpu)
    return gpus
  }

  take({ cpuMilli, deviceMilli, memoryMib }: Arrival, { gpus, host }: Put): void {
    this.cpuMilli[host]! -= cpuMilli
    this.memoryMib[host]! -= memoryMib
    for (const gpu of gpus) this.free[host * devicesMax + gpu]! -= deviceMilli
  }
}

/** The first host by name with room, and its first devices. */
export const firstFit = (hosts: ReadonlyArray<Host>): Policy => {
  const room = new Room(hosts)
  return (arrival) => {
    for (let host = 0; host < hosts.length; host += 1) {
      if (!room.fits(arrival, host)) continue
      const put = { host, gpus: room.firstDevices(arrival, host) }
      room.take(arrival, put)
      return put
    }
    return undefined
  }
}

interface Typical {
  readonly arrival: Arrival
  readonly share: number
}

const shapeOf = ({ cpuMilli, deviceMilli, devices, memoryMib, models }: Arrival): string => `${cpuMilli} ${memoryMib} ${devices}x${deviceMilli} ${models.join("|")}`

/** The most frequent shapes that together are 95 % of all arrivals, known beforehand as in the paper. */
const typicalOf = (arrivals: ReadonlyArray<Arrival>): ReadonlyArray<Typical> => {
  const counts = new Map<string, { readonly arrival: Arrival; count: number }>()
  for (const arrival of arrivals) {
    const seen = counts.get(shapeOf(arrival))
    if (seen === undefined) counts.set(shapeOf(arrival), { arrival, count: 1 })
    else seen.count += 1
  }
  const sorted = [...counts.values()].sort((left, right) => right.count - left.count)
  let covered = 0
  const typical = sorted.filter(({ count }) => {
    if (covered >= 0.95 * arrivals.length) return false
    covered += count
    return true
  })
  return typical.map(({ arrival, count }) => ({ arrival, share: count / covered }))
}

/**
 * Fragmentation gradient descent as published (Weng et al., USENIX ATC 2023): the host where the fragments that typical
 * tasks leave grow least, scored by trunc(100 · sigmoid(Δ / 1000)), the device inside it by the same score, the
 * smallest name among equals. The typical tasks are those of the whole trace.
 */
export const gradientDescent = (hosts: ReadonlyArray<Host>, arrivals: ReadonlyArray<Arrival>): Policy => {
  const room = new Room(hosts)
  const typical = typicalOf(arrivals)
  const version = new Int32Array(hosts.length)
  const before = hosts.map(() => ({ version: -1, milli: 0 }))
  const known = new Map<string, { readonly score: Float64Array; readonly gpu: Int8Array; readonly version: Int32Array }>()

  const fragments = (host: number, cpuMilli: number, free: ReadonlyArray<number>): number => {
    const sum = free.reduce((all, milli) => all + milli, 0)
    const { gpuModel } = hosts[host]!
    let milli = 0
    for (const { arrival, share } of typical) {
      const { deviceMilli, devices, models } = arrival
      let fitting = 0
      let usable = 0
      if (devices > 0 && cpuMilli >= arrival.cpuMilli && (models.length === 0 || models.includes(gpuModel!))) {
        for (const device of free) {
          if (device < deviceMilli) continue
          fitting += 1
          usable += device
        }
      }
      milli += share * (devices > 0 && fitting >= devices ? sum - usable : sum)
    }
    return milli
  }

  const scored = (arrival: Arrival, host: number): { readonly score: number; readonly gpu: number } => {
    const free = Array.from(room.free.subarray(host * devicesMax, host * devicesMax + hosts[host]!.gpus))
    if (before[host]!.version !== version[host]) before[host] = { version: version[host]!, milli: fragments(host, room.cpuMilli[host]!, free) }
    const scoreOf = (after: ReadonlyArray<number>) => Math.trunc(100 / (1 + Math.exp(-(before[host]!.milli - fragments(host, room.cpuMilli[host]! - arrival.cpuMilli, after)) / 1000)))
    if (arrival.devices !== 1 || arrival.deviceMilli === 1000) {
      const gpus = room.firstDevices(arrival, host)
      return { score: scoreOf(free.map((milli, gpu) => (gpus.includes(gpu) ? 0 : milli))), gpu: -1 }
    }
    let best = { score: -1, gpu: -1 }
    for (const [gpu, milli] of free.entries()) {
      if (milli < arrival.deviceMilli || free.indexOf(milli) < gpu) continue
      const score = scoreOf(free.map((other, at) => (at === gpu ? other - arrival.deviceMilli : other)))
      if (score > best.score) best = { score, gpu }
    }
    return best
  }

  return (arrival) => {
    const shape = shapeOf(arrival)
    let scores = known.get(shape)
    if (scores === undefined) {
      scores = { score: new Float64Array(hosts.length), gpu: new Int8Array(hosts.length), version: new Int32Array(hosts.length).fill(-1) }
      known.set(shape, scores)
    }
    let best = -1
    for (let host = 0; host < hosts.length; host += 1) {
      if (!room.fits(arrival, host)) continue
      if (scores.version[host] !== version[host]) {
        const { gpu, score } = scored(arrival, host)
        scores.score[host] = score
        scores.gpu[host] = gpu
        scores.version[host] = version[host]!
      }
      if (best < 0 || scores.score[host]! > scores.score[best]!) best = host
    }
    if (best < 0) return undefined
    const put = { host: best, gpus: scores.gpu[best]! >= 0 ? [scores.gpu[best]!] : room.firstDevices(arrival, best) }
    room.take(arrival, put)
    version[best]! += 1
    return put
  }
}

export interface Filled {
  /** Of all devices, how much is given out when as much has been asked for as there is, in per cent. */
  readonly allocationPercent: number
  readonly placed: number
  readonly refused: number
  readonly decisionsPerSecond: number
  readonly puts: ReadonlyArray<Put | undefined>
}

/** Lets a policy place all arrivals in their order, and nothing ever leaves. */
export const filled = (hosts: ReadonlyArray<Host>, arrivals: ReadonlyArray<Arrival>, policy: Policy): Filled => {
  const capacity = hosts.reduce((sum, { gpus }) => sum + gpus * 1000, 0)
  const beganMs = performance.now()
  const puts = arrivals.map(policy)
  const tookMs = performance.now() - beganMs
  let arrived = 0
  let given = 0
  for (const [at, arrival] of arrivals.entries()) {
    if (arrived >= capacity) break
    arrived += milliOf(arrival)
    if (puts[at] !== undefined) given += milliOf(arrival)
  }
  const placed = puts.filter((put) => put !== undefined).length
  return { allocationPercent: (100 * given) / capacity, placed, refused: puts.length - placed, decisionsPerSecond: Math.round(arrivals.length / tookMs * 1000), puts }
}
