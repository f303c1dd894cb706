import { Clock, Effect, Semaphore } from "effect"

/** Lets calls through no faster than a provider's documents allow: one budget for one key, whoever calls. */
export interface RequestBudget {
  readonly any: Effect.Effect<void>
  readonly create: Effect.Effect<void>
}

/**
 * Waits its turn: each call at least so long behind the one before it, counted from when that one really went.
 * Callers queue in order of arrival; `then` is a further turn that the call has to wait for.
 */
export const spaced = Effect.fnUntraced(function*(everyMs: number, then: Effect.Effect<void> = Effect.void) {
  const oneByOne = yield* Semaphore.make(1)
  let nextAtMs = 0
  return oneByOne.withPermits(1)(Effect.gen(function*() {
    const waitMs = nextAtMs - (yield* Clock.currentTimeMillis)
    if (waitMs > 0) yield* Effect.sleep(waitMs)
    yield* then
    nextAtMs = (yield* Clock.currentTimeMillis) + everyMs
  }))
})

export const requestBudget = Effect.fnUntraced(function*({ anyMs, createMs }: { readonly anyMs: number; readonly createMs: number }): Effect.fn.Return<RequestBudget> {
  const any = yield* spaced(anyMs)
  return { any, create: yield* spaced(createMs, any) }
})
