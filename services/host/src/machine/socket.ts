import type { PlacementMade } from "@millrace/schemas"
import { warrantBearer } from "@millrace/service"
import { Effect, Exit, Schema, Scope } from "effect"
import { hash } from "node:crypto"
import { chmodSync, mkdirSync, rmSync } from "node:fs"
import { createServer, type IncomingMessage, request as plainRequest, type Server, type ServerResponse } from "node:http"
import { request as tlsRequest } from "node:https"
import type { Socket } from "node:net"
import { join } from "node:path"
import { reach } from "../domain/reach.ts"
import type { LocalCopiesShape } from "./local-copies.ts"
import { answerBlob, unlessHeld, wholeBlobOf } from "./socket-blobs.ts"

/** The socket of an attempt could not be made. Its program runs without. */
export class SocketFailed extends Schema.TaggedError<SocketFailed>()("SocketFailed", { path: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The socket ${this.path} could not be opened: ${this.detail}. The work runs, and cannot speak to the cell; give the host a shorter MILLRACE_HOST_DIR or free some disk there`
  }
}

export interface SocketOptions {
  /** The folder that holds the sockets. Nobody but the host's own user gets in. */
  readonly folder: string
  /** The cell's API, such as `https://cell.example`. */
  readonly apiUrl: string
  /** The host's copies of blobs: one that the cell lets the program have is given from there. */
  readonly copies?: LocalCopiesShape
  /** Requests of one attempt at once; more are turned away. 16 unless told. */
  readonly requestsMax?: number
  /** A request on which nothing moves for this long is given up, in ms. 60 s unless told. */
  readonly idleMsMax?: number
}

/** A path of a socket has at most this many bytes, on Linux with its closing zero 108 (unix(7)). */
const pathBytesMax = 103
const connectionsMax = 64
const openMsMax = 5_000

/** What of a request goes on. A credential, a cookie, a host or a word of where it came from never does. */
const headersOnward = ["accept", "content-type", "idempotency-key", "last-event-id"] as const
const headersBack = ["content-type", "content-length", "content-disposition", "etag", "cache-control", "millrace-dropped-bytes", "retry-after", "x-content-type-options"] as const

/**
 * Opens the socket of one attempt: HTTP, and behind it the paths of the cell's API that a program may ask
 * for. Each request goes on under the attempt's warrant, which the program never sees; a warrant that gives
 * nothing to ask with is refused here. It closes with the scope, or earlier by `close`.
 */
export const openSocket = Effect.fnUntraced(function*(made: PlacementMade, options: SocketOptions, scope: Scope.Scope) {
  const path = join(options.folder, `${hash("sha256", made.attemptId, "hex").slice(0, 16)}.sock`)
  if (Buffer.byteLength(path) > pathBytesMax) return yield* new SocketFailed({ path, detail: `its path is longer than ${pathBytesMax} bytes` })
  const own = yield* Scope.fork(scope)
  const server = yield* Effect.acquireRelease(listening(path, handler(made, options)), (server) => closed(server, path)).pipe(Scope.provide(own))
  return { path, askedBytes: bytesOver(server), close: Scope.close(own, Exit.void) }
})

const listening = (path: string, handle: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.callback<Server, SocketFailed>((resume) => {
    const failed = (cause: unknown) => resume(Effect.fail(new SocketFailed({ path, detail: cause instanceof Error ? cause.message : String(cause) })))
    const server = createServer({ maxHeaderSize: 16 * 1024, headersTimeout: 10_000, requestTimeout: 300_000, keepAliveTimeout: 5_000, connectionsCheckingInterval: 5_000 }, handle)
    server.maxConnections = connectionsMax
    server.once("error", failed)
    try {
      mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 })
      // Left by an agent that fell: nobody listens there.
      rmSync(path, { force: true })
      server.listen(path, () => {
        server.off("error", failed)
        server.on("error", () => undefined)
        // The work may run as somebody else. Outside its sandbox the folder keeps others out.
        chmodSync(path, 0o666)
        resume(Effect.succeed(server))
      })
    } catch (cause) {
      failed(cause)
    }
  }).pipe(Effect.timeoutOrElse({ duration: openMsMax, orElse: () => Effect.fail(new SocketFailed({ path, detail: "it did not open in time" })) }))

/** Bytes of all connections of a server, both ways, those that are closed with those that are open. */
const bytesOver = (server: Server): () => number => {
  const open = new Set<Socket>()
  let past = 0
  const of = ({ bytesRead, bytesWritten }: Socket): number => bytesRead + bytesWritten
  server.on("connection", (socket) => {
    open.add(socket)
    socket.once("close", () => {
      open.delete(socket)
      past += of(socket)
    })
  })
  return () => [...open].reduce((sum, socket) => sum + of(socket), past)
}

const closed = (server: Server, path: string): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  }).pipe(Effect.andThen(Effect.sync(() => rmSync(path, { force: true }))))

