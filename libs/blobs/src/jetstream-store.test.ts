import { assert, describe, it } from "@effect/vitest"
import { findTool } from "@millrace/bootstrap"
import { jetstream, jetstreamManager } from "@nats-io/jetstream"
import { connect, type NatsConnection } from "@nats-io/transport-node"
import { Clock, Effect, Exit, Scope, Stream } from "effect"
import { readdirSync, statSync } from "node:fs"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { Blobs } from "./blobs.ts"
import { jetStreamStore } from "./jetstream-store.ts"
import { bytesNumbered, keepsItsPromises, staysSmall } from "./testing.ts"
import { natsServer } from "./testing/nats-server.ts"

const scope = Scope.makeUnsafe()
let connection: NatsConnection
let buckets = 0

beforeAll(async () => {
  const address = await Effect.runPromise(Scope.provide(natsServer(findTool("natsServer").path), scope))
  connection = await connect({ servers: address })
})
afterAll(async () => {
  await connection.close()
  await Effect.runPromise(Scope.close(scope, Exit.void))
})

const fresh = Effect.fnUntraced(function*(sizeBytesMax?: number) {
  const spool = yield* Effect.acquireRelease(
    Effect.promise(() => fs.mkdtemp(join(tmpdir(), "millrace-spool-"))),
    (spool) => Effect.promise(() => fs.rm(spool, { recursive: true, force: true }))
  )
  const bucket = `blobs-${++buckets}`
  const room = sizeBytesMax === undefined ? {} : { sizeBytesMax }
  return { bucket, spool, store: yield* jetStreamStore({ connection, bucket, spool, ...room }) }
})

const messagesOf = async (bucket: string, filter: string) => {
  const jsm = await jetstreamManager(connection)
  const { state } = await jsm.streams.info(`OBJ_${bucket}`, { subjects_filter: filter })
  return state.subjects ?? {}
}

/** Takes the last chunk of the newest object away and says it anew, with one bit altered. */
const alterChunk = async (bucket: string, digest: string) => {
  const jsm = await jetstreamManager(connection)
  const name = Buffer.from(digest).toString("base64url")
  const padded = name + "=".repeat((4 - name.length % 4) % 4)
  const meta = await jsm.streams.getMessage(`OBJ_${bucket}`, { last_by_subj: `$O.${bucket}.M.${padded}` })
  const subject = `$O.${bucket}.C.${meta?.json<{ nuid: string }>().nuid}`
  const chunk = await jsm.streams.getMessage(`OBJ_${bucket}`, { last_by_subj: subject })
  assert.isNotNull(chunk)
  const bytes = Buffer.from(chunk!.data)
  bytes[bytes.byteLength >> 1]! ^= 1
  await jsm.streams.deleteMessage(`OBJ_${bucket}`, chunk!.seq)
  await jetstream(connection).publish(subject, bytes)
}

keepsItsPromises("JetStream object store", Effect.gen(function*() {
  const { bucket, spool, store } = yield* fresh()
  return {
    store,
    corrupt: (digest) => Effect.promise(() => alterChunk(bucket, digest)),
    halfDone: Effect.promise(async () => [
      ...await fs.readdir(spool),
      ...Object.keys(await messagesOf(bucket, `$O.${bucket}.>`))
    ]),
    races: 30
  }
}))

staysSmall("JetStream object store", Effect.gen(function*() {
  const { spool, store } = yield* fresh()
  return {
    store,
    arrivedBytes: () => readdirSync(spool).reduce((sum, name) => sum + statSync(join(spool, name)).size, 0),
    givenBytes: () => connection.stats().inBytes
  }
}))

describe("a JetStream object store of blobs", () => {
  it.live("chunks that a dead put left are collected once they are old", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bucket, store } = yield* fresh()
      const blobs = Blobs.on(store)
      const live = yield* blobs.putBytes(bytesNumbered(1, 200_000))
      yield* Effect.promise(() => jetstream(connection).publish(`$O.${bucket}.C.leftbehind`, new Uint8Array(10)))
      assert.strictEqual((yield* blobs.collect({ live: Stream.succeed(live.digest), grace: "1 hour" })).leftovers, 0)
      const nowMs = yield* Clock.currentTimeMillis
      assert.strictEqual(yield* store.sweep(nowMs + 10_000), 1)
      assert.strictEqual(Object.keys(yield* Effect.promise(() => messagesOf(bucket, `$O.${bucket}.C.>`))).length, 1)
      yield* blobs.getBytes(live.digest, 200_000)
    })))

  it.live("a blob whose chunks went missing counts as absent, and the next put makes it whole", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bucket, store } = yield* fresh()
      const blobs = Blobs.on(store)
      const { digest } = yield* blobs.putBytes(bytesNumbered(2, 300_000))
      yield* Effect.promise(async () => {
        await (await jetstreamManager(connection)).streams.purge(`OBJ_${bucket}`, { filter: `$O.${bucket}.C.>` })
      })
      assert.isFalse(yield* blobs.has(digest))
      assert.strictEqual((yield* Effect.flip(blobs.getBytes(digest, 300_000)))._tag, "BlobCorrupt")
      yield* blobs.putBytes(bytesNumbered(2, 300_000))
      assert.strictEqual((yield* blobs.getBytes(digest, 300_000)).byteLength, 300_000)
    })))

  it.live("a bucket without room says so and keeps nothing of the put", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bucket, store } = yield* fresh(1_000_000)
      const full = yield* Effect.flip(Blobs.on(store).putBytes(bytesNumbered(3, 2_000_000)))
      assert.strictEqual(full._tag, "BlobStoreFull")
      assert.deepStrictEqual(yield* Effect.promise(() => messagesOf(bucket, `$O.${bucket}.>`)), {})
    })))
})
