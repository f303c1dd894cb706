import { assert, describe, it } from "@effect/vitest"
import { CrashPoints, Journal } from "@millrace/journal"
import { Deferred, Effect, Fiber } from "effect"
import { sql } from "kysely"
import { attempt, Database } from "./database.ts"
import { openEdition } from "./edition.ts"
import { contentHash, type Projection, projection, read, rebuildHash, runProjection, setAsideBy } from "./index.ts"
import { evolve, type MarketFact, providers, type ProviderRow, type ProvidersTables, resume, Said, suspend, world } from "../fixtures/providers.ts"
import { caughtUp } from "./testing.ts"
import { writeBatch } from "./write-batch.ts"

const rowsOf = (of: Projection<ProvidersTables>) =>
  Effect.map(read(of, ({ db }) => db.selectFrom("providers").selectAll().orderBy("provider").execute()), ({ value }) => value)

const running = (of: Projection, options = {}) => Effect.forkScoped(runProjection(of, options))

const equalsReplay = Effect.fnUntraced(function*(of: Projection) {
  const { cut, hash } = yield* contentHash(of)
  assert.strictEqual(hash, (yield* rebuildHash(of, cut)).hash)
})

/** Does something at the first passing of a crash point. */
const onceAt = (point: string, what: Effect.Effect<void>) => {
  let passed = 0
  const listen = (at: string) => Effect.suspend(() => (at === point && ++passed === 1 ? what : Effect.void))
  return { listen, passed: () => passed }
}

describe("a projection", () => {
  it.live("remembers what was said before it ran and while it runs", () => {
    const said = new Said()
    said.say([suspend("aws"), resume("aws"), suspend("aws")])
    return world(said, Effect.gen(function*() {
      const of = providers()
      yield* running(of)
      yield* caughtUp(of)
      said.say(suspend("lambda"))
      const cut = yield* caughtUp(of)
      assert.deepStrictEqual(cut, { BROKER: 2 })
      assert.deepStrictEqual(yield* rowsOf(of), [
        { provider: "aws", suspended: true, times: 2 },
        { provider: "lambda", suspended: true, times: 1 }
      ])
      yield* equalsReplay(of)
    }))
  })

  for (const when of ["before", "after"] as const) {
    it.live(`counts once when it dies ${when} its commit`, () => {
      const said = new Said()
      for (let n = 0; n < 5; n++) said.say(suspend("aws"))
      const crash = onceAt(`commit test.providers ${when}`, Effect.die("the process died here"))
      return world(said, Effect.gen(function*() {
        const of = providers()
        yield* running(of)
        yield* caughtUp(of)
        said.say(suspend("aws"))
        yield* caughtUp(of)
        assert.isAtLeast(crash.passed(), 2, "it came by again")
        assert.deepStrictEqual(yield* rowsOf(of), [{ provider: "aws", suspended: true, times: 6 }])
      }).pipe(Effect.provideService(CrashPoints, crash.listen)))
    })
  }

  it.live("counts once when its connection is killed between the rows and the commit", () => {
    const said = new Said()
    said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      const of = providers()
      const { db } = yield* Database
      const kill = attempt(() => sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction'`.execute(db))
      const crash = onceAt("commit test.providers before", Effect.asVoid(Effect.orDie(kill)))
      yield* running(of).pipe(Effect.provideService(CrashPoints, crash.listen))
      yield* caughtUp(of)
      assert.strictEqual(crash.passed(), 2, "the killed transaction was written again")
      assert.deepStrictEqual(yield* rowsOf(of), [{ provider: "aws", suspended: true, times: 1 }])
    }))
  })

  it.live("rolls back when it is interrupted between the rows and the commit", () => {
    const said = new Said()
    said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      const of = providers()
      const there = yield* Deferred.make<void>()
      const hang = (point: string) => (/^commit test\..* before$/u.test(point) ? Effect.andThen(Deferred.succeed(there, undefined), Effect.never) : Effect.void)
      const fiber = yield* running(of).pipe(Effect.provideService(CrashPoints, hang))
      yield* Deferred.await(there)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* rowsOf(of), [])
      yield* running(of)
      yield* caughtUp(of)
      assert.deepStrictEqual(yield* rowsOf(of), [{ provider: "aws", suspended: true, times: 1 }])
    }))
  })

  it.live("takes a commit in once, however often and however overlapping it is delivered", () => {
    const said = new Said()
    for (let n = 0; n < 6; n++) said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      const of = providers()
      const edition = yield* openEdition(of, 1)
      const commits = said.log.after("BROKER", 0, undefined, 10).commits
      const first = yield* writeBatch(of, edition, edition.position, commits.slice(0, 4))
      const again = yield* Effect.flip(writeBatch(of, edition, edition.position, commits.slice(0, 4)))
      const further = yield* Effect.flip(writeBatch(of, edition, edition.position, commits))
      assert.deepStrictEqual([again._tag, further._tag], ["Fenced", "Fenced"])
      yield* writeBatch(of, edition, first.position, commits.slice(4))
      assert.deepStrictEqual(yield* rowsOf(of), [{ provider: "aws", suspended: true, times: 6 }])
    }))
  })

  it.live("has one writer: of two runners the slower one is fenced and stands by", () => {
    const said = new Said()
    return world(said, Effect.gen(function*() {
      const of = providers()
      const options = { batchMax: 3, standbyMs: 5 }
      const first = yield* running(of, options)
      yield* running(of, options)
      for (let n = 0; n < 200; n++) {
        said.say(suspend(`p${n % 7}`))
        if (n % 10 === 0) yield* Effect.sleep(1)
      }
      yield* caughtUp(of)
      yield* Fiber.interrupt(first)
      said.say(suspend("late"))
      yield* caughtUp(of)
      const rows = yield* rowsOf(of)
      assert.strictEqual(rows.reduce((sum, { times }) => sum + times, 0), 201)
      yield* equalsReplay(of)
    }))
  })

  it.live("takes in what has gathered while it wrote, in one transaction", () => {
    const said = new Said()
    const sizes: Array<number> = []
    const of = { ...providers(), apply: (tx: never, facts: ReadonlyArray<never>) => (sizes.push(facts.length), providers().apply(tx, facts)) } as Projection<ProvidersTables>
    return world(said, Effect.gen(function*() {
      const held = yield* Deferred.make<void>()
      const inHand = yield* Deferred.make<void>()
      const hold = onceAt("commit test.providers before", Effect.andThen(Deferred.succeed(inHand, undefined), Deferred.await(held)))
      yield* running(of, { batchMax: 100 }).pipe(Effect.provideService(CrashPoints, hold.listen))
      said.say(suspend("aws"))
      yield* Deferred.await(inHand)
      for (let n = 0; n < 250; n++) said.say(suspend("aws"))
      yield* Deferred.succeed(held, undefined)
      yield* caughtUp(of)
      assert.strictEqual(sizes[0], 1)
      assert.isAtMost(sizes.length, 8, `250 facts came in ${sizes.length - 1} batches`)
      assert.isAtMost(Math.max(...sizes), 150, "a batch is bounded")
      assert.deepStrictEqual(yield* rowsOf(of), [{ provider: "aws", suspended: true, times: 251 }])
    }))
  })
})

