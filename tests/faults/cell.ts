import { startStack, type Stack } from "@millrace/dev/stack"
import { tables } from "@millrace/gateway"
import { startPostgres } from "@millrace/infra-postgres"
import { Journal, verify } from "@millrace/journal"
import { connectNats } from "@millrace/journal/jetstream"
import { credentialsIn } from "@millrace/journal/admission"
import { contentHash, Database, rebuildHash } from "@millrace/readmodel"
import { caughtUp } from "@millrace/readmodel/testing"
import { comparable, scheduler } from "@millrace/scheduler"
import { logLayer } from "@millrace/service"
import { jetstreamManager } from "@nats-io/jetstream"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import { sql } from "kysely"
import { createHash, randomBytes } from "node:crypto"
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type ServiceName, supervised, type Supervised } from "./supervisor.ts"
import { type WatchedLog, watchLog } from "./watched-log.ts"

/** A whole cell of real processes, each of which may die at any moment. */
export interface Cell {
  readonly folder: string
  readonly stack: Stack
  readonly token: string
  /** Of somebody who may only read. */
  readonly readersToken: string
  readonly services: Readonly<Record<ServiceName, Supervised>>
  readonly log: WatchedLog
  /** The log and the tables, as this test reads them. */
  readonly reading: Layer.Layer<Journal | Database>
  /** Where the jobs' programs write a line at each real start. */
  readonly startsFile: string
  /** Opens another one-time key; access takes it up at its next start. */
  readonly openKey: () => string
  readonly postgres: { readonly kill: Effect.Effect<void>; readonly start: Effect.Effect<void> }
}

export interface CellOptions {
  readonly checkpointEvery: number
  /** Points where the host dies, one after the other, while it enrols. */
  readonly enrolDyingAt?: ReadonlyArray<string>
}

/** What is left unacknowledged by an agent that died comes again this soon, rather than after 30 s. */
const ackWaitMs = 1_000

/** Starts servers and services, and waits until the host has joined. */
export const startCell = Effect.fnUntraced(function*({ checkpointEvery, enrolDyingAt = [] }: CellOptions): Effect.fn.Return<Cell, unknown, Scope.Scope> {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const path = mkdtempSync(join(tmpdir(), "millrace-faults-"))
      chmodSync(path, 0o755)
      return path
    }),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => workersOf(folder).forEach((pid) => process.kill(pid, "SIGKILL"))))
  const postgres = yield* ownPostgres(join(folder, "postgres"))
  const stack = yield* startStack({ folder, freePorts: true, databaseUrl: postgres.url })
  const env = { ...stack.env, MILLRACE_CHECKPOINT_EVERY: String(checkpointEvery) }
  const logs = join(folder, "lives")
  mkdirSync(logs)
  const run = (name: ServiceName) => supervised({ name, folder: logs, env })
  const [access, gateway, scheduling] = yield* Effect.all([run("access"), run("gateway"), run("scheduler")])
  const host = yield* run("host")
  host.armed(...enrolDyingAt)
  const reading = Layer.merge(
    Layer.orDie(logLayer("reader", { servers: stack.natsUrl, credentials: stack.credentials })),
    Layer.orDie(Database.layer({ url: Redacted.make(postgres.url) }))
  )
  const context = yield* Layer.build(reading)
  const log = yield* Effect.provide(watchLog, context)
  const cell: Cell = {
    folder,
    stack,
    token: readFileSync(stack.tokenFile, "utf8").trim(),
    readersToken: "",
    services: { gateway, scheduler: scheduling, access, host },
    log,
    reading: Layer.succeedContext(context),
    startsFile: join(folder, "starts"),
    openKey: () => openKey(stack),
    postgres
  }
  writeFileSync(cell.startsFile, "")
  yield* Effect.all([access.ready, gateway.ready, scheduling.ready, host.ready], { concurrency: 4 })
  yield* joined(cell)
  yield* soonAgain(stack)
  return { ...cell, readersToken: yield* addReader(stack) }
})

const joined = ({ log }: Cell) =>
  Effect.promise(async () => {
    for (let look = 0; log.facts("HostJoined").length === 0; look += 1) {
      if (look > 3_000) throw new Error("the host has not joined within 30 s")
      await new Promise((wake) => setTimeout(wake, 10))
    }
  })

