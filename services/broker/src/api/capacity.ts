import { Journal } from "@millrace/journal"
import { type AsOf, Database, type Reading } from "@millrace/readmodel"
import { Authority, mayRead } from "@millrace/service"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { perHour } from "../domain/money.ts"
import { boundsHistory, type CapacityTables, type LeaseRow, leasesHistory, type MarketRow, marketsHistory, type PartRow, partsHistory, type PlanRow, plansHistory } from "../projections/leases.ts"
import { leaksIn, openMachines } from "../projections/open-machines.ts"
import { Api, type LeaseView, type PlanView } from "./api.ts"
import { readingOf } from "./reading.ts"

/** So many leaks are told one by one; what they cost is told of all. */
const leaksMax = 1000

/** What the outside asks of capacity, answered from the broker's own tables. */
export const CapacityLive = HttpApiBuilder.group(Api, "capacity", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const database = yield* Database
  const journal = yield* Journal

  const allowed = Effect.provideService(mayRead("capacity.read"), Authority, authority)

  const reading = <A>(query: AsOf, ask: (reading: Reading<CapacityTables>) => Promise<A>) =>
    readingOf(query, ask).pipe(Effect.provideService(Database, database), Effect.provideService(Journal, journal))

  return handlers.handleAll({
    leases: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const { cut, value } = yield* reading(query, ({ db, valid }) => {
        const all = db.selectFrom("leases").selectAll().where(valid(leasesHistory))
        return (query.stands === undefined ? all : all.where("stands", "=", query.stands)).orderBy("lease_id", "desc").limit(query.limit ?? 100).execute()
      })
      return { leases: value.map(viewOf), cut }
    }),
    plan: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const { cut, value } = yield* reading(query, async (given) => {
        const plan = await given.db.selectFrom("plans").selectAll().where(given.valid(plansHistory)).executeTakeFirst()
        return plan === undefined ? undefined : { plan, parts: await partsOf(given, [plan.inputs_digest]) }
      })
      return { plan: value === undefined ? null : planViewOf(value.plan, value.parts), cut }
    }),
    capacity: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const { cut, value } = yield* reading(query, async (given) => {
        const { db, valid } = given
        const markets = await db.selectFrom("markets").selectAll().where(valid(marketsHistory)).orderBy("provider").execute()
        return {
          open: await openMachines(given),
          leaks: await leaksIn(given, leaksMax),
          markets,
          parts: await partsOf(given, markets.flatMap(({ offers_digest }) => offers_digest ?? [])),
          bounds: await db.selectFrom("bounds").selectAll().where(valid(boundsHistory)).orderBy("term", "desc").executeTakeFirst()
        }
      })
      return {
        bounds: value.bounds === undefined ? null : { machinesMax: Number(value.bounds.machines_max), spendPicoPerHourMax: value.bounds.spend_pico_per_hour_max, dryRun: value.bounds.dry_run === 1 },
        open: value.open,
        offers: value.markets.flatMap((market) => offersOf(market, value.parts)),
        providers: value.markets.map((market) => ({
          provider: market.provider,
          offers: parsed(market, value.parts).length,
          readAtMs: numberOf(market.observed_at_ms),
          source: market.source,
          suspended: market.suspended
        })),
        leaks: { leases: value.leaks.rows.map(viewOf), picoPerHour: value.leaks.picoPerHour },
        cut
      }
    })
  })
}))

const numberOf = (value: number | string | null): number | null => (value === null ? null : Number(value))

const perHourText = (price: string | null): string | null => (price === null ? null : perHour(BigInt(price)).toString())

interface KeptTarget {
  readonly provider: string
  readonly column: { readonly region: string; readonly zone?: string; readonly machineType: string; readonly market: string; readonly offer?: string }
  readonly wanted: number
  readonly running: number
  readonly reason: string
}

/** A target as people read it. */
export const targetViewOf = ({ column: { machineType, market, offer, region, zone }, provider, reason, running, wanted }: KeptTarget): PlanView["targets"][number] =>
  ({ provider, machineType, region, zone: zone ?? null, market, offer: offer ?? null, wanted, running, reason })

/** The parts of lists that are too long for one fact. */
const partsOf = ({ db, valid }: Pick<Reading<CapacityTables>, "db" | "valid">, digests: ReadonlyArray<string>): Promise<ReadonlyArray<PartRow>> =>
  digests.length === 0 ? Promise.resolve([]) : db.selectFrom("parts").selectAll().where(valid(partsHistory)).where("digest", "in", digests).orderBy("fact_id").execute()

/** A list with its parts; one that was said twice, because somebody died in between, is there once. */
const whole = <Row>(last: string, digest: string | null, parts: ReadonlyArray<PartRow>): ReadonlyArray<Row> => {
  const texts = new Set(parts.filter((part) => part.digest === digest).map(({ rows }) => rows))
  return [...texts, last].flatMap((text) => JSON.parse(text) as ReadonlyArray<Row>)
}

const planViewOf = (row: PlanRow, parts: ReadonlyArray<PartRow>): PlanView => ({
  plan: row.fact_id,
  chosenAtMs: Number(row.chosen_at_ms),
  method: row.method,
  targets: whole<KeptTarget>(row.targets, row.inputs_digest, parts).map(targetViewOf),
  unmet: Number(row.unmet),
  unmetBecause: JSON.parse(row.unmet_because) as PlanView["unmetBecause"],
  costPicoPerHour: row.cost_pico_per_hour,
  boundPicoPerHour: row.bound_pico_per_hour,
  tookMs: Number(row.took_ms),
  weights: null
})

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
  because: row.because,
  zone: row.zone,
  market: row.market,
  quote: row.quote_source === null || row.quote_read_at_ms === null ? null : { source: row.quote_source, readAtMs: Number(row.quote_read_at_ms) },
  reclaimAtMs: numberOf(row.reclaim_at_ms),
  insteadOf: row.instead_of,
  plan: row.plan,
  askedBy: row.asked_by,
  replaces: row.replaces
})

interface KeptOffer {
  readonly machineType: string
  readonly regions: ReadonlyArray<string>
  readonly gpuModel?: string
  readonly market: string
  readonly zone?: string
  readonly offer?: string
  readonly pricePicoPerSecond: string
  readonly resources: { readonly gpus: number; readonly cpuMilli: number; readonly memoryMib: number }
}

const parsed = ({ offers, offers_digest }: MarketRow, parts: ReadonlyArray<PartRow>): ReadonlyArray<KeptOffer> => whole(offers, offers_digest, parts)

const offersOf = (market: MarketRow, parts: ReadonlyArray<PartRow>) =>
  parsed(market, parts).map(({ gpuModel, machineType, market: how, offer, zone, pricePicoPerSecond, regions, resources: { cpuMilli, gpus, memoryMib } }) => ({
    provider: market.provider,
    machineType,
    regions,
    gpuModel: gpuModel ?? null,
    gpus,
    cpuMilli,
    memoryMib,
    pricePicoPerHour: perHour(BigInt(pricePicoPerSecond)).toString(),
    readAtMs: numberOf(market.observed_at_ms),
    market: how,
    zone: zone ?? null,
    offer: offer ?? null
  }))
