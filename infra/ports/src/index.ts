import { Effect } from "effect"
import { randomInt } from "node:crypto"
import { createServer, type Server } from "node:net"

/**
 * Ports below the range that systems hand out to outgoing connections (32,768 on Linux, 49,152 elsewhere): a port
 * from that range can become some client's own between being found free and being listened on, for as long as that
 * client keeps its connection, or while its server restarts; a client can even reach itself there.
 */
const PORT_MIN = 15_000
const PORT_MAX = 32_000
const TRIES_MAX = 200

/** So many free ports of loopback. Another server may take one before it is used; whoever uses them tries again then. */
export const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>> =>
  Effect.promise(async () => {
    const open: Array<readonly [number, Server]> = []
    for (let tries = 0; open.length < count && tries < TRIES_MAX + count; tries++) {
      const port = randomInt(PORT_MIN, PORT_MAX)
      const server = await listen(port)
      if (server !== undefined) open.push([port, server])
    }
    for (const [, server] of open) await new Promise((closed) => server.close(closed))
    if (open.length < count) throw new Error(`no ${count} free ports on 127.0.0.1 in ${TRIES_MAX + count} tries`)
    return open.map(([port]) => port)
  })

/** One free port of loopback. */
export const freePort: Effect.Effect<number> = Effect.map(freePorts(1), ([port = 0]) => port)

const listen = (port: number) =>
  new Promise<Server | undefined>((resolve) => {
    const server = createServer()
    server.once("error", () => resolve(undefined))
    server.listen({ port, host: "127.0.0.1" }, () => resolve(server))
  })
