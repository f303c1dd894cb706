import { Clock, Effect, Semaphore } from "effect"

/** Waits for its turn, and then for what has to come last before the call. */
export type Turn = (last?: Effect.Effect<void>) => Effect.Effect<void>

/** Lets calls through no faster than a provider's documents allow: one budget for one key, whoever calls. */
export interface RequestBudget {
  readonly any: Effect.Effect<void>
  readonly create: Turn
}

/**
 * Waits its turn: each call at least so long behind the one before it, counted from when that one really went: after
 * what it waited for last. Callers queue in order of arrival.
 */
export const spaced = Effect.fnUntraced(function*(everyMs: number): Effect.fn.Return<Turn> {
  const oneByOne = yield* Semaphore.make(1)
  let nextAtMs = 0
  return (last = Effect.void) => oneByOne.withPermits(1)(Effect.gen(function*() {
    const waitMs = nextAtMs - (yield* Clock.currentTimeMillis)
    if (waitMs > 0) yield* Effect.sleep(waitMs)
    yield* last
    nextAtMs = (yield* Clock.currentTimeMillis) + everyMs
  }))
})

export const requestBudget = Effect.fnUntraced(function*({ anyMs, createMs }: { readonly anyMs: number; readonly createMs: number }): Effect.fn.Return<RequestBudget> {
  const any = yield* spaced(anyMs)
  const create = yield* spaced(createMs)
  return { any: any(), create: (last) => create(any(last)) }
})
