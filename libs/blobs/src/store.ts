import type { BlobRef, Digest } from "@millrace/schemas"
import type { Effect, Option, Stream } from "effect"
import type { BlobCorrupt, BlobMissing, BlobStoreFull, BlobStoreUnclear } from "./blob-error.ts"

/** A blob as its store knows it. `modifiedAtMs` is when it was last put, by the clock of the store. */
export interface Held extends BlobRef {
  readonly modifiedAtMs: number
}

/** A part of a blob: from `offsetBytes` to its end, or for `lengthBytes` if given. */
export interface Range {
  readonly offsetBytes: number
  readonly lengthBytes?: number
}

/**
 * Where bytes lie. A store hashes what comes in, since that is their name, and believes what it holds:
 * verifying is done once, above all stores.
 *
 * Every implementation passes `keepsItsPromises`.
 */
export interface BlobStore {
  /**
   * Stores bytes under their name, with bounded memory. Visible whole or not at all. If `expected` is
   * given and the bytes have another name, nothing is stored. Bytes that are there already become
   * young again, so that a collection under way spares them.
   */
  readonly put: <E, R>(bytes: Stream.Stream<Uint8Array, E, R>, expected: Option.Option<Digest>) => Effect.Effect<
    BlobRef,
    E | BlobCorrupt | BlobStoreFull | BlobStoreUnclear,
    R
  >

  readonly head: (digest: Digest) => Effect.Effect<Option.Option<Held>, BlobStoreUnclear>

  /** The bytes as they lie there, unverified. Pulled by the reader: at most a few chunks wait in memory. */
  readonly read: (digest: Digest, range: Range) => Stream.Stream<Uint8Array, BlobMissing | BlobStoreUnclear>

  /** Every blob, in no order. One put or removed meanwhile may or may not be among them. */
  readonly list: Stream.Stream<Held, BlobStoreUnclear>

  /**
   * Removes a blob unless it was put again at or after `untouchedSinceMs`, and says whether it did. A
   * put that is answered, whenever it ran, is never undone by a removal that had not seen it.
   */
  readonly remove: (digest: Digest, untouchedSinceMs: number) => Effect.Effect<boolean, BlobStoreUnclear>

  /**
   * Finishes or clears what died half done before `untouchedSinceMs`: puts never finished, removals
   * begun. Answers how many such leftovers it cleared.
   */
  readonly sweep: (untouchedSinceMs: number) => Effect.Effect<number, BlobStoreUnclear>
}
