import { startCluster, startServer } from "@millrace/infra-nats"
import { subjectText } from "@millrace/schemas"
import type { NatsConnection } from "@nats-io/transport-node"
import { Effect, Layer, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Message } from "../codec.ts"
import { type Api, connectNats, type JetStreamConfig, openJournal, provisionStreams, type StreamSizes } from "../jetstream/index.ts"
import { headerBytes, asHeaders } from "../jetstream/headers.ts"
import { LogUnderTest } from "./journal-promises.ts"

/** A folder that is gone when the scope closes. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-journal-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Times short enough for tests: an answer is missed soon, and so is progress. */
export const quick: Pick<JetStreamConfig, "publisher" | "reader"> = { publisher: { timeoutMs: 1_500 }, reader: { progressMs: 300 } }

/** The administrator's way to a server of a test. */
export const apiOf = (servers: string | ReadonlyArray<string>): Effect.Effect<Api, unknown, Scope.Scope> =>
  Effect.map(connectNats({ servers, name: "test" }), (connection) => ({ connection, prefix: "$JS.API", patienceMs: 30_000 }))

/** Servers with all streams on them, gone with the scope. One, or several that replicate. */
export const natsWithStreams = Effect.fnUntraced(function*(nodes: 1 | 3, sizes: StreamSizes = {}) {
  const storeDir = yield* folder
  const servers = nodes === 1 ? [yield* startServer({ storeDir })] : (yield* startCluster({ storeDir, nodes })).nodes
  const urls = servers.map(({ url }) => url)
  const api = yield* apiOf(urls)
  yield* provisionStreams(api, { replicas: nodes, ...sizes })
  return { servers, urls, api }
})

/** Publishes bytes past every codec, and waits until they are stored. */
export const putRaw = (connection: NatsConnection, subject: string, message: Message): Effect.Effect<void> =>
  Effect.promise(async () => {
    const answer = await connection.request(subject, message.body, { timeout: 10_000, headers: asHeaders(headerBytes(message, "")) })
    if (answer.string().includes("error")) throw new Error(answer.string())
  })

/** The suite's log on real servers. */
export const natsUnderTest = (nodes: 1 | 3, appends: number): Layer.Layer<LogUnderTest, unknown> =>
  Layer.effect(LogUnderTest, Effect.gen(function*() {
    const { api, urls } = yield* natsWithStreams(nodes)
    return {
      open: openJournal({ nats: { servers: urls, name: "test" }, ...quick, publisher: { timeoutMs: 5_000 } }),
      put: (_, subject, message) => putRaw(api.connection, subjectText(subject), message),
      appends
    }
  }))
