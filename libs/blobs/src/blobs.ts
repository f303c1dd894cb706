import type { BlobRef, Digest } from "@millrace/schemas"
import { type Config, Context, Effect, Layer, Option, Stream } from "effect"
import {
  BlobMissing,
  BlobTooLarge,
  type BlobCorrupt,
  type BlobStoreFull,
  type BlobStoreUnclear
} from "./blob-error.ts"
import { type Collected, type Collection, collect, wouldCollect } from "./collect.ts"
import { folderStore } from "./folder-store.ts"
import { type JetStreamStoreOptions, jetStreamStore } from "./jetstream-store.ts"
import { memoryStore } from "./memory-store.ts"
import { s3Settings, type S3StoreOptions, s3Store } from "./s3-store.ts"
import type { BlobStore, Held, Range } from "./store.ts"
import { atMost, verified } from "./verified.ts"

/** What a put asks for. */
export interface Wanted {
  /** The name that the bytes must have. If they have another, the put ends in `BlobCorrupt`. */
  readonly digest?: Digest
  /** More bytes than this end the put in `BlobTooLarge`. Without it the store alone is the limit. */
  readonly sizeBytesMax?: number
}

/**
 * Content-addressed bytes. The name of a blob is the SHA-256 of its bytes, so a blob never changes, and
 * whoever holds the name can tell the bytes from any others.
 *
 * - A put that is answered is durable as its store promises, and whole. One that is not leaves nothing visible.
 * - The same bytes put twice are stored once.
 * - A read ends in `BlobCorrupt` if the bytes are not those of the name; never silently.
 * - Blobs go by `collect` alone, when no fact means them and their grace is over.
 */
export class Blobs extends Context.Service<Blobs, {
  /** Stores a stream with bounded memory, and answers its name. */
  readonly put: <E, R>(bytes: Stream.Stream<Uint8Array, E, R>, wanted?: Wanted) => Effect.Effect<
    BlobRef,
    E | BlobCorrupt | BlobTooLarge | BlobStoreFull | BlobStoreUnclear,
    R
  >
  /** Stores bytes that are at hand, for fields too large for a fact. */
  readonly putBytes: (bytes: Uint8Array) => Effect.Effect<BlobRef, BlobStoreFull | BlobStoreUnclear>
  /** The whole blob, verified. Chunks come before the verdict; only a stream that ended well was the blob. */
  readonly get: (digest: Digest) => Stream.Stream<Uint8Array, BlobMissing | BlobCorrupt | BlobStoreUnclear>
  /** The whole blob at once, verified, if it is at most `sizeBytesMax`. */
  readonly getBytes: (
    digest: Digest,
    sizeBytesMax: number
  ) => Effect.Effect<Uint8Array, BlobMissing | BlobCorrupt | BlobTooLarge | BlobStoreUnclear>
  /**
   * A part of the blob, **unverified**: a part has no name. To resume a download, keep the `Naming` of
   * what you have and pipe the rest through `verified(digest, naming)`; the whole is then verified.
   */
  readonly getRange: (digest: Digest, range: Range) => Stream.Stream<Uint8Array, BlobMissing | BlobStoreUnclear>
  /** What the store knows of the blob, or `BlobMissing`. The bytes are not looked at. */
  readonly head: (digest: Digest) => Effect.Effect<Held, BlobMissing | BlobStoreUnclear>
  readonly has: (digest: Digest) => Effect.Effect<boolean, BlobStoreUnclear>
  /** Removes what no fact means any more. See `collect`. */
  readonly collect: <E, R>(collection: Collection<E, R>) => Effect.Effect<Collected, E | BlobStoreUnclear, R>
  /** What `collect` would do. Changes nothing. */
  readonly wouldCollect: <E, R>(collection: Collection<E, R>) => Effect.Effect<Collected, E | BlobStoreUnclear, R>
}>()("millrace/Blobs") {
  /** Blobs on any store. */
  static readonly on = (store: BlobStore): Blobs["Service"] => {
    const put: Blobs["Service"]["put"] = (bytes, { digest, sizeBytesMax = Number.MAX_SAFE_INTEGER } = {}) =>
      store.put(atMost(sizeBytesMax)(bytes), Option.fromUndefinedOr(digest))
    const get = (digest: Digest) => store.read(digest, { offsetBytes: 0 }).pipe(verified(digest))
    const head = (digest: Digest) =>
      Effect.flatMap(store.head(digest), Option.match({
        onNone: () => Effect.fail(new BlobMissing({ digest })),
        onSome: (held) => Effect.succeed(held)
      }))
    return Blobs.of({
      put,
      putBytes: (bytes) =>
        // No name is expected of them, so the store cannot find another.
        Effect.catchTag(store.put(Stream.succeed(bytes), Option.none()), "BlobCorrupt", Effect.die),
      get,
      getBytes: (digest, sizeBytesMax) =>
        get(digest).pipe(atMost(sizeBytesMax), Stream.runCollect, Effect.map((chunks) => Buffer.concat(chunks))),
      getRange: (digest, range) => store.read(digest, range),
      head,
      has: (digest) => Effect.map(store.head(digest), Option.isSome),
      collect: (collection) => collect(store, collection),
      wouldCollect: (collection) => wouldCollect(store, collection)
    })
  }

  /** In a folder of a local disk. A put is answered when it has been flushed to the disk. */
  static readonly folder = (root: string): Layer.Layer<Blobs, BlobStoreUnclear> =>
    Layer.effect(Blobs, Effect.map(folderStore(root), Blobs.on))

  /** In a JetStream object store. A put is answered when the stream's replicas have it. */
  static readonly jetStream = (options: JetStreamStoreOptions): Layer.Layer<Blobs, BlobStoreUnclear> =>
    Layer.effect(Blobs, Effect.map(jetStreamStore(options), Blobs.on))

  /** In a bucket of S3, or of a store that speaks its protocol. */
  static readonly s3 = (options: S3StoreOptions): Layer.Layer<Blobs, BlobStoreUnclear> =>
    Layer.effect(Blobs, Effect.map(s3Store(options), Blobs.on))

  /** In a bucket of S3, as the settings of this process say. See `s3Settings`. */
  static readonly s3FromConfig: Layer.Layer<Blobs, BlobStoreUnclear | Config.ConfigError> =
    Layer.unwrap(Effect.map(s3Settings, Blobs.s3))

  /** In the memory of this process, for simulations and tests. */
  static readonly memory: Layer.Layer<Blobs> = Layer.effect(Blobs, Effect.map(memoryStore, Blobs.on))
}
