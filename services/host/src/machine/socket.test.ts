import { type GrantId, type PlacementMade, Principal } from "@millrace/schemas"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { hash } from "node:crypto"
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs"
import { createServer, type IncomingMessage, request, type RequestOptions } from "node:http"
import type { AddressInfo } from "node:net"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { placement } from "../testing/placement.ts"
import { LocalCopies, localCopies, type LocalCopiesShape } from "./local-copies.ts"
import { openSocket } from "./socket.ts"

const made = placement("a")
const granted: PlacementMade = {
  ...made,
  signature: "sig",
  warrant: { ...made.warrant, holder: Principal.make("agent:ada"), workspace: made.workspace, grantPath: [`grt_${"0".repeat(26)}` as GrantId] }
}

interface Heard {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingMessage["headers"]
  readonly body: string
}

/** An API that remembers what it was asked, and answers when it is told to. */
const api = Effect.gen(function*() {
  const heard: Array<Heard> = []
  let hold = false
  let [bytes, refuses]: [string | undefined, boolean] = [undefined, false]
  const held: Array<() => void> = []
  const server = yield* Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const made = createServer((incoming, response) => {
        const parts: Array<Buffer> = []
        incoming.on("data", (part: Buffer) => parts.push(part))
        incoming.on("end", () => {
          heard.push({ method: incoming.method, url: incoming.url, headers: incoming.headers, body: Buffer.concat(parts).toString() })
          const answer = () => {
            if (bytes !== undefined && incoming.url?.startsWith("/v1/blobs/")) {
              const had = incoming.headers["if-none-match"] !== undefined
              response.writeHead(refuses ? 404 : had ? 304 : 200, { "content-type": "application/octet-stream" })
              return response.end(had ? "" : refuses ? "{}" : bytes)
            }
            response.writeHead(200, { "content-type": "application/json", "set-cookie": "no", server: "secret" })
            response.end("{\"ok\":true}")
          }
          if (hold) held.push(answer)
          else answer()
        })
      })
      made.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
    }),
    (made) => Effect.callback<void>((resume) => {
      made.close(() => resume(Effect.void))
      made.closeAllConnections()
    })
  )
  return { heard, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, hold: () => (hold = true), held, gives: (text: string) => (bytes = text), refuse: () => (refuses = true) }
})

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "mill-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage["headers"]
  readonly body: any
}

const read = (text: string): unknown => text.startsWith("{") ? JSON.parse(text) : text

const ask = (path: string, options: RequestOptions, body = ""): Effect.Effect<Answer> =>
  Effect.callback((resume) => {
    const asked = request({ socketPath: path, agent: false, ...options }, (answer) => {
      const parts: Array<Buffer> = []
      answer.on("data", (part: Buffer) => parts.push(part))
      answer.on("end", () => resume(Effect.succeed({ status: answer.statusCode ?? 0, headers: answer.headers, body: read(Buffer.concat(parts).toString()) })))
      answer.on("error", () => resume(Effect.succeed({ status: 0, headers: {}, body: "cut off" })))
    })
    asked.on("error", (cause) => resume(Effect.die(cause)))
    asked.end(body)
  })

const opened = Effect.fnUntraced(function*(of: PlacementMade, options: { readonly requestsMax?: number; readonly copies?: LocalCopiesShape } = {}) {
  const { gives, held, heard, hold, refuse, url } = yield* api
  const at = join(yield* folder, "api")
  const socket = yield* openSocket(of, { folder: at, apiUrl: url, ...options }, yield* Effect.scope)
  return { ...socket, at, gives, heard, held, hold, refuse }
})

