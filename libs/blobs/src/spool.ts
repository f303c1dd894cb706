import type { BlobRef, Digest } from "@millrace/schemas"
import { Cause, Effect, Option, Stream } from "effect"
import { randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { BlobCorrupt, BlobStoreFull, BlobStoreUnclear } from "./blob-error.ts"
import type { Range } from "./store.ts"
import { Naming } from "./verified.ts"

/** The largest piece that one read of a file gives, in bytes. */
const chunkBytes = 256 * 1024

const codeOf = (cause: unknown) => (cause as NodeJS.ErrnoException | undefined)?.code

/** Runs one call of the file system; what it says goes on as `BlobStoreUnclear`. */
export const onDisk = <A>(doing: string, run: () => Promise<A>): Effect.Effect<A, BlobStoreUnclear> =>
  Effect.tryPromise({ try: run, catch: (cause) => new BlobStoreUnclear({ doing, cause }) })

/** The same, where it is an answer that the file is not there. */
export const onDiskIfThere = <A>(doing: string, run: () => Promise<A>) =>
  onDisk(doing, run).pipe(
    Effect.asSome,
    Effect.catchIf(({ cause }) => codeOf(cause) === "ENOENT", () => Effect.succeed(Option.none<A>()))
  )

const full = ({ doing, cause }: BlobStoreUnclear) =>
  codeOf(cause) === "ENOSPC" || codeOf(cause) === "EDQUOT"
    ? new BlobStoreFull({ cause })
    : new BlobStoreUnclear({ doing, cause })

const writeAll = async (file: fs.FileHandle, bytes: Uint8Array) => {
  for (let at = 0; at < bytes.byteLength;) at += (await file.write(bytes, at)).bytesWritten
}

/** Bytes that have all come, lying in a file under no name of anyone's, and what they are called. */
export interface Spooled {
  readonly path: string
  readonly ref: BlobRef
}

/**
 * Lets a stream run into a new file in `folder`, one chunk at a time, hashing on the way, and hands the
 * file to `use`. The file is gone afterwards, however it ends; only a killed process leaves one, for
 * `sweepSpool`. Bytes not named as `expected` are refused before `use` sees them.
 */
export const spooled = <E, R, A, E2>(
  { folder, bytes, expected, use }: {
    readonly folder: string
    readonly bytes: Stream.Stream<Uint8Array, E, R>
    readonly expected: Option.Option<Digest>
    readonly use: (spooled: Spooled) => Effect.Effect<A, E2>
  }
): Effect.Effect<A, E | E2 | BlobCorrupt | BlobStoreFull | BlobStoreUnclear, R> =>
  Effect.scoped(Effect.gen(function*() {
    // A name nobody else picks. It is not part of any outcome, so it needs no seed.
    const path = join(folder, `${randomUUID()}.part`)
    const file = yield* Effect.acquireRelease(
      onDisk("open a spool file", () => fs.open(path, "wx", 0o600)),
      (file) => Effect.promise(() => file.close().catch(() => {}).then(() => fs.rm(path, { force: true })).catch(() => {}))
    )
    const naming = new Naming()
    yield* Stream.runForEach(bytes, (chunk) => {
      naming.add(chunk)
      return Effect.mapError(onDisk("write to a spool file", () => writeAll(file, chunk)), full)
    })
    const ref = naming.ref
    if (Option.isSome(expected) && expected.value !== ref.digest) {
      return yield* new BlobCorrupt({ digest: expected.value, found: ref })
    }
    return yield* use({ path, ref })
  }))

/** Removes spool files that nobody has written to since, and says how many. */
export const sweepSpool = Effect.fnUntraced(function*(folder: string, untouchedSinceMs: number) {
  let swept = 0
  for (const name of yield* onDisk("list the spool", () => fs.readdir(folder))) {
    if (!name.endsWith(".part")) continue
    const path = join(folder, name)
    const stat = yield* onDiskIfThere("look at a spool file", () => fs.stat(path))
    if (Option.isNone(stat) || stat.value.mtimeMs >= untouchedSinceMs) continue
    yield* onDisk("remove a spool file", () => fs.rm(path, { force: true }))
    swept++
  }
  return swept
})

/** The bytes of an open file, read when they are asked for, into a new buffer each. */
export const fileBytes = (
  file: fs.FileHandle,
  { offsetBytes, lengthBytes = Infinity }: Range
): Stream.Stream<Uint8Array, BlobStoreUnclear> => {
  let at = offsetBytes
  const end = offsetBytes + lengthBytes
  const next = Effect.gen(function*() {
    const wanted = Math.min(chunkBytes, end - at)
    if (wanted <= 0) return yield* Cause.done()
    const { bytesRead, buffer } = yield* onDisk("read a blob", () => file.read(Buffer.allocUnsafe(wanted), 0, wanted, at))
    if (bytesRead === 0) return yield* Cause.done()
    at += bytesRead
    return [buffer.subarray(0, bytesRead)] as const
  })
  return Stream.fromPull(Effect.succeed(next))
}
