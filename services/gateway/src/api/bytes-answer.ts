import { Blobs } from "@millrace/blobs"
import type { BlobRef } from "@millrace/schemas"
import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { BadRequest, Unavailable } from "./errors.ts"

/**
 * A blob as an answer, from `offset` on. A whole one is verified while it is sent, and cut off before its
 * last piece if it is corrupt; a part is sent as it lies in the store. Whatever the bytes are, a browser
 * is told to save them and not to show, run or guess them.
 */
export const blobAnswer = Effect.fnUntraced(function*(
  { digest, sizeBytes }: BlobRef,
  { droppedBytes = 0, name, offset = 0 }: { readonly name: string; readonly offset?: number; readonly droppedBytes?: number }
) {
  const blobs = yield* Blobs
  if (offset > sizeBytes) {
    return yield* new BadRequest({
      code: "offset_beyond_end",
      what: `it has ${sizeBytes} bytes, and none at ${offset}`,
      where: "the offset of the query",
      remedy: "leave the offset away to read it from its beginning"
    })
  }
  yield* Effect.mapError(blobs.head(digest), (error) =>
    new Unavailable({
      code: error._tag === "BlobMissing" ? "bytes_gone" : "store_unavailable",
      what: `its bytes cannot be read: ${error.message}`,
      where: "the blob store",
      remedy: error._tag === "BlobMissing" ? "restore the blob from a copy" : "ask again in a moment"
    }))
  const bytes = offset === 0 ? blobs.get(digest) : blobs.getRange(digest, { offsetBytes: offset })
  return HttpServerResponse.stream(bytes, {
    contentType: "application/octet-stream",
    contentLength: sizeBytes - offset,
    headers: {
      "content-disposition": attachment(name),
      etag: `"${digest}"`,
      "cache-control": "private, no-cache",
      "x-content-type-options": "nosniff",
      "content-security-policy": "sandbox; default-src 'none'",
      "millrace-dropped-bytes": String(droppedBytes)
    }
  })
})

/** A name that was chosen by a program, as RFC 6266 and RFC 8187 have it: only its last part, and nothing in it that ends the header or a path. */
export const attachment = (name: string): string => {
  const last = name.split("/").at(-1) ?? ""
  const plain = last.replaceAll(/[^A-Za-z0-9._ -]/gu, "_").slice(0, 128) || "bytes"
  const exact = encodeURIComponent(last.slice(0, 255).toWellFormed()).replaceAll(/['()*]/gu, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
  return `attachment; filename="${plain}"; filename*=UTF-8''${exact}`
}
