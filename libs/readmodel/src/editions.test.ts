import { assert, describe, it } from "@effect/vitest"
import { CrashPoints, Journal, MemoryLog, memoryJournal } from "@millrace/journal"
import { Deferred, Effect, Fiber } from "effect"
import { sql } from "kysely"
import { evolve, type MarketFact, providers, type ProvidersTables, Said, suspend, world } from "../fixtures/providers.ts"
import { attempt, Database } from "./database.ts"
import { contentHash, foldRows, type Projection, projection, read, rebuildHash, runProjection } from "./index.ts"
import { caughtUp } from "./testing.ts"

interface Loud extends Record<string, unknown> {
  readonly provider: string
  readonly suspended: boolean
  readonly times: number
  readonly loud: string
}

/** The second version: a column more. */
const second: Projection<{ readonly providers: Loud }> = projection<{ readonly providers: Loud }>()<MarketFact>({
  name: "test.providers",
  version: 2,
  hears: ["BROKER"],
  only: ["ProviderSuspended", "ProviderResumed"],
  tables: (schema) => [
    schema.createTable("providers")
      .addColumn("provider", "text", (column) => column.primaryKey())
      .addColumn("suspended", "boolean")
      .addColumn("times", "integer")
      .addColumn("loud", "text"),
    schema.createIndex("providers_loud").on("providers").column("loud")
  ],
  apply: (tx, facts) =>
    foldRows<Loud, MarketFact>(tx, facts, {
      table: "providers",
      key: ["provider"],
      about: ({ event }) => ({ provider: event.provider }),
      evolve: (row, { event }) => ({ ...evolve(row, event), loud: event.provider.toUpperCase() })
    })
})

const allOf = <T>(of: Projection<T>) =>
  Effect.map(read(of, ({ db }) => (db as never as { selectFrom: Function }).selectFrom("providers").selectAll().orderBy("provider").execute() as Promise<ReadonlyArray<Loud>>), ({ value }) => value)

/** As `allOf`, for looking again and again: nothing while nothing is served. */
const seen = <T>(of: Projection<T>) => Effect.catchTag(allOf(of), "ReadTooOld", () => Effect.succeed<ReadonlyArray<Loud>>([]))

const schemas = Database.use(({ db }) =>
  attempt(async () => (await sql<{ name: string }>`select nspname as name from pg_namespace where nspname like 'test_providers%' order by 1`.execute(db)).rows.map(({ name }) => name)))

const shown = Database.use(({ db }) =>
  attempt(async () => (await sql<Record<string, unknown>>`select * from test.providers order by provider`.execute(db)).rows))

