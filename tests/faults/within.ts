import { Effect } from "effect"

const lookEveryMs = 10

/** Waits, in real time and at most so long, until something real has come true; dies with a sentence when it has not. */
export const within = (msMax: number, holds: () => boolean | Promise<boolean>, otherwise: () => string): Effect.Effect<void> =>
  Effect.promise(async () => {
    const until = performance.now() + msMax
    while (!await holds()) {
      if (performance.now() > until) throw new Error(`after ${msMax} ms: ${otherwise()}`)
      await new Promise((wake) => setTimeout(wake, lookEveryMs))
    }
  })
