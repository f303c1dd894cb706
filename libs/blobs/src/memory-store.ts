import type { Digest } from "@millrace/schemas"
import { Clock, Effect, Option, Stream } from "effect"
import { BlobCorrupt, BlobMissing } from "./blob-error.ts"
import type { BlobStore, Held } from "./store.ts"
import { nameOf } from "./verified.ts"

/** The largest piece that one pull of a memory blob gives, in bytes. */
const chunkBytes = 256 * 1024

function* chunksOf(bytes: Uint8Array) {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

/**
 * Blobs in memory: they end with the process, and their clock is Effect's, so that a simulation rules
 * their age. For tests and simulations; it bounds nothing but what it is given.
 */
export const memoryStore: Effect.Effect<BlobStore> = Effect.sync(() => {
  const blobs = new Map<Digest, Held & { readonly bytes: Uint8Array }>()
  return {
    put: Effect.fnUntraced(function*(stream, expected) {
      const bytes = Buffer.concat(yield* Stream.runCollect(stream))
      const ref = nameOf(bytes)
      if (Option.isSome(expected) && expected.value !== ref.digest) {
        return yield* new BlobCorrupt({ digest: expected.value, found: ref })
      }
      blobs.set(ref.digest, { ...ref, bytes, modifiedAtMs: yield* Clock.currentTimeMillis })
      return ref
    }),
    head: (digest) =>
      Effect.sync(() => Option.map(Option.fromUndefinedOr(blobs.get(digest)), ({ bytes: _, ...held }) => held)),
    read: (digest, { offsetBytes, lengthBytes = Infinity }) =>
      Stream.suspend((): Stream.Stream<Uint8Array, BlobMissing> => {
        const blob = blobs.get(digest)
        if (blob === undefined) return Stream.fail(new BlobMissing({ digest }))
        return Stream.fromIterable(chunksOf(blob.bytes.subarray(offsetBytes, offsetBytes + lengthBytes)))
      }),
    list: Stream.suspend(() => Stream.fromIterable([...blobs.values()].map(({ bytes: _, ...held }) => held))),
    remove: (digest, untouchedSinceMs) =>
      Effect.sync(() => {
        const blob = blobs.get(digest)
        return blob !== undefined && blob.modifiedAtMs < untouchedSinceMs && blobs.delete(digest)
      }),
    sweep: () => Effect.succeed(0)
  } satisfies BlobStore
})
