import { type Blobs, verified } from "@millrace/blobs"
import { type BlobRef, Digest, SnapshotId } from "@millrace/schemas"
import { Clock, Context, Effect, Latch, Layer, Option, Schema, Stream } from "effect"
import { randomUUID } from "node:crypto"
import { mkdirSync, statfsSync } from "node:fs"
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { type Copies, named, noCopies, speedAfter, used, without } from "../domain/copies.ts"

/**
 * Copies of blobs on the host's own disk, so that what work begins with is loaded once. The blob store is asked for
 * what is not here; a copy is kept whole or not at all, and read with its digest verified.
 */
export interface LocalCopiesShape {
  /** Reads what is here from here, and keeps what it fetches and puts. */
  readonly over: (store: Blobs["Service"]) => Blobs["Service"]
  /** The same for whoever reads at a pace of its own: it teaches nothing of how fast the host loads. */
  readonly alongside: (store: Blobs["Service"]) => Blobs["Service"]
  /** These bytes are a snapshot's. */
  readonly isSnapshot: (snapshotId: SnapshotId, blob: BlobRef) => Effect.Effect<void>
  /** What is here now, and how fast the rest was loaded lately, in bytes a millisecond. */
  readonly held: () => { readonly copies: Copies; readonly loadBytesPerMs: number | undefined }
  /** Waits until something else is here than when it was asked last. */
  readonly changed: Effect.Effect<void>
}

/** The copies of this host; without a layer it keeps none. */
export const LocalCopies = Context.Reference<LocalCopiesShape>("millrace/host/LocalCopies", {
  defaultValue: () => ({
    over: (store) => store,
    alongside: (store) => store,
    isSnapshot: () => Effect.void,
    held: () => ({ copies: noCopies, loadBytesPerMs: undefined }),
    changed: Effect.never
  })
})

/** Copies in a folder that nobody else writes; of more than `bytesMax` those used longest ago go. With 0 none are kept. */
export const localCopies = (folder: string, bytesMax: number): Layer.Layer<never> =>
  bytesMax <= 0 ? Layer.empty : Layer.effect(LocalCopies, Effect.promise(() => Folder.open(folder, bytesMax)).pipe(Effect.map(({ shape }) => shape)))

/** A twentieth of what is free, where nobody says more or less. */
export const copiesBytesOf = (folder: string, mibMax: number | undefined): number => {
  if (mibMax !== undefined) return mibMax * 2 ** 20
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { bavail, bsize } = statfsSync(folder)
  return Math.floor((bavail * bsize) / 20)
}

const Notes = Schema.fromJsonString(Schema.Struct({ snapshots: Schema.Array(Schema.Tuple([SnapshotId, Digest])), loadBytesPerMs: Schema.optionalKey(Schema.Int) }))
const readNotes = Schema.decodeUnknownOption(Notes)

/** The size stands in the name: a copy that was cut short by a fall of the machine is known by it. */
const nameOfCopy = ({ digest, sizeBytes }: BlobRef): string => `${digest.slice("sha256:".length)}-${sizeBytes}`
const named64 = /^([0-9a-f]{64})-(\d+)$/u

class Folder {
  readonly #folder: string
  readonly #bytesMax: number
  readonly #changed = Latch.makeUnsafe(false)
  #copies: Copies = noCopies
  #loadBytesPerMs: number | undefined

  constructor(folder: string, bytesMax: number) {
    this.#folder = folder
    this.#bytesMax = bytesMax
  }

  static async open(folder: string, bytesMax: number): Promise<Folder> {
    const copies = new Folder(folder, bytesMax)
    await fs.mkdir(folder, { recursive: true, mode: 0o700 })
    await copies.#find()
    return copies
  }

