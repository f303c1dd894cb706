import { type Cut, dictionary, versions } from "@millrace/schemas"
import { Clock, Context, Effect, Layer } from "effect"
import { createHash, randomUUID } from "node:crypto"
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises"
import { join } from "node:path"
import { Packr } from "msgpackr"
import { crashPoint } from "./crash.ts"

/**
 * Where a fold stood, so that a start needs not read from fact one. A cache: it may be deleted at any
 * time, and it is taken only when the code that reads it is the code that wrote it.
 */
export interface Checkpoint {
  readonly fold: string
  readonly codeVersion: string
  readonly epoch: number
  readonly saw: Cut
  /**
   * Plain values. A field of it may be an iterable that is no array: it is made item by item while it is written, and
   * comes back as one that is read item by item, any number of times, so that a long list never lies in memory whole.
   */
  readonly state: unknown
}

/** What a checkpoint says of itself, without its state. */
export interface CheckpointHead extends Pick<Checkpoint, "codeVersion" | "epoch" | "saw"> {
  /** Whether a program wrote it that knew the same facts as this one. */
  readonly sameFacts: boolean
}

/**
 * The facts that this program can read. A fold by one that could read others has passed over, or frozen, what
 * this one folds: its checkpoints count as none, whatever version it called its code.
 */
const vocabularyNow: string = createHash("sha256")
  .update(JSON.stringify([[...versions].sort(([left], [right]) => (left < right ? -1 : 1)), dictionary.length]))
  .digest("hex")

/**
 * Keeps the newest checkpoint of each fold. One that a program of another vocabulary wrote counts as none, and so does
 * one whose bytes are not those that were written.
 */
export class Checkpoints extends Context.Service<Checkpoints, {
  readonly load: (fold: string) => Effect.Effect<Checkpoint | undefined>
  /** What the newest says of itself, read without its state: so its bytes may be others than those that were written. */
  readonly newest: (fold: string) => Effect.Effect<CheckpointHead | undefined>
  readonly save: (checkpoint: Checkpoint) => Effect.Effect<void>
}>()("millrace/Checkpoints") {
  /** For tests and the simulator: lives as long as the layer. */
  static readonly layerMemory: Layer.Layer<Checkpoints> = Layer.sync(Checkpoints, () => {
    const kept = new Map<string, ReadonlyArray<Uint8Array>>()
    return {
      load: (fold) => Effect.sync(() => read(kept.get(fold) ?? [])),
      newest: (fold) => Effect.sync(() => headIn(kept.get(fold)?.[0])),
      save: (checkpoint) => Effect.sync(() => void kept.set(checkpoint.fold, [...written(checkpoint)]))
    }
  })

  /**
   * One file a fold, replaced whole by a rename: a crash leaves the old one or the new one. A file that
   * cannot be read counts as none, because a rebuild gives the same. Whatever else this process does goes on
   * between two pieces of it. Several processes may write at once: each has a draft of its own, and one whose writer
   * was interrupted, or died an hour ago, is taken away.
   */
  static readonly layerFolder = (folder: string): Layer.Layer<Checkpoints> => Layer.succeed(Checkpoints, {
    load: (fold) => Effect.promise(() => framesIn(join(folder, `${fold}.checkpoint`)).then(read, () => undefined)),
    newest: (fold) => Effect.promise(() => firstFrameIn(join(folder, `${fold}.checkpoint`)).then(headIn, () => undefined)),
    save: (checkpoint) => Effect.suspend(() => {
      const path = join(folder, `${checkpoint.fold}.checkpoint`)
      const draft = `${path}.${randomUUID()}.next`
      return Effect.gen(function*() {
        const nowMs = yield* Clock.currentTimeMillis
        yield* Effect.promise(() => mkdir(folder, { recursive: true }))
        yield* Effect.promise(() => forgetDrafts(folder, checkpoint.fold, nowMs - draftMsMax))
        yield* Effect.promise((signal) => writeFrames(draft, written(checkpoint), signal))
        yield* crashPoint(`checkpoint ${checkpoint.fold} drafted`)
        yield* Effect.promise(() => rename(draft, path))
      }).pipe(
        Effect.catchDefect((defect) => Effect.logWarning("A checkpoint could not be written; the next start reads more", defect)),
        Effect.ensuring(Effect.promise(() => rm(draft, { force: true }).catch(() => undefined)))
      )
    })
  })
}

