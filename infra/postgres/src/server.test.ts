import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import postgres from "postgres"
import { isAlive } from "./holder.ts"
import { startPostgres, testDatabase } from "./index.ts"

const folder = (mode: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const dataDir = mkdtempSync(join(tmpdir(), "millrace-postgres-test-"))
      chmodSync(dataDir, mode)
      return dataDir
    }),
    (dataDir) => Effect.sync(() => rmSync(dataDir, { recursive: true, force: true }))
  )

const query = (url: string, text: string) =>
  Effect.promise(async () => {
    const sql = postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 10 })
    try {
      return [...(await sql.unsafe(text))] as ReadonlyArray<Record<string, unknown>>
    } finally {
      await sql.end({ timeout: 1 })
    }
  })

const scoped = <A, E>(body: () => Generator<Effect.Effect<any, any, Scope.Scope>, A, any>) => Effect.scoped(Effect.gen(body)) as Effect.Effect<A, E>

describe("a PostgreSQL of our own", () => {
  it.live("keeps what was written, over a stop and over a SIGKILL", () => scoped(function*() {
    const dataDir = yield* folder(0o755)
    const first = yield* scoped<number, never>(function*() {
      const { pid, url } = yield* startPostgres({ dataDir })
      yield* query(url, "create table kept (word text)")
      yield* query(url, "insert into kept values ('stopped')")
      return pid
    })
    assert.isFalse(isAlive(first), "the scope has closed, so the server has ended")

    yield* scoped(function*() {
      const { ended, pid, url } = yield* startPostgres({ dataDir })
      yield* query(url, "insert into kept values ('killed')")
      process.kill(pid, "SIGKILL")
      assert.include(yield* ended, "SIGKILL")
    })
    yield* scoped(function*() {
      const { url } = yield* startPostgres({ dataDir })
      const rows = yield* query(url, "select word from kept order by word")
      assert.deepStrictEqual(rows.map(({ word }) => word), ["killed", "stopped"])
    })
  }), 60_000)

  it.live("waits for the disk unless told otherwise, listens on loopback alone, and asks for the password", () => scoped(function*() {
    const { url } = yield* startPostgres({ dataDir: yield* folder(0o755) })
    const asked = "select current_setting('fsync') as fsync, current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets"
    assert.deepStrictEqual(yield* query(url, asked), [{ fsync: "on", addresses: "127.0.0.1", sockets: "" }])
    const wrong = postgres(url.replace(/:[^:@]+@/, ":wrong@"), { max: 1, connect_timeout: 10 })
    const refusal = yield* Effect.promise(() => wrong`select 1`.then(() => "let in", (error: postgres.PostgresError) => error.code))
    assert.strictEqual(refusal, "28P01")
  }))

  it.live("keeps the password where only its owner reads it", () => scoped(function*() {
    const dataDir = yield* folder(0o755)
    const { url } = yield* startPostgres({ dataDir, durable: false })
    const file = join(dataDir, "data", "millrace.password")
    assert.strictEqual(statSync(file).mode & 0o777, 0o600)
    assert.strictEqual(new URL(url).password, readFileSync(file, "utf8").trim())
  }))

  it.live("a data folder is served once at a time", () => scoped(function*() {
    const dataDir = yield* folder(0o755)
    yield* startPostgres({ dataDir, durable: false })
    const refused = yield* Effect.flip(startPostgres({ dataDir, durable: false }))
    assert.strictEqual(refused.reason, "held_by_another")
  }))

  it.live("works in a folder that only we may enter", () => scoped(function*() {
    const dataDir = yield* folder(0o700)
    const data = yield* scoped<string, never>(function*() {
      const { url } = yield* startPostgres({ dataDir, durable: false, disposable: true })
      assert.deepStrictEqual(yield* query(url, "select 1 as one"), [{ one: 1 }])
      return realpathSync(join(dataDir, "data"))
    })
    assert.isFalse(existsSync(data), "disposable: it is gone with the server, wherever it had to lie")
  }))

  it.live("stops by itself when the process that started it is killed", () => scoped(function*() {
    const dataDir = yield* folder(0o755)
    const pid = yield* Effect.promise(() => startedElsewhere(dataDir).then(async ({ parent, pid }) => {
      parent.kill("SIGKILL")
      return pid
    }))
    // Whether the orphan is still at its end or already gone, the next start gets the folder.
    const next = yield* startPostgres({ dataDir, durable: false })
    assert.isFalse(isAlive(pid))
    assert.deepStrictEqual(yield* query(next.url, "select 1 as one"), [{ one: 1 }])
  }))
})

/** A server started by another process, as its number and that process. */
const startedElsewhere = (dataDir: string) =>
  new Promise<{ readonly parent: ReturnType<typeof spawn>; readonly pid: number }>((settle, fail) => {
    const program = `import { Effect, Scope } from "effect"
import { startPostgres } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))}
const server = await Effect.runPromise(startPostgres({ dataDir: process.argv[1], durable: false }).pipe(Scope.provide(Scope.makeUnsafe())))
console.log(server.pid)
setInterval(() => {}, 1000)`
    const parent = spawn(process.execPath, ["--input-type=module", "-e", program, dataDir], { cwd: import.meta.dirname, stdio: ["ignore", "pipe", "inherit"] })
    parent.stdout.once("data", (text) => settle({ parent, pid: Number(String(text)) }))
    parent.once("exit", (code) => fail(new Error(`the other process ended with ${code}`)))
  })

describe("databases for tests", () => {
  it.effect("are fresh and apart from each other", () => scoped(function*() {
    const one = yield* testDatabase()
    const other = yield* testDatabase()
    assert.notStrictEqual(one, other)
    yield* query(one, "create table mine (n int)")
    const seen = yield* query(other, "select count(*)::int as tables from pg_tables where tablename = 'mine'")
    assert.deepStrictEqual(seen, [{ tables: 0 }])
  }))

  it.effect("are gone when the test ends", () => scoped(function*() {
    const url = yield* scoped<string, never>(function*() {
      return yield* testDatabase()
    })
    const left = yield* query(yield* testDatabase(), `select count(*)::int as left from pg_database where datname = '${new URL(url).pathname.slice(1)}'`)
    assert.deepStrictEqual(left, [{ left: 0 }])
  }))
})
