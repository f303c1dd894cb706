import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { sql } from "kysely"
import { Said, world } from "../fixtures/providers.ts"
import { type AnyTransaction, attempt, Database } from "./database.ts"
import { removeRows, rowsWith, upsertRows } from "./rows.ts"

const inDatabase = <A, E>(work: Effect.Effect<A, E, Database>, options = {}) => world(new Said(), work, options)

const say = (text: string) => (tx: AnyTransaction) => attempt(() => sql.raw(text).execute(tx))

describe("the door to Postgres", () => {
  it.live("keeps nothing of a transaction that fails, and says which kind of failure it was", () =>
    inDatabase(Effect.gen(function*() {
      const { transact } = yield* Database
      yield* transact("making a table", say("create table kept (word text primary key)"))
      const own = yield* Effect.flip(transact("writing", (tx) => Effect.andThen(say("insert into kept values ('a')")(tx), Effect.fail("no" as const))))
      const refused = yield* Effect.flip(transact("writing", (tx) => Effect.andThen(say("insert into kept values ('b')")(tx), say("insert into kept values ('b')")(tx))))
      const swallowed = yield* Effect.flip(transact("writing", (tx) =>
        Effect.andThen(say("insert into kept values ('c')")(tx), Effect.ignore(say("select 1 / 0")(tx)))))
      assert.strictEqual(own, "no")
      assert.deepInclude(refused, { _tag: "StatementFailed", state: "23505" })
      assert.strictEqual((swallowed as { readonly _tag: string })._tag, "StatementFailed", "a commit that Postgres turned into a rollback is no success")
      const { rows } = yield* transact("reading", say("select * from kept"))
      assert.deepStrictEqual(rows, [])
    })))

  it.live("waits for a free connection no longer than it may", () =>
    inDatabase(Effect.gen(function*() {
      const { transact } = yield* Database
      const gate = yield* Deferred.make<void>()
      const inside = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(transact("holding", () => Effect.andThen(Deferred.succeed(inside, undefined), Deferred.await(gate))))
      yield* Deferred.await(inside)
      const late = yield* Effect.flip(transact("waiting", say("select 1")))
      assert.deepInclude(late, { _tag: "DatabaseUnavailable" })
      assert.include(late.message, "NO_CONNECTION_FREE")
      const waiting = yield* Effect.forkChild(Effect.retry(transact("waiting", say("select 1")), { times: 1_000 }), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(holder)
      yield* Fiber.join(waiting)
    }), { connectionsMax: 1, acquireMsMax: 20 }))

  it.live("ends a statement that takes too long, and serves on", () =>
    inDatabase(Effect.gen(function*() {
      const { transact } = yield* Database
      const late = yield* Effect.flip(transact("sleeping", say("select pg_sleep(20)")))
      assert.strictEqual(late._tag, "DatabaseUnavailable")
      assert.strictEqual((yield* transact("reading", say("select 1 as one"))).rows.length, 1)
    }), { statementMsMax: 300 }))
})

describe("rows", () => {
  it.live("are written whole, the last of a key wins, and money keeps every digit", () =>
    inDatabase(Effect.gen(function*() {
      const { transact } = yield* Database
      const rows = yield* transact("writing rows", (tx) =>
        attempt(async () => {
          await sql`create temporary table spent (account text, day int, pico numeric, seen bigint, tags jsonb, primary key (account, day)) on commit drop`.execute(tx)
          const row = { account: "a", day: 1, pico: 123_456_789_012_345_678_901n, seen: 9_007_199_254_740_991, tags: { "it's": ["\"", "\\", "ü"] } }
          await upsertRows(tx, "spent", ["account", "day"], [{ ...row, pico: 0n }, row, { ...row, day: 2 }, { ...row, account: "b" }])
          await upsertRows(tx, "spent", ["account", "day"], [{ ...row, seen: 5 }])
          await removeRows(tx, "spent", ["account", "day"], [{ account: "a", day: 2 }, { account: "c", day: 1 }])
          return rowsWith(tx, "spent", ["account", "day"], [{ account: "a", day: 1 }, { account: "a", day: 2 }, { account: "b", day: 1 }])
        }))
      const tags = { "it's": ["\"", "\\", "ü"] }
      assert.deepStrictEqual([...rows].sort((a, b) => (String(a["account"]) < String(b["account"]) ? -1 : 1)), [
        { account: "a", day: 1, pico: "123456789012345678901", seen: 5, tags },
        { account: "b", day: 1, pico: "123456789012345678901", seen: 9_007_199_254_740_991, tags }
      ])
    })))

  it.live("of an int8 column beyond 2^53 are refused rather than rounded", () =>
    inDatabase(Effect.gen(function*() {
      const { transact } = yield* Database
      const error = yield* Effect.flip(transact("reading", say("select 9007199254740993::bigint as large")))
      assert.include(error.message, "make it numeric")
    })))
})
