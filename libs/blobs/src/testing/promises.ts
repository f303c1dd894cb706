import { assert, describe, it } from "@effect/vitest"
import { type BlobRef, Digest } from "@millrace/schemas"
import { Clock, Duration, Effect, Exit, Fiber, Latch, Option, Result, type Scope, Stream } from "effect"
import { Blobs } from "../blobs.ts"
import type { BlobStore } from "../store.ts"
import { Naming, nameOf, verified } from "../verified.ts"
import { bytesNumbered } from "./numbered-bytes.ts"

/** A store, and the hands that reach behind it. */
export interface UnderTest {
  readonly store: BlobStore
  /** Alters one bit of a stored blob where it lies. */
  readonly corrupt: (digest: Digest) => Effect.Effect<void>
  /** What a put has taken in but not yet answered: names of files, objects or uploads. */
  readonly halfDone: Effect.Effect<ReadonlyArray<string>>
  /** How often a put and removals are let loose on each other; few where the store's clock is coarse. */
  readonly races: number
}

const sizes = [0, 1, 4_096, 131_072, 131_073, 700_001]
const unknown = Digest.make(`sha256:${"0".repeat(64)}`)

const wholeOf = (blobs: Blobs["Service"], digest: Digest) => blobs.getBytes(digest, Number.MAX_SAFE_INTEGER)

/** Waits until the clock has passed the age of every blob, so that what is there now is old. */
const untilAllIsOld = Effect.fnUntraced(function*(store: BlobStore) {
  const ages = (yield* Stream.runCollect(store.list)).map(({ modifiedAtMs }) => modifiedAtMs)
  // At most two seconds: the coarsest store tells whole seconds.
  for (let look = 0; look < 400 && (yield* Clock.currentTimeMillis) <= Math.max(...ages); look++) {
    yield* Effect.sleep("5 millis")
  }
})

const noGrace = Duration.zero
const none: Stream.Stream<Digest> = Stream.empty

/**
 * What every blob store promises, as tests. A new store's test file is one call of this, beside the
 * tests of what only that store can suffer.
 */
