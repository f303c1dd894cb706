import { type Cut, dictionary, versions } from "@millrace/schemas"
import { Context, Effect, Layer } from "effect"
import { createHash } from "node:crypto"
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises"
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
  /** SHA-256 of `state`, in hexadecimal: what a rebuild up to `saw` must come to. */
  readonly hash: string
  readonly state: unknown
}

/**
 * The facts that this program can read. A fold by one that could read others has passed over, or frozen, what
 * this one folds: its checkpoints count as none, whatever version it called its code.
 */
const vocabularyNow: string = createHash("sha256")
  .update(JSON.stringify([[...versions].sort(([left], [right]) => (left < right ? -1 : 1)), dictionary.length]))
  .digest("hex")

/** Keeps the newest checkpoint of each fold. One that a program of another vocabulary wrote counts as none. */
export class Checkpoints extends Context.Service<Checkpoints, {
  readonly load: (fold: string) => Effect.Effect<Checkpoint | undefined>
  readonly save: (checkpoint: Checkpoint) => Effect.Effect<void>
}>()("millrace/Checkpoints") {
  /** For tests and the simulator: lives as long as the layer. */
  static readonly layerMemory: Layer.Layer<Checkpoints> = Layer.sync(Checkpoints, () => {
    const kept = new Map<string, Uint8Array>()
    return {
      load: (fold) => Effect.sync(() => read(kept.get(fold))),
      save: (checkpoint) => Effect.sync(() => void kept.set(checkpoint.fold, written(checkpoint)))
    }
  })

  /**
   * One file a fold, replaced whole by a rename: a crash leaves the old one or the new one. A file that
   * cannot be read counts as none, because a rebuild gives the same.
   */
  static readonly layerFolder = (folder: string): Layer.Layer<Checkpoints> => Layer.succeed(Checkpoints, {
    load: (fold) => Effect.promise(() => readFile(join(folder, `${fold}.checkpoint`)).then(read, () => undefined)),
    save: (checkpoint) => Effect.gen(function*() {
      const path = join(folder, `${checkpoint.fold}.checkpoint`)
      yield* Effect.promise(() => mkdir(folder, { recursive: true }))
      yield* Effect.promise(() => writeFile(`${path}.next`, written(checkpoint)))
      yield* crashPoint(`checkpoint ${checkpoint.fold} drafted`)
      yield* Effect.promise(() => rename(`${path}.next`, path))
    }).pipe(Effect.catchDefect((defect) => Effect.logWarning("A checkpoint could not be written; the next start reads more", defect).pipe(
      Effect.andThen(Effect.promise(() => rm(join(folder, `${checkpoint.fold}.checkpoint.next`), { force: true })))
    )))
  })
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true })

const written = (checkpoint: Checkpoint): Uint8Array => packr.pack({ vocabulary: vocabularyNow, ...checkpoint })

const read = (bytes: Uint8Array | undefined): Checkpoint | undefined => {
  if (bytes === undefined) return undefined
  try {
    const { vocabulary, ...checkpoint } = packr.unpack(bytes) as Checkpoint & { readonly vocabulary?: string }
    return vocabulary === vocabularyNow ? checkpoint : undefined
  } catch {
    return undefined
  }
}

/**
 * The hash that identifies a fold's state, whatever the order in which its keys came to be: a live fold and
 * a rebuild hear the same facts in different orders.
 */
export const hashOf = (state: unknown): string => createHash("sha256").update(packr.pack(canonical(state))).digest("hex")

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
