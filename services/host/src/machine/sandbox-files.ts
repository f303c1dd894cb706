import { Blobs } from "@millrace/blobs"
import type { BlobRef, InputFile, PlacementMade } from "@millrace/schemas"
import { Effect, Stream } from "effect"
import { constants, createReadStream } from "node:fs"
import { chown, lstat, mkdir, open, rm } from "node:fs/promises"
import { join } from "node:path"
import { Readable } from "node:stream"
import { createGunzip, createGzip } from "node:zlib"
import { archived, unpacked, walked } from "./file-archive.ts"
import { CannotStart } from "./runtime.ts"
import type { Places } from "./sandbox-bundle.ts"

/** A file that the work made, as it lies in the blob store. */
export interface KeptFile {
  /** Relative to `/artefacts`. */
  readonly name: string
  readonly blob: BlobRef
  readonly droppedBytes: number
}

const filesMax = 1_000
const filesBytesMax = 4 * 2 ** 30
const entriesMax = 200_000
/** The work's own words are kept under these names; a file of that name is told from them. */
const isStream = (name: string): boolean => name === "stdout" || name === "stderr"
/** Tells what lies in `/artefacts` and was not kept, by name. */
const notKeptName = "millrace-not-kept.txt"
const notKeptBytesMax = 64 * 1024

const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })

const wrong = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

/**
 * Lays a job's files down where it finds them. Each is fetched by its digest and is whole or ends the start.
 * What a snapshot brought may hold links that lead outside: none is followed.
 */
export const layInputs = Effect.fnUntraced(function*(files: ReadonlyArray<InputFile>, places: Places, bytesMax: number, owner: number | undefined) {
  const blobs = yield* Blobs
  const asked = files.reduce((sum, { blob }) => sum + blob.sizeBytes, 0)
  if (asked > bytesMax) return yield* cannot(`its files are ${asked} bytes, and its disk is ${bytesMax}`)
  for (const { blob, executable, path } of files) {
    const at = hostPathOf(path, places)
    if (at === undefined) return yield* cannot(`a file cannot lie at ${path}: say a path below /work, /tmp or /artefacts, or a new one that the system does not use`)
    yield* Effect.acquireUseRelease(
      Effect.tryPromise({
        try: async () => {
          await makeFolders(at.base, at.parts.slice(0, -1), at.limited ? owner : undefined)
          return open(join(at.base, ...at.parts), constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, executable ? 0o755 : 0o644)
        },
        catch: (cause) => cannot(`${path} could not be made: ${wrong(cause)}`)
      }),
      (file) =>
        blobs.get(blob.digest).pipe(
          Stream.runForEach((chunk) => Effect.tryPromise({ try: () => file.writeFile(chunk), catch: (cause) => cannot(`${path} could not be written: ${wrong(cause)}`) })),
          Effect.mapError((failure) => failure._tag === "CannotStart" ? failure : cannot(`${path} could not be fetched: ${failure.message}`)),
          Effect.andThen(Effect.promise(async () => {
            await file.chmod(executable ? 0o755 : 0o644)
            if (owner !== undefined && at.limited) await file.chown(owner, owner)
          }))
        ),
      (file) => Effect.promise(() => file.close())
    )
  }
})

const taken = new Set(["", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "proc", "sys", "dev", "run"])

/** Where a path inside lies on the host. */
const hostPathOf = (path: string, places: Places): { readonly base: string; readonly parts: ReadonlyArray<string>; readonly limited: boolean } | undefined => {
  const [top = "", ...rest] = path.split("/").filter((part) => part !== "" && part !== ".")
  if (path.split("/").includes("..") || (rest.length === 0 && top === "") || path.endsWith("/")) return undefined
  const limited = { work: places.work, artefacts: places.artefacts, tmp: places.tmp }[top]
  if (limited !== undefined) return rest.length === 0 ? undefined : { base: limited, parts: rest, limited: true }
  return taken.has(top) ? undefined : { base: places.root, parts: [top, ...rest], limited: false }
}

const makeFolders = async (base: string, parts: ReadonlyArray<string>, owner: number | undefined): Promise<void> => {
  let at = base
  for (const part of parts) {
    at = join(at, part)
    const there = await lstat(at).catch(() => undefined)
    if (there === undefined) {
      await mkdir(at, { mode: 0o755 })
      if (owner !== undefined) await chown(at, owner, owner)
    } else if (!there.isDirectory()) throw new Error(`${part} is no folder`)
  }
}