export const keepsItsPromises = (name: string, make: Effect.Effect<UnderTest, unknown, Scope.Scope>) => {
  const test = <E>(
    promise: string,
    body: (under: UnderTest & { readonly blobs: Blobs["Service"] }) => Effect.Effect<void, E>
  ) =>
    it.live(promise, () => Effect.scoped(Effect.flatMap(make, (under) => body({ ...under, blobs: Blobs.on(under.store) }))))

  describe(`${name} keeps its promises`, () => {
    test("bytes of any size come back as they were put, under their SHA-256", ({ blobs }) =>
      Effect.forEach(sizes, Effect.fnUntraced(function*(sizeBytes) {
        const bytes = bytesNumbered(sizeBytes, sizeBytes)
        assert.deepStrictEqual(yield* blobs.putBytes(bytes), nameOf(bytes))
        assert.isTrue(Buffer.from(bytes).equals(yield* wholeOf(blobs, nameOf(bytes).digest)))
        assert.strictEqual((yield* blobs.head(nameOf(bytes).digest)).sizeBytes, sizeBytes)
      }), { discard: true }))

    test("how the bytes were cut into chunks does not matter", Effect.fnUntraced(function*({ blobs }) {
      const bytes = bytesNumbered(1, 10_000)
      const cut = Stream.fromIterable([bytes.subarray(0, 1), bytes.subarray(1, 1), bytes.subarray(1, 9_000), bytes.subarray(9_000)])
      assert.deepStrictEqual(yield* blobs.put(cut), nameOf(bytes))
      assert.isTrue(Buffer.from(bytes).equals(yield* wholeOf(blobs, nameOf(bytes).digest)))
    }))

    test("the same bytes put twice, or eight times at once, are stored once", Effect.fnUntraced(function*({ blobs, store }) {
      const bytes = bytesNumbered(2, 300_000)
      const refs = yield* Effect.all(Array.from({ length: 8 }, () => blobs.putBytes(bytes)), { concurrency: 8 })
      refs.push(yield* blobs.putBytes(bytes))
      for (const ref of refs) assert.deepStrictEqual(ref, nameOf(bytes))
      assert.deepStrictEqual((yield* Stream.runCollect(store.list)).map(({ digest }) => digest), [nameOf(bytes).digest])
      assert.isTrue(Buffer.from(bytes).equals(yield* wholeOf(blobs, nameOf(bytes).digest)))
    }))

    test("a put whose source fails leaves nothing", Effect.fnUntraced(function*({ blobs, store, halfDone }) {
      const failing = Stream.concat(Stream.succeed(bytesNumbered(3, 200_000)), Stream.fail("the source broke"))
      assert.strictEqual(yield* Effect.flip(blobs.put(failing)), "the source broke")
      assert.deepStrictEqual(yield* Stream.runCollect(store.list), [])
      assert.deepStrictEqual(yield* halfDone, [])
    }))

    test("a put that is interrupted leaves nothing", Effect.fnUntraced(function*({ blobs, store, halfDone }) {
      const begun = yield* Latch.make()
      const endless = Stream.concat(
        Stream.succeed(bytesNumbered(4, 200_000)),
        Stream.fromEffect(Effect.andThen(begun.open, Effect.never))
      )
      const put = yield* Effect.forkChild(blobs.put(endless))
      yield* begun.await
      yield* Fiber.interrupt(put)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(put)))
      assert.deepStrictEqual(yield* Stream.runCollect(store.list), [])
      assert.deepStrictEqual(yield* halfDone, [])
    }))

    test("bytes with another name than the one wanted are refused, and nothing is stored", Effect.fnUntraced(function*({ blobs, halfDone }) {
      const [bytes, wanted] = [bytesNumbered(5, 5_000), nameOf(bytesNumbered(6, 5_000))]
      const refused = yield* Effect.flip(blobs.put(Stream.succeed(bytes), { digest: wanted.digest }))
      assert.strictEqual(refused._tag, "BlobCorrupt")
      assert.isFalse(yield* blobs.has(wanted.digest))
      assert.isFalse(yield* blobs.has(nameOf(bytes).digest))
      assert.deepStrictEqual(yield* halfDone, [])
    }))

    test("more bytes than allowed are refused, and exactly as many are taken", Effect.fnUntraced(function*({ blobs }) {
      const bytes = bytesNumbered(7, 5_000)
      const refused = yield* Effect.flip(blobs.put(Stream.succeed(bytes), { sizeBytesMax: 4_999 }))
      assert.strictEqual(refused._tag, "BlobTooLarge")
      assert.isFalse(yield* blobs.has(nameOf(bytes).digest))
      assert.deepStrictEqual(yield* blobs.put(Stream.succeed(bytes), { sizeBytesMax: 5_000 }), nameOf(bytes))
    }))

    test("a blob that is not there is missing, however one asks", Effect.fnUntraced(function*({ blobs }) {
      assert.isFalse(yield* blobs.has(unknown))
      assert.strictEqual((yield* Effect.flip(blobs.head(unknown)))._tag, "BlobMissing")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(blobs.get(unknown))))._tag, "BlobMissing")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(blobs.getRange(unknown, { offsetBytes: 1 }))))._tag, "BlobMissing")
    }))

    test("an altered bit is found while reading, before the reader has it all", ({ blobs, corrupt }) =>
      Effect.forEach([1, 100_000, 700_001], Effect.fnUntraced(function*(sizeBytes) {
        const { digest } = yield* blobs.putBytes(bytesNumbered(8, sizeBytes))
        yield* corrupt(digest)
        let gotBytes = 0
        const read = Stream.runForEach(blobs.get(digest), (chunk) => Effect.sync(() => void (gotBytes += chunk.byteLength)))
        const corruption = yield* Effect.flip(read)
        assert.strictEqual(corruption._tag, "BlobCorrupt")
        assert.isBelow(gotBytes, sizeBytes)
      }), { discard: true }))

    test("a part is the part of the whole, and past the end there is none", Effect.fnUntraced(function*({ blobs }) {
      const bytes = Buffer.from(bytesNumbered(9, 400_000))
      const { digest } = yield* blobs.putBytes(bytes)
      const part = (offsetBytes: number, lengthBytes?: number) =>
        blobs.getRange(digest, lengthBytes === undefined ? { offsetBytes } : { offsetBytes, lengthBytes }).pipe(
          Stream.runCollect,
          Effect.map((chunks) => Buffer.concat(chunks))
        )
      assert.isTrue(bytes.subarray(0, 10).equals(yield* part(0, 10)))
      assert.isTrue(bytes.subarray(131_000, 131_200).equals(yield* part(131_000, 200)))
      assert.isTrue(bytes.subarray(399_999).equals(yield* part(399_999)))
      assert.isTrue(bytes.subarray(399_990).equals(yield* part(399_990, 1_000)))
      assert.strictEqual((yield* part(400_000)).byteLength, 0)
    }))

    test("a download that was cut resumes at its offset, and the whole is verified", Effect.fnUntraced(function*({ blobs, corrupt }) {
      const bytes = bytesNumbered(10, 400_000)
      const { digest } = yield* blobs.putBytes(bytes)
      const had = new Naming().add(bytes.subarray(0, 150_000))
      const rest = blobs.getRange(digest, { offsetBytes: had.sizeBytes }).pipe(verified(digest, had))
      const got = Buffer.concat(yield* Stream.runCollect(rest))
      assert.isTrue(Buffer.from(bytes.subarray(150_000)).equals(got))
      yield* corrupt(digest)
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(rest)))._tag, "BlobCorrupt")
    }))

    test("a collection removes what nothing means, keeps what something means, and says which", Effect.fnUntraced(function*({ blobs, store }) {
      const refs: Array<BlobRef> = []
      for (let seed = 20; seed < 26; seed++) refs.push(yield* blobs.putBytes(bytesNumbered(seed, 1_000 + seed)))
      const live = refs.slice(0, 2)
      const collection = { live: Stream.fromIterable(live.map(({ digest }) => digest)), grace: noGrace }
      yield* untilAllIsOld(store)

      const would = yield* blobs.wouldCollect(collection)
      const sorted = (these: ReadonlyArray<BlobRef>) => these.map(({ digest }) => digest).sort()
      assert.deepStrictEqual(sorted(would.removed), sorted(refs.slice(2)))
      assert.strictEqual((yield* Stream.runCollect(store.list)).length, 6)

      // As if it had died after the first, and another began.
      const first = yield* blobs.collect({ ...collection, removedMax: 1 })
      assert.strictEqual(first.removed.length, 1)
      assert.isTrue(first.more)
      const second = yield* blobs.collect(collection)
      assert.deepStrictEqual(sorted([...first.removed, ...second.removed]), sorted(would.removed))
      assert.strictEqual(first.removedBytes + second.removedBytes, would.removedBytes)
      assert.deepStrictEqual(
        { live: second.keptLive, young: second.keptYoung, more: second.more },
        { live: 2, young: 0, more: false }
      )
      assert.deepStrictEqual(sorted(yield* Stream.runCollect(store.list)), sorted(live))
      for (const { digest } of second.removed) assert.isFalse(yield* blobs.has(digest))
      for (const { digest } of live) yield* wholeOf(blobs, digest)
    }))

    test("a removed blob can be put again", Effect.fnUntraced(function*({ blobs, store }) {
      const bytes = bytesNumbered(30, 200_000)
      for (let round = 0; round < 2; round++) {
        const { digest } = yield* blobs.putBytes(bytes)
        assert.isTrue(Buffer.from(bytes).equals(yield* wholeOf(blobs, digest)))
        yield* untilAllIsOld(store)
        assert.strictEqual((yield* blobs.collect({ live: none, grace: noGrace })).removed.length, 1)
        assert.strictEqual((yield* Effect.flip(wholeOf(blobs, digest)))._tag, "BlobMissing")
      }
    }))

    test("a young blob survives though nothing means it yet", Effect.fnUntraced(function*({ blobs }) {
      const { digest } = yield* blobs.putBytes(bytesNumbered(31, 10))
      const collected = yield* blobs.collect({ live: none, grace: "1 hour" })
      assert.deepStrictEqual(collected.removed, [])
      assert.strictEqual(collected.keptYoung, 1)
      assert.isTrue(yield* blobs.has(digest))
    }))

    test("an old blob that is put again while a collection runs survives it", Effect.fnUntraced(function*({ blobs, store }) {
      const bytes = bytesNumbered(32, 10_000)
      const { digest } = yield* blobs.putBytes(bytes)
      yield* untilAllIsOld(store)
      const putMeanwhile = Stream.drain(Stream.fromEffect(blobs.putBytes(bytes)))
      const collected = yield* blobs.collect({ live: putMeanwhile, grace: noGrace })
      assert.deepStrictEqual(collected.removed, [])
      assert.isTrue(Buffer.from(bytes).equals(yield* wholeOf(blobs, digest)))
    }))

    test("if the names of what is meant cannot all be read, nothing is removed", Effect.fnUntraced(function*({ blobs, store }) {
      const { digest } = yield* blobs.putBytes(bytesNumbered(33, 10))
      yield* untilAllIsOld(store)
      const failed = yield* Effect.flip(blobs.collect({ live: Stream.fail("the facts are out of reach"), grace: noGrace }))
      assert.strictEqual(failed, "the facts are out of reach")
      assert.isTrue(yield* blobs.has(digest))
    }))

    test("a put that is answered is never undone by removals that run beside it", Effect.fnUntraced(function*({ blobs, store, races }) {
      const bytes = bytesNumbered(34, 1_000)
      const { digest } = yield* blobs.putBytes(bytes)
      for (let round = 0; round < races; round++) {
        yield* untilAllIsOld(store)
        const untouchedSinceMs = yield* Clock.currentTimeMillis
        // Two collectors and a put of the same blob, all at once. A collector may fail to be sure; a put may not be lost.
        const [put] = yield* Effect.all([
          Effect.result(blobs.putBytes(bytes)),
          Effect.result(store.remove(digest, untouchedSinceMs)),
          Effect.result(store.remove(digest, untouchedSinceMs))
        ], { concurrency: 3 })
        assert.isTrue(Result.isSuccess(put))
        assert.isTrue(Option.isSome(yield* store.head(digest)))
        assert.isTrue(Buffer.from(bytes).equals(yield* wholeOf(blobs, digest)))
      }
    }))
  })
}
