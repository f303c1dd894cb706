import { type Checkpoints, Journal, type JournalUnavailable, Pulse } from "@millrace/journal"
import type { Admission } from "@millrace/journal/admission"
import { Database, runProjections } from "@millrace/readmodel"
import type { Digest, Principal, WorkspaceName } from "@millrace/schemas"
import { type ApiPortTaken, Authentication, Authority, bodyLimit, httpServer, type WarrantVerifier, Wellformed, worker } from "@millrace/service"
import { Effect, Layer, Option } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Api } from "./api/api.ts"
import { HostsLive } from "./api/hosts.ts"
import { ReadsLive } from "./api/look.ts"
import type { FirstOwner } from "./domain/birth.ts"
import { decisions } from "./projections/decisions.ts"
import { grants } from "./projections/grants.ts"
import { principals } from "./projections/principals.ts"
import { Admissions } from "./reactors/admissions.ts"
import { answerAsks } from "./reactors/answer-asks.ts"
import { beat } from "./reactors/beat.ts"
import { begin } from "./reactors/begin.ts"
import { dismissHosts } from "./reactors/dismiss-hosts.ts"
import { openLeased } from "./reactors/open-leased.ts"
import { Register } from "./reactors/register.ts"
import { tellAside } from "./reactors/tell-asides.ts"
import { withdrawWarrants } from "./reactors/withdraw-warrants.ts"

/** Bytes of a body at most: a key, a time and a signature. Strangers send them. */
const bodyBytesMax = 16 * 1024

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
  /** Who owns a cell that nobody owns yet. */
  readonly owner?: FirstOwner
  /** So many facts of the scheduler lie between two checkpoints of what runs. 100,000 unless told. */
  readonly checkpointEvery?: number
}

/**
 * Everything access does: it gives the cell its first owner, answers who asks for authority, ends what runs
 * under authority that was taken back, admits hosts, says how far it is, and keeps the audit.
 */
export const AccessService = ({ checkpointEvery = 100_000, host, open, owner, port }: AccessOptions): Layer.Layer<never, JournalUnavailable | ApiPortTaken, Journal | Checkpoints | Admission | Database | WarrantVerifier> => {
  const bounded = bodyLimit({ bytesMax: bodyBytesMax, remedy: "send what POST /v1/hosts/enrol in /openapi.json has, and nothing beside it" })
  const routes = Layer.merge(HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }), bounded).pipe(
    Layer.provide([HostsLive, ReadsLive]),
    Layer.provide([Authentication.layer, Wellformed.layer]),
    Layer.provide(Authority.layer)
  )
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(httpServer({ host, port }))
  )
  const begun = Layer.effectDiscard(Effect.orDie(Effect.gen(function*() {
    if (owner !== undefined) yield* begin(owner)
    const admissions = yield* Admissions
    yield* Effect.forEach(open, (key) => admissions.open(key), { discard: true })
  })))
  const workers = Layer.mergeAll(
    worker(answerAsks, { name: "access.asks" }),
    worker(withdrawWarrants(checkpointEvery), { name: "access.withdrawals" }),
    worker(openLeased, { name: "access.leases" }),
    worker(dismissHosts, { name: "access.dismissals" }),
    Layer.unwrap(Effect.map(Effect.serviceOption(Pulse), Option.match({
      onNone: () => Layer.empty,
      onSome: (pulse) => worker(Effect.provideService(beat, Pulse, pulse), { name: "access.pulse" })
    })))
  )
  const tables = Layer.unwrap(Effect.map(Effect.all([Journal, Register]), ([journal, register]) =>
    runProjections([grants, principals, decisions], {
      tell: (aside) => tellAside(aside).pipe(Effect.provideService(Journal, journal), Effect.provideService(Register, register))
    })))
  return Layer.mergeAll(http, workers, tables).pipe(
    Layer.provideMerge(begun),
    Layer.provide(Admissions.layer),
    Layer.provide(Register.layer)
  )
}