/** A checkpoint as it would be read back: for what keeps some without a place of their own. Undefined where it could not be. */
export const asReadBack = (checkpoint: Checkpoint): Checkpoint | undefined => read([...written(checkpoint)])

/** So many items of a list lie in one frame. */
const itemsMax = 1_000
/** A frame on disk stands behind its length, in so many bytes. */
const lengthBytes = 4
/** What is read of a file at once. */
const readBytes = 16 * 1024 * 1024

interface Head {
  readonly vocabulary: string
  readonly fold: string
  readonly codeVersion: string
  readonly epoch: number
  readonly saw: Cut
}

/** A field of the state; items of one that is a list, which is read bit by bit if it was made so; or a state that has no fields. */
type Part = { readonly field: string; readonly value: unknown } | { readonly field: string; readonly items: ReadonlyArray<unknown>; readonly bit: boolean } | { readonly whole: unknown }

/** A packer of its own for each frame: the shapes that it meets are written once in each, and known from nowhere else. */
const packed = (value: unknown): Uint8Array => new Packr().pack(value)
const unpacked = (frame: Uint8Array): unknown => new Packr().unpack(frame)

/** A checkpoint as frames: its head, the parts of the state, and the SHA-256 of all that. */
const written = function*({ codeVersion, epoch, fold, saw, state }: Checkpoint): Generator<Uint8Array> {
  const hash = createHash("sha256")
  const head: Head = { vocabulary: vocabularyNow, fold, codeVersion, epoch, saw }
  for (const frame of framesOf(head, state)) {
    hash.update(frame)
    yield frame
  }
  yield hash.digest()
}

const framesOf = function*(head: Head, state: unknown): Generator<Uint8Array> {
  yield packed(head)
  for (const part of partsOf(state)) yield packed(part)
}

const partsOf = function*(state: unknown): Generator<Part> {
  // A state that is a list is one field, of no name.
  const fields = isList(state) ? { "": state } : state
  if (!isRecord(fields)) {
    yield { whole: state }
    return
  }
  for (const [field, value] of Object.entries(fields)) {
    if (!isList(value)) yield { field, value }
    else for (const items of inFrames(value)) yield { field, items, bit: !Array.isArray(value) }
  }
}

