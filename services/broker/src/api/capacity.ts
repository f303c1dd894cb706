import { Journal } from "@millrace/journal"
import { cutAt, Database, read, type Reading, type ReadOptions } from "@millrace/readmodel"
import type { Cut } from "@millrace/schemas"
import { Authority, BadRequest, mayRead, Unavailable } from "@millrace/service"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { perHour } from "../domain/money.ts"
import { boundsHistory, type CapacityTables, type LeaseRow, leases, leasesHistory, type MarketRow, marketsHistory } from "../projections/leases.ts"
import { Api, type LeaseView } from "./api.ts"

/** Leases that are over are many; those of interest are the newest. */
const leasesMax = 1000

interface ReadQuery {
  readonly after?: string
  readonly at?: string
  readonly waitMs?: number
}

/** What the outside asks of capacity, answered from the broker's own tables. */
export const CapacityLive = HttpApiBuilder.group(Api, "capacity", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const database = yield* Database
  const journal = yield* Journal

  const allowed = Effect.provideService(mayRead("capacity.read"), Authority, authority)

  const unavailable = (error: { readonly _tag: string; readonly message: string }) => new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "the broker's tables",
    remedy: "ask again in a moment"
  })

  const options = Effect.fnUntraced(function*({ after, at, waitMs }: ReadQuery): Effect.fn.Return<ReadOptions, BadRequest | Unavailable> {
    const atCut = at === undefined ? undefined : at.includes("=") ? cutOf(at) : yield* cutByTime(at)
    return {
      ...(after ? { after: cutOf(after) } : {}),
      ...(atCut === undefined ? {} : { at: atCut }),
      ...(waitMs === undefined ? {} : { waitMsMax: waitMs })
    }
  })

  const cutByTime = (text: string): Effect.Effect<Cut, BadRequest | Unavailable> => {
    const timeMs = Date.parse(text)
    return Number.isNaN(timeMs)
      ? Effect.fail(new BadRequest({ code: "time_malformed", what: `${text} is no moment`, where: "the query's field at", remedy: "write it as 2026-11-22T08:00:00Z, or as a cut: BROKER=12" }))
      : cutAt(["BROKER"], timeMs).pipe(Effect.provideService(Database, database), Effect.provideService(Journal, journal), Effect.mapError(unavailable))
  }

  const reading = <A>(query: ReadQuery, ask: (reading: Reading<CapacityTables>) => Promise<A>) =>
    Effect.flatMap(options(query), (given) =>
      read(leases, ask, given).pipe(Effect.provideService(Database, database), Effect.mapError(unavailable)))

  return handlers.handleAll({
    leases: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const { cut, value } = yield* reading(query, ({ db, valid }) => {
        const all = db.selectFrom("leases").selectAll().where(valid(leasesHistory))
        return (query.stands === undefined ? all : all.where("stands", "=", query.stands)).orderBy("lease_id", "desc").limit(query.limit ?? 100).execute()
      })
      return { leases: value.map(viewOf), cut }
    }),
    capacity: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const { cut, value } = yield* reading(query, async ({ db, valid }) => ({
        open: await db.selectFrom("leases").selectAll().where(valid(leasesHistory)).where("stands", "not in", ["refused", "ended"]).orderBy("lease_id").limit(leasesMax).execute(),
        markets: await db.selectFrom("markets").selectAll().where(valid(marketsHistory)).orderBy("provider").execute(),
        bounds: await db.selectFrom("bounds").selectAll().where(valid(boundsHistory)).orderBy("term", "desc").executeTakeFirst()
      }))
      const paid = value.open.filter(({ machine }) => machine !== null)
      const leaks = paid.filter(({ missed, stands }) => stands === "released" || stands === "orphan" || missed > 0)
      return {
        bounds: value.bounds === undefined ? null : { machinesMax: Number(value.bounds.machines_max), spendPicoPerHourMax: value.bounds.spend_pico_per_hour_max },
        open: { machines: paid.length, picoPerHour: sumPerHour(paid) },
        offers: value.markets.flatMap(offersOf),
        providers: value.markets.map((market) => ({
          provider: market.provider,
          offers: parsed(market).length,
          readAtMs: numberOf(market.observed_at_ms),
          source: market.source,
          suspended: market.suspended
        })),
        leaks: { leases: leaks.map(viewOf), picoPerHour: sumPerHour(leaks) },
        cut
      }
    })
  })
}))

const cutOf = (text: string): Cut => Object.fromEntries(text.split(",").map((entry) => [entry.split("=")[0]!, Number(entry.split("=")[1])]))

const numberOf = (value: number | string | null): number | null => (value === null ? null : Number(value))

const perHourText = (price: string | null): string | null => (price === null ? null : perHour(BigInt(price)).toString())

const sumPerHour = (rows: ReadonlyArray<LeaseRow>): string =>
  rows.reduce((sum, { price_pico_per_second }) => sum + perHour(BigInt(price_pico_per_second ?? "0")), 0n).toString()

const viewOf = (row: LeaseRow): LeaseView => ({
  leaseId: row.lease_id,
  provider: row.provider,
  stands: row.stands,
  machine: row.machine,
  machineType: row.machine_type,
  region: row.region,
  gpuModel: row.gpu_model,
  hostId: row.host_id,
  pricePicoPerHour: perHourText(row.price_pico_per_second),
  requestedAtMs: numberOf(row.requested_at_ms),
  sinceMs: numberOf(row.since_ms),
  endedAtMs: numberOf(row.ended_at_ms),
  costPico: row.cost_pico,
  because: row.because
})

interface KeptOffer {
  readonly machineType: string
  readonly regions: ReadonlyArray<string>
  readonly gpuModel?: string
  readonly pricePicoPerSecond: string
  readonly resources: { readonly gpus: number; readonly cpuMilli: number; readonly memoryMib: number }
}

const parsed = ({ offers }: MarketRow): ReadonlyArray<KeptOffer> => JSON.parse(offers) as ReadonlyArray<KeptOffer>

const offersOf = (market: MarketRow) =>
  parsed(market).map(({ gpuModel, machineType, pricePicoPerSecond, regions, resources: { cpuMilli, gpus, memoryMib } }) => ({
    provider: market.provider,
    machineType,
    regions,
    gpuModel: gpuModel ?? null,
    gpus,
    cpuMilli,
    memoryMib,
    pricePicoPerHour: perHour(BigInt(pricePicoPerSecond)).toString(),
    readAtMs: numberOf(market.observed_at_ms)
  }))