const until = <E, R>(holds: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(holds, (yes) => (yes ? Effect.void : Effect.andThen(Effect.sleep(2), until(holds))))

/** Stops a runner before its nth commit until it is let go. */
const holding = (nth: number) => {
  const gate = Deferred.makeUnsafe<void>()
  const there = Deferred.makeUnsafe<void>()
  let passed = 0
  const listen = (point: string) =>
    /^commit test\..* before$/u.test(point) && ++passed === nth ? Effect.andThen(Deferred.succeed(there, undefined), Deferred.await(gate)) : Effect.void
  return { listen, reached: Deferred.await(there), letGo: Deferred.succeed(gate, undefined) }
}

describe("a raised version", () => {
  it.live("is built beside the old one, which is read until the new one has caught up, and dropped when nobody runs it", () => {
    const said = new Said()
    for (let n = 0; n < 10; n++) said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      const first = providers()
      const old = yield* Effect.forkScoped(runProjection(first, { checkMs: 5 }))
      yield* caughtUp(first)
      const gate = holding(2)
      yield* Effect.forkScoped(runProjection(second, { batchMax: 4, checkMs: 5 })).pipe(Effect.provideService(CrashPoints, gate.listen))
      yield* gate.reached
      assert.deepStrictEqual(yield* schemas, ["test_providers_v1_e1", "test_providers_v2_e1"])
      assert.deepStrictEqual<unknown>(yield* allOf(second), [{ provider: "aws", suspended: true, times: 10 }], "the new code still reads the old rows")
      const early = yield* Effect.flip(read(second, ({ db }) => db.selectFrom("providers").select("loud").execute()))
      assert.strictEqual(early._tag, "ReadTooOld")
      yield* gate.letGo
      yield* until(Effect.map(seen(second), ([row]) => row?.loud === "AWS"))

      said.say(suspend("gcp"))
      yield* caughtUp(first)
      yield* caughtUp(second)
      assert.deepStrictEqual<unknown>(yield* allOf(first), [{ provider: "aws", suspended: true, times: 10 }, { provider: "gcp", suspended: true, times: 1 }])
      assert.deepStrictEqual<unknown>(yield* allOf(second), [
        { provider: "aws", suspended: true, times: 10, loud: "AWS" },
        { provider: "gcp", suspended: true, times: 1, loud: "GCP" }
      ])
      assert.deepStrictEqual<unknown>(yield* shown, yield* allOf(second), "the views went forward")

      yield* Fiber.interrupt(old)
      yield* until(Effect.map(schemas, (names) => names.length === 1))
      assert.deepStrictEqual(yield* allOf(first), yield* allOf(second), "old code now reads what there is")
    }))
  })

  it.live("goes on building where it was, after a crash anywhere", () => {
    const said = new Said()
    for (let n = 0; n < 40; n++) said.say([suspend("aws"), suspend(`p${n % 3}`)])
    return world(said, Effect.gen(function*() {
      const old = yield* Effect.forkScoped(runProjection(providers()))
      yield* caughtUp(providers())
      yield* Fiber.interrupt(old)
      let passed = 0
      const crash = (point: string) => Effect.suspend(() => (point.startsWith("commit test.") && ++passed % 3 === 0 ? Effect.die("the process died here") : Effect.void))
      yield* Effect.forkScoped(runProjection(second, { batchMax: 8 })).pipe(Effect.provideService(CrashPoints, crash))
      yield* until(Effect.map(seen(second), ([row]) => row?.loud === "AWS"))
      yield* caughtUp(second)
      const { cut, hash } = yield* contentHash(second)
      assert.strictEqual(hash, (yield* rebuildHash(second, cut)).hash)
      assert.strictEqual((yield* allOf(second)).reduce((sum, { times }) => sum + times, 0), 80)
    }))
  })

  it.live("does not turn readers back when an old process starts late", () => {
    const said = new Said()
    said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      yield* Effect.forkScoped(runProjection(second, { checkMs: 5 }))
      yield* caughtUp(second)
      yield* Effect.forkScoped(runProjection(providers(), { checkMs: 5 }))
      yield* until(Effect.map(seen(providers() as Projection), ([row]) => row !== undefined && !("loud" in row)))
      assert.deepStrictEqual<unknown>(yield* shown, [{ provider: "aws", suspended: true, times: 1, loud: "AWS" }])
    }))
  })
})

it.live("a log that was restored from a backup, and lost facts, is read from fact one again", () => {
  const said = new Said()
  for (let n = 0; n < 3; n++) said.say(suspend("aws"))
  const restored = new MemoryLog({ epoch: 2 })
  return world(said, Effect.gen(function*() {
    const of: Projection<ProvidersTables> = providers()
    const before = yield* Effect.forkScoped(runProjection(of))
    yield* caughtUp(of)
    yield* Fiber.interrupt(before)
    const first = said.log.after("BROKER", 0, undefined, 1).commits[0]
    assert.isDefined(first)
    const again = new Said()
    again.say(suspend("aws"))
    for (const commit of again.log.after("BROKER", 0, undefined, 1).commits) {
      restored.append({ subject: commit.subject, actor: commit.actor, happenedAtMs: 1, facts: [{ id: commit.facts[0]!.id, partOf: commit.facts[0]!.id, event: suspend("aws") }] }, { last: "stream", sequence: 0 }, 1)
    }
    yield* Effect.forkScoped(runProjection(of)).pipe(Effect.provideService(Journal, memoryJournal(restored)))
    yield* until(Effect.map(seen(of), ([row]) => row?.times === 1))
  }))
})