  readonly shape: LocalCopiesShape = {
    over: (store) => ({
      ...store,
      get: (digest) => this.#get(store, digest, true),
      put: (bytes, wanted) => this.#keeping(bytes, (kept) => store.put(kept, wanted))
    }),
    alongside: (store) => ({ ...store, get: (digest) => this.#get(store, digest, false) }),
    isSnapshot: (snapshotId, { digest }) => Effect.suspend(() => this.#become(named(this.#copies, snapshotId, digest))),
    held: () => ({ copies: this.#copies, loadBytesPerMs: this.#loadBytesPerMs }),
    changed: Effect.suspend(() => Effect.andThen(this.#changed.await, Effect.sync(() => void this.#changed.closeUnsafe())))
  }

  readonly #get = (store: Blobs["Service"], digest: Digest, measured: boolean): ReturnType<Blobs["Service"]["get"]> =>
    Stream.unwrap(Effect.gen({ self: this }, function*() {
      const held = this.#copies.blobs.get(digest)
      const file = held === undefined ? undefined : yield* Effect.promise(() => fs.open(this.#pathOf(held), "r").catch(() => undefined))
      if (held === undefined || file === undefined) return this.#fetched(store, digest, measured)
      yield* this.#use(held)
      const bytes = Stream.fromAsyncIterable(file.createReadStream({ highWaterMark: 256 * 1024 }), (cause) => cause)
      // A copy that cannot be read, or is not what its name says, is no copy: it goes, and whoever reads begins again with the store.
      return (bytes as Stream.Stream<Uint8Array>).pipe(verified(digest), Stream.tapError(() => this.#lose(held)))
    }))

  /** From the store, keeping it, and minding how long that took. */
  readonly #fetched = (store: Blobs["Service"], digest: Digest, measured: boolean): ReturnType<Blobs["Service"]["get"]> =>
    Stream.unwrap(Effect.gen({ self: this }, function*() {
      const beganMs = yield* Clock.currentTimeMillis
      const draft = new Draft(join(this.#folder, `${randomUUID()}.part`))
      const ended = Effect.gen({ self: this }, function*() {
        const ms = (yield* Clock.currentTimeMillis) - beganMs
        if (measured) this.#loadBytesPerMs = speedAfter(this.#loadBytesPerMs, { bytes: draft.bytes, ms })
        yield* this.#keep(draft, { digest, sizeBytes: draft.bytes })
      })
      return store.get(digest).pipe(
        Stream.tap((chunk) => draft.write(chunk)),
        Stream.concat(Stream.fromEffectDrain(ended)),
        Stream.ensuring(draft.discard)
      )
    }))

  readonly #keeping = <E, R, E2, R2>(bytes: Stream.Stream<Uint8Array, E, R>, put: (kept: Stream.Stream<Uint8Array, E, R>) => Effect.Effect<BlobRef, E2, R2>): Effect.Effect<BlobRef, E2, R2> =>
    Effect.suspend(() => {
      const draft = new Draft(join(this.#folder, `${randomUUID()}.part`))
      return put(Stream.tap(bytes, (chunk) => draft.write(chunk))).pipe(
        Effect.tap((ref) => ref.sizeBytes === draft.bytes ? this.#keep(draft, ref) : Effect.void),
        Effect.ensuring(draft.discard)
      )
    })

  #pathOf(ref: BlobRef): string {
    return join(this.#folder, nameOfCopy(ref))
  }

  /** A disk that is full, or a folder that went, costs the copy and never the work. */
  readonly #keep = (draft: Draft, ref: BlobRef): Effect.Effect<void> =>
    Effect.suspend(() => draft.broken || ref.sizeBytes === 0 || ref.sizeBytes > this.#bytesMax ? Effect.void : Effect.andThen(draft.moveTo(this.#pathOf(ref)), (moved) => moved ? this.#use(ref) : Effect.void))

  readonly #use = (ref: BlobRef): Effect.Effect<void> => Effect.gen({ self: this }, function*() {
    const nowMs = yield* Clock.currentTimeMillis
    const { copies, gone } = used(this.#copies, { digest: ref.digest, sizeBytes: ref.sizeBytes }, this.#bytesMax)
    yield* this.#become(copies)
    yield* Effect.promise(() => Promise.all([
      // The order outlives the agent as the files' times.
      fs.utimes(this.#pathOf(ref), nowMs / 1000, nowMs / 1000).catch(() => undefined),
      ...gone.map((copy) => fs.rm(this.#pathOf(copy), { force: true }).catch(() => undefined))
    ]))
  })

  readonly #lose = (copy: BlobRef): Effect.Effect<void> =>
    Effect.andThen(Effect.promise(() => fs.rm(this.#pathOf(copy), { force: true }).catch(() => undefined)), Effect.suspend(() => this.#become(without(this.#copies, copy.digest))))

  readonly #become = (copies: Copies): Effect.Effect<void> => Effect.suspend(() => {
    const before = this.#copies
    this.#copies = copies
    const sameBlobs = before.blobs.size === copies.blobs.size && [...copies.blobs.keys()].every((digest) => before.blobs.has(digest))
    const sameNames = before.snapshots.size === copies.snapshots.size && [...copies.snapshots].every(([id, digest]) => before.snapshots.get(id) === digest)
    if (sameBlobs && sameNames) return Effect.void
    this.#changed.openUnsafe()
    return this.#note
  })

  get #note(): Effect.Effect<void> {
    return Effect.promise(async () => {
      const draft = join(this.#folder, `notes-${randomUUID()}.part`)
      const notes = { snapshots: [...this.#copies.snapshots], ...(this.#loadBytesPerMs === undefined ? {} : { loadBytesPerMs: this.#loadBytesPerMs }) }
      await fs.writeFile(draft, JSON.stringify(notes), { mode: 0o600 }).then(() => fs.rename(draft, join(this.#folder, "notes.json"))).catch(() => fs.rm(draft, { force: true }))
    })
  }

  /** What an agent before this one kept; what it had half written goes. */
  async #find(): Promise<void> {
    const found: Array<BlobRef & { readonly usedMs: number }> = []
    for (const name of await fs.readdir(this.#folder)) {
      const [, hex = "", size = ""] = named64.exec(name) ?? []
      const path = join(this.#folder, name)
      const stat = await fs.stat(path).catch(() => undefined)
      if (hex !== "" && stat?.size === Number(size)) found.push({ digest: Digest.make(`sha256:${hex}`), sizeBytes: stat.size, usedMs: stat.mtimeMs })
      else if (name !== "notes.json") await fs.rm(path, { force: true, recursive: true })
    }
    for (const copy of found.sort((left, right) => left.usedMs - right.usedMs || (left.digest < right.digest ? -1 : 1))) {
      const { copies, gone } = used(this.#copies, { digest: copy.digest, sizeBytes: copy.sizeBytes }, this.#bytesMax)
      this.#copies = copies
      for (const one of gone) await fs.rm(this.#pathOf(one), { force: true })
    }
    const notes = readNotes(await fs.readFile(join(this.#folder, "notes.json"), "utf8").catch(() => ""))
    if (Option.isSome(notes)) {
      for (const [id, digest] of notes.value.snapshots) this.#copies = named(this.#copies, id, digest)
      this.#loadBytesPerMs = notes.value.loadBytesPerMs
    }
    if (this.#copies.blobs.size > 0) this.#changed.openUnsafe()
  }
}

/** A copy that is being written. Where that fails it is given up, and nobody else minds. */
class Draft {
  readonly #path: string
  #file: fs.FileHandle | undefined
  #done = false
  broken = false
  bytes = 0

  constructor(path: string) {
    this.#path = path
  }

  readonly write = (chunk: Uint8Array): Effect.Effect<void> => Effect.promise(async () => {
    this.bytes += chunk.byteLength
    if (this.broken) return
    try {
      this.#file ??= await fs.open(this.#path, "wx", 0o600)
      await this.#file.writeFile(chunk)
    } catch {
      this.broken = true
    }
  })

  readonly moveTo = (path: string): Effect.Effect<boolean> => Effect.promise(async () => {
    try {
      await this.#file?.close()
      this.#file = undefined
      await fs.rename(this.#path, path)
      return this.#done = true
    } catch {
      return false
    }
  })

  readonly discard: Effect.Effect<void> = Effect.promise(async () => {
    await this.#file?.close().catch(() => undefined)
    if (!this.#done && this.bytes > 0) await fs.rm(this.#path, { force: true }).catch(() => undefined)
  })
}
