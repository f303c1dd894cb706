import { Effect } from "effect"
import type { Chance } from "./chance.ts"
import type { VirtualTime } from "./virtual-time.ts"

/** A process from one start to its end. Once it is over, nothing that it still does reaches the world. */
export class Life {
  readonly process: SimulatedProcess
  /** Counted from 1. */
  readonly number: number
  /** When the newest message each way arrives: those behind it come no sooner. */
  readonly arrivals = { out: 0, in: 0 }
  #alive = true
  readonly #ends: Array<() => void> = []

  constructor(process: SimulatedProcess, number: number) {
    this.process = process
    this.number = number
  }

  get alive(): boolean {
    return this.#alive
  }

  /** Ends it at once, as SIGKILL does: nothing is given back, flushed or said. */
  end(): void {
    if (!this.#alive) return
    this.#alive = false
    for (const ended of this.#ends) ended()
  }

  onEnd(ended: () => void): void {
    this.#ends.push(ended)
  }

  /** Something from outside reaches it: now, when it goes on after a pause, or never. */
  receive(happen: () => void): void {
    if (this.#alive) this.process.receive(() => this.#alive ? happen() : undefined)
  }

  /** An effect on the world, which the dead do not have. */
  guard<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => this.#alive ? effect : Effect.never)
  }
}

/** One process of the world over all its lives, with what is done to it. */
export class SimulatedProcess {
  readonly name: string
  readonly chance: Chance
  readonly skewMs: number
  life: Life | undefined
  /** When it and the log reach each other again. */
  partitionedUntilMs = 0
  #lives = 0
  #paused = false
  #held: Array<() => void> = []
  readonly #time: VirtualTime

  constructor(time: VirtualTime, { chance, name, skewMs = 0 }: { readonly name: string; readonly chance: Chance; readonly skewMs?: number }) {
    this.#time = time
    this.name = name
    this.chance = chance
    this.skewMs = skewMs
  }

  begin(): Life {
    this.life?.end()
    this.#lives += 1
    this.#held = []
    this.life = new Life(this, this.#lives)
    return this.life
  }

  get paused(): boolean {
    return this.#paused
  }

  /** Stands still. What reaches it meanwhile waits, its own timers too. */
  pause(forMs: number): void {
    if (this.#paused) return
    this.#paused = true
    this.#time.after(forMs, () => this.resume())
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    const held = this.#held
    this.#held = []
    for (const happen of held) happen()
  }

  receive(happen: () => void): void {
    if (this.#paused) this.#held.push(happen)
    else happen()
  }
}
