import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Layer, Metric, Ref, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Ending } from "./ending.ts"
import { supervise, worker } from "./supervise.ts"

class Away extends Schema.TaggedError<Away>()("Away", {}) {}
class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

const startsOf = (run: (nth: number) => Effect.Effect<string, Away>, name: string, forMs: number) =>
  Effect.gen(function*() {
    const starts: Array<number> = []
    const fiber = yield* Effect.forkChild(supervise(
      Effect.flatMap(Clock.currentTimeMillis, (now) => run(starts.push(now))),
      { name }
    ))
    yield* TestClock.adjust(forMs)
    yield* Fiber.interrupt(fiber)
    return starts
  })

describe("a supervised effect", () => {
  it.effect("is started anew after a typed failure, until it succeeds", () =>
    Effect.gen(function*() {
      const tries = yield* Ref.make(0)
      const fiber = yield* Effect.forkChild(supervise(
        Effect.flatMap(Ref.updateAndGet(tries, (n) => n + 1), (n) => (n < 4 ? Effect.fail(new Away()) : Effect.succeed("well"))),
        { name: "test.until" }
      ))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([yield* Fiber.join(fiber), yield* Ref.get(tries)], ["well", 4])
      const text = yield* Metric.snapshot
      const counted = text.find((one) => one.id === "millrace_worker_restarts_total" && one.attributes?.["worker"] === "test.until")
      assert.deepStrictEqual(counted?.attributes, { worker: "test.until", failure: "Away" })
      assert.deepStrictEqual(Number((counted?.state as { readonly count: number | bigint }).count), 3)
    }))

  it.effect("waits longer each time, jittered, and never longer than the longest", () =>
    Effect.gen(function*() {
      const starts = yield* startsOf(() => Effect.fail(new Away()), "test.delays", 60_000)
      const waits = starts.slice(1).map((at, index) => at - (starts[index] ?? 0))
      const bounds = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
      for (const [index, bound] of bounds.entries()) {
        assert.isAtLeast(waits[index] ?? 0, bound / 2)
        assert.isAtMost(waits[index] ?? Infinity, bound)
      }
      assert.isTrue(waits.some((wait, index) => wait !== bounds[index] && wait !== (bounds[index] ?? 0) / 2), "no jitter at all")
    }))

  it.effect("begins again with the first delay after a long good run", () =>
    Effect.gen(function*() {
      const starts = yield* startsOf(
        (nth) => (nth === 5 ? Effect.andThen(Effect.sleep("2 minutes"), Effect.fail(new Away())) : Effect.fail(new Away())),
        "test.calm",
        125_000
      )
      assert.isAtMost((starts[5] ?? Infinity) - (starts[4] ?? 0), 120_100)
    }))

  it.effect("is not started anew after a bug", () =>
    Effect.gen(function*() {
      const tries = yield* Ref.make(0)
      const exit = yield* Effect.exit(supervise(Effect.andThen(Ref.update(tries, (n) => n + 1), Effect.die("five")), { name: "test.bug" }))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.strictEqual(yield* Ref.get(tries), 1)
    }))

  it.effect("hands on what repeating does not mend", () =>
    Effect.gen(function*() {
      const effect: Effect.Effect<never, Away | Refused> = Effect.fail(new Refused())
      assert.strictEqual((yield* Effect.flip(supervise(effect, { name: "test.mends", mends: (failure) => failure._tag === "Away" })))._tag, "Refused")
    }))
})

describe("a worker", () => {
  it.effect("tells the process of its bug, once, and nothing of being stopped", () =>
    Effect.gen(function*() {
      const told: Array<Cause.Cause<unknown>> = []
      const launch = (effect: Effect.Effect<void>) =>
        Effect.gen(function*() {
          yield* Layer.build(worker(effect, { name: "test.worker" }))
          yield* TestClock.adjust(1)
        }).pipe(Effect.scoped, Effect.provideService(Ending, (cause) => Effect.sync(() => void told.push(cause))))
      yield* launch(Effect.never)
      assert.deepStrictEqual(told, [])
      yield* launch(Effect.die("five"))
      assert.strictEqual(told.length, 1)
    }))
})
