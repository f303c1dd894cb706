import { findTool, millraceHome } from "@millrace/bootstrap"
import { Effect, Scope } from "effect"
import type { Result } from "effect"
import { randomBytes } from "node:crypto"
import { chmodSync, mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import postgres from "postgres"
import { prepareDataFolder } from "./data-folder.ts"
import { PostgresUnavailable } from "./postgres-unavailable.ts"
import { run } from "./program.ts"
import { startPostgres } from "./server.ts"
import type { PostgresServer } from "./server.ts"

const COPY_MS_MAX = 60_000
const CONNECT_S_MAX = 10

/**
 * A fresh, empty database for one test, as its URL; it is dropped when the scope closes. All databases
 * of one process live on one server that is started on first use (under a second) and gone with the
 * process, data included. It does not wait for the disk.
 */
export const testDatabase = Effect.fn("testDatabase")(
  function*(): Effect.fn.Return<string, PostgresUnavailable, Scope.Scope> {
    const server = yield* sharedServer
    const name = `test_${randomBytes(6).toString("hex")}`
    yield* Effect.acquireRelease(command(server, `create database ${name}`), () => command(server, `drop database ${name} with (force)`))
    return server.url.replace(/\/postgres$/, `/${name}`)
  }
)

/** The server of this process: started once, and stopped by its end. */
const sharedServer: Effect.Effect<PostgresServer, PostgresUnavailable> = Effect.suspend(() => {
  shared ??= Effect.runPromise(Effect.result(Effect.gen(function*() {
    const dataDir = yield* copyOfTemplate
    return yield* startPostgres({ dataDir, durable: false, disposable: true }).pipe(Scope.provide(Scope.makeUnsafe()))
  })))
  const starting = shared
  return Effect.flatMap(Effect.promise(() => starting), Effect.fromResult)
})
let shared: Promise<Result.Result<PostgresServer, PostgresUnavailable>> | undefined

/** A data folder is written once on this machine; each server starts on a copy of it. */
const copyOfTemplate = Effect.gen(function*() {
  const { version } = findTool("postgres")
  const template = yield* prepareDataFolder(join(millraceHome(), "cache", `postgres-${version}`))
  const dataDir = mkdtempSync(join(tmpdir(), "millrace-postgres-"))
  chmodSync(dataDir, 0o755)
  const { problem } = yield* run("cp", ["-pPR", template.data, join(dataDir, "data")], { as: null, limitMs: COPY_MS_MAX })
  if (problem !== undefined) return yield* new PostgresUnavailable({ reason: "folder_unusable", dataDir, detail: problem })
  return dataDir
})

const command = (server: PostgresServer, text: string) =>
  Effect.promise(async () => {
    const sql = postgres(server.url, { max: 1, onnotice: () => {}, connect_timeout: CONNECT_S_MAX })
    try {
      await sql.unsafe(text)
    } finally {
      await sql.end({ timeout: 1 })
    }
  })
