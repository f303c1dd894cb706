import type { Request } from "@millrace/packing"
import type { QuotaLedger } from "./fair/tree.ts"
import type { Fleet } from "./fleet.ts"
import { Heap } from "./heap.ts"
import type { Purse } from "./purse.ts"
import type { HostState, JobState } from "./world.ts"

/** Where what is counted is read, as it stands in a round. */
export interface Counts {
  readonly purse: Purse
  readonly ledger: QuotaLedger
}

/** What the next piece of a line needs of something that is counted, and how much of that there is. */
export interface Gauge {
  /** What is counted, and whose. */
  readonly key: string
  readonly need: number | bigint
  readonly has: (counts: Counts) => number | bigint
}

/** Why nothing of a line can be placed, as the round that looked at it found before it placed anything. */
export interface Reason {
  readonly head: JobState
  /** What is short: room, its workspace's quota, or something that nobody can give way for. */
  readonly fair: "room" | "quota" | undefined
  /** Those of its workspace that are as urgent: all of them stand still no longer once somebody might give way to one. */
  readonly peers: string
  readonly gauges: ReadonlyArray<Gauge>
  /** The room it wants, where room is what is short, and what it wants apart from cores, memory and disk. */
  readonly room: { readonly request: Request; readonly terms: string } | undefined
}

/** A line that stands still, and hosts that have had room for it since. */
export interface Still extends Reason {
  readonly line: string
  /** What is counted of which there is too little. */
  readonly over: ReadonlySet<string>
  stands: boolean
  helpers: ReadonlyArray<HostState>
}

interface Entry {
  readonly need: number | bigint
  readonly still: Still
}

interface Watched {
  readonly has: Gauge["has"]
  /** Those that need more than there is, the least first, and those that need no more than that, the most first. */
  readonly over: Heap<Entry>
  readonly within: Heap<Entry>
}

interface Alike {
  readonly terms: Request
  /** By the cores that they want. */
  lines: Array<Still>
  gone: number
}

/** Entries of lines that stand still no longer are dropped on the way, and all at once when there are so many. */
const staleMax = 1_000

/**
 * Which lines of waiting work nothing can be placed of, and what would change that: room of their kind on some host,
 * or what is counted (money, the limits of a grant, a quota) rising to what they need or falling below it.
 *
 * A memory and nothing more. Whether a line stands still follows from the world alone, and a line that this has
 * forgotten is looked at and found to; so what is decided is the same with it and without it.
 */
export class Standstill {
  /** How many lines were looked at, ever: what a round costs. */
  looks = 0
  /** Rises with everything that happens that could let one piece of work have another give way to it. */
  stirs = 0
  readonly #stills = new Map<string, Still>()
  readonly #stirred = new Map<string, { readonly stirs: number; readonly fair: Reason["fair"] }>()
  readonly #watched = new Map<string, Watched>()
  readonly #alike = new Map<string, Alike>()
  readonly #peers = new Map<string, Set<Still>>()
  readonly #freed = new Set<HostState>()
  readonly #helped = new Set<Still>()
  #shut: ReadonlySet<HostState> = new Set()
  #rates = ""

  /** Something was said of a job in the line, or the line is no more. */
  changed(line: string): void {
    this.#stirred.delete(line)
    const still = this.#stills.get(line)
    if (still === undefined) return
    still.stands = false
    this.#stills.delete(line)
    const peers = this.#peers.get(still.peers)
    peers?.delete(still)
    if (peers?.size === 0) this.#peers.delete(still.peers)
    if (still.room === undefined) return
    const alike = this.#alike.get(still.room.terms)!
    alike.gone += 1
    if (alike.gone === alike.lines.length) this.#alike.delete(still.room.terms)
    else if (alike.gone > staleMax && 2 * alike.gone > alike.lines.length) {
      alike.lines = alike.lines.filter(({ stands }) => stands)
      alike.gone = 0
    }
  }

