import { startStack, type Stack } from "@millrace/dev/stack"
import { startPostgres } from "@millrace/infra-postgres"
import { Journal } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { logLayer } from "@millrace/service"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import { sql } from "kysely"
import { createHash, randomBytes } from "node:crypto"
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type ServiceName, serviceNames, supervised, type Supervised } from "./supervisor.ts"
import { type WatchedLog, watchLog } from "./watched-log.ts"
import { within } from "./within.ts"

/** A whole cell of real processes, each of which may die at any moment. */
export interface Cell {
  readonly folder: string
  readonly stack: Stack
  readonly env: Readonly<Record<string, string>>
  readonly token: string
  /** Of somebody who may only read. */
  readonly readersToken: string
  readonly services: Readonly<Record<ServiceName, Supervised>>
  /** The agents of all hosts; the first is that of `services.host`. */
  readonly agents: ReadonlyArray<Agent>
  readonly log: WatchedLog
  /** The log and the tables, as this test reads them. */
  readonly reading: Layer.Layer<Journal | Database>
  /** Where the jobs' programs write a line at each real start. */
  readonly startsFile: string
  /** Opens another one-time key; access takes it up at its next start. */
  readonly openKey: () => string
  readonly postgres: { readonly kill: Effect.Effect<void>; readonly start: Effect.Effect<void>; readonly signal: (signal: NodeJS.Signals) => void }
}

/** A host: its agent, and the folder with its keeper and its work. */
export interface Agent extends Supervised {
  readonly folder: string
}

export interface CellOptions {
  readonly checkpointEvery: number
  /** How many hosts; 1 unless told. */
  readonly hosts?: number
  /** Points where services die, one after the other, from their first lives on. */
  readonly bornDyingAt?: Partial<Record<ServiceName, ReadonlyArray<string>>>
  /** The last host offers the sandbox, where this machine has one: each start of its agent tries it out, for seconds. */
  readonly sandbox?: boolean
  readonly settings?: Readonly<Record<string, string>>
}

/** Starts servers and services, and waits until each host has joined and there is money to spend. */
export const startCell = Effect.fnUntraced(function*(options: CellOptions): Effect.fn.Return<Cell, unknown, Scope.Scope> {
  const { bornDyingAt = {}, checkpointEvery, hosts = 1, sandbox = false, settings = {} } = options
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const path = mkdtempSync(join(tmpdir(), "millrace-faults-"))
      chmodSync(path, 0o755)
      return path
    }),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => [...keepersOf(folder), ...workersOf(folder)].forEach((pid) => process.kill(pid, "SIGKILL"))))
  const postgres = yield* ownPostgres(join(folder, "postgres"))
  const stack = yield* startStack({ folder, freePorts: true, databaseUrl: postgres.url })
  const { MILLRACE_RUNSC: runsc, ...stackEnv } = stack.env
  const env = { ...stackEnv, MILLRACE_CHECKPOINT_EVERY: String(checkpointEvery), ...settings }
  const logs = join(folder, "lives")
  mkdirSync(logs)
  const further = Array.from({ length: hosts - 1 }, (_, index) => ({ name: `host${index + 2}`, key: openKey(stack) }))
  const services = Object.fromEntries(yield* Effect.forEach(serviceNames.filter((name) => name !== "host"), (service) =>
    Effect.map(supervised({ service, folder: logs, env, ...dyingOf(bornDyingAt[service]) }), (one) => [service, one] as const))) as Record<ServiceName, Supervised>
  services.host = yield* supervised({ service: "host", folder: logs, env, ...dyingOf(bornDyingAt.host) })
  const others = yield* Effect.forEach(further, ({ key, name }, index) => {
    const keyFile = join(folder, "keys", `one-time-key-${name}`)
    writeFileSync(keyFile, key, { mode: 0o600 })
    return supervised({ service: "host", name, folder: logs, env: { ...env, MILLRACE_HOST_DIR: join(folder, name), MILLRACE_ONE_TIME_KEY: keyFile, ...(sandbox && runsc !== undefined && index === further.length - 1 ? { MILLRACE_RUNSC: runsc } : {}) } })
  })
  const agents = [services.host, ...others].map((agent): Agent => ({ ...agent, folder: join(folder, agent.name) }))
  const reading = Layer.merge(
    Layer.orDie(logLayer("reader", { servers: stack.natsUrl, credentials: stack.credentials })),
    Layer.orDie(Database.layer({ url: Redacted.make(postgres.url) }))
  )
  const context = yield* Layer.build(reading)
  const log = yield* Effect.provide(watchLog, context)
  const cell: Cell = {
    folder,
    stack,
    env,
    token: readFileSync(stack.tokenFile, "utf8").trim(),
    readersToken: "",
    services,
    agents,
    log,
    reading: Layer.succeedContext(context),
    startsFile: join(folder, "starts"),
    openKey: () => openKey(stack),
    postgres
  }
  writeFileSync(cell.startsFile, "")
  yield* Effect.all([...Object.values(services), ...agents].map(({ ready }) => ready), { concurrency: "unbounded" })
  yield* within(60_000, () => new Set(log.facts("HostJoined").map(({ hostId }) => hostId)).size === hosts, () => `of ${hosts} hosts ${log.facts("HostJoined").length} have joined`)
  yield* within(60_000, () => log.facts("SliceLeased").length > 0, () => "nothing was lent to the scheduler")
  return { ...cell, readersToken: yield* addReader(stack) }
})

