import { type Clock, Effect, type Scope } from "effect"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { createServer as createSecureServer } from "node:https"
import type { Answer, Request } from "./cloud.ts"

const bodyBytesMax = 2_000_000

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Array<Buffer> = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > bodyBytesMax) throw new Error("the body is too large")
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString("utf8")
}

const send = (response: ServerResponse, { body, headers = {}, status, stream }: Answer): void => {
  response.writeHead(status, { "content-type": typeof body === "string" ? "text/plain" : "application/json", ...headers })
  if (stream === undefined) {
    response.end(typeof body === "string" ? body : JSON.stringify(body, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value)))
    return
  }
  response.flushHeaders()
  const gone = stream({ write: (text) => void response.write(text), end: () => void response.end() })
  response.once("close", gone)
}

/** Serves answers on 127.0.0.1 for as long as the scope lives, and says where. */
export const serve = Effect.fnUntraced(function*({ answer, clock, port, slowMs, tls }: {
  readonly port: number
  readonly slowMs: () => number
  readonly answer: (request: Request) => Answer
  readonly clock: Clock.Clock
  readonly tls?: { readonly key: string; readonly cert: string } | undefined
}): Effect.fn.Return<string, Error, Scope.Scope> {
  const handle = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = incoming.url ?? "/"
    const { pathname, searchParams } = new URL(url, "http://sky")
    const body = await bodyOf(incoming)
    const headers = Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : value ?? ""]))
    const answered = answer({ method: incoming.method ?? "GET", path: pathname, url, query: searchParams, headers, body, atMs: clock.currentTimeMillisUnsafe() })
    if (slowMs() > 0 && !pathname.startsWith("/sky")) await new Promise((resolve) => setTimeout(resolve, slowMs()))
    if (answered.cut === true) response.destroy()
    else send(response, answered)
  }
  const server = yield* Effect.acquireRelease(
    Effect.callback<Server, Error>((resume) => {
      const serveOne = (request: IncomingMessage, response: ServerResponse): void => void handle(request, response).catch(() => response.destroy())
      const made = tls === undefined ? createServer(serveOne) : createSecureServer(tls, serveOne)
      made.once("error", (error) => resume(Effect.fail(error)))
      made.listen(port, "127.0.0.1", () => resume(Effect.succeed(made)))
    }),
    (made) => Effect.promise(async () => {
      made.closeAllConnections()
      await new Promise<void>((resolve) => made.close(() => resolve()))
    })
  )
  const address = server.address()
  return `${tls === undefined ? "http" : "https"}://127.0.0.1:${typeof address === "object" && address !== null ? address.port : port}`
})
