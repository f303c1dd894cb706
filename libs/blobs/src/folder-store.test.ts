import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Option, Stream } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync, statSync } from "node:fs"
import * as fs from "node:fs/promises"
import nodeFs from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Blobs } from "./blobs.ts"
import { folderStore } from "./folder-store.ts"
import { bytesNumbered, keepsItsPromises, staysSmall } from "./testing.ts"
import { nameOf } from "./verified.ts"

const folder = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(join(tmpdir(), "millrace-blobs-"))),
  (root) => Effect.promise(() => fs.rm(root, { recursive: true, force: true }))
)

const pathOf = (root: string, digest: string) => join(root, "blobs", digest.slice(7, 9), digest.slice(7))

const flipMiddle = async (path: string) => {
  const bytes = await fs.readFile(path)
  bytes[bytes.byteLength >> 1]! ^= 1
  await fs.writeFile(path, bytes)
}

keepsItsPromises("folder", Effect.gen(function*() {
  const root = yield* folder
  return {
    store: yield* folderStore(root),
    corrupt: (digest) => Effect.promise(() => flipMiddle(pathOf(root, digest))),
    halfDone: Effect.promise(async () => [
      ...await fs.readdir(join(root, "incoming")),
      ...await fs.readdir(join(root, "doomed"))
    ]),
    races: 30
  }
}))

/** Counts what is read from files, where the system is asked for it. */
const countReads = Effect.fnUntraced(function*(root: string) {
  const probe = yield* Effect.promise(() => fs.open(root, "r"))
  const files = Object.getPrototypeOf(probe) as fs.FileHandle
  yield* Effect.promise(() => probe.close())
  let readBytes = 0
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      const read = files.read
      files.read = async function(this: fs.FileHandle, ...args: Array<unknown>) {
        const got = await (read as (...args: Array<unknown>) => Promise<{ bytesRead: number }>).apply(this, args)
        readBytes += got.bytesRead
        return got
      } as typeof read
      return read
    }),
    (read) => Effect.sync(() => (files.read = read))
  )
  return () => readBytes
})

staysSmall("folder", Effect.gen(function*() {
  const root = yield* folder
  const incoming = join(root, "incoming")
  return {
    store: yield* folderStore(root),
    arrivedBytes: () => readdirSync(incoming).reduce((sum, name) => sum + statSync(join(incoming, name)).size, 0),
    givenBytes: yield* countReads(root)
  }
}))

/** Lets something happen after a removal has looked at a blob, and before it moves the file away. */
const beforeMovingAway = (happens: () => Promise<unknown>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { rename } = nodeFs
      nodeFs.rename = async (from, to) => {
        if (String(to).includes("doomed")) await happens()
        await rename(from, to)
      }
      syncBuiltinESMExports()
      return rename
    }),
    (rename) => Effect.sync(() => {
      nodeFs.rename = rename
      syncBuiltinESMExports()
    })
  )

