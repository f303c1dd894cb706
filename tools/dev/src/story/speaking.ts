import { type ApiClient, apiClient, followStory } from "@millrace/cli"
import type { StoryLine } from "@millrace/gateway/api"
import type { Cut } from "@millrace/schemas"
import { Effect, Fiber, Stream } from "effect"
import { Sse } from "effect/encoding"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { type Telling, wholeLines } from "./telling.ts"

/** Somebody who speaks to the cell with a token. */
export interface Speaker {
  readonly url: string
  readonly token: string
  readonly client: ApiClient
}

export const speakerWith = (url: string, token: string): Effect.Effect<Speaker> =>
  Effect.map(apiClient({ url, token }), (client) => ({ url, token, client }))

const askMsMax = 15_000

/** Asks the cell for JSON, where an answer that is no 2xx is an error in words. */
export const asked = <A>({ token, url }: Pick<Speaker, "token" | "url">, path: string, init: RequestInit = {}): Effect.Effect<A, Error> =>
  Effect.tryPromise({
    try: async () => {
      const answer = await fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers }, signal: AbortSignal.timeout(askMsMax) })
      const text = await answer.text()
      if (!answer.ok) throw new Error(`${init.method ?? "GET"} ${path} was answered with ${answer.status}: ${text.slice(0, 500)}`)
      return JSON.parse(text) as A
    },
    catch: (cause) => cause instanceof Error ? cause : new Error(String(cause))
  })

const examples = join(import.meta.dirname, "../../examples")

/** Puts one of the examples where a job finds it. */
export const putExample = (speaker: Speaker, name: string) =>
  Effect.map(
    asked<{ digest: string; sizeBytes: number }>(speaker, "/v1/blobs", { method: "PUT", body: readFileSync(join(examples, name)), headers: { "content-type": "application/octet-stream" } }),
    (blob) => ({ path: `/work/${name}`, blob: blob as never, executable: false })
  )

/** Tells a job's story and what it prints, both as they happen, to the end. `seen` hears each fact. */
export const watch = Effect.fnUntraced(function*(speaker: Speaker, jobId: string, telling: Telling, after: Cut, seen: (line: StoryLine) => void = () => undefined) {
  const output = yield* Effect.forkChild(printed(speaker, jobId, telling))
  const cut = yield* followStory(speaker.client, jobId, {
    after,
    line: (line) => {
      telling.fact(line)
      seen(line)
    }
  })
  yield* Fiber.await(output).pipe(Effect.timeoutOption("5 seconds"))
  yield* Fiber.interrupt(output)
  return cut
})

/** What the newest attempt prints, line by line. */
const printed = ({ client }: Speaker, jobId: string, telling: Telling) =>
  Effect.gen(function*() {
    const lines = wholeLines(telling.printed)
    const stream = yield* client.bytes.logs({ params: { jobId }, query: { stream: "stdout", follow: "true" }, headers: {} })
    yield* stream.pipe(
      Stream.decodeText(),
      Stream.pipeThroughChannel(Sse.decode()),
      Stream.runForEach(({ data, event }) => Effect.sync(() => {
        if (event === "attempt") lines.end()
        if (event === "output") lines.add((JSON.parse(data) as { readonly text?: string }).text ?? "")
      }))
    )
    lines.end()
  }).pipe(Effect.ignore)
