import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Effect, Layer, Schema } from "effect"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { Unavailable } from "./refusals.ts"

/** An API cannot listen where it was told to. */
export class ApiPortTaken extends Schema.TaggedError<ApiPortTaken>()("ApiPortTaken", {
  host: Schema.String,
  port: Schema.Int,
  detail: Schema.String
}) {
  override get message() {
    return `The API cannot listen on ${this.host}:${this.port} (${this.detail}). End what listens there, or give this service another port: --help names the setting`
  }
}

/**
 * The HTTP server that routes are served on (`HttpRouter.serve`), for as long as the layer lives. It listens before
 * they stand, since they are built on it. Whoever asks in between, or while it stops, is told so (503,
 * `Retry-After`), where Node would leave them waiting for an answer that never comes.
 */
export const httpServer = ({ host, port, server = createServer }: {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly server?: () => Server
}) =>
  Layer.effectContext(Layer.build(NodeHttpServer.layer(() => refusingAlone(server()), { host, port })).pipe(
    Effect.mapError(({ cause }) => new ApiPortTaken({ host, port, detail: detailOf(cause) }))
  ))

const detailOf = (cause: unknown): string =>
  cause instanceof Error ? (cause as NodeJS.ErrnoException).code ?? cause.message : String(cause)

/** Answers only where nobody else does. */
const refusingAlone = (server: Server): Server =>
  server.on("request", (_: IncomingMessage, response: ServerResponse) => {
    if (server.listenerCount("request") === 1) response.writeHead(503, { "content-type": "application/json", "retry-after": "1", connection: "close" }).end(notNow)
  })

const notNow = JSON.stringify(Schema.encodeSync(Unavailable)(new Unavailable({
  code: "starting_or_stopping",
  what: "this service is starting, or it stops",
  where: "the service",
  remedy: "ask again in a second; millrace status says when everything is ready"
})))