  /** What many lines depend on has changed: each is looked at again. */
  forget(): void {
    for (const line of [...this.#stills.keys()]) this.changed(line)
    this.#stirred.clear()
    this.#watched.clear()
    this.#freed.clear()
    this.#helped.clear()
  }

  /** A host may have more room than before, or be open to others. */
  freed(host: HostState): void {
    if (this.#stills.size > 0) this.#freed.add(host)
  }

  /** Prices by which shares are worked out; other ones change what everything needs. */
  pricedBy(rates: string): void {
    if (rates !== this.#rates) this.forget()
    this.#rates = rates
  }

  /** Hosts that are shut while this round begins, for those that hold them or because they are lost. Others that were are open again. */
  shut(hosts: ReadonlySet<HostState>): void {
    for (const host of this.#shut) if (!hosts.has(host)) this.freed(host)
    this.#shut = hosts
  }

  /** Wakes those for whom something that is counted has passed what they need, and those who might have others give way now. */
  wake(counts: Counts, mightAsk: (head: JobState) => boolean): void {
    for (const [key, { has, over, within }] of this.#watched) {
      const now = has(counts)
      for (const [heap, passed] of [[over, (need: number | bigint) => need <= now], [within, (need: number | bigint) => need > now]] as const) {
        for (let first = heap.peek(); first !== undefined && (!first.still.stands || passed(first.need)); first = heap.peek()) {
          heap.pop()
          if (first.still.stands) this.changed(first.still.line)
        }
      }
      if (over.size + within.size === 0) this.#watched.delete(key)
    }
    for (const stills of [...this.#peers.values()]) {
      const [any] = stills
      if (mightAsk(any!.head)) for (const still of [...stills]) this.changed(still.line)
    }
  }

  /** Finds whom the hosts could help that were freed: of each kind of work those that want no more than there is. */
  help(fleet: Fleet): void {
    for (const host of this.#freed) {
      const free = fleet.free(host)
      for (const { lines, terms } of this.#alike.values()) {
        if (!fleet.fits(host, terms)) continue
        for (const still of lines) {
          const { cpuMilli, diskMib, memoryMib } = still.room!.request
          if (cpuMilli > free.cpuMilli) break
          if (!still.stands || memoryMib > free.memoryMib || diskMib > free.diskMib || still.helpers.includes(host)) continue
          still.helpers = [...still.helpers, host]
          this.#helped.add(still)
        }
      }
    }
    this.#freed.clear()
    // Some of them have helped others by now.
    for (const still of this.#helped) {
      still.helpers = still.helpers.filter((host) => fleet.fits(host, still.room!.request))
      if (!still.stands || still.helpers.length === 0) this.#helped.delete(still)
    }
  }

  /** Why a line stands still, if it is known to. */
  of(line: string): Still | undefined {
    return this.#stills.get(line)
  }

  /** Takes down that nothing of a line can be placed, and why. */
  stands(line: string, reason: Reason, counts: Counts): void {
    const over = new Set(reason.gauges.flatMap(({ has, key, need }) => (need > has(counts) ? [key] : [])))
    const still: Still = { ...reason, line, over, stands: true, helpers: [] }
    this.#stills.set(line, still)
    const peers = this.#peers.get(reason.peers) ?? new Set()
    this.#peers.set(reason.peers, peers.add(still))
    for (const gauge of reason.gauges) this.#watch(gauge, { need: gauge.need, still }, over.has(gauge.key))
    if (reason.room !== undefined) this.#wants(still, reason.room)
  }

  /** That a look at a line of which more than this is to be known came to nothing, in a round that had said nothing. */
  stirredNothing(line: string, fair: Reason["fair"]): void {
    this.#stirred.set(line, { stirs: this.stirs, fair })
  }

  /** What was short for such a line, if nothing has happened since. */
  unstirred(line: string): { readonly fair: Reason["fair"] } | undefined {
    const known = this.#stirred.get(line)
    return known?.stirs === this.stirs ? known : undefined
  }

  #watch({ has, key }: Gauge, entry: Entry, isOver: boolean): void {
    const watched = this.#watched.get(key) ?? {
      has,
      over: new Heap<Entry>((left, right) => left.need < right.need),
      within: new Heap<Entry>((left, right) => left.need > right.need)
    }
    this.#watched.set(key, watched)
    const heap = isOver ? watched.over : watched.within
    heap.push(entry)
    if (heap.size > 2 * this.#stills.size + staleMax) heap.keep(({ still }) => still.stands)
  }

  #wants(still: Still, { request, terms }: NonNullable<Reason["room"]>): void {
    const alike = this.#alike.get(terms) ?? { terms: { ...request, cpuMilli: 0, memoryMib: 0, diskMib: 0 }, lines: [], gone: 0 }
    this.#alike.set(terms, alike)
    let low = 0
    let high = alike.lines.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (alike.lines[middle]!.room!.request.cpuMilli <= request.cpuMilli) low = middle + 1
      else high = middle
    }
    alike.lines.splice(low, 0, still)
  }
}
