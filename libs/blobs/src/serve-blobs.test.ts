import { assert, describe, it } from "@effect/vitest"
import { type Digest, WorkspaceName } from "@millrace/schemas"
import { Effect, Redacted } from "effect"
import { createServer, request, type IncomingHttpHeaders } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { Blobs } from "./blobs.ts"
import { type Allowed, linkTo } from "./link.ts"
import { memoryStoreIn, type Remembered } from "./memory-store.ts"
import { serveBlobs } from "./serve-blobs.ts"
import { bytesNumbered } from "./testing.ts"
import { nameOf } from "./verified.ts"

const keys = { current: { id: "spring", secret: Redacted.make(new Uint8Array(32).fill(7)) } }
const workspace = WorkspaceName.make("acme")

const linkFor = (method: Allowed["method"], digest: Digest, sizeBytesMax?: number) =>
  linkTo({ method, digest, workspace, expiresAtMs: Date.now() + 60_000, ...(sizeBytesMax !== undefined && { sizeBytesMax }) }, keys)

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The connection ended before the answer did. */
  readonly broken: boolean
}

/** One request on a connection of its own, as a stranger's client would make it. */
const ask = (port: number, path: string, options: { method?: string; headers?: Record<string, string>; body?: Uint8Array } = {}) =>
  Effect.promise(() =>
    new Promise<Answer>((answered, failed) => {
      const { method = "GET", headers = {}, body } = options
      const asking = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
        const chunks: Array<Buffer> = []
        const end = (broken: boolean) => () =>
          answered({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks), broken })
        response.on("data", (chunk) => chunks.push(chunk)).on("end", end(false)).on("error", end(true))
      })
      asking.on("error", failed).end(body)
    })
  )

const codeOf = ({ body }: Answer) => (JSON.parse(body.toString()) as { readonly code: string }).code

const served = Effect.gen(function*() {
  const map = new Map<Digest, Remembered>()
  const blobs = Blobs.on(memoryStoreIn(map))
  const handler = yield* Effect.provideService(serveBlobs({ keys, idleMsMax: 300 }), Blobs, blobs)
  const server = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const server = createServer(handler)
      await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
      return server
    }),
    (server) => Effect.promise(async () => {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    })
  )
  return { map, blobs, port: (server.address() as AddressInfo).port }
})

const test = (promise: string, body: (at: Effect.Success<typeof served>) => Effect.Effect<void, unknown>) =>
  it.live(promise, () => Effect.scoped(Effect.flatMap(served, body)))

const bytes = Buffer.from(bytesNumbered(1, 700_000))
const { digest } = nameOf(bytes)

