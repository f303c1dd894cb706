import { Effect } from "effect"

/**
 * Waits until `look` finds something. `wakers` is called by whoever changes what `look` looks at. An
 * interrupted wait leaves no waker behind.
 */
export const waitFor = <A>(wakers: Set<() => void>, look: () => A | undefined): Effect.Effect<A> =>
  Effect.suspend(() => {
    const found = look()
    if (found !== undefined) return Effect.succeed(found)
    return Effect.callback<void>((resume) => {
      const waker = () => resume(Effect.void)
      wakers.add(waker)
      return Effect.sync(() => void wakers.delete(waker))
    }).pipe(Effect.andThen(waitFor(wakers, look)))
  })

/** Wakes everyone who waits. Each looks again, and waits on if it found nothing. */
export const wakeAll = (wakers: Set<() => void>): void => {
  const waiting = [...wakers]
  wakers.clear()
  for (const waker of waiting) waker()
}