describe("a fact that cannot be taken in", () => {
  const poisoned = (only: ReadonlyArray<string> | undefined): Projection<ProvidersTables> => {
    const of = projection<ProvidersTables>()<MarketFact>({
      name: "test.poisoned",
      version: 1,
      hears: ["BROKER"],
      tables: providers().tables,
      apply: async (tx, facts) => {
        for (const { event } of facts) {
          if (event._tag === "ProviderSuspended" && event.detail === "bug") throw new TypeError("cannot read a thing of undefined")
          const row = await tx.selectFrom("providers").selectAll().where("provider", "=", event.provider).executeTakeFirst()
          const next: ProviderRow = evolve(row, event)
          const times = event._tag === "ProviderSuspended" && event.detail === "constraint" ? 2_000_000 : next.times
          const provider = event._tag === "ProviderSuspended" && event.detail === "nul" ? `${next.provider}\0` : next.provider
          await tx.insertInto("providers").values({ ...next, provider, times })
            .onConflict((conflict) => conflict.column("provider").doUpdateSet({ times, suspended: next.suspended })).execute()
        }
      }
    })
    return only === undefined ? of : { ...of, only }
  }

  it.live("is set aside with its reason, and everything behind it is taken in", () => {
    const said = new Said()
    for (let n = 0; n < 20; n++) said.say([suspend("aws"), suspend("gcp")])
    const unreadable = said.sayUnreadable()
    const bug = said.say([suspend("aws"), suspend("aws", "bug"), suspend("aws")])
    const constraint = said.say(suspend("aws", "constraint"))
    const nul = said.say(suspend("aws", "nul"))
    for (let n = 0; n < 20; n++) said.say(suspend("aws"))
    const heard: Array<string> = []
    return world(said, Effect.gen(function*() {
      const of = poisoned(undefined)
      let failures = 1
      const tell = (aside: { readonly stream: string; readonly sequence: number }) =>
        Effect.suspend(() => failures-- > 0 ? Effect.fail("not now") : Effect.sync(() => void heard.push(`${aside.stream} ${aside.sequence}`)))
      yield* running(of, { tell, checkMs: 5 })
      yield* caughtUp(of)
      assert.deepStrictEqual((yield* setAsideBy(of)).map(({ name, ordinal, reason, sequence }) => ({ name, ordinal, reason, sequence })), [
        { name: "ProviderSold", ordinal: 0, reason: "unreadable", sequence: unreadable },
        { name: "ProviderSuspended", ordinal: 1, reason: "apply_failed", sequence: bug },
        { name: "ProviderSuspended", ordinal: 0, reason: "apply_failed", sequence: constraint },
        { name: "ProviderSuspended", ordinal: 0, reason: "apply_failed", sequence: nul }
      ])
      assert.deepStrictEqual(yield* rowsOf(of), [
        { provider: "aws", suspended: true, times: 42 },
        { provider: "gcp", suspended: true, times: 20 }
      ])
      yield* equalsReplay(of)
      while (heard.length < 4) yield* Effect.sleep(2)
      assert.deepStrictEqual([...new Set(heard)], [unreadable, bug, constraint, nul].map((sequence) => `BROKER ${sequence}`))
    }))
  })

  it.live("is none of its business when it minds other facts", () => {
    const said = new Said()
    said.sayUnreadable()
    said.say(suspend("aws"))
    return world(said, Effect.gen(function*() {
      const of = providers()
      yield* running(of)
      yield* caughtUp(of)
      assert.deepStrictEqual(yield* setAsideBy(of), [])
      assert.lengthOf(yield* rowsOf(of), 1)
    }))
  })
})

it.live("a database's shape is there before anything was projected", () =>
  world(new Said(), Effect.gen(function*() {
    const missing = yield* Effect.flip(rowsOf(providers()))
    assert.strictEqual(missing._tag, "ReadTooOld")
    assert.strictEqual((yield* Journal).epoch, 1)
  })))
