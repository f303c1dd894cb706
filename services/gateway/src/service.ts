import type { Blobs } from "@millrace/blobs"
import { Intake, Journal } from "@millrace/journal"
import { Database, runProjections } from "@millrace/readmodel"
import { type ApiPortTaken, Authentication, type Authority, httpServer, type Keyring, type WarrantVerifier, Wellformed } from "@millrace/service"
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import type { KeyObject } from "node:crypto"
import { Api } from "./api/api.ts"
import { AsksLive } from "./api/asks.ts"
import { bodyLimit } from "./api/body-limit.ts"
import { BlobsLive } from "./api/bytes-blobs.ts"
import { holdingsLive } from "./api/bytes-holdings.ts"
import { JobBytesLive } from "./api/bytes-jobs.ts"
import { Watch } from "./api/bytes-watch.ts"
import { JobsLive } from "./api/jobs.ts"
import { Metered } from "./api/metered.ts"
import { serveHosts, TwoDoors } from "./api/relay.ts"
import { routerLive, type RouterSettings } from "./api/router.ts"
import { FollowsEnd } from "./api/server-sent.ts"
import type { Rate } from "./domain/token-bucket.ts"
import { tables } from "./projections/tables.ts"
import { EventsLive, HooksLive } from "./api/hooks.ts"
import { submissionRefusal } from "./api/refusals.ts"
import { TriggersLive } from "./api/triggers.ts"
import { Asks } from "./reactors/asks.ts"
import { Entrance } from "./reactors/entrance.ts"
import { Events } from "./reactors/events.ts"
import { Gate } from "./reactors/gate.ts"
import { takeSubmissions } from "./reactors/intake.ts"
import { LiveOutput } from "./reactors/live-output.ts"
import { Pace } from "./reactors/pace.ts"
import { Prices } from "./reactors/prices.ts"
import { Roster } from "./reactors/roster.ts"
import { Submissions } from "./reactors/submissions.ts"
import { tellAside } from "./reactors/tell-asides.ts"
import { TriggerWords } from "./reactors/trigger-words.ts"
import { Triggers } from "./reactors/triggers.ts"

export interface GatewayOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Signs the warrants of sessions. Without it no relay is served, and output is read once it is kept. */
  readonly sessionKey?: KeyObject
  /** How old the view of who may do what may be, in ms. 30,000 unless told. */
  readonly viewAgeMsMax?: number
  /** How often one workspace may ask, by HTTP and by NATS together. */
  readonly rate?: Rate
  /** Where other services serve their reads. */
  readonly routing?: RouterSettings
}

/** What is published to NATS is taken where there is an intake: a log in memory has none. */
const published = Layer.unwrap(Effect.map(Effect.serviceOption(Intake), (intake) =>
  intake._tag === "None" ? Layer.empty : takeSubmissions(said).pipe(Layer.provide(Layer.succeed(Intake, intake.value)))))

const said = (error: Parameters<typeof submissionRefusal>[0]): object => {
  const { _tag, ...words } = { ...submissionRefusal(error) } as { readonly _tag?: string }
  return words
}

/** Everything the gateway does: it takes what people ask, writes it down, and answers from its own tables. */
export const GatewayService = ({ host, port, rate, routing, sessionKey, viewAgeMsMax }: GatewayOptions): Layer.Layer<
  never,
  ApiPortTaken,
  Authority | Blobs | Database | Journal | Keyring | WarrantVerifier
> => {
  const server = new TwoDoors()
  const live = sessionKey === undefined ? LiveOutput.none : LiveOutput.overRelay({ key: sessionKey, relayUrl: Effect.sync(() => server.relayUrl) })
  const relay = sessionKey === undefined ? Layer.empty : Layer.effectDiscard(serveHosts(server, { key: sessionKey })).pipe(Layer.provide(Roster.layer))
  const doors = Entrance.layer.pipe(
    Layer.provideMerge([holdingsLive, Asks.layer, Prices.layer, Submissions.layer, Gate.layer(viewAgeMsMax === undefined ? {} : { viewAgeMsMax })])
  )
  const rules = Layer.mergeAll(Triggers.layer, Events.layer).pipe(Layer.provideMerge(TriggerWords.layer))
  const routes = Layer.mergeAll(HttpApiBuilder.layer(Api), routerLive(routing), bodyLimit).pipe(
    Layer.provide([JobsLive, JobBytesLive, BlobsLive, AsksLive, TriggersLive, EventsLive, HooksLive]),
    Layer.provide([live, Watch.layer, Layer.succeed(FollowsEnd, server.closing)]),
    Layer.provide([Authentication.layer, Wellformed.layer, Metered.layer, rules]),
    Layer.merge(published),
    Layer.provide([doors, Pace.layer(rate)])
  )
  const http = HttpRouter.serve(routes, { disableLogger: true, routerConfig: { maxParamLength: 4096 } }).pipe(
    Layer.provide(httpServer({ host, port, server: () => server }))
  )
  const memory = Layer.unwrap(Effect.map(Journal, (journal) =>
    runProjections([tables], { tell: (aside) => Effect.provideService(tellAside(aside), Journal, journal) })))
  return Layer.mergeAll(http, relay, memory)
}
