import { assert, describe, it } from "@effect/vitest"
import { Blobs } from "@millrace/blobs"
import type { BlobRef, Digest, SnapshotId } from "@millrace/schemas"
import { Context, Effect, Exit, Layer, Stream } from "effect"
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { LocalCopies, localCopies } from "./local-copies.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-copies-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A store that counts what is read of it, and the copies of one agent before it. */
const world = Effect.fnUntraced(function*(at: string, bytesMax = 1_000_000) {
  const store = Context.get(yield* Layer.build(Blobs.memory), Blobs)
  const read: Array<Digest> = []
  const counting: Blobs["Service"] = { ...store, get: (digest) => {
    read.push(digest)
    return store.get(digest)
  } }
  const open = Effect.map(Layer.build(localCopies(at, bytesMax)), (context) => Context.get(context as Context.Context<never>, LocalCopies))
  return { store, counting, read, open }
})

const text = (blobs: Blobs["Service"], { digest }: BlobRef) => Effect.map(Stream.runCollect(blobs.get(digest)), (chunks) => Buffer.concat(chunks).toString("utf8"))
const bytes = (words: string) => Buffer.from(words)
const files = (at: string) => readdirSync(at).filter((name) => name !== "notes.json")

describe("copies of blobs on a host", () => {
  it.live("what was loaded once is read from the host's own disk, over a restart too", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, read, store } = yield* world(at)
    const first = yield* open
    const ref = yield* store.putBytes(bytes("a model"))
    for (let look = 0; look < 2; look += 1) assert.strictEqual(yield* text(first.over(counting), ref), "a model")
    yield* first.isSnapshot("snp_00000000000000000000000000" as SnapshotId, ref)
    assert.deepStrictEqual(read, [ref.digest])
    const second = yield* open
    assert.strictEqual(yield* text(second.over(counting), ref), "a model")
    assert.deepStrictEqual(read, [ref.digest])
    assert.deepStrictEqual([...second.held().copies.snapshots], [["snp_00000000000000000000000000", ref.digest]])
  }))

  it.live("what the host itself puts is here at once", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, read, store } = yield* world(at)
    const blobs = (yield* open).over(counting)
    const ref = yield* blobs.put(Stream.make(bytes("left "), bytes("behind")))
    assert.strictEqual(yield* text(blobs, ref), "left behind")
    assert.strictEqual(yield* text(store, ref), "left behind")
    assert.deepStrictEqual(read, [])
  }))

  it.live("a copy that is no longer what it was is never given; it goes, and the store is asked again", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, read, store } = yield* world(at)
    const copies = yield* open
    const blobs = copies.over(counting)
    const ref = yield* store.putBytes(bytes("a model"))
    yield* text(blobs, ref)
    writeFileSync(join(at, files(at)[0]!), "A model")
    assert.isTrue(Exit.isFailure(yield* Effect.exit(text(blobs, ref))))
    assert.strictEqual(copies.held().copies.blobs.size, 0)
    assert.strictEqual(yield* text(blobs, ref), "a model")
    rmSync(join(at, files(at)[0]!))
    assert.strictEqual(yield* text(blobs, ref), "a model", "somebody cleared the folder")
    assert.strictEqual(read.length, 3)
  }))

  it.live("what was cut short, or was half written when the agent fell, is cleared away", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, store } = yield* world(at)
    const blobs = (yield* open).over(counting)
    yield* text(blobs, yield* store.putBytes(bytes("a model")))
    truncateSync(join(at, files(at)[0]!), 3)
    writeFileSync(join(at, "x.part"), "half")
    assert.strictEqual((yield* open).held().copies.blobs.size, 0)
    assert.deepStrictEqual(files(at), [])
  }))

  it.live("a load that is broken off leaves nothing", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, store } = yield* world(at)
    const copies = yield* open
    const ref = yield* store.putBytes(bytes("a model"))
    const broken: Blobs["Service"] = { ...counting, get: (digest) => Stream.concat(counting.get(digest), Stream.die("the line is cut")) }
    yield* Effect.exit(text(copies.over(broken), ref))
    assert.deepStrictEqual(files(at), [])
    assert.strictEqual(copies.held().copies.blobs.size, 0)
  }))

  it.live("is no more than the limit: what was used longest ago goes, from the disk too", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, read, store } = yield* world(at, 25)
    const copies = yield* open
    const blobs = copies.over(counting)
    const [a, b, c] = [yield* store.putBytes(bytes("a".repeat(10))), yield* store.putBytes(bytes("b".repeat(10))), yield* store.putBytes(bytes("c".repeat(10)))]
    for (const ref of [a, b, a, c]) yield* text(blobs, ref)
    assert.deepStrictEqual([...copies.held().copies.blobs.keys()], [a.digest, c.digest])
    assert.strictEqual(files(at).length, 2)
    yield* text(blobs, yield* store.putBytes(bytes("d".repeat(26))))
    assert.strictEqual(files(at).length, 2, "what is too large is passed on alone")
    assert.strictEqual(read.length, 4)
  }))

  it.live("says that something changed once for all that did, and nothing where nothing did", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, store } = yield* world(at)
    const copies = yield* open
    const blobs = copies.over(counting)
    const refs = [yield* store.putBytes(bytes("a")), yield* store.putBytes(bytes("b"))]
    for (const ref of refs) yield* text(blobs, ref)
    yield* copies.changed
    const again = () => Effect.timeoutOption(copies.changed, 20)
    assert.strictEqual((yield* again())._tag, "None")
    yield* text(blobs, refs[0]!)
    assert.strictEqual((yield* again())._tag, "None", "another use is no change")
    yield* text(blobs, yield* store.putBytes(bytes("c")))
    assert.strictEqual((yield* again())._tag, "Some")
  }))

  it.live("with no room at all the store is asked each time, and nothing fails", () => Effect.gen(function*() {
    const at = yield* folder
    const { counting, open, read, store } = yield* world(at, 0)
    const ref = yield* store.putBytes(bytes("a model"))
    const blobs = (yield* open).over(counting)
    for (let look = 0; look < 2; look += 1) assert.strictEqual(yield* text(blobs, ref), "a model")
    assert.strictEqual(read.length, 2)
  }))
})
