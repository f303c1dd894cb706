import { Deferred, Effect, type Scope, Semaphore } from "effect"
import type { Provider } from "./provider.ts"

/**
 * The same provider, whose list is read once for all who wait for it: a look that begins after it was asked for
 * answers everybody who had asked by then. A thousand machines that are given back cost no more looks than one.
 */
export const withSharedLooks = Effect.fnUntraced(function*(provider: Provider): Effect.fn.Return<Provider, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const oneByOne = yield* Semaphore.make(1)
  type Look = Effect.Success<Provider["list"]>
  type Blind = Effect.Error<Provider["list"]>
  let next: Deferred.Deferred<Look, Blind> | undefined
  const list: Provider["list"] = Effect.suspend(() => {
    if (next !== undefined) return Deferred.await(next)
    const look = Deferred.makeUnsafe<Look, Blind>()
    next = look
    const once = oneByOne.withPermits(1)(Effect.suspend(() => {
      next = undefined
      return provider.list
    }))
    // In the scope of whoever buys: one that asked and is interrupted must not leave the others waiting.
    return Effect.andThen(Effect.forkIn(Effect.flatMap(Effect.exit(once), (exit) => Deferred.done(look, exit)), scope), Deferred.await(look))
  })
  return { ...provider, list }
})
