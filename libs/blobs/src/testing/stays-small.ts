import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Latch, type Scope, Stream } from "effect"
import { Blobs } from "../blobs.ts"
import type { BlobStore } from "../store.ts"
import { longStream } from "./numbered-bytes.ts"

/** A store, and counters of what is on its way through this process. */
export interface Measured {
  readonly store: BlobStore
  /** Bytes of the put under way that lie on the disk. */
  readonly arrivedBytes: () => number
  /** Bytes that whoever holds the blobs has given to this process so far. */
  readonly givenBytes: () => number
}

const mebibyte = 1024 * 1024
const sizeBytes = 100 * mebibyte
/** Sockets hold some megabytes of their own; a store that reads ahead without bound would pass this at once. */
const aheadBytesMax = 16 * mebibyte

/** Waits until a counter stands still for a fifth of a second: whoever reads ahead has stopped. */
const settled = Effect.fnUntraced(function*(count: () => number) {
  for (let before = -1; before !== count();) {
    before = count()
    yield* Effect.sleep("200 millis")
  }
})

/** 100 MiB go in and out, and at no moment does this process hold more than a few of them. */
export const staysSmall = (name: string, make: Effect.Effect<Measured, unknown, Scope.Scope>) =>
  it.live(`${name}: 100 MiB pass through a bounded buffer, in and out`, () =>
    Effect.scoped(Effect.gen(function*() {
      const { store, arrivedBytes, givenBytes } = yield* make
      const blobs = Blobs.on(store)

      let heldBytesMax = 0
      const source = longStream(sizeBytes, (producedBytes) => {
        if (producedBytes % mebibyte === 0) heldBytesMax = Math.max(heldBytesMax, producedBytes - arrivedBytes())
      })
      const ref = yield* blobs.put(source)
      assert.strictEqual(ref.sizeBytes, sizeBytes)
      assert.isAtMost(heldBytesMax, mebibyte)

      // A reader that stops after the first chunk must stop the store too.
      const before = givenBytes()
      let gotBytes = 0
      const [stopped, go] = [yield* Latch.make(), yield* Latch.make()]
      const reading = yield* Effect.forkChild(Stream.runForEach(blobs.get(ref.digest), (chunk) =>
        Effect.suspend(() => {
          gotBytes += chunk.byteLength
          return gotBytes === chunk.byteLength ? Effect.andThen(stopped.open, go.await) : Effect.void
        })))
      yield* stopped.await
      yield* settled(givenBytes)
      assert.isAbove(givenBytes() - before, 0)
      assert.isAtMost(givenBytes() - before - gotBytes, aheadBytesMax)
      yield* go.open
      yield* Fiber.join(reading)
      assert.strictEqual(gotBytes, sizeBytes)
    })))
