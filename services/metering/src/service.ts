import { type Checkpoints, Journal, type JournalUnavailable, runDecider, type RunOptions, type StreamDecider } from "@millrace/journal"
import { Database, runProjections } from "@millrace/readmodel"
import type { MillFact } from "@millrace/schemas"
import { type ApiPortTaken, Authentication, Authority, httpServer, type WarrantVerifier, Wellformed, worker } from "@millrace/service"
import { Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Api } from "./api/api.ts"
import { UsageLive } from "./api/usage.ts"
import { actor } from "./domain/decide.ts"
import type { Ledger } from "./domain/ledger.ts"
import { metering } from "./domain/metering.ts"
import { usage } from "./projections/tables.ts"

export interface MeteringOptions {
  /** What the account of a new workspace is opened with, in pico-dollars. */
  readonly workspaceLimitPico: bigint
  /** Facts folded between two checkpoints. */
  readonly checkpointEvery?: number
  /** How it decides, for simulations that plant a bug there. */
  readonly decider?: StreamDecider<Ledger>
}

export interface MeteringApiOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
}

/**
 * Keeps the accounts of the cell: it owns the order of its stream, and in it publishes prices, opens accounts,
 * lends and charges. When another metering takes over, this one can append nothing more; it begins anew after a
 * pause. Without it work goes on until what was lent is used up.
 */
export const MeteringLedger = ({ checkpointEvery, decider = metering, workspaceLimitPico }: MeteringOptions): Layer.Layer<never, never, Journal | Checkpoints> =>
  worker(runDecider({
    decider,
    takeOver: {
      subject: { kind: "ledger", scope: "cell" },
      fact: ({ term }): MillFact => ({ _tag: "MeteringTookOver", term: term + 1, metering: actor, codeVersion: metering.codeVersion, workspaceLimitPico })
    },
    ...(checkpointEvery === undefined ? {} : { checkpointEvery })
  } satisfies RunOptions<Ledger>), { name: "metering" })

/** Answers what was used and what it cost, from tables of its own. */
export const MeteringReads = ({ host, port }: MeteringApiOptions): Layer.Layer<never, JournalUnavailable | ApiPortTaken, Journal | Database | WarrantVerifier> => {
  const routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide(UsageLive),
    Layer.provide([Authentication.layer, Wellformed.layer]),
    Layer.provide(Authority.layer)
  )
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(httpServer({ host, port }))
  )
  return Layer.merge(http, runProjections([usage]))
}

/** Everything metering does. */
export const MeteringService = (options: MeteringOptions & MeteringApiOptions): Layer.Layer<
  never,
  JournalUnavailable | ApiPortTaken,
  Journal | Checkpoints | Database | WarrantVerifier
> => Layer.merge(MeteringLedger(options), MeteringReads(options))
