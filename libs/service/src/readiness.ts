import { Clock, Context, Deferred, Effect, Layer } from "effect"

/** A part that is not ready, and why, in words for the person who waits for it. */
export interface Unready {
  readonly name: string
  readonly reason: string
  /** Since when it is not ready, in ms since 1970. A new reason does not begin a new wait. */
  readonly sinceMs: number
}

export interface ReadinessShape {
  /** This part is ready. Saying so again changes nothing. */
  readonly ready: (name: string) => Effect.Effect<void>
  /** This part is not ready, for this reason. A part is known from the first word about it. */
  readonly notReady: (name: string, reason: string) => Effect.Effect<void>
  /** Everything that is not ready now, by name. */
  readonly unready: Effect.Effect<ReadonlyArray<Unready>>
  /** Waits until nothing is unready. Bound it by a timeout where it is used. */
  readonly whenReady: Effect.Effect<void>
}

/** What a process still waits for before work should be sent to it. Parts say so themselves. */
export class Readiness extends Context.Service<Readiness, ReadinessShape>()("millrace/Readiness") {
  static readonly layer: Layer.Layer<Readiness> = Layer.effect(Readiness, Effect.sync(() => make()))
}

const make = (): ReadinessShape => {
  const parts = new Map<string, Unready>()
  let waiting: Array<Deferred.Deferred<void>> = []
  return {
    ready: (name) =>
      Effect.sync(() => {
        parts.delete(name)
        if (parts.size > 0) return
        for (const one of waiting) Deferred.doneUnsafe(one, Effect.void)
        waiting = []
      }),
    notReady: (name, reason) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        void parts.set(name, { name, reason, sinceMs: parts.get(name)?.sinceMs ?? now })),
    unready: Effect.sync(() => [...parts.values()].sort((a, b) => (a.name < b.name ? -1 : 1))),
    whenReady: Effect.suspend(() => {
      if (parts.size === 0) return Effect.void
      const one = Deferred.makeUnsafe<void>()
      waiting.push(one)
      return Deferred.await(one)
    })
  }
}