const handler = (made: PlacementMade, { apiUrl, copies, idleMsMax = 60_000, requestsMax = 16 }: SocketOptions) => {
  const api = new URL(apiUrl)
  const send = api.protocol === "https:" ? tlsRequest : plainRequest
  const { signature, warrant } = made
  const mayAsk = warrant.holder !== undefined && warrant.grantPath.length > 0
  const authorization = `Warrant ${warrantBearer(warrant, signature)}`
  let underway = 0

  return (request: IncomingMessage, response: ServerResponse): void => {
    const way = reach(request.method ?? "", request.url ?? "")
    if (!way.allowed) return refuse(response, way.code === "not_reachable" ? refusals.notReachable(request) : refusals.malformed)
    if (!mayAsk) return refuse(response, refusals.noGrant(made))
    if (underway >= requestsMax) return refuse(response, refusals.busy(requestsMax))
    if (Number(request.headers["content-length"] ?? 0) > way.bodyBytesMax) return refuse(response, refusals.tooLarge(way.bodyBytesMax))
    underway++
    response.once("close", () => underway--)

    const headers: Record<string, string> = { authorization }
    for (const name of headersOnward) {
      const value = request.headers[name]
      if (typeof value === "string") headers[name] = value
    }
    const blob = copies === undefined ? undefined : wholeBlobOf(request)
    if (copies !== undefined && blob !== undefined) Object.assign(headers, unlessHeld(copies, blob))
    const length = request.headers["content-length"]
    if (length !== undefined) headers["content-length"] = length
    const onward = send({ protocol: api.protocol, hostname: api.hostname.replace(/^\[|\]$/gu, ""), port: api.port, method: request.method, path: request.url, headers, agent: false })
    const giveUp = (refusal: Refusal) => {
      onward.destroy()
      if (response.headersSent) response.destroy()
      else refuse(response, refusal)
    }
    onward.setTimeout(idleMsMax, () => giveUp(refusals.silent))
    onward.on("error", () => giveUp(refusals.silent))
    onward.on("response", (answer) => {
      const back: Record<string, string> = {}
      for (const name of headersBack) {
        const value = answer.headers[name]
        if (typeof value === "string") back[name] = value
      }
      if (copies !== undefined && blob !== undefined && (answer.statusCode === 200 || answer.statusCode === 304)) {
        if (!answerBlob(copies, blob, answer, response, back)) giveUp(refusals.silent)
        return
      }
      response.writeHead(answer.statusCode ?? 502, back)
      answer.on("error", () => response.destroy())
      answer.pipe(response)
    })
    let bytes = 0
    request.on("data", (piece: Buffer) => {
      bytes += piece.length
      if (bytes > way.bodyBytesMax) {
        request.unpipe(onward)
        giveUp(refusals.tooLarge(way.bodyBytesMax))
      }
    })
    request.on("error", () => onward.destroy())
    response.on("close", () => onward.destroy())
    request.pipe(onward)
  }
}

interface Refusal {
  readonly status: number
  readonly code: string
  readonly what: string
  readonly where: string
  readonly remedy: string
}

const refuse = (response: ServerResponse, { status, ...said }: Refusal): void => {
  const text = JSON.stringify(said)
  // The rest of a refused body is not read, so the connection cannot be used again.
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text), connection: "close" })
  response.end(text)
}

const refusals = {
  notReachable: ({ method, url }: IncomingMessage): Refusal => ({
    status: 404,
    code: "not_reachable",
    what: `${method} ${String(url).slice(0, 100)} cannot be asked for from inside a job`,
    where: "the job's socket",
    remedy: "submit, read and cancel jobs, put and read blobs, read and delegate grants"
  }),
  malformed: { status: 400, code: "path_malformed", what: "the path is not written as the API writes its paths", where: "the request line", remedy: "send the path alone, without dots, doubled slashes or another host" },
  noGrant: ({ jobId }: PlacementMade): Refusal => ({
    status: 403,
    code: "capability_missing",
    what: `${jobId} runs under no grant, so its program may ask for nothing`,
    where: "the job's warrant",
    remedy: "submit the job under a grant: its program then may do what the grant gives"
  }),
  busy: (requestsMax: number): Refusal => ({ status: 503, code: "busy", what: `${requestsMax} requests of this job are under way`, where: "the job's socket", remedy: "wait for one of them" }),
  tooLarge: (bytes: number): Refusal => ({ status: 413, code: "body_too_large", what: `more than ${bytes} bytes`, where: "the request's body", remedy: "put large values with PUT /v1/blobs, in parts of at most 1 GiB" }),
  silent: { status: 503, code: "cell_unreachable", what: "the cell's API does not answer this host now", where: "the way from the host to the cell", remedy: "ask again; with the same Idempotency-Key a job is submitted once" }
} as const