/** Unpacks the snapshot that the work starts from into `/work`. It is fetched whole and verified first. */
export const layDownSnapshot = Effect.fnUntraced(function*({ blob }: NonNullable<PlacementMade["from"]>, places: Places, bytesMax: number, owner: number | undefined) {
  const blobs = yield* Blobs
  const file = join(places.folder, "from.tar.gz")
  if (blob.sizeBytes > bytesMax) return yield* cannot(`the snapshot is ${blob.sizeBytes} bytes, and the disk is ${bytesMax}`)
  yield* Effect.acquireUseRelease(
    Effect.tryPromise({ try: () => open(file, "w", 0o600), catch: (cause) => cannot(wrong(cause)) }),
    (to) => Stream.runForEach(blobs.get(blob.digest), (chunk) => Effect.tryPromise({ try: () => to.writeFile(chunk), catch: (cause) => cannot(wrong(cause)) })),
    (to) => Effect.promise(() => to.close())
  ).pipe(Effect.mapError((failure) => cannot(`the snapshot could not be fetched: ${failure.message}`)))
  yield* Effect.tryPromise({
    try: () => unpacked(inflated(file), places.work, { bytesMax, entriesMax, owner }),
    catch: (cause) => cannot(`the snapshot could not be unpacked: ${wrong(cause)}`)
  })
  yield* Effect.promise(() => rm(file, { force: true }))
})

const inflated = (path: string): AsyncIterable<Uint8Array> => {
  const from = createReadStream(path)
  const inflating = createGunzip()
  from.once("error", (cause) => inflating.destroy(cause))
  return from.pipe(inflating)
}

/** Keeps `/work` as it lies there. The same files give the same blob. */
export const keepSnapshot = Effect.fnUntraced(function*(places: Places, bytesMax: number) {
  const blobs = yield* Blobs
  return yield* blobs.put(Stream.suspend(() => {
    const plain = Readable.from(archived(places.work, bytesMax))
    const deflating = createGzip({ level: 1 })
    plain.once("error", (cause) => deflating.destroy(cause))
    return Stream.fromAsyncIterable(plain.pipe(deflating), (cause) => new SnapshotUnreadable(wrong(cause)))
  }))
})

/** The work is over and nothing changes; that it is no link is still asked of the system and not remembered. */
const readNoLink = (at: Buffer, bytes: number): Readable =>
  createReadStream(at, { flags: (constants.O_RDONLY | constants.O_NOFOLLOW) as unknown as string, start: 0, end: bytes - 1 })

class SnapshotUnreadable extends Error {
  readonly _tag = "SnapshotUnreadable"
}

/**
 * Keeps every regular file below `/artefacts`, as far as the limits go; links, pipes and devices are passed
 * over. What is past a limit is counted: cut off a file that was begun, or told by name in one more file.
 * The work must be over. Keeping again keeps the same blobs.
 */
export const keepArtefacts = Effect.fnUntraced(function*(places: Places, bytesMax = filesBytesMax) {
  const blobs = yield* Blobs
  const kept: Array<KeptFile> = []
  const notKept: Array<string> = []
  let [left, dropped] = [bytesMax, 0]
  const found = Stream.fromAsyncIterable(walked(Buffer.from(places.artefacts)), (cause) => new SnapshotUnreadable(wrong(cause)))
  yield* Stream.runForEach(Stream.filter(found, ({ stat }) => stat.isFile()), ({ at, name, stat }) => Effect.gen(function*() {
    const text = name.toString("utf8")
    const legible = Buffer.from(text, "utf8").equals(name)
    if (!legible || kept.length >= filesMax || (left === 0 && stat.size > 0)) {
      notKept.push(`${stat.size} ${JSON.stringify(text)}`)
      dropped += stat.size
      return
    }
    const bytes = Math.min(left, stat.size)
    const blob = yield* blobs.put(bytes === 0 ? Stream.empty : Stream.fromAsyncIterable(
      readNoLink(at, bytes),
      (cause) => new SnapshotUnreadable(wrong(cause))
    ))
    left -= blob.sizeBytes
    kept.push({ name: isStream(text) ? `./${text}` : text, blob, droppedBytes: Math.max(0, stat.size - blob.sizeBytes) })
  }))
  if (notKept.length > 0) {
    const list = Buffer.from(`${notKept.length} files were not kept; bytes and name of each:\n${notKept.join("\n")}\n`).subarray(0, notKeptBytesMax)
    kept.push({ name: notKeptName, blob: yield* blobs.putBytes(list), droppedBytes: dropped })
  }
  return kept
})
