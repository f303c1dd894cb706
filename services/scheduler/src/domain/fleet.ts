import type { Resources } from "@millrace/schemas"
import { minus, noResources, plus } from "./resources.ts"
import type { HostState } from "./world.ts"

/** What work asks of a host beside room. */
export interface Kind {
  readonly runtime: string
  readonly trust: string
  /** The least that its agent must understand; any does, unless said. */
  readonly dialect?: number | undefined
}

const words = ["noop", "process", "sandbox", "own", "others"]
const bitsOf = (said: ReadonlyArray<string>): number => said.reduce((sum, word) => sum | (1 << words.indexOf(word)), 0)
/** Agents of the second dialect have a bit of their own; one that is not known here is asked of nobody. */
const secondDialect = 1 << 6
const unknownDialect = 1 << 7
const asked = (dialect = 1): number => (dialect <= 1 ? 0 : dialect === 2 ? secondDialect : unknownDialect)

/**
 * The hosts in the order of their ids, under a tree that knows the most room below each of its nodes: the
 * first host that fits is found without looking at those that do not. First fit must not depend on who
 * joined first, so the order is the ids' own.
 */
export class Fleet {
  readonly #hosts: Array<HostState> = []
  readonly #mayTake: (host: HostState) => boolean
  /** Taken while a round is being decided, and given back at its end: deciding changes nothing. */
  readonly #taken = new Map<HostState, Resources>()
  readonly #shut = new Set<HostState>()
  #leaves = 0
  #cpu = new Float64Array(0)
  #memory = new Float64Array(0)
  #disk = new Float64Array(0)
  #gpus = new Float64Array(0)
  #kinds = new Uint8Array(0)
  #stale = true
  #frozen: (host: HostState) => boolean = () => false

  constructor() {
    this.#mayTake = (host) => mayTake(host) && !this.#frozen(host) && !this.#shut.has(host)
  }

  get hosts(): ReadonlyArray<HostState> {
    return this.#hosts
  }

  /** Hosts of which something cannot be read take nothing. */
  frozenBy(frozen: (host: HostState) => boolean): void {
    this.#frozen = frozen
    this.#stale = true
  }

  add(host: HostState): void {
    let low = 0
    let high = this.#hosts.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#hosts[middle]!.id < host.id) low = middle + 1
      else high = middle
    }
    this.#hosts.splice(low, 0, host)
    this.#stale = true
  }

  /** Tells that a host has other room than before, or may take work now or no more. */
  changed(host: HostState): void {
    if (this.#stale) return
    this.#setLeaf(host)
    for (let node = (this.#leaves + host.at) >> 1; node >= 1; node >>= 1) this.#join(node)
  }

  free(host: HostState): Resources {
    const taken = this.#taken.get(host)
    const free = minus(host.joined?.capabilities.resources ?? noResources, host.used)
    return taken === undefined ? free : minus(free, taken)
  }

  firstFit(need: Resources, { dialect, runtime, trust }: Kind): HostState | undefined {
    this.#fresh()
    const kind = bitsOf([runtime, trust]) | asked(dialect)
    const may = (node: number): boolean =>
      (this.#kinds[node]! & kind) === kind && this.#cpu[node]! >= need.cpuMilli && this.#memory[node]! >= need.memoryMib &&
      this.#disk[node]! >= need.diskMib && this.#gpus[node]! >= need.gpus
    const look = (node: number): HostState | undefined => {
      if (!may(node)) return undefined
      if (node >= this.#leaves) return this.#hosts[node - this.#leaves]
      return look(2 * node) ?? look(2 * node + 1)
    }
    return this.#hosts.length === 0 ? undefined : look(1)
  }

  /** Every host that would take such work if it had the room. */
  able({ dialect = 1, runtime, trust }: Kind): ReadonlyArray<HostState> {
    return this.#hosts.filter((host) => this.#mayTake(host) && host.joined!.dialect >= dialect && host.joined!.capabilities.runtimes.includes(runtime as never) && host.joined!.capabilities.trusts.includes(trust as never))
  }

  take(host: HostState, resources: Resources): void {
    this.#taken.set(host, plus(this.#taken.get(host) ?? noResources, resources))
    this.changed(host)
  }

  /** Takes nothing more in this round. */
  shut(host: HostState): void {
    this.#shut.add(host)
    this.changed(host)
  }

  giveBack(): void {
    const hosts = new Set([...this.#taken.keys(), ...this.#shut])
    this.#taken.clear()
    this.#shut.clear()
    for (const host of hosts) this.changed(host)
  }

  /** The tree is made again only when it is asked: a thousand hosts that join make it once. */
  #fresh(): void {
    if (!this.#stale) return
    this.#stale = false
    this.#leaves = 1
    while (this.#leaves < this.#hosts.length) this.#leaves *= 2
    this.#cpu = new Float64Array(2 * this.#leaves).fill(-1)
    this.#memory = new Float64Array(2 * this.#leaves).fill(-1)
    this.#disk = new Float64Array(2 * this.#leaves).fill(-1)
    this.#gpus = new Float64Array(2 * this.#leaves).fill(-1)
    this.#kinds = new Uint8Array(2 * this.#leaves)
    for (const [at, host] of this.#hosts.entries()) {
      host.at = at
      this.#setLeaf(host)
    }
    for (let node = this.#leaves - 1; node >= 1; node -= 1) this.#join(node)
  }

  #setLeaf(host: HostState): void {
    const node = this.#leaves + host.at
    const open = this.#mayTake(host)
    const free = open ? this.free(host) : { cpuMilli: -1, memoryMib: -1, diskMib: -1, gpus: -1 }
    this.#cpu[node] = free.cpuMilli
    this.#memory[node] = free.memoryMib
    this.#disk[node] = free.diskMib
    this.#gpus[node] = free.gpus
    this.#kinds[node] = open ? bitsOf(host.joined!.capabilities.runtimes) | bitsOf(host.joined!.capabilities.trusts) | (host.joined!.dialect > 1 ? secondDialect : 0) : 0
  }

  #join(node: number): void {
    const left = 2 * node
    const right = left + 1
    this.#cpu[node] = Math.max(this.#cpu[left]!, this.#cpu[right]!)
    this.#memory[node] = Math.max(this.#memory[left]!, this.#memory[right]!)
    this.#disk[node] = Math.max(this.#disk[left]!, this.#disk[right]!)
    this.#gpus[node] = Math.max(this.#gpus[left]!, this.#gpus[right]!)
    this.#kinds[node] = this.#kinds[left]! | this.#kinds[right]!
  }
}

/** Whether a host takes new work at all. */
export const mayTake = (host: HostState): boolean =>
  host.admitted && !host.dismissed && !host.leaving && !host.takenBack && host.joined !== undefined && (host.lost === undefined || host.lost.returned)
