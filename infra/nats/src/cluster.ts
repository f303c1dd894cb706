import { Effect, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import { NatsUnavailable } from "./nats-unavailable.ts"
import { freePorts } from "@millrace/infra-ports"
import { type NatsServer, portWasTaken, serve, type ServerOptions, wholeOrNothing } from "./server.ts"

const PORT_TRIES_MAX = 5
const READY_MS_MAX = 30_000
const READY_POLL_MS = 50

export interface ClusterOptions extends Omit<ServerOptions, "port" | "monitor"> {
  readonly nodes: number
}

/** Several nats-servers of ours that replicate their streams. */
export interface NatsCluster {
  readonly urls: ReadonlyArray<string>
  readonly nodes: ReadonlyArray<NatsServer>
  readonly pids: () => ReadonlyArray<number>
  /** Ends one node at once, as a crash would. */
  readonly kill: (node: number) => Effect.Effect<void>
  /** Ends one node, if it runs, and starts it again on its folder and ports. */
  readonly restart: (node: number) => Effect.Effect<void, NatsUnavailable>
  /** Waits until every given node says that its JetStream is current, within 30 s; all nodes by default. */
  readonly ready: (nodes?: ReadonlyArray<number>) => Effect.Effect<void, NatsUnavailable>
}

/**
 * Starts a cluster on loopback, one folder a node under `storeDir`, and waits until each node says that
 * its JetStream has a leader and is current.
 */
export const startCluster = (options: ClusterOptions): Effect.Effect<NatsCluster, NatsUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const ports = yield* freePorts(options.nodes * 3)
    const of = (place: number) => ports.slice(place * options.nodes, (place + 1) * options.nodes)
    const [clients, routes, monitors] = [of(0), of(1), of(2)]
    const name = options.name ?? "millrace"
    const password = randomBytes(24).toString("hex")
    const nodes = yield* Effect.forEach(clients, (port, index) =>
      serve({
        ...options,
        port,
        name: `${name}-${index + 1}`,
        storeDir: join(options.storeDir, `node-${index + 1}`),
        monitorPort: monitors[index],
        cluster: { name, password, port: routes[index] as number, routes: routes.filter((_, other) => other !== index) }
      }), { concurrency: options.nodes })
    const at = (node: number) => nodes[node] as NatsServer
    const cluster: NatsCluster = {
      urls: nodes.map(({ url }) => url),
      nodes,
      pids: () => nodes.map(({ pid }) => pid()),
      kill: (node) => at(node).kill,
      restart: (node) => at(node).restart,
      ready: (some = nodes.map((_, index) => index)) => Effect.forEach(some, (node) => healthy(at(node)), { discard: true, concurrency: nodes.length })
    }
    yield* cluster.ready()
    return cluster
  }).pipe(wholeOrNothing, Effect.retry({ times: PORT_TRIES_MAX, while: portWasTaken }))

const healthy = Effect.fnUntraced(function*({ monitorUrl, storeDir }: NatsServer) {
  let detail = "it does not answer"
  for (let waited = 0; waited < READY_MS_MAX; waited += READY_POLL_MS) {
    const found = yield* Effect.promise(() => ask(`${monitorUrl}/healthz`))
    if (found === "ok") return
    detail = found
    yield* Effect.promise(() => new Promise((wake) => setTimeout(wake, READY_POLL_MS)))
  }
  return yield* new NatsUnavailable({ reason: "not_ready", storeDir, detail })
})

const ask = async (url: string): Promise<string> => {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    return answer.ok ? "ok" : (await answer.text()).slice(0, 200)
  } catch (error) {
    return String(error)
  }
}