describe("the socket of an attempt", () => {
  it.live("sends on what the program asks, under the attempt's warrant and no credential of the program's own", () => Effect.gen(function*() {
    const { heard, path } = yield* opened(granted)
    const answer = yield* ask(path, {
      method: "POST",
      path: "/v1/jobs",
      headers: { "content-type": "application/json", "idempotency-key": "k", authorization: "Bearer stolen", cookie: "a=b", host: "elsewhere", "x-forwarded-for": "1.2.3.4", "proxy-authorization": "x" }
    }, "{\"argv\":[\"true\"]}")
    assert.deepStrictEqual([answer.status, answer.body, answer.headers["set-cookie"], answer.headers.server], [200, { ok: true }, undefined, undefined])
    const [{ body, headers, method, url }] = heard as [Heard]
    assert.deepStrictEqual([method, url, body, headers["idempotency-key"]], ["POST", "/v1/jobs", "{\"argv\":[\"true\"]}", "k"])
    assert.match(String(headers.authorization), /^Warrant [A-Za-z0-9_-]+\.sig$/u)
    assert.include(Buffer.from(String(headers.authorization).slice("Warrant ".length).split(".")[0]!, "base64url").toString(), granted.warrant.warrantId)
    assert.notInclude(JSON.stringify(headers), "stolen")
    assert.isTrue(["cookie", "x-forwarded-for", "proxy-authorization"].every((name) => headers[name] === undefined))
    assert.notStrictEqual(headers.host, "elsewhere")
  }))

  it.live("a blob that the cell lets it have comes from the host's copy the second time, and its bytes pass the line once", () => Effect.gen(function*() {
    const copies = Context.get((yield* Layer.build(localCopies(join(yield* folder, "copies"), 1_000_000))) as Context.Context<never>, LocalCopies)
    const { gives, heard, path, refuse } = yield* opened(granted, { copies })
    const text = "a model ".repeat(50_000)
    gives(text)
    const get = (digest: string) => ask(path, { method: "GET", path: `/v1/blobs/${digest}` })
    const digest = `sha256:${hash("sha256", text, "hex")}`
    const first = yield* get(digest)
    assert.strictEqual(first.body, text)
    const second = yield* get(digest)
    assert.deepStrictEqual([second.status, second.body === text, second.headers["content-length"]], [200, true, String(text.length)])
    assert.deepStrictEqual(heard.map(({ headers }) => headers["if-none-match"]), [undefined, `"${digest}"`])
    assert.isUndefined(copies.held().loadBytesPerMs, "the program's pace is not the host's")
    refuse()
    assert.strictEqual((yield* get(digest)).status, 404, "whoever may not have it does not get the copy")
  }))

  it.live("bytes that are not the blob's are cut off, and are no copy", () => Effect.gen(function*() {
    const copies = Context.get((yield* Layer.build(localCopies(join(yield* folder, "copies"), 1_000_000))) as Context.Context<never>, LocalCopies)
    const { gives, path } = yield* opened(granted, { copies })
    gives("something else")
    const answer = yield* Effect.exit(ask(path, { method: "GET", path: `/v1/blobs/sha256:${"0".repeat(64)}` }))
    assert.isTrue(Exit.isFailure(answer) || answer.value.body === "cut off")
    assert.strictEqual(copies.held().copies.blobs.size, 0)
  }))

  it.live("without a grant nothing is asked, and the program is told so", () => Effect.gen(function*() {
    const { heard, path } = yield* opened(made)
    const answer = yield* ask(path, { method: "GET", path: "/v1/jobs" })
    assert.deepStrictEqual([answer.status, answer.body.code, heard.length], [403, "capability_missing", 0])
  }))

  it.live("what is out of reach or misspelt is refused here", () => Effect.gen(function*() {
    const { heard, path } = yield* opened(granted)
    assert.deepStrictEqual((yield* ask(path, { method: "POST", path: "/v1/credentials" })).body.code, "not_reachable")
    assert.deepStrictEqual((yield* ask(path, { method: "GET", path: "http://127.0.0.1:1/v1/jobs" })).body.code, "path_malformed")
    assert.deepStrictEqual(heard, [])
  }))

  it.live("a body beyond the limit is refused, announced or not", () => Effect.gen(function*() {
    const { heard, path } = yield* opened(granted)
    const large = "x".repeat(1024 * 1024 + 1)
    assert.strictEqual((yield* ask(path, { method: "POST", path: "/v1/jobs" }, large)).status, 413)
    assert.strictEqual((yield* ask(path, { method: "POST", path: "/v1/jobs", headers: { "transfer-encoding": "chunked" } }, large)).status, 413)
    assert.deepStrictEqual(heard, [])
  }))

  it.live("more requests at once than there may be are turned away, and the others are answered", () => Effect.gen(function*() {
    const { held, heard, hold, path } = yield* opened(granted, { requestsMax: 2 })
    hold()
    const two = yield* Effect.forkChild(Effect.all([1, 2].map(() => ask(path, { method: "GET", path: "/v1/jobs" })), { concurrency: 2 }))
    yield* Effect.sleep("5 millis").pipe(Effect.repeat({ until: () => heard.length === 2 }), Effect.timeout("5 seconds"))
    assert.deepStrictEqual((yield* ask(path, { method: "GET", path: "/v1/jobs" })).body.code, "busy")
    for (const answer of held) answer()
    assert.deepStrictEqual((yield* Effect.timeout(Fiber.join(two), "5 seconds")).map(({ status }) => status), [200, 200])
  }))

  it.live("an API that is away is said to be so", () => Effect.gen(function*() {
    const socket = yield* openSocket(granted, { folder: join(yield* folder, "api"), apiUrl: "http://127.0.0.1:1" }, yield* Effect.scope)
    assert.deepStrictEqual((yield* ask(socket.path, { method: "GET", path: "/v1/jobs" })).body.code, "cell_unreachable")
  }))

  it.live("is closed with its attempt, and opened again by an agent that finds an old one", () => Effect.gen(function*() {
    const { at, close, path } = yield* opened(granted)
    assert.strictEqual(statSync(at).mode & 0o777, 0o700)
    const open = connect(path)
    yield* Effect.callback<void>((resume) => void open.on("connect", () => resume(Effect.void)))
    const gone = Effect.callback<void>((resume) => void open.on("close", () => resume(Effect.void)))
    yield* Effect.all([gone, close], { concurrency: 2 })
    assert.isFalse(existsSync(path))
    const scope = yield* Scope.make()
    const { url } = yield* api
    yield* openSocket(granted, { folder: at, apiUrl: url }, scope)
    const again = yield* openSocket(granted, { folder: at, apiUrl: url }, yield* Effect.scope)
    assert.strictEqual(again.path, path)
    assert.strictEqual((yield* ask(path, { method: "GET", path: "/v1/jobs" })).status, 200)
    yield* Scope.close(scope, Exit.void)
  }))
})
