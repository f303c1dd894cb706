/**
 * Counts what must happen sometimes. A checker that passes because nothing happened has shown nothing: a run
 * over many seeds in which one of these is 0 was too weak.
 */
export class Sometimes {
  readonly #counts = new Map<string, number>()

  saw(what: string, times = 1): void {
    this.#counts.set(what, this.count(what) + times)
  }

  count(what: string): number {
    return this.#counts.get(what) ?? 0
  }

  /** Adds another run's counts to these. */
  add(counts: Readonly<Record<string, number>>): void {
    for (const [what, times] of Object.entries(counts)) this.saw(what, times)
  }

  /** Which of these never happened. */
  missing(wanted: ReadonlyArray<string>): ReadonlyArray<string> {
    return wanted.filter((what) => this.count(what) === 0)
  }

  toJSON(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#counts].sort(([left], [right]) => (left < right ? -1 : 1)))
  }
}
