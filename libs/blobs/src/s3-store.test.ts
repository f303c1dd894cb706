import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, Latch, Redacted, Stream } from "effect"
import { readdirSync, statSync } from "node:fs"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Readable } from "node:stream"
import { setTimeout as later } from "node:timers/promises"
import { Blobs } from "./blobs.ts"
import { s3Store } from "./s3-store.ts"
import { bytesNumbered, keepsItsPromises, S3Server, staysSmall } from "./testing.ts"

const fresh = Effect.gen(function*() {
  const server = yield* S3Server.start
  const spool = yield* Effect.acquireRelease(
    Effect.promise(() => fs.mkdtemp(join(tmpdir(), "millrace-spool-"))),
    (spool) => Effect.promise(() => fs.rm(spool, { recursive: true, force: true }))
  )
  const { secretAccessKey, ...access } = server.access
  const options = { ...access, secretAccessKey: Redacted.make(secretAccessKey), spool }
  const store = yield* s3Store(options)
  return { server, spool, options, store, blobs: Blobs.on(store) }
})

const blobKey = (digest: string) => `blobs/${digest.slice(7)}`

keepsItsPromises("S3", Effect.map(fresh, ({ server, spool, store }) => ({
  store,
  corrupt: (digest) => Effect.promise(() => server.corrupt(blobKey(digest))),
  halfDone: Effect.promise(async () => [...await fs.readdir(spool), ...server.keys]),
  races: 2
})))

staysSmall("S3", Effect.map(fresh, ({ server, spool, store }) => ({
  store,
  arrivedBytes: () => readdirSync(spool).reduce((sum, name) => sum + statSync(join(spool, name)).size, 0),
  givenBytes: () => server.sentBytes
})))

const large = 12 * 1024 * 1024

