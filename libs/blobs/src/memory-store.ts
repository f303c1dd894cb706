import type { Digest } from "@millrace/schemas"
import { Clock, Effect, Option, Stream } from "effect"
import { BlobCorrupt, BlobMissing } from "./blob-error.ts"
import type { BlobStore, Held } from "./store.ts"
import { nameOf } from "./verified.ts"

/** The largest piece that one pull of a memory blob gives, in bytes. */
const chunkBytes = 256 * 1024

// Copies, or a reader could write into the store. Buffer's own `slice` would not copy.
function* chunksOf(bytes: Uint8Array) {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield Uint8Array.from(bytes.subarray(at, at + chunkBytes))
}

/** A blob in memory. */
export interface Remembered extends Held {
  readonly bytes: Uint8Array
}

const heldOf = ({ digest, sizeBytes, modifiedAtMs }: Remembered): Held => ({ digest, sizeBytes, modifiedAtMs })

/**
 * Blobs in a map. They end with the process, and their clock is Effect's, so that a simulation rules
 * their age. For tests and simulations; it bounds nothing but what it is given.
 */
export const memoryStoreIn = (blobs: Map<Digest, Remembered>): BlobStore => ({
  put: Effect.fnUntraced(function*(stream, expected) {
    const bytes = Buffer.concat(yield* Stream.runCollect(stream))
    const ref = nameOf(bytes)
    if (Option.isSome(expected) && expected.value !== ref.digest) {
      return yield* new BlobCorrupt({ digest: expected.value, found: ref })
    }
    blobs.set(ref.digest, { ...ref, bytes, modifiedAtMs: yield* Clock.currentTimeMillis })
    return ref
  }),
  head: (digest) => Effect.sync(() => Option.map(Option.fromUndefinedOr(blobs.get(digest)), heldOf)),
  read: (digest, { offsetBytes, lengthBytes = Infinity }) =>
    Stream.suspend((): Stream.Stream<Uint8Array, BlobMissing> => {
      const blob = blobs.get(digest)
      if (blob === undefined) return Stream.fail(new BlobMissing({ digest }))
      return Stream.fromIterable(chunksOf(blob.bytes.subarray(offsetBytes, offsetBytes + lengthBytes)))
    }),
  list: Stream.suspend(() => Stream.fromIterable([...blobs.values()].map(heldOf))),
  remove: (digest, untouchedSinceMs) =>
    Effect.sync(() => {
      const blob = blobs.get(digest)
      return blob !== undefined && blob.modifiedAtMs < untouchedSinceMs && blobs.delete(digest)
    }),
  sweep: () => Effect.succeed(0)
})

/** A memory store of its own. */
export const memoryStore: Effect.Effect<BlobStore> = Effect.sync(() => memoryStoreIn(new Map()))
