import { CostBook, type Costs } from "./costs.ts"
import { devicesMax, type Free, type Host, type Placed, wholeMilli } from "./host.ts"
import { Line, type Places } from "./line.ts"
import { Mix } from "./mix.ts"
import { keyOfSize, keyOfTerms, rankOf, type Request, type Size, sizeOf, unmetAt } from "./request.ts"
import { Stock } from "./stock.ts"
import { usualWeights, type Weights } from "./weights.ts"

/** When a task would start on each host: its waiting and loading, in ms; `usualMs` where the host is not named. */
export interface Starts {
  readonly usualMs: number
  readonly at: ReadonlyMap<string, number>
}

/** Where a request goes, and why there. */
export interface Choice {
  readonly host: string
  /** What it takes there, for `take` and `release`. */
  readonly placed: Placed
  readonly reason: Reason
}

/** The parts of a choice. Points add up: the least wins, and of equals the fullest in devices, then the first by id. */
export interface Reason {
  /** Hosts that had room and were compared. */
  readonly fitting: number
  /** Which of the request's fallbacks it is; 0 is the first. */
  readonly fallback: number
  readonly points: number
  /** What later work of the usual kind cannot use any more: a device is 100 points, and more where it is cut badly. */
  readonly fragmentation: number
  /** What the devices are worth to those who can use no others. */
  readonly scarcity: number
  readonly start: number
  readonly preferences: number
  readonly startMs: number
  /** Labels that were preferred in vain. */
  readonly unmet: ReadonlyArray<string>
}

/** A moment to which takes and the like can be undone. */
export interface Mark {
  readonly depth: number
  readonly undone: number
}

/** Terms as they were worked out for the classes of hosts known so far. */
interface Terms {
  ranks: Int8Array
  preferenceMilli: Float64Array
  known: number
  rankMax: number
  /** By rank. */
  readonly places: Array<Places | undefined>
}

/** Terms that are kept; requests with ever new labels do not fill the memory. */
const termsMax = 1024
const milli = 1000

/**
 * The hosts, what is free on them, and where the next request goes.
 *
 * `choose` is a function of the hosts, of what is taken, of the mix and of its arguments: who came first, what was
 * asked before and what was undone since have no part in it. Everything compared is a whole number, so the same log
 * read on another machine gives the same placements.
 *
 * The least of four parts wins: fragmentation as in Weng et al. (Beware of Fragmentation, USENIX ATC 2023), in steps;
 * with what the rest of a device that is cut is worth; scarcity, the opportunity cost of the devices' class; the
 * estimated start; labels preferred in vain.
 */
export class Fleet {
  readonly mix: Mix
  readonly #weights: Weights
  readonly #stock = new Stock()
  readonly #line = new Line(this.#stock)
  readonly #costs: CostBook
  readonly #terms = new Map<string, Terms>()
  /** Slots of the hosts with room for the request at hand. */
  #fitting = new Int32Array(0)
  readonly #first = new Int32Array(1)
  readonly #undo: Array<() => void> = []
  #marks = 0

  constructor(mix = new Mix(), weights: Weights = usualWeights) {
    this.mix = mix
    this.#weights = weights
    this.#costs = new CostBook(this.#stock, mix, weights)
  }

  get size(): number {
    return this.#stock.slotOf.size
  }

  has(id: string): boolean {
    return this.#stock.slotOf.has(id)
  }

