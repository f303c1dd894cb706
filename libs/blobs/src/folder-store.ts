import { Digest } from "@millrace/schemas"
import { Clock, Effect, Option, Stream } from "effect"
import { randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import { dirname, join } from "node:path"
import { BlobMissing, type BlobStoreUnclear } from "./blob-error.ts"
import { fileBytes, onDisk, onDiskIfThere, type Spooled, spooled, sweepSpool } from "./spool.ts"
import type { BlobStore, Held } from "./store.ts"

const hexOf = (digest: Digest) => digest.slice("sha256:".length)

const flush = async (path: string) => {
  const file = await fs.open(path, "r")
  await file.sync().finally(() => file.close())
}

/** Makes a folder that is still there after the power was cut: its entry is flushed in its parent. */
const makeFolder = async (path: string) => {
  if (await fs.mkdir(path, { recursive: true }) !== undefined) await flush(dirname(path))
}

/** File systems keep a time as seconds and a fraction; rounded up, so that nothing looks older than it is. */
const msOf = (mtimeMs: number) => Math.ceil(mtimeMs)

/** Gives a file a second name, unless something has that name. */
const linkUnlessThere = (from: string, to: string) =>
  fs.link(from, to).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EEXIST") throw cause
  })

/**
 * Blobs in a folder of one local file system.
 *
 * - `blobs/ab/ab12...`: the blobs, fanned out over 256 folders by the first byte of the name.
 * - `incoming/`: what is being put. A put flushes its file, renames it to its name and flushes the
 *   folder, in that order, so a name never stands before its bytes. A put of bytes that are there
 *   replaces the file by an equal, young one; who reads the old one reads on.
 * - `doomed/`: what is being removed. A removal moves the blob here first and looks at the age of what
 *   it moved: a put before the move is seen and the blob goes back, a put after it makes a new file
 *   that the removal does not touch. Reading finds blobs here too, so nothing is missing in between.
 */
export const folderStore = Effect.fnUntraced(function*(root: string): Effect.fn.Return<BlobStore, BlobStoreUnclear> {
  const [blobs, incoming, doomed] = [join(root, "blobs"), join(root, "incoming"), join(root, "doomed")]
  for (const folder of [root, blobs, incoming, doomed]) yield* onDisk("make the folders", () => makeFolder(folder))

  const pathOf = (hex: string) => join(blobs, hex.slice(0, 2), hex)

  const moveIn = Effect.fnUntraced(function*({ path, ref }: Spooled) {
    const target = pathOf(hexOf(ref.digest))
    const now = (yield* Clock.currentTimeMillis) / 1000
    yield* onDisk("store a blob", async () => {
      // The last byte may have come long before the end did; the blob is as old as its put.
      await fs.utimes(path, now, now)
      await flush(path)
      await makeFolder(dirname(target))
      await fs.rename(path, target)
      await flush(dirname(target))
    })
    return ref
  }, Effect.uninterruptible)

  const doomedOf = (hex: string) =>
    onDisk("list what is being removed", async () => (await fs.readdir(doomed)).filter((name) => name.startsWith(hex)))

  /** Does something with the file of a blob, wherever it is, even if it moves meanwhile. */
  const withFile = Effect.fnUntraced(function*<A>(hex: string, run: (path: string) => Promise<A>) {
    const ifThere = (path: string) => onDiskIfThere("open a blob", () => run(path))
    const found = yield* ifThere(pathOf(hex))
    if (Option.isSome(found)) return found
    for (const name of yield* doomedOf(hex)) {
      const moved = yield* ifThere(join(doomed, name))
      if (Option.isSome(moved)) return moved
    }
    return yield* ifThere(pathOf(hex))
  })

  const head = (digest: Digest) =>
    withFile(hexOf(digest), (path) => fs.stat(path)).pipe(
      Effect.map(Option.map(({ size, mtimeMs }): Held => ({ digest, sizeBytes: size, modifiedAtMs: msOf(mtimeMs) })))
    )

  const heldIn = Effect.fnUntraced(function*(folder: string) {
    const names = yield* onDisk("list blobs", () => fs.readdir(join(blobs, folder)))
    const held: Array<Held> = []
    for (const name of names) {
      if (!/^[0-9a-f]{64}$/u.test(name)) continue
      const blob = yield* head(Digest.make(`sha256:${name}`))
      if (Option.isSome(blob)) held.push(blob.value)
    }
    return held
  })

  const remove = Effect.fnUntraced(function*(digest: Digest, untouchedSinceMs: number) {
    const hex = hexOf(digest)
    const target = pathOf(hex)
    const seen = yield* onDiskIfThere("look at a blob", () => fs.stat(target))
    if (Option.isNone(seen) || msOf(seen.value.mtimeMs) >= untouchedSinceMs) return false
    const moved = join(doomed, `${hex}.${randomUUID()}`)
    if (Option.isNone(yield* onDiskIfThere("move a blob away", () => fs.rename(target, moved)))) return false
    const caught = yield* onDiskIfThere("look at a moved blob", () => fs.stat(moved))
    const putMeanwhile = Option.isSome(caught) && msOf(caught.value.mtimeMs) >= untouchedSinceMs
    if (putMeanwhile) yield* onDisk("put a blob back", () => linkUnlessThere(moved, target))
    yield* onDisk("remove a blob", () => fs.rm(moved, { force: true }))
    return !putMeanwhile
  }, Effect.uninterruptible)

  /** A removal that died is undone; the collection that sweeps will judge the blob anew. */
  const undoRemovals = Effect.fnUntraced(function*() {
    const names = yield* doomedOf("")
    for (const name of names) {
      const hex = name.slice(0, 64)
      yield* onDiskIfThere("put a blob back", async () => {
        await makeFolder(dirname(pathOf(hex)))
        await linkUnlessThere(join(doomed, name), pathOf(hex))
        await fs.rm(join(doomed, name), { force: true })
      })
    }
    return names.length
  })

  return {
    put: (bytes, expected) => spooled({ folder: incoming, bytes, expected, use: moveIn }),
    head,
    read: (digest, range) =>
      Stream.unwrap(Effect.gen(function*() {
        const file = yield* Effect.acquireRelease(
          withFile(hexOf(digest), (path) => fs.open(path, "r")),
          Option.match({ onNone: () => Effect.void, onSome: (file) => Effect.promise(() => file.close()) })
        )
        if (Option.isNone(file)) return yield* new BlobMissing({ digest })
        return fileBytes(file.value, range)
      })),
    list: Stream.fromIterableEffect(onDisk("list blobs", () => fs.readdir(blobs))).pipe(
      Stream.flatMap((folder) => Stream.fromIterableEffect(heldIn(folder)))
    ),
    remove,
    sweep: Effect.fnUntraced(function*(untouchedSinceMs) {
      return (yield* undoRemovals()) + (yield* sweepSpool(incoming, untouchedSinceMs))
    })
  }
})
