import { type Choice, type Mark, type Mix, Fleet as Packing, type Placed as Taken, type Request, type Starts } from "@millrace/packing"
import { type AttemptId, type GpuNamed, isolationOf, type Resources, residencyOf } from "@millrace/schemas"
import { kindsOf } from "./ask.ts"
import { networkOffered } from "./gang-network.ts"
import type { Held, HostState, Rented } from "./world.ts"

/** A host, and its devices by their numbers. */
type Chosen = Choice & { readonly on: HostState; readonly devices: ReadonlyArray<number> }

/** All of one device, in its thousandths. */
const whole = 1000

/**
 * The hosts as the packing sees them. What is known of a host and what it holds is the world's; this keeps the
 * packing's account of it, which follows from the world alone, whatever the order in which that was told.
 */
export class Fleet {
  readonly #known = new Map<string, HostState>()
  readonly #packing: Packing
  #frozen: (host: HostState) => boolean = () => false

  constructor(mix: Mix) {
    this.#packing = new Packing(mix)
  }

  /** How many hosts somebody has spoken of. */
  get size(): number {
    return this.#known.size
  }

  get hosts(): Iterable<HostState> {
    return this.#known.values()
  }

  /** What is typical, learnt from what was submitted. */
  get mix(): Mix {
    return this.#packing.mix
  }

