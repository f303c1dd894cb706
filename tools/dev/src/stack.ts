import { findTool } from "@millrace/bootstrap"
import { type NatsServer, startCell } from "@millrace/infra-nats"
import { startPostgres } from "@millrace/infra-postgres"
import { cellKey } from "@millrace/service"
import { Clock, Effect, type Scope } from "effect"
import { hash, randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { join } from "node:path"

/** What everything on one machine stands on: servers that run, and the settings that services read. */
export interface Stack {
  readonly folder: string
  readonly natsUrl: string
  readonly databaseUrl: string
  readonly apiUrl: string
  readonly accessUrl: string
  readonly tokenFile: string
  readonly credentials: string
  /** The environment of each service's process. */
  readonly env: Readonly<Record<string, string>>
  /** The log's server, which fault tests kill and start again. */
  readonly nats: NatsServer
}

export interface StackOptions {
  /** Where everything lies. Kept between runs. */
  readonly folder: string
  /** Free ports instead of the usual ones, so that several may run beside each other. */
  readonly freePorts: boolean
  /** The address of a PostgreSQL that runs already; without it one is started. */
  readonly databaseUrl?: string
  /** Called before and after each step. */
  readonly step?: <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

const usualPorts = { api: 8080, access: 8081, metering: 8083, scheduler: 8084, broker: 8085, snapshots: 8086, nats: 4222, postgres: 5433 }
const served = ["api", "access", "metering", "scheduler", "broker", "snapshots"] as const
const enrolmentLifeMs = 365 * 24 * 3_600_000

/** Starts nats-server and PostgreSQL as children, with accounts, streams, keys and tokens, for as long as the scope lives. */
export const startStack = Effect.fnUntraced(function*({ databaseUrl, folder, freePorts, step = (_, effect) => effect }: StackOptions): Effect.fn.Return<Stack, unknown, Scope.Scope> {
  const at = (...names: ReadonlyArray<string>) => join(folder, ...names)
  yield* Effect.promise(() => mkdir(at("keys"), { recursive: true, mode: 0o700 }))
  const ports = freePorts ? yield* somePorts : usualPorts
  // The servers' own ports may be held by what a killed run has left behind, which they deal with themselves.
  if (!freePorts) yield* Effect.forEach(served, (name) => untaken(name, ports[name]), { discard: true })
  const [cell, postgres] = yield* Effect.all([
    step("nats-server", startCell({ storeDir: at("nats"), keysDir: at("keys", "nats"), port: ports.nats })),
    databaseUrl !== undefined ? Effect.succeed({ url: databaseUrl }) : step("PostgreSQL", startPostgres({ dataDir: at("postgres"), ...(ports.postgres === 0 ? {} : { port: ports.postgres }) }))
  ], { concurrency: 2 })
  const natsUrl = cell.urls.join(",")
  yield* Effect.sync(() => cellKey(at("keys", "cell.pem")))
  const tokenFile = yield* tokens(at("keys"))
  yield* oneTimeKey(at("keys"))
  const apiUrl = `http://127.0.0.1:${ports.api}`
  const accessUrl = `http://127.0.0.1:${ports.access}`
  return {
    folder,
    natsUrl,
    databaseUrl: postgres.url,
    apiUrl,
    accessUrl,
    tokenFile,
    credentials: cell.keys.folder,
    nats: cell.nodes[0]!,
    env: {
      MILLRACE_NATS_URL: natsUrl,
      MILLRACE_NATS_CREDS: cell.keys.folder,
      MILLRACE_DATABASE_URL: postgres.url,
      MILLRACE_API_PORT: String(ports.api),
      MILLRACE_ACCESS_PORT: String(ports.access),
      MILLRACE_ACCESS_URL: accessUrl,
      MILLRACE_METERING_PORT: String(ports.metering),
      MILLRACE_METERING_URL: `http://127.0.0.1:${ports.metering}`,
      MILLRACE_SCHEDULER_PORT: String(ports.scheduler),
      MILLRACE_SCHEDULER_URL: `http://127.0.0.1:${ports.scheduler}`,
      MILLRACE_BROKER_PORT: String(ports.broker),
      MILLRACE_BROKER_URL: `http://127.0.0.1:${ports.broker}`,
      MILLRACE_BROKER_KEY: at("keys", "broker.key"),
      MILLRACE_SNAPSHOTS_PORT: String(ports.snapshots),
      MILLRACE_SNAPSHOTS_URL: `http://127.0.0.1:${ports.snapshots}`,
      MILLRACE_ADMISSION_KEYS: cell.keys.admissionFile,
      MILLRACE_ENROLMENTS: at("keys", "enrolments.json"),
      MILLRACE_ONE_TIME_KEY: at("keys", "one-time-key"),
      MILLRACE_OWNER: at("keys", "owner.json"),
      MILLRACE_KEYS: at("keys", "workspaces"),
      MILLRACE_CELL_KEY: at("keys", "cell.pem"),
      MILLRACE_CELL_KEY_PUBLIC: at("keys", "cell.pem.pub"),
      MILLRACE_SESSION_KEY: at("keys", "session.pem"),
      MILLRACE_SESSION_KEY_PUBLIC: at("keys", "session.pem.pub"),
      MILLRACE_API_URL: apiUrl,
      MILLRACE_BLOBS: at("blobs"),
      MILLRACE_CHECKPOINTS: at("checkpoints"),
      MILLRACE_HOST_DIR: at("host"),
      ...runsc()
    }
  }
})

/** The owner's token, made once: the token itself in a file of its own (0600), its digest where access looks at its first start. */
const tokens = (folder: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const path = join(folder, "token")
    if (!existsSync(path)) await writeFile(path, `mill_${randomBytes(32).toString("base64url")}\n`, { mode: 0o600 })
    const token = (await readFile(path, "utf8")).trim()
    const owner = { digest: `sha256:${hash("sha256", token, "hex")}`, principal: "user:owner", workspace: "main" }
    await writeFile(join(folder, "owner.json"), `${JSON.stringify(owner, null, 2)}\n`, { mode: 0o600 })
    return path
  })

/** The key that admits this machine's own host, made once. */
const oneTimeKey = Effect.fnUntraced(function*(folder: string) {
  const nowMs = yield* Clock.currentTimeMillis
  yield* Effect.promise(async () => {
    const path = join(folder, "one-time-key")
    if (existsSync(join(folder, "enrolments.json"))) return
    const key = randomBytes(32).toString("base64url")
    await writeFile(path, `${key}\n`, { mode: 0o600 })
    const opened = { digest: `sha256:${hash("sha256", key, "hex")}`, workspace: "main", openedBy: "user:owner", expiresAtMs: nowMs + enrolmentLifeMs }
    await writeFile(join(folder, "enrolments.json"), `${JSON.stringify({ keys: [opened] }, null, 2)}\n`, { mode: 0o600 })
  })
})

/** gVisor, where this machine has it. Without it only work that is one's own is taken. */
const runsc = (): Readonly<Record<string, string>> => {
  const found = findTool("runsc")
  return "path" in found ? { MILLRACE_RUNSC: found.path } : {}
}

/** A port of loopback that nobody listens on at this moment. */
export const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A free port for each service; the servers take their own. */
const somePorts = Effect.map(Effect.all(served.map(() => freePort)), ([api = 0, access = 0, metering = 0, scheduler = 0, broker = 0, snapshots = 0]) =>
  ({ api, access, metering, scheduler, broker, snapshots, nats: 0, postgres: 0 }))

const untaken = (name: string, port: number): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.once("error", () =>
      resume(Effect.fail(new Error(`Port ${port} for ${name} is taken by another program. Stop it, or use free ports: npm start -- --free-ports`))))
    server.listen(port, "127.0.0.1", () => server.close(() => resume(Effect.void)))
  })
