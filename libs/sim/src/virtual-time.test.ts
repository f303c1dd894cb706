import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber } from "effect"
import { Stuck, VirtualTime } from "./virtual-time.ts"

const within = <A, E>(time: VirtualTime, effect: Effect.Effect<A, E>) => time.run(Effect.provideService(effect, Clock.Clock, time.clock()))

describe("virtual time", () => {
  it("sleepers wake in the order of their moments, and those of one moment in the order of their lying down", () => {
    const time = new VirtualTime({ startMs: 0 })
    const woke: Array<string> = []
    const sleeper = (name: string, ms: number) => Effect.andThen(Effect.sleep(ms), Effect.sync(() => woke.push(`${name} at ${time.nowMs}`)))
    within(time, Effect.all([sleeper("late", 20), sleeper("first", 10), sleeper("second", 10), sleeper("early", 5)], { concurrency: "unbounded" }))
    assert.deepStrictEqual(woke, ["early at 5", "first at 10", "second at 10", "late at 20"])
  })

  it("a sleep that is interrupted wakes nobody", () => {
    const time = new VirtualTime({ startMs: 0 })
    const exit = within(time, Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.sleep(50))
      yield* Effect.sleep(10)
      yield* Fiber.interrupt(fiber)
      yield* Effect.sleep(100)
      return time.nowMs
    }))
    assert.deepStrictEqual(exit, Exit.succeed(110))
  })

  it("a day passes without waiting, by a clock that may be ahead", () => {
    const time = new VirtualTime({ startMs: 0 })
    const exit = time.run(Effect.provideService(
      Effect.andThen(Effect.sleep("1 day"), Clock.currentTimeMillis),
      Clock.Clock,
      time.clock({ skewMs: 1_000 })
    ))
    assert.deepStrictEqual(exit, Exit.succeed(86_401_000))
  })

  it("what is planned again and again is bounded, and what waits for nothing is noticed", () => {
    const time = new VirtualTime({ stepsMax: 1_000 })
    assert.throws(() => within(time, Effect.forever(Effect.sleep(1))), Stuck)
    assert.throws(() => within(new VirtualTime(), Effect.never), Stuck)
  })
})
