import { findTool } from "@millrace/bootstrap"
import { allTogether, cellSettings, makeKeys, placesOnOneMachine, serverPorts, serving, type Serving, usualPorts } from "@millrace/infra-deploy"
import { type NatsServer, startCell } from "@millrace/infra-nats"
import { freePorts } from "@millrace/infra-ports"
import { startPostgres } from "@millrace/infra-postgres"
import { Effect, type Scope } from "effect"
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

/** Starts nats-server and PostgreSQL as children, with accounts, streams, keys and tokens, for as long as the scope lives. */
export const startStack = Effect.fnUntraced(function*({ databaseUrl, folder, freePorts: free, step = (_, effect) => effect }: StackOptions): Effect.fn.Return<Stack, unknown, Scope.Scope> {
  const keys = yield* makeKeys(join(folder, "keys"))
  const ports = free ? yield* somePorts : usualPorts
  // The servers' own ports may be held by what a killed run has left behind, which they deal with themselves.
  if (!free) yield* Effect.forEach(serving, (name) => untaken(name, ports[name]), { discard: true })
  const [cell, postgres] = yield* Effect.all([
    step("nats-server", startCell({ storeDir: join(folder, "nats"), keysDir: keys.credentials, port: free ? 0 : serverPorts.nats })),
    databaseUrl !== undefined
      ? Effect.succeed({ url: databaseUrl })
      : step("PostgreSQL", startPostgres({ dataDir: join(folder, "postgres"), ...(free ? {} : { port: serverPorts.postgresBeside }) }))
  ], { concurrency: 2 })
  const natsUrl = cell.urls.join(",")
  const places = placesOnOneMachine({ folder, natsUrl, databaseUrl: postgres.url, ports })
  return {
    folder,
    natsUrl,
    databaseUrl: postgres.url,
    apiUrl: places.urls.gateway,
    accessUrl: places.urls.access,
    tokenFile: keys.token,
    credentials: keys.credentials,
    nats: cell.nodes[0]!,
    env: { ...allTogether(cellSettings(places)), ...runsc() }
  }
})

/** gVisor, where this machine has it. Without it only work that is one's own is taken. */
const runsc = (): Readonly<Record<string, string>> => {
  const found = findTool("runsc")
  return "path" in found ? { MILLRACE_RUNSC: found.path } : {}
}

/** A free port for each service; the servers take their own. */
const somePorts = Effect.map(freePorts(serving.length), (ports) =>
  Object.fromEntries(serving.map((name, at) => [name, ports[at]])) as Record<Serving, number>)

const untaken = (name: string, port: number): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.once("error", () =>
      resume(Effect.fail(new Error(`Port ${port} for ${name} is taken by another program. Stop it, or use free ports: npm start -- --free-ports`))))
    server.listen(port, "127.0.0.1", () => server.close(() => resume(Effect.void)))
  })
