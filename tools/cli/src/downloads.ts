import { Effect, Stream } from "effect"
import { createWriteStream, mkdirSync, renameSync, rmSync } from "node:fs"
import { dirname, join, resolve, sep } from "node:path"
import type { ArtefactView } from "../../../services/gateway/src/api/bytes.ts"
import type { ApiClient } from "./client.ts"
import { Trouble } from "./trouble.ts"

const pageRows = 1000

interface Which {
  readonly task?: number
}

type Artefact = typeof ArtefactView.Type
type Failure = Effect.Error<ReturnType<ApiClient["bytes"]["artefacts"]>>

/** Every artefact of a job, or of one task. */
export const artefactsOf = Effect.fnUntraced(function*(client: ApiClient, jobId: string, which: Which = {}): Effect.fn.Return<ReadonlyArray<Artefact>, Failure> {
  const all: Array<Artefact> = []
  while (true) {
    const after = all.at(-1)?.name
    const { artefacts } = yield* client.bytes.artefacts({ params: { jobId }, query: { ...which, limit: pageRows, ...(after === undefined ? {} : { after }) } })
    all.push(...artefacts)
    if (artefacts.length < pageRows) return all
  }
})


/** Writes artefacts into a folder, under their names; those of an array in a folder for each task. A file appears when it is whole. */
export const downloaded = Effect.fnUntraced(function*(client: ApiClient, jobId: string, folder: string, artefacts: ReadonlyArray<Artefact>) {
  const written: Array<string> = []
  for (const { attempt, name, task } of artefacts) {
    // Tasks of an array may leave files of one name.
    const path = yield* placeOf(folder, task === null ? name : `${task}/${name}`)
    const bytes = yield* client.bytes.artefact({ params: { jobId, name }, query: { attempt, ...(task === null ? {} : { task }) } })
    yield* writing(path, bytes)
    written.push(path)
  }
  return written
})

/** A name comes from the job's program: it may not lead out of the folder. */
const placeOf = (folder: string, name: string): Effect.Effect<string, Trouble> => {
  const root = resolve(folder)
  const path = resolve(join(root, name))
  return path.startsWith(`${root}${sep}`)
    ? Effect.succeed(path)
    : Effect.fail(new Trouble({ code: "artefact_name", what: `the artefact ${JSON.stringify(name)} would lie outside of ${root}`, where: "the artefact's name", remedy: "write it where you want it: millrace output JOB NAME > FILE", ending: "rejected" }))
}

const writing = <E>(path: string, bytes: Stream.Stream<Uint8Array, E>): Effect.Effect<void, E | Trouble> =>
  Effect.gen(function*() {
    const part = `${path}.part`
    yield* Effect.try({ try: () => mkdirSync(dirname(path), { recursive: true }), catch: (error) => unwritable(path, error) })
    const file = createWriteStream(part)
    const failed = new Promise<never>((_, refuse) => file.once("error", refuse))
    failed.catch(() => undefined)
    const wrote = (piece: Uint8Array) =>
      Effect.tryPromise({ try: () => Promise.race([failed, new Promise<void>((settle) => file.write(piece, () => settle()))]), catch: (error) => unwritable(path, error) })
    yield* Stream.runForEach(bytes, wrote).pipe(
      Effect.andThen(Effect.tryPromise({ try: () => Promise.race([failed, new Promise<void>((settle) => file.end(() => settle()))]), catch: (error) => unwritable(path, error) })),
      Effect.andThen(Effect.try({ try: () => renameSync(part, path), catch: (error) => unwritable(path, error) })),
      Effect.onError(() => Effect.sync(() => {
        file.destroy()
        rmSync(part, { force: true })
      }))
    )
  })

const unwritable = (path: string, error: unknown): Trouble =>
  new Trouble({ code: "file_unwritable", what: `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`, where: "--artefacts", remedy: "give a folder that you may write in, on a disk with room", ending: "settings" })