const dyingOf = (dyingAt: ReadonlyArray<string> | undefined) => dyingAt === undefined ? {} : { dyingAt }

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
    start: Effect.orDie(Effect.map(begin(first.server.port), (again) => void (running = again))),
    // Its own processes work for it while it stands still, so each of them is meant.
    signal: (signal: NodeJS.Signals) => [running.server.pid, ...childrenOf(running.server.pid)].forEach((pid) => process.kill(pid, signal))
  }
})

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

const processes = (): ReadonlyArray<number> => readdirSync("/proc").filter((name) => /^[0-9]+$/u.test(name)).map(Number)

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1")
  } catch {
    return ""
  }
}

const childrenOf = (parent: number): ReadonlyArray<number> =>
  processes().filter((pid) => {
    const stat = read(`/proc/${pid}/stat`)
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === parent
  })

/** The processes of jobs that run on this cell's hosts, by what their environment says. */
export const workersOf = (folder: string): ReadonlyArray<number> =>
  processes().filter((pid) => read(`/proc/${pid}/environ`).split("\0").some((entry) => entry.startsWith(`HOME=${folder}/`) && entry.includes("/work/")))

/** The processes that are the parents of work on this cell's hosts, by their command lines. */
export const keepersOf = (folder: string): ReadonlyArray<number> =>
  processes().filter((pid) => {
    const words = read(`/proc/${pid}/cmdline`).split("\0")
    return words.some((word) => word.endsWith("keeper-main.ts")) && words.some((word) => word.startsWith(`${folder}/`))
  })

/** The keeper of one host. */
export const keeperOf = ({ folder }: Agent): number | undefined => keepersOf(folder)[0]

/** Attempts whose program started more than once, by the lines that the programs wrote themselves. */
export const startedTwice = ({ startsFile }: Cell): ReadonlyArray<string> => {
  const attempts = readFileSync(startsFile, "utf8").split("\n").filter((line) => line !== "")
  return attempts.filter((line, at) => attempts.indexOf(line) !== at)
}

/** Throws away every table of a service: what they held is in the log. */
export const dropTables = (cell: Cell, service: ServiceName): Effect.Effect<void> =>
  Effect.provide(Database.use(({ db }) =>
    Effect.promise(async () => {
      const { rows } = await sql<{ name: string }>`
        select nspname as name from pg_namespace where nspname !~ '^pg_' and nspname not in ('public', 'information_schema')`.execute(db)
      for (const { name } of rows) if (name.startsWith(`${service}_`)) await sql`drop schema if exists ${sql.id(name)} cascade`.execute(db)
      await sql`delete from millrace.editions where projection like ${`${service}.%`}`.execute(db)
    })), cell.reading)