describe("S3 as a store of blobs", () => {
  it.live("a large blob goes in parts, one at a time", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, blobs } = yield* fresh
      const { digest } = yield* blobs.putBytes(bytesNumbered(1, large))
      assert.deepStrictEqual(server.log.filter((operation) => operation === "UploadPart").length, 2)
      assert.strictEqual(server.receivingBytesMax, 8 * 1024 * 1024)
      assert.strictEqual((yield* blobs.getBytes(digest, large)).byteLength, large)
      assert.deepStrictEqual(server.keys, [blobKey(digest)])
    })))

  for (const operation of ["PutObject", "UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload"] as const) {
    const sizeBytes = operation === "PutObject" ? 1_000 : large
    for (const fault of ["lose_answer", "slow_down"] as const) {
      it.live(`${operation} that meets ${fault} still stores the blob, once`, () =>
        Effect.scoped(Effect.gen(function*() {
          const { server, blobs } = yield* fresh
          server.failNext(operation, fault)
          const { digest } = yield* blobs.putBytes(bytesNumbered(2, sizeBytes))
          assert.deepStrictEqual(server.keys, [blobKey(digest)])
          assert.strictEqual((yield* blobs.getBytes(digest, sizeBytes)).byteLength, sizeBytes)
          assert.isAbove(server.log.filter((done) => done === operation).length, 1)
        })))
    }
  }

  it.live("a read that meets 503 is asked again", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, blobs } = yield* fresh
      const { digest } = yield* blobs.putBytes(bytesNumbered(3, 1_000))
      server.failNext("GetObject", "slow_down")
      assert.strictEqual((yield* blobs.getBytes(digest, 1_000)).byteLength, 1_000)
    })))

  it.live("a read that falls silent ends as unclear", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, options } = yield* fresh
      const blobs = Blobs.on(yield* s3Store({ ...options, idleMsMax: 100 }))
      const { digest } = yield* blobs.putBytes(bytesNumbered(11, 1_000))
      server.failNext("GetObject", "stall")
      assert.strictEqual((yield* Effect.flip(blobs.getBytes(digest, 1_000)))._tag, "BlobStoreUnclear")
    })))

  it.live("a removal whose answer was lost leaves its mark, and says that it is unclear", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, store, blobs } = yield* fresh
      const { digest } = yield* blobs.putBytes(bytesNumbered(4, 10))
      server.failNext("DeleteObject", "lose_answer")
      const future = Date.now() + 60_000
      assert.strictEqual((yield* Effect.flip(store.remove(digest, future)))._tag, "BlobStoreUnclear")
      assert.isTrue(server.keys.some((key) => key.startsWith(`removing/${digest.slice(7)}/`)))
      assert.isFalse(yield* blobs.has(digest))
    })))

  it.live("a put that comes between a removal's look and its delete waits, and stores the blob anew", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, store, blobs } = yield* fresh
      const bytes = bytesNumbered(8, 1_000)
      const { digest } = yield* blobs.putBytes(bytes)
      const looked = yield* Latch.make()
      let answered = false
      const looksAtMarks = () => server.log.filter((operation) => operation === "ListObjectsV2").length
      // The delete reaches the server, and is carried out only when the put has answered, which it must not, or
      // has looked twice whether the removal is over.
      server.holdNext("DeleteObject", blobKey(digest), async () => {
        const before = looksAtMarks()
        await Effect.runPromise(looked.open)
        for (let look = 0; look < 800 && !answered && looksAtMarks() < before + 2; look++) await later(5)
      })
      const removal = yield* Effect.forkChild(store.remove(digest, Date.now() + 60_000))
      yield* looked.await
      yield* blobs.putBytes(bytes)
      answered = true
      assert.isTrue(yield* Fiber.join(removal))
      assert.isTrue(Buffer.from(bytes).equals(yield* blobs.getBytes(digest, 1_000)))
    })))

  it.live("a put that finds no mark, because the removal is over already, stores the blob anew", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, store, blobs } = yield* fresh
      const bytes = bytesNumbered(10, 1_000)
      const { digest } = yield* blobs.putBytes(bytes)
      const looked = yield* Latch.make()
      const until = async (condition: () => boolean) => {
        for (let look = 0; look < 400 && !condition(); look++) await later(5)
        assert.isTrue(condition())
      }
      server.holdNext("DeleteObject", blobKey(digest), async () => {
        await Effect.runPromise(looked.open)
        await until(() => server.keys.includes(`touched/${digest.slice(7)}`))
      })
      server.holdNext("ListObjectsV2", "", () => until(() => server.keys.length === 0))
      const removal = yield* Effect.forkChild(store.remove(digest, Date.now() + 60_000))
      yield* looked.await
      yield* blobs.putBytes(bytes)
      assert.isTrue(yield* Fiber.join(removal))
      assert.isTrue(Buffer.from(bytes).equals(yield* blobs.getBytes(digest, 1_000)))
    })))

  it.live("its settings come from the configuration of the process", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, spool } = yield* fresh
      const { endpoint, region, bucket, accessKeyId, secretAccessKey } = server.access
      const settings = ConfigProvider.layer(ConfigProvider.fromUnknown({
        BLOBS_S3_ENDPOINT: endpoint,
        BLOBS_S3_REGION: region,
        BLOBS_S3_BUCKET: bucket,
        BLOBS_S3_ACCESS_KEY_ID: accessKeyId,
        BLOBS_S3_SECRET_ACCESS_KEY: secretAccessKey,
        BLOBS_SPOOL: spool
      }))
      const put = Blobs.use((blobs) => blobs.putBytes(bytesNumbered(9, 10)))
      const { digest } = yield* put.pipe(Effect.provide(Blobs.s3FromConfig), Effect.provide(settings))
      assert.deepStrictEqual(server.keys, [blobKey(digest)])
    })))

  it.live("what a wrong secret signs is refused, as unclear and not as missing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { options } = yield* fresh
      const store = yield* s3Store({ ...options, secretAccessKey: Redacted.make("a wrong secret") })
      const refused = yield* Effect.flip(Blobs.on(store).putBytes(bytesNumbered(5, 10)))
      assert.strictEqual(refused._tag, "BlobStoreUnclear")
    })))

  it.live("uploads that a dead process left are aborted once they are old", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server, blobs, store } = yield* fresh
      server.failNext("CreateMultipartUpload", "lose_answer")
      yield* blobs.putBytes(bytesNumbered(6, large))
      assert.strictEqual(server.uploadsOpen, 1)
      assert.strictEqual((yield* blobs.collect({ live: Stream.empty, grace: "1 hour" })).leftovers, 0)
      assert.strictEqual(yield* store.sweep(Date.now() + 60_000), 1)
      assert.strictEqual(server.uploadsOpen, 0)
    })))

  it.live("the client's own checksums arrive, with a buffer and with a stream for a body", () =>
    Effect.scoped(Effect.gen(function*() {
      const { server } = yield* fresh
      const { bucket, accessKeyId, secretAccessKey, ...where } = server.access
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new S3Client({ ...where, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } })),
        (client) => Effect.sync(() => client.destroy())
      )
      const bytes = bytesNumbered(7, 200_000)
      yield* Effect.promise(() => client.send(new PutObjectCommand({ Bucket: bucket, Key: "buffer", Body: bytes })))
      assert.match(server.lastChecksum ?? "", /^[A-Za-z0-9+/]{6}==$/u)
      const Body = Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)])
      yield* Effect.promise(() =>
        client.send(new PutObjectCommand({ Bucket: bucket, Key: "stream", Body, ContentLength: bytes.byteLength })))
      assert.strictEqual(server.lastChecksum, "x-amz-checksum-crc32")
    })))
})
