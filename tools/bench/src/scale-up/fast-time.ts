import { Clock, Duration, Effect } from "effect"

/** A clock that runs so many times as fast as the wall's: who sleeps by it sleeps as much less. */
export const fastTime = (factor: number): Clock.Clock => {
  const [beganMs, wall] = [Date.now(), performance.now()]
  const millis = () => Math.floor(beganMs + (performance.now() - wall) * factor)
  const nanos = () => BigInt(millis()) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) => {
      const ms = Duration.toMillis(duration)
      if (!Number.isFinite(ms)) return Effect.never
      return Effect.callback((resume) => {
        const timer = setTimeout(() => resume(Effect.void), ms / factor)
        return Effect.sync(() => clearTimeout(timer))
      })
    }
  }
}
