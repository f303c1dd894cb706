import type { Blobs } from "@millrace/blobs"
import { type Checkpoints, Journal } from "@millrace/journal"
import { Database, runProjections } from "@millrace/readmodel"
import { type ApiPortTaken, Authentication, type Authority, httpServer, type WarrantVerifier, Wellformed, worker } from "@millrace/service"
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { ActsLive } from "./api/acts.ts"
import { Api } from "./api/api.ts"
import { CapacityLive } from "./api/capacity.ts"
import { unattended } from "./domain/sweep.ts"
import { leases } from "./projections/leases.ts"
import { Providers } from "./providers/all.ts"
import { withSharedLooks } from "./providers/shared-looks.ts"
import { AtWork } from "./reactors/at-work.ts"
import { choosePlans } from "./reactors/choose-plans.ts"
import { observeOffers } from "./reactors/observe-offers.ts"
import { BrokerSecret, withKeyDigests } from "./reactors/one-time-key.ts"
import { openOrder, type OrderOptions } from "./reactors/order.ts"
import { settleLeases } from "./reactors/settle-leases.ts"
import { sweepProviders } from "./reactors/sweep-providers.ts"
import { tellAside } from "./reactors/tell-asides.ts"
import { Solver } from "./solver/solver.ts"

export interface BuyingOptions {
  readonly bounds: OrderOptions["bounds"]
  /** The settings that a machine's agent starts with, as lines of NAME=value. */
  readonly agentSettings: string
  /** How long a machine may not have heard from its cell until it turns itself off, where that ends it. */
  readonly deadManMs?: number
  readonly offersEveryMs?: number
  readonly sweepEveryMs?: number
  readonly checkpointEvery?: number
  /** Who solves plans, and how often. Without it the greedy choice stands alone. */
  readonly plans?: { readonly solver: Solver["Service"]; readonly everyMs: number }
  /** Told of the order while it is held here, and of its end. */
  readonly atWork?: AtWork["Service"]
}

/**
 * Buys and gives back: owns the one order of BROKER, carries out what it says, and looks at the providers. One
 * effect, so that whatever ends one part ends all, and another broker begins with what the log holds.
 */
export const buying = Effect.fnUntraced(function*({ agentSettings, atWork, bounds, checkpointEvery, deadManMs, offersEveryMs = 60_000, plans, sweepEveryMs = 50_000 }: BuyingOptions) {
  const providers = new Map((yield* Effect.forEach([...(yield* Providers).values()], withSharedLooks)).map((provider) => [provider.name, provider]))
  const secret = yield* BrokerSecret
  const order = yield* openOrder({ bounds: { ...bounds, providers: [...providers.keys()].sort() }, finish: withKeyDigests(secret), ...(checkpointEvery === undefined ? {} : { checkpointEvery }) })
  for (const [name, open] of unattended(order.state(), new Set(providers.keys()))) {
    yield* Effect.logWarning(`${open === 1 ? "One lease is" : `${open} leases are`} open at ${name}, which no entry of MILLRACE_PROVIDERS names: nobody ends their machines, which may cost on. Name it again until they have ended`)
  }
  if (atWork !== undefined) {
    yield* Effect.acquireRelease(Effect.sync(() => void (atWork.order = order)), () => Effect.sync(() => void (atWork.order = undefined)))
  }
  return yield* Effect.all([
    order.run,
    ...(plans === undefined ? [] : [choosePlans({ order, ...plans })]),
    settleLeases({ order, providers, secret, agentSettings, deadManMs }),
    sweepProviders({ order, providers, cell: bounds.cell, everyMs: sweepEveryMs }),
    ...[...providers.values()].map((provider) => observeOffers({ order, provider, everyMs: offersEveryMs }))
  ], { concurrency: "unbounded", discard: true })
}, Effect.scoped)

export interface BrokerOptions extends Omit<BuyingOptions, "plans" | "atWork"> {
  /** How often a plan is solved while something changes. 15 s unless told. */
  readonly plansEveryMs?: number
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
}

/** Everything the broker does: it buys capacity for what waits, gives it back, and answers what it costs. */
export const BrokerService = ({ host, plansEveryMs = 15_000, port, ...options }: BrokerOptions): Layer.Layer<
  never,
  ApiPortTaken,
  Journal | Checkpoints | Database | Blobs | Providers | BrokerSecret | Authority | WarrantVerifier
> => {
  const routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide([CapacityLive, ActsLive]),
    Layer.provide([Authentication.layer, Wellformed.layer])
  )
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(httpServer({ host, port }))
  )
  const tables = Layer.unwrap(Effect.map(Journal, (journal) =>
    runProjections([leases], { tell: (aside) => Effect.provideService(tellAside(aside), Journal, journal) })))
  const buys = Layer.unwrap(Effect.gen(function*() {
    const [atWork, solver] = [yield* AtWork, yield* Solver]
    return worker(buying({ ...options, atWork, plans: { solver, everyMs: plansEveryMs } }), { name: "broker" })
  }))
  return Layer.mergeAll(http, tables, buys).pipe(Layer.provide([Layer.sync(AtWork, () => ({ order: undefined })), Solver.layer]))
}
