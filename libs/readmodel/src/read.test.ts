import { assert, describe, it } from "@effect/vitest"
import { testDatabase } from "@millrace/infra-postgres"
import { CrashPoints } from "@millrace/journal"
import { Deferred, Effect, Fiber } from "effect"
import { type MarketFact, providers, retried, Said, suspend, world, worldAt } from "../fixtures/providers.ts"
import { cutAt, type Projection, projection, read, runProjection, runProjections, upsertRows, waitFor } from "./index.ts"
import { caughtUp } from "./testing.ts"

const of = providers()

const names = (options: Parameters<typeof read>[2] = {}) =>
  read(of, ({ db }) => db.selectFrom("providers").select("provider").orderBy("provider").execute(), options)

describe("a read", () => {
  it.live("that asks for its own write waits for it, and says which cut it is of", () => {
    const said = new Said()
    return world(said, Effect.gen(function*() {
      yield* Effect.forkScoped(runProjection(of))
      for (let n = 0; n < 20; n++) {
        const after = { BROKER: said.say(suspend(`p${String.fromCharCode(97 + n)}`)), SCHEDULER: 999 }
        const { cut, value } = yield* names({ after, waitMsMax: 10_000 })
        assert.deepStrictEqual(cut, { BROKER: n + 1 }, "streams that it does not hear are not waited for")
        assert.lengthOf(value, n + 1)
      }
    }))
  })

  it.live("in another process than the projection's waits too", () => {
    const said = new Said()
    return Effect.scoped(Effect.gen(function*() {
      const url = yield* testDatabase()
      yield* Effect.forkScoped(runProjection(of).pipe(Effect.provide(worldAt(url, said))))
      const { value } = yield* Effect.gen(function*() {
        yield* caughtUp(of)
        const waiting = yield* Effect.forkChild(names({ after: { BROKER: 1 }, waitMsMax: 10_000 }), { startImmediately: true })
        said.say(suspend("aws"))
        return yield* Fiber.join(waiting)
      }).pipe(Effect.provide(worldAt(url, said)))
      assert.deepStrictEqual(value, [{ provider: "aws" }])
    }))
  })

  it.live("that the rows do not reach in time says how far behind they are", () => {
    const said = new Said()
    for (let n = 0; n < 7; n++) said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const hold = (point: string) => (/^commit test\..* before$/u.test(point) ? Deferred.await(gate) : Effect.void)
      yield* Effect.forkScoped(runProjection(of)).pipe(Effect.provideService(CrashPoints, hold))
      const late = yield* Effect.flip(Effect.retry(names({ after: { BROKER: 5 }, waitMsMax: 20 }), {
        while: (error) => error._tag === "ReadTooOld" && Object.keys(error.behind).length === 0
      }))
      assert.deepInclude(late, { _tag: "ReadTooOld", behind: { BROKER: 5 } })
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* waitFor(of, { BROKER: 7 }, 10_000), { BROKER: 7 })
    }))
  })

  it.live("in the past is refused where no history is kept, naming what to do", () =>
    world(new Said(), Effect.gen(function*() {
      const refusal = yield* Effect.flip(names({ at: { BROKER: 1 } }))
      assert.strictEqual(refusal._tag, "HistoryNotKept")
      assert.include(refusal.message, "millrace events --at")
    })))
})

describe("a projection of two streams", () => {
  interface Heard {
    readonly stream: string
    readonly sequence: number
  }
  const both: Projection<{ readonly heard: Heard }> = projection<{ readonly heard: Heard }>()<MarketFact>({
    name: "test.heard",
    version: 1,
    hears: ["BROKER", "SCHEDULER"],
    tables: (schema) => [
      schema.createTable("heard").addColumn("stream", "text").addColumn("sequence", "bigint").addPrimaryKeyConstraint("heard_key", ["stream", "sequence"])
    ],
    apply: (tx, facts) =>
      upsertRows(tx, "heard", ["stream", "sequence"], facts.map(({ commit: { place: { sequence, stream } } }) => ({ stream, sequence })))
  })

  it.live("stands at its own place in each", () => {
    const said = new Said()
    for (let n = 0; n < 30; n++) said.say(n % 3 === 0 ? suspend("aws") : retried("red"))
    return world(said, Effect.gen(function*() {
      yield* Effect.forkScoped(runProjection(both, { batchMax: 4 }))
      assert.deepStrictEqual(yield* caughtUp(both), { BROKER: 10, SCHEDULER: 20 })
      const { value } = yield* read(both, ({ db }) => db.selectFrom("heard").select(({ fn }) => fn.countAll<number>().as("rows")).executeTakeFirstOrThrow())
      assert.deepStrictEqual(value, { rows: 30 })
    }))
  })
})

it.live("a time resolves to the cut of what was stored by then", () => {
  const said = new Said()
  const stored: Array<{ readonly atMs: number; readonly stream: "BROKER" | "SCHEDULER" }> = []
  for (let n = 0; n < 60; n++) {
    const stream = n % 4 === 0 ? "SCHEDULER" : "BROKER"
    said.say(stream === "BROKER" ? suspend("aws") : retried("red"), { afterMs: (n * 7919) % 2_000 })
    stored.push({ atMs: said.nowMs, stream })
  }
  const exact = (timeMs: number) => {
    const count = (stream: string) => stored.filter((commit) => commit.stream === stream && commit.atMs <= timeMs).length
    return { BROKER: count("BROKER"), SCHEDULER: count("SCHEDULER") }
  }
  return world(said, Effect.gen(function*() {
    yield* caughtUp(of)
    for (const { atMs } of stored) {
      for (const timeMs of [atMs - 1, atMs, atMs + 1]) assert.deepStrictEqual(yield* cutAt(["BROKER", "SCHEDULER"], timeMs), exact(timeMs))
    }
    assert.deepStrictEqual(yield* cutAt(["BROKER"], 0), { BROKER: 0 })
  }).pipe(Effect.provide(runProjections([of], { batchMax: 6 }))))
})
