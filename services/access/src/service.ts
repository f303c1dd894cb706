import type { JournalUnavailable } from "@millrace/journal"
import { Journal } from "@millrace/journal"
import type { Admission } from "@millrace/journal/admission"
import type { Digest, Principal, WorkspaceName } from "@millrace/schemas"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { createServer } from "node:http"
import { Api } from "./api/api.ts"
import { HostsLive } from "./api/hosts.ts"
import { Admissions } from "./reactors/admissions.ts"

/** A one-time key that the cell's owner has made, as its digest. */
export interface OpenKey {
  readonly digest: Digest
  readonly workspace: WorkspaceName
  readonly openedBy: Principal
  readonly expiresAtMs: number
}

export interface AccessOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Keys that hosts may enrol with. Those that the log knows already add nothing. */
  readonly open: ReadonlyArray<OpenKey>
}

/** Everything access does: it opens enrolments, admits hosts and keeps the roster of the cell. */
export const AccessService = ({ host, open, port }: AccessOptions): Layer.Layer<never, JournalUnavailable, Journal | Admission> => {
  const routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(Layer.provide(HostsLive))
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(NodeHttpServer.layer(createServer, { host, port })),
    Layer.orDie
  )
  const opened = Layer.effectDiscard(Admissions.use((admissions) =>
    Effect.orDie(Effect.forEach(open, (key) => admissions.open(key), { discard: true }))))
  return Layer.provideMerge(http, opened).pipe(Layer.provide(Admissions.layer))
}
