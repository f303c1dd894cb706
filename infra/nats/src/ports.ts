import { Effect, Random } from "effect"
import { createServer, type Server } from "node:net"

/**
 * Ports below the range that systems hand out to outgoing connections (32,768 on Linux, 49,152 elsewhere):
 * a port from that range could be taken by a client while its server restarts, or even answer itself.
 */
const PORT_MIN = 15_000
const PORT_MAX = 32_000
const TRIES_MAX = 200

/** Free ports on loopback. Somebody else may take one before it is used; whoever uses them tries again then. */
export const freePorts = Effect.fnUntraced(function*(count: number) {
  const open: Array<readonly [number, Server]> = []
  for (let tries = 0; open.length < count && tries < TRIES_MAX; tries++) {
    const port = yield* Random.nextIntBetween(PORT_MIN, PORT_MAX)
    const server = yield* Effect.promise(() => listen(port))
    if (server !== undefined) open.push([port, server])
  }
  for (const [, server] of open) yield* Effect.promise(() => new Promise((closed) => server.close(closed)))
  if (open.length < count) return yield* Effect.die(new Error(`no ${count} free ports on 127.0.0.1 in ${TRIES_MAX} tries`))
  return open.map(([port]) => port)
})

const listen = (port: number) =>
  new Promise<Server | undefined>((resolve) => {
    const server = createServer()
    server.once("error", () => resolve(undefined))
    server.listen({ port, host: "127.0.0.1" }, () => resolve(server))
  })