describe("a folder of blobs", () => {
  it.live("a process killed in the middle of a put leaves no blob, and what it left is collected", () =>
    Effect.scoped(Effect.gen(function*() {
      const root = yield* folder
      yield* Effect.promise(async () => {
        const script = fileURLToPath(new URL("./testing/put-half.ts", import.meta.url))
        const child = spawn(process.execPath, [script, root], { stdio: ["ignore", "pipe", "inherit"] })
        assert.strictEqual(String((await once(child.stdout, "data"))[0]), "half\n")
        child.kill("SIGKILL")
        const [, signal] = await once(child, "exit")
        assert.strictEqual(signal, "SIGKILL")
      })
      const store = yield* folderStore(root)
      assert.strictEqual((yield* Effect.promise(() => fs.readdir(join(root, "incoming")))).length, 1)
      assert.deepStrictEqual(yield* Stream.runCollect(store.list), [])

      const blobs = Blobs.on(store)
      const early = yield* blobs.collect({ live: Stream.empty, grace: "1 hour" })
      assert.strictEqual(early.leftovers, 0)
      const [name = ""] = yield* Effect.promise(() => fs.readdir(join(root, "incoming")))
      yield* Effect.promise(() => fs.utimes(join(root, "incoming", name), 1, 1))
      const late = yield* blobs.collect({ live: Stream.empty, grace: "1 hour" })
      assert.strictEqual(late.leftovers, 1)
      assert.deepStrictEqual(yield* Effect.promise(() => fs.readdir(join(root, "incoming"))), [])
    })))

  it.live("a removal that died half done is undone: the blob was readable all the time", () =>
    Effect.scoped(Effect.gen(function*() {
      const root = yield* folder
      const store = yield* folderStore(root)
      const blobs = Blobs.on(store)
      const bytes = bytesNumbered(1, 1_000)
      const { digest } = yield* blobs.putBytes(bytes)
      // Where a killed removal leaves it.
      yield* Effect.promise(() => fs.rename(pathOf(root, digest), join(root, "doomed", `${digest.slice(7)}.dead`)))
      assert.isTrue(Buffer.from(bytes).equals(yield* blobs.getBytes(digest, 1_000)))
      const collected = yield* blobs.collect({ live: Stream.succeed(digest), grace: 0 })
      assert.strictEqual(collected.leftovers, 1)
      assert.strictEqual(collected.keptLive, 1)
      assert.deepStrictEqual(yield* Effect.promise(() => fs.readdir(join(root, "doomed"))), [])
      assert.isTrue(Buffer.from(bytes).equals(yield* blobs.getBytes(digest, 1_000)))
    })))

  it.live("a removal that moved a blob put a moment before brings it back", () =>
    Effect.scoped(Effect.gen(function*() {
      const root = yield* folder
      const store = yield* folderStore(root)
      const blobs = Blobs.on(store)
      const bytes = bytesNumbered(4, 1_000)
      const { digest } = yield* blobs.putBytes(bytes)
      yield* Effect.promise(() => fs.utimes(pathOf(root, digest), 1, 1))
      yield* beforeMovingAway(() => Effect.runPromise(blobs.putBytes(bytes)))
      assert.isFalse(yield* store.remove(digest, 10_000))
      assert.isTrue(Buffer.from(bytes).equals(yield* blobs.getBytes(digest, 1_000)))
      assert.deepStrictEqual(yield* Effect.promise(() => fs.readdir(join(root, "doomed"))), [])
    })))

  it.live("putting the bytes again heals a blob that the disk has altered", () =>
    Effect.scoped(Effect.gen(function*() {
      const root = yield* folder
      const blobs = Blobs.on(yield* folderStore(root))
      const bytes = bytesNumbered(2, 1_000)
      const { digest } = yield* blobs.putBytes(bytes)
      yield* Effect.promise(() => flipMiddle(pathOf(root, digest)))
      assert.strictEqual((yield* Effect.flip(blobs.getBytes(digest, 1_000)))._tag, "BlobCorrupt")
      yield* blobs.putBytes(bytes)
      assert.isTrue(Buffer.from(bytes).equals(yield* blobs.getBytes(digest, 1_000)))
    })))

  it.live("a blob is as old as the end of its put, not as its last byte", () =>
    Effect.scoped(Effect.gen(function*() {
      const root = yield* folder
      const store = yield* folderStore(root)
      const incoming = join(root, "incoming")
      // After the last byte, as if hours passed before the stream ended:
      const hoursLater = Effect.promise(async () => {
        for (const name of await fs.readdir(incoming)) await fs.utimes(join(incoming, name), 1, 1)
      })
      const slow = Stream.concat(Stream.succeed(bytesNumbered(3, 10)), Stream.drain(Stream.fromEffect(hoursLater)))
      const startedMs = yield* Clock.currentTimeMillis
      const { digest } = yield* store.put(slow, Option.none())
      assert.isAtLeast((yield* Blobs.on(store).head(digest)).modifiedAtMs, startedMs)
      assert.strictEqual(digest, nameOf(bytesNumbered(3, 10)).digest)
    })))
})