const inFrames = function*(list: Iterable<unknown>): Generator<ReadonlyArray<unknown>> {
  let items: Array<unknown> = []
  for (const item of list) {
    items.push(item)
    if (items.length < itemsMax) continue
    yield items
    items = []
  }
  // Also where there is nothing: an empty list is a list.
  yield items
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype

const isList = (value: unknown): value is Iterable<unknown> => typeof value === "object" && value !== null && Symbol.iterator in value

const read = (frames: ReadonlyArray<Uint8Array>): Checkpoint | undefined => {
  const [first] = frames
  const last = frames.at(-1)
  if (first === undefined || last === undefined || frames.length < 2) return undefined
  const parts = frames.slice(1, -1)
  try {
    const hash = createHash("sha256").update(first)
    for (const part of parts) hash.update(part)
    if (!hash.digest().equals(last)) return undefined
    const { vocabulary, ...head } = unpacked(first) as Head
    return vocabulary === vocabularyNow ? { ...head, state: stateFrom(parts) } : undefined
  } catch {
    return undefined
  }
}

const headIn = (first: Uint8Array | undefined): CheckpointHead | undefined => {
  if (first === undefined) return undefined
  try {
    const { codeVersion, epoch, saw, vocabulary } = unpacked(first) as Head
    return { codeVersion, epoch, saw, sameFacts: vocabulary === vocabularyNow }
  } catch {
    return undefined
  }
}

const stateFrom = (frames: ReadonlyArray<Uint8Array>): unknown => {
  const state: Record<string, unknown> = {}
  for (const frame of frames) {
    const part = unpacked(frame) as Part
    if ("whole" in part) return part.whole
    if ("value" in part) state[part.field] = part.value
    else if (part.bit) ((state[part.field] ??= new Items()) as Items).frames.push(frame)
    else for (const item of part.items) ((state[part.field] ??= []) as Array<unknown>).push(item)
    if ("items" in part && !part.bit) state[part.field] ??= []
  }
  return "" in state ? state[""] : state
}

/** A list that is unpacked frame by frame, whenever somebody goes through it. */
class Items implements Iterable<unknown> {
  *[Symbol.iterator](): Generator<unknown> {
    for (const frame of this.frames) yield* (unpacked(frame) as { readonly items: ReadonlyArray<unknown> }).items
  }

  readonly frames: Array<Uint8Array> = []
}

/** Once it is aborted nothing more is written, and no draft is left: what the frames are made of may change from then on. */
const writeFrames = async (path: string, frames: Iterable<Uint8Array>, signal: AbortSignal): Promise<void> => {
  const file = await open(path, "w")
  try {
    for (const frame of frames) {
      signal.throwIfAborted()
      const length = Buffer.alloc(lengthBytes)
      length.writeUInt32BE(frame.length)
      await file.writev([length, frame])
    }
    await file.datasync()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

/** A draft that nobody has touched for so long has no writer any more. */
const draftMsMax = 3_600_000

const forgetDrafts = async (folder: string, fold: string, untouchedSinceMs: number): Promise<void> => {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`${fold}.checkpoint.`) || !name.endsWith("next")) continue
    const touchedAtMs = await stat(join(folder, name)).then(({ mtimeMs }) => mtimeMs, () => Number.POSITIVE_INFINITY)
    if (touchedAtMs < untouchedSinceMs) await rm(join(folder, name), { force: true })
  }
}

/** So long is no head: a file that says so is none of ours. */
const headBytesMax = 1024 * 1024

/** The first frame of a file. Throws where it has none. */
const firstFrameIn = async (path: string): Promise<Uint8Array> => {
  const file = await open(path, "r")
  try {
    const length = Buffer.alloc(lengthBytes)
    await file.read({ buffer: length })
    const frame = Buffer.alloc(Math.min(headBytesMax, length.readUInt32BE(0)))
    const { bytesRead } = await file.read({ buffer: frame, position: lengthBytes })
    return frame.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** The frames of a file. Throws where it ends within one. */
const framesIn = async (path: string): Promise<ReadonlyArray<Uint8Array>> => {
  const file = await open(path, "r")
  try {
    const frames: Array<Uint8Array> = []
    const { size } = await file.stat()
    let rest = Buffer.alloc(0)
    while (true) {
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.allocUnsafeSlow(Math.max(1, Math.min(readBytes, size))) })
      if (bytesRead === 0) break
      rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)])
      let at = 0
      for (; rest.length - at >= lengthBytes; ) {
        const end = at + lengthBytes + rest.readUInt32BE(at)
        if (end > rest.length) break
        frames.push(rest.subarray(at + lengthBytes, end))
        at = end
      }
      rest = rest.subarray(at)
    }
    if (rest.length > 0) throw new Error(`${path} ends within a frame`)
    return frames
  } finally {
    await file.close()
  }
}

const plain = new Packr({ useRecords: false, mapsAsObjects: true })

/**
 * The hash that identifies a fold's state, whatever the order in which its keys came to be: a live fold and
 * a rebuild hear the same facts in different orders.
 */
export const hashOf = (state: unknown): string => createHash("sha256").update(plain.pack(canonical(state))).digest("hex")

const canonical = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  const sorted: Record<string, unknown> = {}
  for (const key of Object.keys(value).sort()) {
    const field = (value as Record<string, unknown>)[key]
    if (field !== undefined) sorted[key] = canonical(field)
  }
  return sorted
}
