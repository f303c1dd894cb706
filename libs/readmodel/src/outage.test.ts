import { assert, describe, it } from "@effect/vitest"
import { startPostgres } from "@millrace/infra-postgres"
import { Effect, Exit, Fiber, Schedule, Scope } from "effect"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { sql } from "kysely"
import { providers, Said, suspend, world, worldAt } from "../fixtures/providers.ts"
import { attempt, Database } from "./database.ts"
import { contentHash, read, rebuildHash, runProjection } from "./index.ts"
import { caughtUp } from "./testing.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => {
    const dataDir = mkdtempSync(join(tmpdir(), "millrace-readmodel-test-"))
    chmodSync(dataDir, 0o755)
    return dataDir
  }),
  (dataDir) => Effect.sync(() => rmSync(dataDir, { recursive: true, force: true }))
)

const started = Effect.fnUntraced(function*(dataDir: string, port?: number) {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
  const server = yield* Scope.provide(startPostgres({ dataDir, durable: false, ...(port === undefined ? {} : { port }) }), scope)
  return { ...server, close: Scope.close(scope, Exit.void) }
})

describe("when Postgres goes away", () => {
  it.live("a projection goes on where its rows stand as soon as it is back, and nothing is lost or doubled", () =>
    Effect.scoped(Effect.gen(function*() {
      const dataDir = yield* folder
      const first = yield* started(dataDir)
      const said = new Said()
      const of = providers()
      yield* Effect.gen(function*() {
        yield* Effect.forkScoped(runProjection(of, { batchMax: 5 }))
        for (let n = 0; n < 300; n++) {
          said.say(suspend(`p${n % 11}`))
          if (n % 20 === 0) yield* Effect.sleep(1)
        }
        process.kill(first.pid, "SIGKILL")
        yield* first.ended
        yield* first.close
        for (let n = 0; n < 100; n++) said.say(suspend(`p${n % 11}`))
        const down = yield* Effect.flip(read(of, ({ db }) => db.selectFrom("providers").selectAll().execute()))
        assert.strictEqual(down._tag, "DatabaseUnavailable")
        yield* started(dataDir, first.port)
        yield* Effect.retry(caughtUp(of), { times: 500, schedule: Schedule.spaced("20 millis"), while: ({ _tag }) => _tag !== "ReadTooOld" })
        const { value } = yield* read(of, ({ db }) => db.selectFrom("providers").select(({ fn }) => fn.sum<number>("times").as("times")).executeTakeFirstOrThrow())
        assert.strictEqual(Number(value.times), 400)
        const { cut, hash } = yield* contentHash(of)
        assert.deepStrictEqual(cut, { BROKER: 400 })
        assert.strictEqual(hash, (yield* rebuildHash(of, cut)).hash)
      }).pipe(Effect.scoped, Effect.provide(worldAt(first.url, said, { connectMsMax: 1_000 })))
    })))

  it.live("with everything in it, the rows are read from the log again", () => {
    const said = new Said()
    for (let n = 0; n < 10; n++) said.say(suspend("aws"))
    const of = providers()
    return world(said, Effect.gen(function*() {
      yield* Effect.forkScoped(runProjection(of, { checkMs: 5 }))
      yield* caughtUp(of)
      const { db } = yield* Database
      yield* attempt(() => sql`drop schema millrace cascade`.execute(db))
      yield* attempt(() => sql`drop schema test_providers_v1_e1 cascade`.execute(db))
      const again = read(of, ({ db }) => db.selectFrom("providers").selectAll().execute(), { after: { BROKER: 10 } })
      const { value } = yield* Effect.retry(again, { times: 500, schedule: Schedule.spaced("20 millis") })
      assert.deepStrictEqual(value, [{ provider: "aws", suspended: true, times: 10 }])
    }))
  })

  it.live("or is not there yet, a start waits for it", () =>
    Effect.scoped(Effect.gen(function*() {
      const dataDir = yield* folder
      const first = yield* started(dataDir)
      yield* first.close
      const said = new Said()
      said.say(suspend("aws"))
      const of = providers()
      const waiting = yield* Effect.forkChild(
        Effect.scoped(Effect.andThen(Effect.forkScoped(runProjection(of)), caughtUp(of))).pipe(Effect.provide(worldAt(first.url, said))),
        { startImmediately: true }
      )
      const refused = yield* Effect.flip(Effect.scoped(caughtUp(of).pipe(Effect.provide(worldAt(first.url, said, { waitMsMax: 1 })))))
      assert.strictEqual(refused._tag, "DatabaseUnavailable")
      yield* started(dataDir, first.port)
      assert.deepStrictEqual(yield* Fiber.join(waiting), { BROKER: 1 })
    })))
})
