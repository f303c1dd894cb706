import { Heap } from "./heap.ts"

/** Something that time alone moves on, at the moment that it says of itself. */
export interface Due {
  dueMs: number | undefined
}

interface Entry<T extends Due> {
  readonly atMs: number
  readonly of: T
}

/**
 * Who is due when. An index and nothing more: what counts is `dueMs` of each, and an entry that it has left
 * behind is passed over and dropped on the way.
 */
export class Agenda<T extends Due> {
  readonly #entries = new Heap<Entry<T>>((left, right) => left.atMs < right.atMs)
  #holding = 0

  /** Puts one down for another moment, or for none. */
  move(of: T, atMs: number | undefined): void {
    if (of.dueMs === atMs) return
    if (of.dueMs === undefined) this.#holding += 1
    else if (atMs === undefined) this.#holding -= 1
    of.dueMs = atMs
    if (atMs !== undefined) this.#entries.push({ atMs, of })
    if (this.#entries.size > 2 * this.#holding + 1_000) this.#entries.keep(holds)
  }

  /** Everyone who is due by then, each once. */
  by(atMs: number): ReadonlySet<T> {
    const due = new Set<T>()
    for (const entry of this.#entries.while((entry) => entry.atMs <= atMs)) if (holds(entry)) due.add(entry.of)
    return due
  }

  /** The first moment, passing over for good whom `waits` names: those wait for somebody and not for a time. */
  first(waits: (of: T) => boolean): number | undefined {
    for (let entry = this.#entries.peek(); entry !== undefined; entry = this.#entries.peek()) {
      if (holds(entry) && !waits(entry.of)) return entry.atMs
      this.#entries.pop()
    }
    return undefined
  }
}

const holds = ({ atMs, of }: Entry<Due>): boolean => of.dueMs === atMs
