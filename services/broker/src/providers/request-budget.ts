import { Clock, Effect, Semaphore } from "effect"

/** Lets calls through no faster than a provider's documents allow: one budget for one key, whoever calls. */
export interface RequestBudget {
  readonly any: Effect.Effect<void>
  readonly create: Effect.Effect<void>
}

/** Waits its turn: each call at least so long behind the one before it. Callers queue in order of arrival. */
const spaced = Effect.fnUntraced(function*(everyMs: number) {
  const oneByOne = yield* Semaphore.make(1)
  let nextAtMs = 0
  return oneByOne.withPermits(1)(Effect.gen(function*() {
    const nowMs = yield* Clock.currentTimeMillis
    if (nextAtMs > nowMs) yield* Effect.sleep(nextAtMs - nowMs)
    nextAtMs = Math.max(nowMs, nextAtMs) + everyMs
  }))
})

export const requestBudget = Effect.fnUntraced(function*({ anyMs, createMs }: { readonly anyMs: number; readonly createMs: number }): Effect.fn.Return<RequestBudget> {
  const any = yield* spaced(anyMs)
  const create = yield* spaced(createMs)
  return { any, create: Effect.andThen(create, any) }
})
