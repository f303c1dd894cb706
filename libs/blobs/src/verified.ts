import { BlobRef, Digest } from "@millrace/schemas"
import { Effect, Stream } from "effect"
import { createHash, type Hash } from "node:crypto"
import { BlobCorrupt, BlobTooLarge } from "./blob-error.ts"

/**
 * The name of bytes: their SHA-256 (FIPS 180-4), and how many they are. Feed it the bytes in order.
 * It holds the state of one hash, about a hundred bytes, however many pass.
 */
export class Naming {
  readonly #hash: Hash
  #sizeBytes: number

  constructor(hash = createHash("sha256"), sizeBytes = 0) {
    this.#hash = hash
    this.#sizeBytes = sizeBytes
  }

  add(bytes: Uint8Array): this {
    this.#hash.update(bytes)
    this.#sizeBytes += bytes.byteLength
    return this
  }

  /** How many bytes it has been fed. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** A second one that has been fed the same bytes. */
  fork(): Naming {
    return new Naming(this.#hash.copy(), this.#sizeBytes)
  }

  /** The name of everything fed so far. More may be fed afterwards. */
  get ref(): BlobRef {
    return BlobRef.make({
      digest: Digest.make(`sha256:${this.#hash.copy().digest("hex")}`),
      sizeBytes: this.#sizeBytes
    })
  }
}

/** The name of bytes that are all at hand. */
export const nameOf = (bytes: Uint8Array): BlobRef => new Naming().add(bytes).ref

/**
 * Passes bytes on, and ends in `BlobCorrupt` if they do not hash to `digest`. The last chunk is held
 * back until the verdict, so a reader that counts bytes never holds all of a corrupt blob.
 *
 * To resume at an offset, give the `Naming` that was fed the bytes before it: the verdict is then about
 * the whole.
 */
export const verified = (digest: Digest, before = new Naming()) =>
  <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E | BlobCorrupt, R> =>
    Stream.suspend(() => {
      const naming = before.fork()
      let held: Uint8Array | undefined
      const released = Stream.suspend(() => {
        const found = naming.ref
        if (found.digest !== digest) return Stream.fail(new BlobCorrupt({ digest, found }))
        return held === undefined ? Stream.empty : Stream.succeed(held)
      })
      return bytes.pipe(
        Stream.map((chunk) => {
          const previous = held
          naming.add(chunk)
          held = chunk
          return previous
        }),
        Stream.filter((chunk) => chunk !== undefined),
        Stream.concat(released)
      )
    })

/** Passes bytes on, and ends in `BlobTooLarge` before the chunk that would exceed the limit. */
export const atMost = (sizeBytesMax: number) =>
  <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E | BlobTooLarge, R> =>
    Stream.suspend(() => {
      let sizeBytes = 0
      return bytes.pipe(Stream.mapEffect((chunk) => {
        sizeBytes += chunk.byteLength
        return sizeBytes > sizeBytesMax ? Effect.fail(new BlobTooLarge({ sizeBytesMax })) : Effect.succeed(chunk)
      }))
    })
