import { Effect, type Scope } from "effect"
import { connect, createServer, type Socket } from "node:net"

/** A wire between a client and a server that a test can cut, hold or falsify. */
export interface Proxy {
  readonly url: string
  /** What happens to bytes on their way; null loses them. */
  toClient: (bytes: Buffer) => Buffer | null
  toServer: (bytes: Buffer) => Buffer | null
  /** Cuts every connection. The client connects again by itself. */
  readonly cut: () => void
  /** Keeps what the client sends until the returned function lets it go, in order. */
  readonly holdToServer: () => () => void
}

const asIs = (bytes: Buffer): Buffer => bytes

/** Listens on loopback in front of a server, for as long as the scope lives. */
export const proxyTo = (port: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Proxy & { readonly close: () => void }>((resume) => {
      const sockets = new Set<Socket>()
      const held: Array<{ readonly socket: Socket; readonly bytes: Buffer }> = []
      let holding = false
      const keep = (socket: Socket) => {
        sockets.add(socket)
        socket.setNoDelay(true)
        socket.on("error", () => socket.destroy())
        socket.on("close", () => sockets.delete(socket))
      }
      const server = createServer((client) => {
        const upstream = connect(port, "127.0.0.1")
        keep(client)
        keep(upstream)
        client.on("close", () => upstream.destroy())
        upstream.on("close", () => client.destroy())
        upstream.on("data", (bytes) => {
          const passed = proxy.toClient(bytes)
          if (passed !== null) client.write(passed)
        })
        client.on("data", (bytes) => {
          const passed = proxy.toServer(bytes)
          if (passed === null) return
          if (holding) held.push({ socket: upstream, bytes: passed })
          else upstream.write(passed)
        })
      })
      const proxy = {
        url: "",
        toClient: asIs,
        toServer: asIs,
        cut: () => {
          for (const socket of sockets) socket.destroy()
        },
        holdToServer: () => {
          holding = true
          return () => {
            holding = false
            for (const { bytes, socket } of held.splice(0)) socket.write(bytes)
          }
        },
        close: () => {
          server.close()
          for (const socket of sockets) socket.destroy()
        }
      } satisfies Proxy & { readonly close: () => void }
      server.listen(0, "127.0.0.1", () => {
        proxy.url = `nats://127.0.0.1:${(server.address() as { readonly port: number }).port}`
        resume(Effect.succeed(proxy))
      })
    }),
    ({ close }) => Effect.sync(close)
  )
