import type { Choice, Starts } from "../fleet.ts"
import { type Host, HostClasses, type Placed } from "../host.ts"
import type { Mix, Typical } from "../mix.ts"
import { Patterns } from "../patterns.ts"
import { rankOf, type Request, type Size, sizeOf, unmetAt } from "../request.ts"
import { usualWeights } from "../weights.ts"

/** A host and everything that was taken of it, as a list. */
export interface PlainHost {
  host: Host
  taken: Array<Placed>
  shut: ReadonlyArray<number>
}

interface Room {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly diskMib: number
  readonly devices: ReadonlyArray<number>
}

/** What is free on a host, added up from all that was taken of it. */
export const roomOf = ({ host, shut, taken }: PlainHost): Room => {
  const sum = (of: (placed: Placed) => number) => taken.reduce((all, placed) => all + of(placed), 0)
  return {
    cpuMilli: host.cpuMilli - sum(({ cpuMilli }) => cpuMilli),
    memoryMib: host.memoryMib - sum(({ memoryMib }) => memoryMib),
    diskMib: host.diskMib - sum(({ diskMib }) => diskMib),
    devices: Array.from({ length: host.gpus }, (_, device) =>
      shut.includes(device) ? 0 : Math.max(0, 1000 - sum(({ gpuMilli, gpus }) => (gpus.includes(device) ? gpuMilli : 0))))
  }
}

const classOf = (host: Host) => {
  const classes = new HostClasses()
  return classes.all[classes.numberOf(host)]!
}

const fits = ({ cpuMilli, deviceMilli, devices, diskMib, memoryMib }: Size, room: Room): boolean =>
  room.cpuMilli >= cpuMilli && room.memoryMib >= memoryMib && room.diskMib >= diskMib && room.devices.filter((milli) => milli >= deviceMilli).length >= devices

/** What typical tasks could use of the devices, one task after another. */
const usable = (typical: ReadonlyArray<Typical>, host: Host, { cpuMilli, devices, memoryMib }: Room): number =>
  typical.reduce((all, { count, request }) => {
    const size = sizeOf(request)
    const good = devices.filter((milli) => milli >= size.deviceMilli)
    const may = size.devices > 0 && rankOf(request, classOf(host)) >= 0 && cpuMilli >= size.cpuMilli && memoryMib >= size.memoryMib && good.length >= size.devices
    return all + (may ? count * good.reduce((sum, milli) => sum + milli, 0) : 0)
  }, 0)

const after = (room: Room, { cpuMilli, deviceMilli, memoryMib }: Size, gpus: ReadonlyArray<number>): Room => ({
  ...room, cpuMilli: room.cpuMilli - cpuMilli, memoryMib: room.memoryMib - memoryMib,
  devices: room.devices.map((milli, device) => (gpus.includes(device) ? milli - deviceMilli : milli))
})

/** The price of a host's class, from everybody's free devices and everybody's demand. */
const priceOf = (typical: ReadonlyArray<Typical>, hosts: ReadonlyArray<PlainHost>, at: Host): number => {
  const freeOf = (may: (host: Host) => boolean) => hosts.filter(({ host }) => host.open && may(host)).reduce((all, one) => all + roomOf(one).devices.reduce((sum, milli) => sum + milli, 0), 0)
  const demand = (request: Request) => sizeOf(request).devices * sizeOf(request).deviceMilli
  const allDemand = typical.reduce((sum, { count, request }) => sum + count * demand(request), 0)
  const allFree = freeOf(() => true)
  if (allDemand === 0 || allFree === 0) return 0
  const sum = typical.reduce((price, { count, request }) => {
    const may = (host: Host) => rankOf(request, classOf(host)) >= 0
    const free = freeOf(may)
    return demand(request) > 0 && may(at) && free > 0 ? price + (count * demand(request) * allFree) / (allDemand * free) : price
  }, 0)
  return Math.min(4, Math.sqrt(sum))
}

/** Every way to place the request on a host, of the sort that is considered: whole devices from the first on, a part on any. */
const waysOn = (size: Size, room: Room): ReadonlyArray<ReadonlyArray<number>> => {
  const good = room.devices.flatMap((milli, device) => (milli >= size.deviceMilli ? [device] : []))
  if (size.devices === 0) return [[]]
  return size.deviceMilli === 1000 ? [good.slice(0, size.devices)] : good.map((device) => [device])
}

/**
 * `choose` once more as it is described, without a cache, an index or an array kept from before: slow, and what the fast
 * one is held against. Gives the points of every way beside the best, as sums of rounding may differ in their last place.
 */
export const plainChoice = (hosts: ReadonlyArray<PlainHost>, mix: Mix, request: Request, starts?: Starts): Pick<Choice, "host" | "placed"> & { readonly points: number } | undefined => {
  const { typical } = mix
  const size = sizeOf(request)
  const patterns = new Patterns(typical)
  const sum = typical.reduce((all, { count }) => all + count, 0)
  const { restTimes, scarcityPoints, startPointsPerSecond, stepMilli } = usualWeights
  const able = hosts.filter((one) => one.host.open && rankOf(request, classOf(one.host)) >= 0 && fits(size, roomOf(one)))
  const rank = Math.min(...able.map(({ host }) => rankOf(request, classOf(host))))
  const ways = able.filter(({ host }) => rankOf(request, classOf(host)) === rank).flatMap((one) => {
    const room = roomOf(one)
    const free = room.devices.reduce((all, milli) => all + milli, 0)
    const others = unmetAt(request, classOf(one.host)).reduce((all, { weight }) => all + weight!, 0) +
      (size.devices === 0 ? 0 : Math.round(priceOf(typical, hosts, one.host) * size.devices * size.deviceMilli * scarcityPoints) / 1000) +
      (starts === undefined ? 0 : (starts.at.get(one.host.id) ?? starts.usualMs) * startPointsPerSecond / 1000)
    return waysOn(size, room).map((gpus) => {
      const less = usable(typical, one.host, room) - usable(typical, one.host, after(room, size, gpus))
      const steps = sum === 0 || free === 0 ? 0 : -Math.floor((size.devices * size.deviceMilli * sum - less) / (stepMilli * sum))
      const part = size.devices === 1 && size.deviceMilli < 1000
      const rest = part ? Math.round((patterns.cost(room.devices[gpus[0]!]!, size.deviceMilli) - patterns.cost(1000, size.deviceMilli)) * 1000) : 0
      return { host: one.host.id, gpus, free, points: others + (steps * stepMilli + rest * restTimes) / 10 }
    })
  })
  const [best] = ways.sort((left, right) => Math.round((left.points - right.points) * 1000) || left.free - right.free || (left.host < right.host ? -1 : left.host > right.host ? 1 : left.gpus[0]! - right.gpus[0]!))
  return best && { host: best.host, points: best.points, placed: { cpuMilli: size.cpuMilli, memoryMib: size.memoryMib, diskMib: size.diskMib, gpuMilli: size.deviceMilli, gpus: best.gpus } }
}
