import type { Digest } from "@millrace/schemas"
import { Effect } from "effect"
import { memoryStoreIn, type Remembered } from "./memory-store.ts"
import { keepsItsPromises } from "./testing.ts"

keepsItsPromises("memory", Effect.sync(() => {
  const blobs = new Map<Digest, Remembered>()
  return {
    store: memoryStoreIn(blobs),
    corrupt: (digest) =>
      Effect.sync(() => {
        const blob = blobs.get(digest)!
        blob.bytes[blob.sizeBytes >> 1]! ^= 1
      }),
    halfDone: Effect.succeed([]),
    races: 30
  }
}))
