import type { Blobs } from "@millrace/blobs"
import { type Checkpoints, Journal } from "@millrace/journal"
import { type Database, runProjections } from "@millrace/readmodel"
import { type ApiPortTaken, Authentication, type Authority, httpServer, type WarrantVerifier, Wellformed, worker } from "@millrace/service"
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Api } from "./api/api.ts"
import { SnapshotsLive } from "./api/snapshots.ts"
import { snapshotsKept } from "./projections/snapshots.ts"
import { type KeepingOptions, keepSnapshots } from "./reactors/keep-snapshots.ts"
import { tellAside } from "./reactors/tell-asides.ts"

export interface SnapshotsOptions extends KeepingOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
}

/** Everything the service does: it plans and verifies snapshots, lets them go, and answers what there is. */
export const SnapshotsService = ({ host, port, ...options }: SnapshotsOptions): Layer.Layer<
  never,
  ApiPortTaken,
  Journal | Checkpoints | Database | Blobs | Authority | WarrantVerifier
> => {
  const routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide(SnapshotsLive),
    Layer.provide([Authentication.layer, Wellformed.layer])
  )
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(httpServer({ host, port }))
  )
  const tables = Layer.unwrap(Effect.map(Journal, (journal) =>
    runProjections([snapshotsKept], { tell: (aside) => Effect.provideService(tellAside(aside), Journal, journal) })))
  return Layer.mergeAll(http, tables, worker(keepSnapshots(options), { name: "snapshots" }))
}
