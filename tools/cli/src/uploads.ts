import { Effect, Stream } from "effect"
import { createHash } from "node:crypto"
import { createReadStream, statSync } from "node:fs"
import { basename } from "node:path"
import type { ApiClient } from "./client.ts"
import type { Upload } from "./request.ts"
import { Trouble } from "./trouble.ts"

/** `local` or `local:/work/name`. */
const partsOf = (text: string): { readonly local: string; readonly path: string } => {
  const at = text.indexOf(":/")
  return at <= 0 ? { local: text, path: `/work/${basename(text)}` } : { local: text.slice(0, at), path: text.slice(at + 1) }
}

/** Puts local files where the cell keeps bytes, and says where the program finds them. What lies there already is not sent again in vain: the same bytes have the same name. */
export const uploaded = Effect.fnUntraced(function*(client: ApiClient, files: ReadonlyArray<string>, note: (text: string) => void) {
  const uploads: Array<Upload> = []
  for (const text of files) {
    const { local, path } = partsOf(text)
    const { executable, size } = yield* fileAt(local)
    const digest = yield* digestOf(local)
    const blob = yield* client.blobs.put({ query: { digest: digest as never }, payload: bytesOf(local) as never })
    if (size > 1024 * 1024) note(`Uploaded ${local} (${Math.round(size / 1024 / 1024)} MiB) as ${path}.`)
    uploads.push({ path, blob, executable })
  }
  return uploads
})

const fileAt = (local: string): Effect.Effect<{ readonly size: number; readonly executable: boolean }, Trouble> =>
  Effect.try({
    try: () => {
      const stat = statSync(local)
      if (!stat.isFile()) throw new Error("it is no file")
      return { size: stat.size, executable: (stat.mode & 0o111) !== 0 }
    },
    catch: (error) => unreadable(local, error)
  })

const unreadable = (local: string, error: unknown): Trouble =>
  new Trouble({
    code: "file_unreadable",
    what: `${local} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    where: "--file",
    remedy: "give a file of this machine, such as --file data.csv or --file data.csv:/work/in.csv",
    ending: "usage"
  })

const bytesOf = (local: string): Stream.Stream<Uint8Array, Trouble> =>
  Stream.fromAsyncIterable<Uint8Array, Trouble>({ [Symbol.asyncIterator]: () => createReadStream(local)[Symbol.asyncIterator]() as AsyncIterator<Uint8Array> }, (error) => unreadable(local, error))

const digestOf = (local: string): Effect.Effect<string, Trouble> =>
  Effect.tryPromise({
    try: async (signal) => {
      const hash = createHash("sha256")
      for await (const chunk of createReadStream(local, { signal })) hash.update(chunk as Uint8Array)
      return `sha256:${hash.digest("hex")}`
    },
    catch: (error) => unreadable(local, error)
  })
