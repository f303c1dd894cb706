import type { Blobs } from "@millrace/blobs"
import { Journal } from "@millrace/journal"
import { Database, runProjections } from "@millrace/readmodel"
import type { Keyring } from "@millrace/service"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import type { KeyObject } from "node:crypto"
import { Api } from "./api/api.ts"
import { Authentication, type Tokens } from "./api/caller.ts"
import { BlobsLive } from "./api/bytes-blobs.ts"
import { JobBytesLive } from "./api/bytes-jobs.ts"
import { Watch } from "./api/bytes-watch.ts"
import { JobsLive } from "./api/jobs.ts"
import { serveHosts, TwoDoors } from "./api/relay.ts"
import { WellformedLive } from "./api/wellformed.ts"
import { attempts } from "./projections/attempts.ts"
import { jobs } from "./projections/jobs.ts"
import { stories } from "./projections/stories.ts"
import { LiveOutput } from "./reactors/live-output.ts"
import { Roster } from "./reactors/roster.ts"
import { Submissions } from "./reactors/submissions.ts"
import { tellAside } from "./reactors/tell-asides.ts"

export interface GatewayOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Signs the warrants of sessions. Without it no relay is served, and output is read once it is kept. */
  readonly sessionKey?: KeyObject
}

/** Everything the gateway does: it takes what people ask, writes it down, and answers from its own tables. */
export const GatewayService = ({ host, port, sessionKey }: GatewayOptions): Layer.Layer<
  never,
  never,
  Journal | Database | Blobs | Keyring | Tokens
> => {
  const server = new TwoDoors()
  const live = sessionKey === undefined ? LiveOutput.none : LiveOutput.overRelay({ key: sessionKey, relayUrl: Effect.sync(() => server.relayUrl) })
  const relay = sessionKey === undefined ? Layer.empty : Layer.effectDiscard(serveHosts(server, { key: sessionKey })).pipe(Layer.provide(Roster.layer))
  const routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide([JobsLive, JobBytesLive, BlobsLive]),
    Layer.provide([live, Watch.layer]),
    Layer.provide([Authentication.layer, WellformedLive, Submissions.layer])
  )
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(NodeHttpServer.layer(() => server, { host, port })),
    Layer.orDie
  )
  const tables = Layer.unwrap(Effect.map(Journal, (journal) =>
    runProjections([jobs, stories, attempts], { tell: (aside) => Effect.provideService(tellAside(aside), Journal, journal) })))
  return Layer.mergeAll(http, relay, tables)
}

