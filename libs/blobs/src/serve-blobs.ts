import type { Digest } from "@millrace/schemas"
import { Clock, Effect, Fiber, Option, Stream } from "effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { type BlobCorrupt, type BlobMissing, type BlobStoreFull, BlobStoreUnclear, type BlobTooLarge } from "./blob-error.ts"
import { Blobs } from "./blobs.ts"
import { type Allowed, type LinkKeys, type LinkRefusal, type LinkRefused, openLink } from "./link.ts"
import type { Held, Range } from "./store.ts"
import { verified } from "./verified.ts"

export interface ServeBlobs {
  readonly keys: LinkKeys
  /** A connection on which nothing moves for this long is cut, in ms. 30 s unless given. */
  readonly idleMsMax?: number
}

/** Codes of the answers that are not bytes. Stable. */
export type BlobAnswer =
  | LinkRefusal
  | "blob_missing"
  | "blob_other_bytes"
  | "blob_too_large"
  | "blob_store_full"
  | "blob_store_unclear"
  | "range_unsatisfiable"
  | "range_malformed"

const statuses: Record<BlobAnswer, number> = {
  link_malformed: 400,
  link_key_unknown: 403,
  link_altered: 403,
  link_expired: 403,
  link_too_long_lived: 403,
  link_wrong_method: 405,
  blob_missing: 404,
  blob_other_bytes: 422,
  blob_too_large: 413,
  blob_store_full: 507,
  blob_store_unclear: 503,
  range_unsatisfiable: 416,
  range_malformed: 400
}

type Trouble = LinkRefused | BlobMissing | BlobCorrupt | BlobTooLarge | BlobStoreFull | BlobStoreUnclear

const codeOf = (trouble: Trouble): BlobAnswer => {
  switch (trouble._tag) {
    case "LinkRefused":
      return trouble.reason
    case "BlobMissing":
      return "blob_missing"
    case "BlobCorrupt":
      return "blob_other_bytes"
    case "BlobTooLarge":
      return "blob_too_large"
    case "BlobStoreFull":
      return "blob_store_full"
    case "BlobStoreUnclear":
      return "blob_store_unclear"
  }
}

const answer = (response: ServerResponse, status: number, body: object) => {
  const text = JSON.stringify(body)
  // The rest of a refused upload is not read, so the connection cannot be used again.
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    connection: "close"
  })
  response.end(text)
}

const refuse = (response: ServerResponse, code: BlobAnswer) => answer(response, statuses[code], { code })

/** One range of bytes as RFC 9110, section 14.1.2, has it. Several at once are answered with the whole. */
const rangeOf = (header: string | undefined, sizeBytes: number): Option.Option<Range> | BlobAnswer => {
  if (header === undefined || !header.startsWith("bytes=") || header.includes(",")) return Option.none()
  const [, first = "", last = ""] = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/u.exec(header) ?? []
  if (first === "" && last === "") return "range_malformed"
  const from = first === "" ? Math.max(0, sizeBytes - Number(last)) : Number(first)
  const to = first === "" || last === "" ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1)
  if (first !== "" && last !== "" && Number(last) < from) return "range_malformed"
  return from > to ? "range_unsatisfiable" : Option.some({ offsetBytes: from, lengthBytes: to - from + 1 })
}

/** Writes one chunk, and waits while the other end is slower than we are. */
const written = (response: ServerResponse, chunk: Uint8Array) =>
  Effect.callback<void>((resume) => {
    if (response.write(chunk) || response.destroyed) return resume(Effect.void)
    const over = () => {
      response.off("drain", over).off("close", over)
      resume(Effect.void)
    }
    response.on("drain", over).on("close", over)
    return Effect.sync(() => response.off("drain", over).off("close", over))
  })

const headersOf = ({ digest }: Held, lengthBytes: number) => ({
  "content-type": "application/octet-stream",
  "content-length": lengthBytes,
  "accept-ranges": "bytes",
  // The name is the content, so it is its own best tag.
  etag: `"${digest}"`,
  "cache-control": "private, max-age=31536000, immutable",
  "x-content-type-options": "nosniff"
})

const send = Effect.fnUntraced(function*(request: IncomingMessage, response: ServerResponse, digest: Digest) {
  const blobs = yield* Blobs
  const held = yield* blobs.head(digest)
  const range = rangeOf(request.headers.range, held.sizeBytes)
  if (typeof range === "string") return refuse(response, range)
  const { offsetBytes, lengthBytes = held.sizeBytes } = Option.getOrElse(range, (): Range => ({ offsetBytes: 0 }))
  const ranged = { "content-range": `bytes ${offsetBytes}-${offsetBytes + lengthBytes - 1}/${held.sizeBytes}` }
  const headers = headersOf(held, lengthBytes)
  response.writeHead(Option.isSome(range) ? 206 : 200, Option.isSome(range) ? { ...headers, ...ranged } : headers)
  if (request.method === "HEAD") return response.end()
  const bytes = Option.isSome(range)
    ? blobs.getRange(digest, range.value)
    : blobs.getRange(digest, { offsetBytes: 0 }).pipe(verified(digest))
  yield* Stream.runForEach(bytes, (chunk) => written(response, chunk))
  response.end()
})

const bodyOf = (request: IncomingMessage): Stream.Stream<Uint8Array, BlobStoreUnclear> =>
  Stream.fromAsyncIterable(request, (cause) => new BlobStoreUnclear({ doing: "receive a blob", cause }))

const receive = Effect.fnUntraced(function*(request: IncomingMessage, response: ServerResponse, allowed: Allowed) {
  const blobs = yield* Blobs
  const { digest, sizeBytesMax = Number.MAX_SAFE_INTEGER } = allowed
  if (Number(request.headers["content-length"] ?? 0) > sizeBytesMax) return refuse(response, "blob_too_large")
  const ref = yield* blobs.put(bodyOf(request), { digest, sizeBytesMax })
  answer(response, 201, ref)
})

/**
 * A Node request handler that serves and takes blobs by signed link: `GET` and `HEAD` (with `Range`)
 * and `PUT` of `/blobs/<digest>?...`. It asks for nothing but the link. Mount it where the gateway sees
 * paths under `/blobs/`.
 *
 * A whole blob is verified while it is sent. One that is corrupt is cut off before its last chunk, so
 * that the receiver sees a broken transfer and never a whole wrong one. A range is sent as it lies
 * there; the receiver verifies the whole when it has it.
 */
export const serveBlobs = Effect.fnUntraced(function*({ keys, idleMsMax = 30_000 }: ServeBlobs) {
  const run = Effect.runForkWith(yield* Effect.context<Blobs>())
  const serve = Effect.fnUntraced(function*(request: IncomingMessage, response: ServerResponse) {
    const asked = { link: request.url ?? "", method: request.method ?? "", nowMs: yield* Clock.currentTimeMillis }
    const allowed = yield* Effect.fromResult(openLink(asked, keys))
    yield* allowed.method === "GET" ? send(request, response, allowed.digest) : receive(request, response, allowed)
  })
  return (request: IncomingMessage, response: ServerResponse): void => {
    request.setTimeout(idleMsMax, () => request.destroy())
    const serving = run(serve(request, response).pipe(
      Effect.catch((trouble) =>
        // Once bytes have been sent, the only honest answer left is to break off.
        Effect.sync(() => response.headersSent ? response.destroy() : refuse(response, codeOf(trouble)))
      ),
      Effect.onError(() => Effect.sync(() => response.destroy()))
    ))
    response.once("close", () => run(Fiber.interrupt(serving)))
  }
})