const ownPostgres = Effect.fnUntraced(function*(dataDir: string) {
  const outer = yield* Effect.scope
  const begin = Effect.fnUntraced(function*(port?: number) {
    const scope = yield* Scope.fork(outer)
    const server = yield* Scope.provide(startPostgres({ dataDir, durable: false, ...(port === undefined ? {} : { port }) }), scope)
    return { server, scope }
  })
  const first = yield* begin()
  let running = first
  return {
    url: first.server.url,
    kill: Effect.gen(function*() {
      process.kill(running.server.pid, "SIGKILL")
      yield* running.server.ended
      yield* Scope.close(running.scope, Exit.void)
    }),
    start: Effect.orDie(Effect.map(begin(first.server.port), (again) => void (running = again)))
  }
})

/** The host's consumer, with a shorter wait for acknowledgements than access gives it. */
const soonAgain = ({ credentials, natsUrl }: Stack) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* connectNats({ servers: natsUrl.split(","), name: "reader", ...credentialsIn(readFileSync(join(credentials, "reader.creds"), "utf8")) })
    yield* Effect.promise(async () => {
      const manager = await jetstreamManager(connection, { checkAPI: false })
      for await (const { name } of manager.consumers.list("SCHEDULER")) {
        if (name.startsWith("host-")) await manager.consumers.update("SCHEDULER", name, { ack_wait: ackWaitMs * 1_000_000 })
      }
    })
  }))

/** A token of somebody who may only read, made as people make one. */
const addReader = (stack: Stack) =>
  Effect.promise(async () => {
    const ask = async (path: string, body: object): Promise<{ readonly secret?: string }> => {
      const answer = await fetch(`${stack.apiUrl}${path}`, {
        method: "POST",
        headers: { authorization: `Bearer ${readFileSync(stack.tokenFile, "utf8").trim()}`, "content-type": "application/json" },
        body: JSON.stringify(body)
      })
      if (answer.status !== 200) throw new Error(`${path} answers ${answer.status}: ${await answer.text()}`)
      return await answer.json() as { readonly secret?: string }
    }
    await ask("/v1/roles", { principal: "user:reader", role: "viewer" })
    return (await ask("/v1/credentials", { principal: "user:reader" })).secret!
  })

const openKey = ({ env }: Stack): string => {
  const path = env["MILLRACE_ENROLMENTS"]!
  const file = JSON.parse(readFileSync(path, "utf8")) as { keys: Array<object> }
  const key = randomBytes(32).toString("base64url")
  file.keys.push({ ...file.keys[0], digest: `sha256:${createHash("sha256").update(key).digest("hex")}` })
  writeFileSync(path, JSON.stringify(file))
  return key
}

/** The processes of jobs that run on this cell's host, by what their environment says. */
export const workersOf = (folder: string): ReadonlyArray<number> =>
  readdirSync("/proc").filter((name) => /^[0-9]+$/u.test(name)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").some((entry) => entry.startsWith(`HOME=${folder}/host/work/`))
    } catch {
      return false
    }
  })

/** Attempts whose program started more than once, by the lines that the programs wrote themselves. */
export const startedTwice = ({ startsFile }: Cell): ReadonlyArray<string> => {
  const attempts = readFileSync(startsFile, "utf8").split("\n").filter((line) => line !== "")
  return attempts.filter((line, at) => attempts.indexOf(line) !== at)
}

/** Tables that differ from what the log says when it is read again, once they have taken in all of it. */
export const differingTables = (cell: Cell) =>
  Effect.gen(function*() {
    const differing: Array<string> = []
    for (const projection of [tables]) {
      yield* caughtUp(projection)
      const { cut, hash } = yield* contentHash(projection)
      if (hash !== (yield* rebuildHash(projection, cut)).hash) differing.push(projection.name)
    }
    return differing
  }).pipe(Effect.provide(cell.reading))

/** Throws away every table: what they held is in the log. */
export const dropTables = (cell: Cell): Effect.Effect<void> =>
  Effect.provide(Database.use(({ db }) =>
    Effect.promise(async () => {
      const { rows } = await sql<{ name: string }>`
        select nspname as name from pg_namespace where nspname !~ '^pg_' and nspname not in ('public', 'information_schema')`.execute(db)
      for (const { name } of rows) await sql`drop schema if exists ${sql.id(name)} cascade`.execute(db)
    })), cell.reading)

/** Decisions in the log that the scheduler's code does not make again from what they saw. */
export const strangeDecisions = (cell: Cell) =>
  Effect.provide(Effect.map(verify(scheduler, { comparable }), ({ mismatches }) => mismatches), cell.reading)