  /** Hosts of which something cannot be read take nothing. */
  frozenBy(frozen: (host: HostState) => boolean): void {
    this.#frozen = frozen
    for (const host of this.#known.values()) this.changed(host)
  }

  add(host: HostState): void {
    this.#known.set(host.id, host)
    if (host.joined !== undefined) this.joined(host)
  }

  /** It said anew what it has: what it holds is taken from that. */
  joined(host: HostState): void {
    if (this.#packing.has(host.id)) this.#packing.removeHost(host.id)
    this.#packing.addHost(this.#described(host))
    this.#packing.shutDevices(host.id, shutOn(host))
    for (const held of host.holds.values()) {
      held.taken = undefined
      this.hold(host, held)
    }
  }

  /** It may take work now or no more, or stands elsewhere than was known. */
  changed(host: HostState): void {
    if (this.#packing.has(host.id)) this.#packing.changeHost(this.#described(host))
  }

  /** Other devices than before are under suspicion. */
  suspectsChanged(host: HostState): void {
    if (this.#packing.has(host.id)) this.#packing.shutDevices(host.id, shutOn(host))
  }

  hold(host: HostState, held: Held): void {
    if (held.taken !== undefined || !this.#packing.has(host.id)) return
    held.taken = takenBy(host, held)
    this.#packing.take(host.id, held.taken)
  }

  letGo(host: HostState, held: Held): void {
    if (held.taken === undefined) return
    this.#packing.release(host.id, held.taken)
    held.taken = undefined
  }

  /** Until `giveBack` whatever is taken and shut is so for the round alone: deciding changes nothing. */
  begin(): Mark {
    return this.#packing.mark()
  }

  giveBack(mark: Mark): void {
    this.#packing.rollback(mark)
  }

  choose(request: Request, starts?: Starts): Chosen | undefined {
    return this.#named(this.#packing.choose(request, starts))
  }

  /** The same where it must be this host. */
  chooseOn(host: HostState, request: Request): Chosen | undefined {
    return this.#named(this.#packing.chooseOn(host.id, request))
  }

  #named(choice: Choice | undefined): Chosen | undefined {
    if (choice === undefined) return undefined
    const on = this.#known.get(choice.host)!
    const devices = devicesOf(on)
    return { ...choice, on, devices: choice.placed.gpus.map((at) => devices[at]!.index) }
  }

  /** Whether a host takes new work and has room for this now. */
  fits(host: HostState, request: Request): boolean {
    return this.#packing.fits(host.id, request)
  }

  hasRoom(request: Request): boolean {
    return this.#packing.hasRoom(request)
  }

  take(choice: Choice): void {
    this.#packing.take(choice.host, choice.placed)
  }

  /** Takes nothing more in this round. */
  shut(host: HostState): void {
    if (this.#packing.has(host.id)) this.#packing.setOpen(host.id, false)
  }

  /** Takes again what fits. */
  open(host: HostState): void {
    if (this.#packing.has(host.id)) this.#packing.setOpen(host.id, mayTake(host) && !this.#frozen(host))
  }

  /** What would be free on a host without some of what it holds. */
  freeWithout(host: HostState, gone: Iterable<AttemptId>): Resources & { readonly largestMilli: number } {
    const before = this.#packing.mark()
    for (const attemptId of gone) {
      const taken = host.holds.get(attemptId)?.taken
      if (taken !== undefined) this.#packing.release(host.id, taken)
    }
    const free = this.free(host)
    this.#packing.rollback(before)
    return free
  }

  /** What is free, whole devices counted. */
  free(host: HostState): Resources & { readonly largestMilli: number } {
    if (!this.#packing.has(host.id)) return { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0, largestMilli: 0 }
    const { cpuMilli, diskMib, largestMilli, gpus, memoryMib } = this.#packing.free(host.id)
    return { cpuMilli, memoryMib, diskMib, gpus, largestMilli }
  }

  /** The hosts that take such work, and would have the room if they were empty. */
  able(request: Request): ReadonlyArray<HostState> {
    return this.#packing.able(request).map((id) => this.#known.get(id)!)
  }

  #described(host: HostState): Parameters<Packing["addHost"]>[0] {
    const { capabilities: { resources, runtimes, trusts }, dialect } = host.joined!
    const devices = devicesOf(host)
    const [first] = devices
    return {
      id: host.id,
      cpuMilli: resources.cpuMilli,
      memoryMib: resources.memoryMib,
      diskMib: resources.diskMib,
      gpus: devices.length,
      ...(first === undefined ? {} : { gpuModel: first.model, gpuMemoryMib: first.memoryMib }),
      kinds: kindsOf({ runtimes, trusts, dialect }),
      labels: labelsOf(host.joined!.capabilities.labels, host.rented),
      open: mayTake(host) && !this.#frozen(host)
    }
  }
}

/** Whether a host takes new work at all. */
export const mayTake = (host: HostState): boolean =>
  host.admitted && !host.dismissed && !host.leaving && !host.takenBack && host.joined !== undefined && (host.lost === undefined || host.lost.returned)

/** The packing counts no more devices of one host. */
const devicesMax = 16

/** Its devices in the order of their numbers: the packing knows each by its place here. */
export const devicesOf = ({ joined }: HostState): ReadonlyArray<GpuNamed & { readonly index: number; readonly memoryMib: number }> =>
  [...joined?.capabilities.gpus ?? []].sort((left, right) => left.index - right.index).slice(0, devicesMax)

/** Where a host stands and how surely. What its broker says of a rented machine goes before what the host says itself. */
export const labelsOf = (own: Readonly<Record<string, string>>, rented: Rented | undefined): Readonly<Record<string, string>> => {
  const zone = rented?.zone ?? own["zone"]
  const fabric = rented?.fabric ?? own["fabric"]
  const provider = rented?.provider ?? own["provider"]
  const region = rented?.region ?? own["region"]
  const residency = rented === undefined ? own["residency"] ?? (region === undefined ? undefined : residencyOf(region)) : region === undefined ? undefined : residencyOf(region)
  const network = networkOffered(own)
  const spot = rented === undefined ? own["market"] === "spot" : rented.spot
  return {
    // What members of a gang may have to share.
    ...(zone === undefined ? {} : { zone }),
    ...(fabric === undefined ? {} : { fabric }),
    ...(provider === undefined ? {} : { provider }),
    ...(region === undefined ? {} : { region }),
    ...(residency === undefined ? {} : { residency }),
    isolation: isolationOf(own),
    ...(network === undefined ? {} : { network }),
    spot: spot ? "yes" : "no"
  }
}

/** Places of devices that take nothing new: those in quarantine, and those of another model than the first. */
const shutOn = (host: HostState): ReadonlyArray<number> => {
  const devices = devicesOf(host)
  return devices.flatMap(({ index, memoryMib, model }, at) =>
    host.quarantined.has(index) || model !== devices[0]!.model || memoryMib !== devices[0]!.memoryMib ? [at] : [])
}

/** What an attempt takes of its host. A device that the host no longer has cannot be taken. */
const takenBy = (host: HostState, { gpus, resources: { cpuMilli, diskMib, gpuMilli = 0, memoryMib } }: Held): Taken => {
  const devices = devicesOf(host)
  const places = gpus.map((number) => devices.findIndex(({ index }) => index === number)).filter((at) => at >= 0)
  return { cpuMilli, memoryMib, diskMib, gpuMilli: places.length === 0 ? 0 : gpuMilli > 0 ? gpuMilli : whole, gpus: places }
}
