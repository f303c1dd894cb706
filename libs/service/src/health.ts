import { createServer, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Effect, Schema, type Scope } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { Readiness } from "./readiness.ts"

/** The health endpoint cannot listen where it was told to. */
export class HealthPortTaken extends Schema.TaggedError<HealthPortTaken>()("HealthPortTaken", {
  host: Schema.String,
  port: Schema.Int,
  detail: Schema.String
}) {
  override get message() {
    return `The health endpoint cannot listen on ${this.host}:${this.port} (${this.detail}). End what listens there, or set MILLRACE_HEALTH_PORT to another port, or to 0 for a free one`
  }
}

/**
 * Answers how a process is, over HTTP: `/healthz` (200 as long as it runs), `/readyz` (200, or 503 with
 * what is not ready and why, as JSON) and `/metrics` (Prometheus text). It listens before anything else
 * starts and until everything else has ended. Gives the port.
 */
export const serveHealth = (
  { host, port }: { readonly host: string; readonly port: number }
): Effect.Effect<number, HealthPortTaken, Readiness | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Readiness>()
    const server = createServer((request, response) => {
      Effect.runForkWith(context)(Effect.matchCause(answer(request.method ?? "", request.url ?? ""), {
        onSuccess: (reply) => send(response, reply),
        // What went wrong may hold anything; who asks about health needs to know only that.
        onFailure: () => send(response, { status: 500, type: JSON_TYPE, body: `{"error":"internal"}` })
      }))
    })
    // Nobody needs long to ask; a connection that says nothing is no reason to hold one open.
    server.requestTimeout = 5_000
    server.headersTimeout = 5_000
    server.maxConnections = 64
    yield* Effect.acquireRelease(listen(server, host, port), () => closed(server))
    return (server.address() as AddressInfo).port
  })

interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string
}

const JSON_TYPE = "application/json; charset=utf-8"

const answer = Effect.fnUntraced(function*(method: string, url: string): Effect.fn.Return<Reply, never, Readiness> {
  if (method !== "GET" && method !== "HEAD") return { status: 405, type: JSON_TYPE, body: `{"error":"only GET and HEAD"}` }
  switch (url.split("?")[0]) {
    case "/healthz":
      return { status: 200, type: JSON_TYPE, body: `{"alive":true}` }
    case "/readyz": {
      const reasons = yield* Readiness.use((readiness) => readiness.unready)
      const ready = reasons.length === 0
      return { status: ready ? 200 : 503, type: JSON_TYPE, body: JSON.stringify({ ready, reasons }) }
    }
    case "/metrics":
      return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: (yield* PrometheusMetrics.format()) + processMetrics() }
    default:
      return { status: 404, type: JSON_TYPE, body: `{"error":"here are /healthz, /readyz and /metrics"}` }
  }
})

/** What every Prometheus client tells about its process: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics */
const processMetrics = (): string => {
  const { system, user } = process.cpuUsage()
  return [
    "",
    "# TYPE process_cpu_seconds_total counter",
    `process_cpu_seconds_total ${(user + system) / 1e6}`,
    "# TYPE process_resident_memory_bytes gauge",
    `process_resident_memory_bytes ${process.memoryUsage.rss()}`,
    ""
  ].join("\n")
}

const send = (response: ServerResponse, { body, status, type }: Reply) => {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store", connection: "close" })
  response.end(body)
}

const listen = (server: Server, host: string, port: number) =>
  Effect.callback<void, HealthPortTaken>((resume) => {
    const failed = (cause: NodeJS.ErrnoException) =>
      resume(Effect.fail(new HealthPortTaken({ host, port, detail: cause.code ?? cause.message })))
    server.once("error", failed)
    server.listen(port, host, () => {
      server.off("error", failed)
      resume(Effect.void)
    })
  })

const closed = (server: Server) =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })
