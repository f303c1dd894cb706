import { freePort } from "@millrace/infra-ports"
import { Deferred, Effect } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import { rmSync } from "node:fs"
import { resolve } from "node:path"
import { createInterface } from "node:readline"
import { prepareDataFolder, SUPERUSER } from "./data-folder.ts"
import type { DataFolder } from "./data-folder.ts"
import { realTime, stopByPid, takeHold } from "./holder.ts"
import { PostgresUnavailable } from "./postgres-unavailable.ts"
import { identity } from "./program.ts"

const LINES_KEPT = 20
const START_MS_MAX = 120_000
/** A port just probed may be taken, and the memory of a killed server takes a moment to be let go. */
const STARTS_MAX = 5
const RESTART_AFTER_MS = 300
const WORTH_ANOTHER_START = /shared memory block .* is still in use|could not bind|could not create any TCP|lock file "postmaster.pid" already exists/

export interface PostgresOptions {
  /** Everything of this server lies in here. It is made when it is missing. */
  readonly dataDir: string
  /** On 127.0.0.1; a free one when it is not named. */
  readonly port?: number
  /** Hears each line PostgreSQL writes. */
  readonly log?: (line: string) => void
  /** Whether a commit is on disk before it is answered. On unless switched off, as tests do. */
  readonly durable?: boolean
  /** Whether the folder is removed once the server has stopped, even if this process is killed. */
  readonly disposable?: boolean
}

export interface PostgresServer {
  /** Of the database `postgres`, as superuser, with the password. */
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Ends when the server has ended, asked to or not, with its last lines. */
  readonly ended: Effect.Effect<string>
}

/**
 * Serves a data folder by a PostgreSQL of our own, on 127.0.0.1 alone and without Unix sockets, until
 * the scope closes; then it is stopped (open transactions roll back), within 20 s. A new folder gets a
 * superuser with a random password, kept in a file of mode 0600. An orphan of a killed run is stopped
 * first, and should this process be killed, its server stops by itself.
 */
export const startPostgres = Effect.fn("startPostgres")(
  function*(options: PostgresOptions): Effect.fn.Return<PostgresServer, PostgresUnavailable, Scope.Scope> {
    const dataDir = resolve(options.dataDir)
    const folder = yield* prepareDataFolder(dataDir)
    yield* takeHold(dataDir, folder.data)
    return yield* Effect.acquireRelease(start(folder, { ...options, dataDir }, 1), ({ pid }) => stop(pid, removals(folder, options)), { interruptible: true })
  }
)

const stop = Effect.fnUntraced(function*(pid: number, remove: ReadonlyArray<string>) {
  yield* stopByPid(pid)
  for (const path of remove) yield* Effect.sync(() => rmSync(path, { recursive: true, force: true }))
})

const removals = (folder: DataFolder, options: PostgresOptions) => (options.disposable === true ? folder.folders : [])

const start = (folder: DataFolder, options: PostgresOptions, count: number): Effect.Effect<PostgresServer, PostgresUnavailable> =>
  Effect.gen(function*() {
    const port = options.port ?? (yield* freePort)
    const ended = Deferred.makeUnsafe<string>()
    const outcome = yield* launch(folder, options, port, ended)
    if (outcome.ready) {
      return { url: `postgres://${SUPERUSER}:${folder.password}@127.0.0.1:${port}/postgres`, port, pid: outcome.pid, ended: Deferred.await(ended) }
    }
    if (count < STARTS_MAX && WORTH_ANOTHER_START.test(outcome.said)) {
      yield* realTime(RESTART_AFTER_MS)
      return yield* start(folder, options, count + 1)
    }
    return yield* new PostgresUnavailable({ reason: "would_not_start", dataDir: options.dataDir, detail: outcome.said })
  })

type Outcome = { readonly ready: true; readonly pid: number } | { readonly ready: false; readonly said: string }

/** One attempt: it is over when PostgreSQL says that it accepts connections, or ends. */
const launch = (folder: DataFolder, options: PostgresOptions, port: number, ended: Deferred.Deferred<string>): Effect.Effect<Outcome> =>
  Effect.callback((resume) => {
    const { data, postgres } = folder
    const lines: Array<string> = []
    // In a group of its own: Ctrl-C at a terminal must reach the services first, not the database.
    const child = spawn(`${postgres.binDir}/postgres`, ["-D", data, ...settings(port, options.durable ?? true)], {
      cwd: "/",
      stdio: ["ignore", "ignore", "pipe"],
      detached: true,
      ...identity(postgres.runAs)
    })
    const { pid } = child
    const said = () => lines.join("\n")
    const late = setTimeout(() => child.kill("SIGKILL"), START_MS_MAX)
    const letGo = pid === undefined ? () => {} : stopWithUs(pid, data, removals(folder, options))
    createInterface({ input: child.stderr }).on("line", (line) => {
      options.log?.(line)
      lines.push(line)
      if (lines.length > LINES_KEPT) lines.shift()
      if (pid !== undefined && line.includes("database system is ready to accept connections")) {
        clearTimeout(late)
        resume(Effect.succeed({ ready: true, pid }))
      }
    })
    const end = (how: string) => {
      clearTimeout(late)
      letGo()
      lines.push(how)
      Deferred.doneUnsafe(ended, Effect.succeed(said()))
      resume(Effect.succeed({ ready: false, said: said() }))
    }
    child.on("error", (error) => end(error.message))
    child.on("close", (code, signal) => end(`postgres ended with ${signal ?? `status ${code}`}`))
    // Neither the server nor its pipe keeps this process from ending when it has nothing else to do.
    child.unref()
    unrefPipe(child.stderr)
    return pid === undefined ? Effect.void : stopByPid(pid)
  })

const settings = (port: number, durable: boolean) =>
  Object.entries({
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: "",
    max_connections: "100",
    huge_pages: "off",
    logging_collector: "off",
    log_destination: "stderr",
    lc_messages: "C",
    ...(durable ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off", shared_buffers: "32MB" })
  }).flatMap(([name, value]) => ["-c", `${name}=${value}`])

/**
 * Waits for the end of its input, stops PostgreSQL $1, and, once its data folder $2 holds no
 * postmaster.pid any more, or after 20 s, removes the folders named behind.
 */
const KEEPER = `read -r _; kill -INT "$1"; data=$2; shift 2; n=0
while [ -e "$data/postmaster.pid" ] && [ $n -lt 200 ]; do n=$((n+1)); sleep 0.1; done
[ $# -eq 0 ] || rm -rf "$@"`

/**
 * Has a small shell stop PostgreSQL when this process is gone, however it went: the shell reads from a
 * pipe that only we hold open. The returned function sends the shell away.
 */
const stopWithUs = (pid: number, data: string, remove: ReadonlyArray<string>) => {
  const keeper = spawn("/bin/sh", ["-c", KEEPER, "sh", String(pid), data, ...remove], { cwd: "/", stdio: ["pipe", "ignore", "ignore"], detached: true })
  keeper.on("error", () => {})
  keeper.stdin.on("error", () => {})
  keeper.unref()
  unrefPipe(keeper.stdin)
  return () => keeper.kill("SIGKILL")
}

/** Pipes of children are sockets in Node, though their type does not say so. */
const unrefPipe = (pipe: object) => (pipe as { readonly unref?: () => void }).unref?.()

