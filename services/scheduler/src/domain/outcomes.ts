import type { JobId } from "@millrace/schemas"
import type { Ended } from "./world.ts"

/** What is remembered of what is over: how jobs ended, of so many lots of so many at least and for so long at least; and so many of the snapshots that are gone. */
export interface Remembering {
  readonly lotMax: number
  readonly lotsMin: number
  readonly forMs: number
  readonly goneMax: number
}

/** Of the last million jobs that ended, and for an hour. A quarter of a million names of snapshots are about 25 MiB. */
export const remembersUsually: Remembering = { lotMax: 250_000, lotsMin: 4, forMs: 3_600_000, goneMax: 250_000 }

/** Jobs that ended one after the other. */
export interface Lot {
  readonly ended: Map<JobId, Ended>
  /** When the last of them ended. */
  readonly closedAtMs?: number
  /** It is forgotten once so much of GATEWAY was heard: whoever decided so had heard that much. */
  readonly leavesAt?: number
}

/** How a job ended that is forgotten but for those that named it before: submitted no later than this in GATEWAY. */
export interface Pinned {
  readonly ended: Ended
  readonly upTo: number
}

/**
 * How jobs ended, in lots that are forgotten whole, the oldest first. Which jobs lie in which lot, and when one leaves,
 * follows from SCHEDULER alone; a lot goes only when all of GATEWAY was heard that had been heard when it was to leave.
 * Until then the submissions of its own jobs may still come, and those of jobs that name one of them. So in whatever
 * order the streams are read, the same is remembered in the end.
 */
export class Outcomes {
  readonly #remembering: Remembering
  /** Oldest first; the last one is open. */
  #lots: Array<Lot> = [{ ended: new Map() }]
  readonly pinned = new Map<JobId, Pinned>()
  /** When the last of those ended that are forgotten. */
  #forgottenAtMs: number | undefined

  constructor(remembering: Remembering) {
    this.#remembering = remembering
  }

  get lots(): ReadonlyArray<Lot> {
    return this.#lots
  }

  get forgottenAtMs(): number | undefined {
    return this.#forgottenAtMs
  }

  /** Where an earlier life of this left off; jobs are added to these lots by `restore`. */
  load(lots: ReadonlyArray<Omit<Lot, "ended">>, forgottenAtMs: number | undefined): void {
    this.#lots = lots.map((lot) => ({ ...lot, ended: new Map() }))
    this.#forgottenAtMs = forgottenAtMs
  }

  restore(lot: number, id: JobId, ended: Ended): void {
    this.#lots[lot]!.ended.set(id, ended)
  }

  has(id: JobId): boolean {
    return this.get(id) !== undefined
  }

  get(id: JobId): Ended | undefined {
    for (let at = this.#lots.length - 1; at >= 0; at -= 1) {
      const ended = this.#lots[at]!.ended.get(id)
      if (ended !== undefined) return ended
    }
    return undefined
  }

  /** The same for a job of this number in GATEWAY: who named it before it was forgotten has its outcome. */
  for(number: number, id: JobId): Ended | undefined {
    const pinned = this.pinned.get(id)
    return this.get(id) ?? (pinned !== undefined && number <= pinned.upTo ? pinned.ended : undefined)
  }

  /** A job ended; whoever decided so had heard so much of GATEWAY. */
  add(id: JobId, ended: Ended, { atMs, sawGateway }: { readonly atMs: number; readonly sawGateway: number }): void {
    const { forMs, lotMax, lotsMin } = this.#remembering
    const open = this.#lots.at(-1)!
    open.ended.set(id, ended)
    if (open.ended.size >= lotMax) {
      this.#lots[this.#lots.length - 1] = { ...open, closedAtMs: atMs }
      this.#lots.push({ ended: new Map() })
    }
    for (const [at, lot] of this.#lots.entries()) {
      if (lot.closedAtMs === undefined || this.#lots.length - 1 - at <= lotsMin || lot.closedAtMs + forMs > atMs) return
      if (lot.leavesAt === undefined) this.#lots[at] = { ...lot, leavesAt: sawGateway }
    }
  }

  /** Forgets the oldest lot, and gives it, if so much of GATEWAY is enough for that. */
  forget(heardGateway: number): Lot | undefined {
    const [oldest] = this.#lots
    if (oldest?.leavesAt === undefined || oldest.leavesAt > heardGateway) return undefined
    this.#lots.shift()
    this.#forgottenAtMs = oldest.closedAtMs
    return oldest
  }
}
