import { findTool } from "@millrace/bootstrap"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import postgres from "postgres"
import { isAlive } from "./holder.ts"
import { startPostgres, testDatabase } from "./index.ts"
import { identity } from "./program.ts"

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
    const pid = yield* killedElsewhere(dataDir)
    yield* gone(pid)
    assert.isFalse(existsSync(join(dataDir, "data", "postmaster.pid")), "it had the time to write everything down")
  }))

  it.live("an orphan is stopped, and its folder serves again", () => scoped(function*() {
    const dataDir = yield* folder(0o755)
    yield* gone(yield* killedElsewhere(dataDir))
    const orphan = yield* startedAlone(join(dataDir, "data"))
    const { url } = yield* startPostgres({ dataDir, durable: false })
    assert.isFalse(isAlive(orphan))
    assert.deepStrictEqual(yield* query(url, "select 1 as one"), [{ one: 1 }])
  }))
})

/** The number of a server whose starter, another process, is dead. */
const killedElsewhere = (dataDir: string) =>
  Effect.promise(() => new Promise<number>((settle, fail) => {
    const program = `import { Effect, Scope } from "effect"
import { startPostgres } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))}
const server = await Effect.runPromise(startPostgres({ dataDir: process.argv[1], durable: false }).pipe(Scope.provide(Scope.makeUnsafe())))
console.log(server.pid)
setInterval(() => {}, 1000)`
    let pid = 0
    const parent = spawn(process.execPath, ["--input-type=module", "-e", program, dataDir], { cwd: import.meta.dirname, stdio: ["ignore", "pipe", "inherit"] })
    parent.stdout.once("data", (text) => {
      pid = Number(String(text))
      parent.kill("SIGKILL")
    })
    parent.once("close", (code) => (pid > 0 ? settle(pid) : fail(new Error(`the other process ended with ${code}`))))
  }))

/** A server nobody looks after, as a run leaves it that was killed together with all around it. */
const startedAlone = (data: string) =>
  Effect.acquireRelease(
    Effect.promise(() => new Promise<ChildProcess>((settle, fail) => {
      const { binDir, runAs } = findTool("postgres")
      const args = ["-D", data, "-c", "listen_addresses=", "-c", `unix_socket_directories=${data}`]
      const child = spawn(join(binDir, "postgres"), args, { cwd: "/", stdio: ["ignore", "ignore", "pipe"], ...identity(runAs) })
      child.stderr.on("data", (text) => {
        if (String(text).includes("ready to accept connections")) settle(child)
      })
      child.once("exit", (code) => fail(new Error(`postgres ended with ${code}`)))
    })),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  ).pipe(Effect.map((child) => child.pid ?? 0))

/** Waits until a process has ended; the test's own limit bounds it. */
const gone = (pid: number): Effect.Effect<void> => Effect.suspend(() => isAlive(pid) ? Effect.andThen(Effect.sleep("20 millis"), gone(pid)) : Effect.void)

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