  ids(): ReadonlyArray<string> {
    return Array.from(this.#line.slots, (slot) => this.#stock.hosts[slot]!.id)
  }

  host(id: string): Host | undefined {
    const slot = this.#stock.slotOf.get(id)
    return slot === undefined ? undefined : this.#stock.hosts[slot]
  }

  /** Throws a RangeError for a host that is there already, or has more devices than are kept account of. */
  addHost(host: Host): void {
    if (this.has(host.id)) throw new RangeError(`host ${host.id} is in the fleet already: change it instead`)
    this.#stock.put(host)
    this.#line.joinedOrLeft()
  }

  /** Gives a host other sizes, labels and so on. What is taken of it stays taken, and devices that are shut stay shut. */
  changeHost(host: Host): void {
    const slot = this.#slotOf(host.id)
    const before = this.#stock.classOf[slot]
    this.#stock.put(host)
    this.#line.changed(slot)
    if (this.#stock.classOf[slot] !== before) this.#line.reclassed()
  }

  /** Forgets a host and what is taken of it. Of an unknown one it does nothing. */
  removeHost(id: string): void {
    const slot = this.#stock.slotOf.get(id)
    if (slot === undefined) return
    this.#stock.remove(slot)
    this.#line.joinedOrLeft()
  }

  take(id: string, placed: Placed): void {
    this.#move(id, placed, 1)
  }

  release(id: string, placed: Placed): void {
    this.#move(id, placed, -1)
  }

  setOpen(id: string, open: boolean): void {
    const slot = this.#slotOf(id)
    const before = this.#stock.open[slot] === 1
    if (before === open) return
    if (this.#marks > 0) this.#undo.push(() => this.setOpen(id, before))
    this.#stock.setOpen(slot, open)
    this.#line.changed(slot)
  }

  /** Nothing new goes to these devices of a host, and to none but these. What is taken of them can be released. */
  shutDevices(id: string, devices: ReadonlyArray<number>): void {
    const slot = this.#slotOf(id)
    const before = this.#stock.shutDevicesOf(slot)
    if (this.#marks > 0) this.#undo.push(() => this.shutDevices(id, before))
    this.#stock.shutDevices(slot, devices)
    this.#line.changed(slot)
  }

  free(id: string): Free {
    return this.#stock.free(this.#slotOf(id))
  }

  /** From here on `rollback` can undo what is taken, released, opened and shut. Marks nest. */
  mark(): Mark {
    this.#marks += 1
    return { depth: this.#marks, undone: this.#undo.length }
  }

  /** Undoes everything since the mark, and ends it with all marks that were made after it. */
  rollback(mark: Mark): void {
    const since = this.#undo.splice(mark.undone)
    this.#marks = 0
    for (let undo = since.pop(); undo !== undefined; undo = since.pop()) undo()
    this.#end(mark)
  }

  /** Ends the mark and leaves everything as it is; a mark around it can still undo it. */
  keep(mark: Mark): void {
    this.#end(mark)
  }

  /** The open hosts that would have room for the request if they were empty, by id. */
  able(request: Request): ReadonlyArray<string> {
    const size = sizeOf(request)
    const { ranks } = this.#termsOf(request)
    return Array.from(this.#line.slots, (slot) => slot).filter((slot) => {
      const host = this.#stock.hosts[slot]!
      return this.#stock.open[slot] === 1 && ranks[this.#stock.classOf[slot]!]! >= 0 && host.cpuMilli >= size.cpuMilli &&
        host.memoryMib >= size.memoryMib && host.diskMib >= size.diskMib && host.gpus >= size.devices
    }).map((slot) => this.#stock.hosts[slot]!.id)
  }

  /** Whether a host is open and has room for the request now. */
  fits(id: string, request: Request): boolean {
    const slot = this.#stock.slotOf.get(id)
    if (slot === undefined || this.#stock.open[slot] === 0) return false
    const { cpuMilli, deviceMilli, devices, diskMib, memoryMib } = sizeOf(request)
    const { classOf, cpuMilli: cpuFree, diskMib: diskFree, gpus, largestMilli, memoryMib: memoryFree } = this.#stock
    return this.#termsOf(request).ranks[classOf[slot]!]! >= 0 && cpuFree[slot]! >= cpuMilli && memoryFree[slot]! >= memoryMib && diskFree[slot]! >= diskMib &&
      (deviceMilli === wholeMilli ? gpus[slot]! >= devices : largestMilli[slot]! >= deviceMilli)
  }

  /** Whether any open host has room for the request now. */
  hasRoom(request: Request): boolean {
    const size = sizeOf(request)
    if (size.devices > devicesMax) return false
    const terms = this.#termsOf(request)
    for (let rank = 0; rank <= terms.rankMax; rank += 1) {
      const places = terms.places[rank] = this.#line.placesOf(terms.places[rank], terms.ranks, rank)
      if (this.#line.fitting(size, places, this.#first) > 0) return true
    }
    return false
  }

  /** Where the request goes now, if any open host has room for it. Changes nothing. */
  choose(request: Request, starts?: Starts): Choice | undefined {
    const size = sizeOf(request)
    if (size.devices > devicesMax) return undefined
    const terms = this.#termsOf(request)
    if (this.#fitting.length < this.#stock.slots) this.#fitting = new Int32Array(this.#stock.classOf.length)
    for (let rank = 0; rank <= terms.rankMax; rank += 1) {
      const places = terms.places[rank] = this.#line.placesOf(terms.places[rank], terms.ranks, rank)
      const fitting = this.#line.fitting(size, places, this.#fitting)
      if (fitting > 0) return this.#leastOf(fitting, request, size, terms, rank, starts)
    }
    return undefined
  }

  /** The same where it must be this host. */
  chooseOn(id: string, request: Request): Choice | undefined {
    if (!this.fits(id, request)) return undefined
    const slot = this.#slotOf(id)
    const terms = this.#termsOf(request)
    if (this.#fitting.length === 0) this.#fitting = new Int32Array(this.#stock.classOf.length)
    this.#fitting[0] = slot
    return this.#leastOf(1, request, sizeOf(request), terms, terms.ranks[this.#stock.classOf[slot]!]!, undefined)
  }

  #leastOf(fitting: number, request: Request, size: Size, terms: Terms, rank: number, starts: Starts | undefined): Choice {
    const stock = this.#stock
    const costs = this.#costs.of(keyOfSize(size))
    const prices = size.devices === 0 ? undefined : this.#costs.prices()
    const ofClass = terms.preferenceMilli.map((preference, hostClass) => preference + (prices === undefined ? 0 : this.#scarcityMilli(prices[hostClass]!, size)))
    const { classOf, gpuMilli, version } = stock
    const { at: known, milli: costMilli } = costs
    let best = -1
    let bestMilli = Infinity
    let bestFree = Infinity
    for (let at = 0; at < fitting; at += 1) {
      const slot = this.#fitting[at]!
      if (known[slot] !== version[slot]) this.#costs.workOut(costs, size, slot)
      let pointsMilli = costMilli[slot]! + ofClass[classOf[slot]!]!
      if (starts !== undefined) pointsMilli += this.#startMilli(startMsAt(starts, stock.hosts[slot]!.id))
      if (pointsMilli > bestMilli || (pointsMilli === bestMilli && gpuMilli[slot]! >= bestFree)) continue
      best = slot
      bestMilli = pointsMilli
      bestFree = gpuMilli[slot]!
    }
    const { id } = stock.hosts[best]!
    const hostClass = stock.classOf[best]!
    const startMs = starts === undefined ? 0 : startMsAt(starts, id)
    return {
      host: id,
      placed: { cpuMilli: size.cpuMilli, memoryMib: size.memoryMib, diskMib: size.diskMib, gpuMilli: size.deviceMilli, gpus: this.#devicesFor(costs, size, best) },
      reason: {
        fitting,
        fallback: rank,
        points: bestMilli / milli,
        fragmentation: costMilli[best]! / milli,
        scarcity: prices === undefined ? 0 : this.#scarcityMilli(prices[hostClass]!, size) / milli,
        start: this.#startMilli(startMs) / milli,
        preferences: terms.preferenceMilli[hostClass]! / milli,
        startMs,
        unmet: unmetAt(request, stock.classes.all[hostClass]!).map(({ label }) => label)
      }
    }
  }

  #scarcityMilli(price: number, { deviceMilli, devices }: Size): number {
    return Math.round(price * devices * deviceMilli * this.#weights.scarcityPoints)
  }

  #startMilli(startMs: number): number {
    return Math.round(startMs * this.#weights.startPointsPerSecond)
  }

  #devicesFor(costs: Costs, { deviceMilli, devices }: Size, slot: number): ReadonlyArray<number> {
    if (devices === 0) return []
    if (deviceMilli < wholeMilli) return [costs.device[slot]!]
    const gpus: Array<number> = []
    for (let device = 0; gpus.length < devices; device += 1) if (this.#stock.deviceMilli[slot * devicesMax + device] === wholeMilli) gpus.push(device)
    return gpus
  }

  #termsOf(request: Request): Terms {
    const key = keyOfTerms(request)
    let terms = this.#terms.get(key)
    if (terms === undefined) {
      if (this.#terms.size >= termsMax) this.#terms.clear()
      terms = { ranks: new Int8Array(0), preferenceMilli: new Float64Array(0), known: 0, rankMax: 0, places: [] }
      this.#terms.set(key, terms)
    }
    const { all } = this.#stock.classes
    if (terms.known < all.length) {
      terms.ranks = Int8Array.from(all, (one) => rankOf(request, one))
      terms.preferenceMilli = Float64Array.from(all, (one) => unmetAt(request, one).reduce((sum, { weight }) => sum + Math.round((weight ?? 0) * milli), 0))
      terms.known = all.length
      terms.places.length = 0
      terms.rankMax = terms.ranks.reduce((most, rank) => Math.max(most, rank), -1)
    }
    return terms
  }

  #end({ depth }: Mark): void {
    this.#marks = depth - 1
    if (this.#marks === 0) this.#undo.length = 0
  }

  #move(id: string, placed: Placed, times: 1 | -1): void {
    const slot = this.#slotOf(id)
    if (this.#marks > 0) this.#undo.push(() => this.#move(id, placed, times === 1 ? -1 : 1))
    this.#stock.move(slot, placed, times)
    this.#line.changed(slot)
  }

  #slotOf(id: string): number {
    const slot = this.#stock.slotOf.get(id)
    if (slot === undefined) throw new RangeError(`no host ${id} is in the fleet: put it before anything is taken from it`)
    return slot
  }
}

const startMsAt = ({ at, usualMs }: Starts, id: string): number => at.get(id) ?? usualMs