describe("blobs by signed link", () => {
  test("a link to put and a link to get carry a blob there and back", Effect.fnUntraced(function*({ port }) {
    const put = yield* ask(port, linkFor("PUT", digest), { method: "PUT", body: bytes })
    assert.strictEqual(put.status, 201)
    assert.deepStrictEqual(JSON.parse(put.body.toString()), { digest, sizeBytes: 700_000 })
    const got = yield* ask(port, linkFor("GET", digest))
    assert.strictEqual(got.status, 200)
    assert.strictEqual(got.headers.etag, `"${digest}"`)
    assert.isTrue(bytes.equals(got.body))
    const head = yield* ask(port, linkFor("GET", digest), { method: "HEAD" })
    assert.strictEqual(head.headers["content-length"], "700000")
  }))

  test("ranges are served as RFC 9110 has them", Effect.fnUntraced(function*({ port, blobs }) {
    yield* blobs.putBytes(bytes)
    const link = linkFor("GET", digest)
    const ranged = (range: string) => ask(port, link, { headers: { range } })
    const expected: ReadonlyArray<readonly [string, number, number]> = [
      ["bytes=0-9", 0, 10], ["bytes=699990-", 699_990, 700_000], ["bytes=-5", 699_995, 700_000], ["bytes=10-9999999", 10, 700_000]
    ]
    for (const [range, from, to] of expected) {
      const part = yield* ranged(range)
      assert.strictEqual(part.status, 206, range)
      assert.strictEqual(part.headers["content-range"], `bytes ${from}-${to - 1}/700000`)
      assert.isTrue(bytes.subarray(from, to).equals(part.body))
    }
    assert.strictEqual(codeOf(yield* ranged("bytes=700000-")), "range_unsatisfiable")
    assert.strictEqual(codeOf(yield* ranged("bytes=9-1")), "range_malformed")
    assert.strictEqual((yield* ranged("bytes=0-1,5-6")).status, 200)
    assert.strictEqual((yield* ranged("lines=0-1")).status, 200)
  }))

  test("refused links open nothing, each with its code", Effect.fnUntraced(function*({ port, blobs, map }) {
    yield* blobs.putBytes(bytes)
    const other = nameOf(bytesNumbered(2, 10)).digest
    const get = linkFor("GET", digest)
    const put = linkFor("PUT", other, 1_000)
    const expired = linkTo({ method: "GET", digest, workspace, expiresAtMs: 1 }, keys)
    const attacks: ReadonlyArray<readonly [string, string, string, number]> = [
      ["GET", `/blobs/${digest}`, "link_malformed", 400],
      ["GET", expired, "link_expired", 403],
      ["GET", expired.replace("expires=1&", `expires=${Date.now() + 60_000}&`), "link_altered", 403],
      ["GET", linkFor("GET", other).replace(other, digest), "link_altered", 403],
      ["GET", get.replace("key=spring", "key=winter"), "link_key_unknown", 403],
      ["PUT", get, "link_wrong_method", 405],
      ["DELETE", get, "link_wrong_method", 405],
      ["GET", put, "link_wrong_method", 405],
      ["PUT", put.replace("max=1000", "max=9000"), "link_altered", 403]
    ]
    for (const [method, path, code, status] of attacks) {
      const refused = yield* ask(port, path, { method })
      assert.deepStrictEqual([codeOf(refused), refused.status], [code, status])
    }
    assert.strictEqual(codeOf(yield* ask(port, linkFor("GET", other))), "blob_missing")
    assert.deepStrictEqual([...map.keys()], [digest])
  }))

  test("an upload of other bytes, or of too many, stores nothing", Effect.fnUntraced(function*({ port, map }) {
    const other = yield* ask(port, linkFor("PUT", digest), { method: "PUT", body: bytesNumbered(9, 10) })
    assert.deepStrictEqual([codeOf(other), other.status], ["blob_other_bytes", 422])
    const announced = yield* ask(port, linkFor("PUT", digest, 10), {
      method: "PUT", headers: { "content-length": "11" }, body: bytesNumbered(9, 11)
    })
    assert.deepStrictEqual([codeOf(announced), announced.status], ["blob_too_large", 413])
    const unannounced = yield* ask(port, linkFor("PUT", digest, 10), {
      method: "PUT", headers: { "transfer-encoding": "chunked" }, body: bytesNumbered(9, 11)
    })
    assert.deepStrictEqual([codeOf(unannounced), unannounced.status], ["blob_too_large", 413])
    assert.strictEqual(map.size, 0)
  }))

  test("a corrupt blob is broken off before its end, never sent whole", Effect.fnUntraced(function*({ port, blobs, map }) {
    yield* blobs.putBytes(bytes)
    map.get(digest)!.bytes[350_000]! ^= 1
    const got = yield* ask(port, linkFor("GET", digest))
    assert.isTrue(got.broken)
    assert.isBelow(got.body.byteLength, bytes.byteLength)
  }))

  test("an upload that breaks off or falls silent is cut, and stores nothing", Effect.fnUntraced(function*({ port, map }) {
    const begin = `PUT ${linkFor("PUT", digest)} HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes.byteLength}\r\n\r\n`
    const cut = Effect.promise(() =>
      new Promise<void>((closed) => {
        const socket = connect(port, "127.0.0.1", () => socket.write(begin + "the first bytes, and then nothing"))
        socket.on("close", () => closed()).on("error", () => {}).resume()
      })
    )
    yield* cut
    const gone = Effect.promise(() =>
      new Promise<void>((closed) => {
        const socket = connect(port, "127.0.0.1", () => socket.write(begin, () => socket.destroy()))
        socket.on("close", () => closed())
      })
    )
    yield* gone
    assert.strictEqual(map.size, 0)
  }))
})
