import type { Cut } from "@millrace/schemas"
import { Effect, Latch } from "effect"

/** Whether a position has reached a cut: every stream that the cut names and the position has, stands at it or behind. */
export const reached = (position: Cut, cut: Cut): boolean =>
  Object.entries(cut).every(([stream, sequence]) => position[stream] === undefined || position[stream] >= sequence)

/** How many commits of each stream are still missing up to a cut; streams that are not heard are left out. */
export const behind = (position: Cut, cut: Cut): Cut =>
  Object.fromEntries(
    Object.entries(cut).flatMap(([stream, sequence]) => {
      const at = position[stream]
      return at === undefined || at >= sequence ? [] : [[stream, sequence - at]]
    })
  )

/**
 * Where the projections that run in this process stand, so that waiting for a cut wakes with the commit
 * that reaches it rather than with the next look.
 */
export class Standing {
  readonly #positions = new Map<string, Cut>()
  readonly #moved = new Map<string, Latch.Latch>()
  readonly #awaited = new Map<string, Latch.Latch>()
  /** Per stream, the stretch of time that was marked last: the next mark is due with the next one. */
  readonly marked = new Map<string, number>()
  readonly #served = new Map<string, string>()

  /** The last position that this process committed; undefined when it does not run that edition. */
  of(edition: string): Cut | undefined {
    return this.#positions.get(edition)
  }

  /** The edition that a version's readers are served from, when it is one that this process runs. */
  servedHere(projection: string, version: number): string | undefined {
    return this.#served.get(`${projection} ${version}`)
  }

  serves(projection: string, version: number, edition: string): void {
    this.#served.set(`${projection} ${version}`, edition)
  }

  moved(edition: string, position: Cut): void {
    this.#positions.set(edition, position)
    const latch = this.#moved.get(edition)
    this.#moved.delete(edition)
    latch?.openUnsafe()
  }

  /** No longer run here. Whoever waits looks in Postgres from now on. */
  left(edition: string): void {
    this.#positions.delete(edition)
    for (const [key, served] of this.#served) if (served === edition) this.#served.delete(key)
    this.#moved.get(edition)?.openUnsafe()
    this.#moved.delete(edition)
  }

  /** Ends with the next move of an edition. */
  next(edition: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      let latch = this.#moved.get(edition)
      if (latch === undefined) {
        latch = Latch.makeUnsafe(false)
        this.#moved.set(edition, latch)
      }
      this.#awaited.get(edition)?.openUnsafe()
      this.#awaited.delete(edition)
      return latch.await
    })
  }

  /** Ends when somebody waits for the next move of an edition; at once, if somebody does. */
  awaited(edition: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#moved.has(edition)) return Effect.void
      const latch = this.#awaited.get(edition) ?? Latch.makeUnsafe(false)
      this.#awaited.set(edition, latch)
      return latch.await
    })
  }
}
