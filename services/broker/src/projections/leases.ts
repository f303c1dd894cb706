import { foldHistory, history, projection } from "@millrace/readmodel"
import type {
  BrokerTookOver, GhostFound, LeaseEnded, LeaseGranted, LeaseRefused, LeaseReleased, LeaseRequested, LeaseWithdrawn, MachineEnrolled, MachineRetiring, OffersListed,
  OffersObserved, OrphanFound, PlanChosen, PlanPrepared, ProviderResumed, ProviderSuspended, ReclaimNoticed
} from "@millrace/schemas"

/** One machine lease. Money is decimal text: whole pico-dollars. */
export interface LeaseRow {
  readonly lease_id: string
  readonly provider: string
  readonly stands: "asked" | "refused" | "withdrawn" | "held" | "released" | "ended" | "orphan"
  readonly machine: string | null
  readonly machine_type: string | null
  readonly region: string | null
  readonly zone: string | null
  readonly market: string | null
  readonly gpu_model: string | null
  readonly cpu_milli: number | null
  readonly memory_mib: number | null
  readonly gpus: number | null
  readonly host_id: string | null
  readonly price_pico_per_second: string | null
  readonly billed_step_ms: number | null
  readonly billed_ms_min: number | null
  readonly requested_at_ms: number | null
  readonly since_ms: number | null
  readonly released_at_ms: number | null
  readonly ended_at_ms: number | null
  readonly cost_pico: string | null
  readonly because: string | null
  readonly missed: number
  /** Where the price comes from, and when it was read there. */
  readonly quote_source: string | null
  readonly quote_read_at_ms: number | null
  readonly reclaim_at_ms: number | null
  /** The lease that it is a second attempt at. */
  readonly instead_of: string | null
  /** The plan that wanted it. */
  readonly plan: string | null
  readonly asked_by: string | null
  /** The lease whose machine it is to take the place of. */
  readonly replaces: string | null
}

export interface MarketRow {
  readonly provider: string
  readonly observed_at_ms: number | null
  readonly source: string | null
  /** As JSON text: a list of offers. */
  readonly offers: string
  readonly suspended: string | null
  readonly suspended_until_ms: number | null
  /** Of the whole list: its parts beside those in `offers` lie under it. */
  readonly offers_digest: string | null
}

/** A part of a list that is too long for one fact. */
export interface PartRow {
  readonly fact_id: string
  readonly digest: string
  /** As JSON text: offers, or targets of a plan. */
  readonly rows: string
}

export interface BoundsRow {
  readonly cell: string
  readonly term: number
  readonly machines_max: number
  readonly spend_pico_per_hour_max: string
  /** 1: it decides and says what it would buy, and buys nothing. */
  readonly dry_run: number
}

/** The plan that holds: what we mean to have, and why. */
export interface PlanRow {
  readonly cell: string
  readonly fact_id: string
  readonly chosen_at_ms: number
  readonly method: string
  /** As JSON text: a list of targets. */
  readonly targets: string
  readonly unmet: number
  /** As JSON text: what has no place, and why. */
  readonly unmet_because: string
  readonly cost_pico_per_hour: string
  readonly bound_pico_per_hour: string | null
  readonly took_ms: number
  readonly inputs_digest: string
  readonly inputs_bytes: number
}

export interface CapacityTables {
  readonly parts: PartRow
  readonly plans: PlanRow
  readonly leases: LeaseRow
  readonly markets: MarketRow
  readonly bounds: BoundsRow
}

type AboutLease =
  | LeaseRequested | LeaseGranted | LeaseRefused | LeaseWithdrawn | MachineEnrolled | ReclaimNoticed | MachineRetiring | LeaseReleased | LeaseEnded | OrphanFound | GhostFound
type AboutMarket = OffersObserved | ProviderSuspended | ProviderResumed
type Part = OffersListed | PlanPrepared
type Minded = AboutLease | AboutMarket | BrokerTookOver | PlanChosen | Part

export const leasesHistory = history({ table: "leases", stream: "BROKER", key: ["lease_id"] })
export const marketsHistory = history({ table: "markets", stream: "BROKER", key: ["provider"] })
export const plansHistory = history({ table: "plans", stream: "BROKER", key: ["cell"] })
export const partsHistory = history({ table: "parts", stream: "BROKER", key: ["fact_id"] })
export const boundsHistory = history({ table: "bounds", stream: "BROKER", key: ["cell"] })

/** What we rent, and from whom it could be rented. Answers "what do we hold, since when, at what price, and what have we not seen end". */
export const leases = projection<CapacityTables>()<Minded>({
  name: "broker.leases",
  version: 5,
  hears: ["BROKER"],
  only: [
    "LeaseRequested", "LeaseGranted", "LeaseRefused", "LeaseWithdrawn", "MachineEnrolled", "ReclaimNoticed", "LeaseReleased", "LeaseEnded", "OrphanFound",
    "GhostFound", "OffersObserved", "ProviderSuspended", "ProviderResumed", "BrokerTookOver", "PlanChosen", "MachineRetiring", "OffersListed", "PlanPrepared"
  ],
  tables: (schema) => [
    ...leasesHistory.create(schema, (table) =>
      table.addColumn("lease_id", "text", (column) => column.notNull())
        .addColumn("provider", "text", (column) => column.notNull())
        .addColumn("stands", "text", (column) => column.notNull())
        .addColumn("machine", "text")
        .addColumn("machine_type", "text")
        .addColumn("region", "text")
        .addColumn("gpu_model", "text")
        .addColumn("cpu_milli", "bigint")
        .addColumn("memory_mib", "bigint")
        .addColumn("gpus", "integer")
        .addColumn("host_id", "text")
        .addColumn("price_pico_per_second", "text")
        .addColumn("billed_step_ms", "bigint")
        .addColumn("billed_ms_min", "bigint")
        .addColumn("requested_at_ms", "bigint")
        .addColumn("since_ms", "bigint")
        .addColumn("released_at_ms", "bigint")
        .addColumn("ended_at_ms", "bigint")
        .addColumn("cost_pico", "text")
        .addColumn("because", "text")
        .addColumn("missed", "integer", (column) => column.notNull())
        .addColumn("zone", "text")
        .addColumn("market", "text")
        .addColumn("quote_source", "text")
        .addColumn("quote_read_at_ms", "bigint")
        .addColumn("reclaim_at_ms", "bigint")
        .addColumn("instead_of", "text")
        .addColumn("plan", "text")
        .addColumn("asked_by", "text")
        .addColumn("replaces", "text")),
    ...plansHistory.create(schema, (table) =>
      table.addColumn("cell", "text", (column) => column.notNull())
        .addColumn("fact_id", "text", (column) => column.notNull())
        .addColumn("chosen_at_ms", "bigint", (column) => column.notNull())
        .addColumn("method", "text", (column) => column.notNull())
        .addColumn("targets", "text", (column) => column.notNull())
        .addColumn("unmet", "bigint", (column) => column.notNull())
        .addColumn("unmet_because", "text", (column) => column.notNull())
        .addColumn("cost_pico_per_hour", "text", (column) => column.notNull())
        .addColumn("bound_pico_per_hour", "text")
        .addColumn("took_ms", "bigint", (column) => column.notNull())
        .addColumn("inputs_digest", "text", (column) => column.notNull())
        .addColumn("inputs_bytes", "bigint", (column) => column.notNull())),
    ...marketsHistory.create(schema, (table) =>
      table.addColumn("provider", "text", (column) => column.notNull())
        .addColumn("observed_at_ms", "bigint")
        .addColumn("source", "text")
        .addColumn("offers", "text", (column) => column.notNull())
        .addColumn("suspended", "text")
        .addColumn("suspended_until_ms", "bigint")
        .addColumn("offers_digest", "text")),
    ...partsHistory.create(schema, (table) =>
      table.addColumn("fact_id", "text", (column) => column.notNull())
        .addColumn("digest", "text", (column) => column.notNull())
        .addColumn("rows", "text", (column) => column.notNull())),
    ...boundsHistory.create(schema, (table) =>
      table.addColumn("cell", "text", (column) => column.notNull())
        .addColumn("term", "bigint", (column) => column.notNull())
        .addColumn("machines_max", "bigint", (column) => column.notNull())
        .addColumn("spend_pico_per_hour_max", "text", (column) => column.notNull())
        .addColumn("dry_run", "integer", (column) => column.notNull()))
  ],
  history: [leasesHistory, marketsHistory, plansHistory, partsHistory, boundsHistory],
  apply: async (tx, facts) => {
    await foldHistory<LeaseRow, Minded>(tx, facts, leasesHistory, {
      about: ({ event }) => ("leaseId" in event ? { lease_id: event.leaseId } : undefined),
      evolve: (row, { commit, event }) => ("leaseId" in event ? leaseAfter(row, event, commit.happenedAtMs) : row)
    })
    await foldHistory<MarketRow, Minded>(tx, facts, marketsHistory, {
      about: ({ event }) => (isAboutMarket(event) ? { provider: event.provider } : undefined),
      evolve: (row, { event }) => (isAboutMarket(event) ? marketAfter(row, event) : row)
    })
    await foldHistory<PartRow, Minded>(tx, facts, partsHistory, {
      about: ({ event, id }) => (isPart(event) ? { fact_id: id } : undefined),
      evolve: (row, { event, id }) => !isPart(event) ? row
        : event._tag === "PlanPrepared" ? { fact_id: id, digest: event.inputs.digest, rows: JSON.stringify(event.targets) }
        : { fact_id: id, digest: event.offers.digest, rows: offersText(event.rows) }
    })
    await foldHistory<BoundsRow, Minded>(tx, facts, boundsHistory, {
      about: ({ event }) => (event._tag === "BrokerTookOver" ? { cell: event.cell } : undefined),
      evolve: (row, { event }) => event._tag !== "BrokerTookOver" ? row : {
        cell: event.cell,
        term: event.term,
        machines_max: event.machinesMax,
        spend_pico_per_hour_max: event.spendPicoPerHourMax.toString(),
        dry_run: event.dryRun === true ? 1 : 0
      }
    })
    await foldHistory<PlanRow, Minded>(tx, facts, plansHistory, {
      about: ({ event }) => (event._tag === "PlanChosen" ? { cell: "cell" } : undefined),
      evolve: (row, { commit, event, id }) => event._tag !== "PlanChosen" ? row : {
        cell: "cell",
        fact_id: id,
        chosen_at_ms: commit.happenedAtMs,
        method: event.method,
        targets: JSON.stringify(event.targets),
        unmet: event.unmet,
        unmet_because: JSON.stringify(event.unmetBecause ?? []),
        cost_pico_per_hour: event.costPicoPerHour.toString(),
        bound_pico_per_hour: event.boundPicoPerHour?.toString() ?? null,
        took_ms: event.tookMs,
        inputs_digest: event.inputs.digest,
        inputs_bytes: event.inputs.sizeBytes
      }
    })
  }
})

const isPart = (event: Minded): event is Part => event._tag === "OffersListed" || event._tag === "PlanPrepared"

const offersText = (rows: OffersObserved["rows"]): string => JSON.stringify(rows ?? [], (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value))

const isAboutMarket = (event: Minded): event is AboutMarket =>
  event._tag === "OffersObserved" || event._tag === "ProviderSuspended" || event._tag === "ProviderResumed"

const newLease = (leaseId: string, provider: string): LeaseRow => ({
  lease_id: leaseId, provider, stands: "asked", machine: null, machine_type: null, region: null, gpu_model: null, cpu_milli: null, memory_mib: null,
  gpus: null, host_id: null, price_pico_per_second: null, billed_step_ms: null, billed_ms_min: null, requested_at_ms: null, since_ms: null,
  released_at_ms: null, ended_at_ms: null, cost_pico: null, because: null, missed: 0, zone: null, market: null,
  quote_source: null, quote_read_at_ms: null, reclaim_at_ms: null, instead_of: null, plan: null, asked_by: null, replaces: null
})

const leaseAfter = (before: LeaseRow | undefined, event: AboutLease, atMs: number): LeaseRow => {
  const row = before ?? newLease(event.leaseId, event.provider)
  switch (event._tag) {
    case "LeaseRequested":
      return {
        ...row,
        region: event.column.region,
        machine_type: event.column.machineType,
        gpu_model: event.gpuModel ?? null,
        cpu_milli: event.resources.cpuMilli,
        memory_mib: event.resources.memoryMib,
        gpus: event.resources.gpus,
        price_pico_per_second: event.pricePicoPerSecondMax.toString(),
        requested_at_ms: atMs,
        zone: event.column.zone ?? null,
        market: event.column.market,
        instead_of: event.insteadOf ?? null,
        plan: event.plan ?? null,
        replaces: event.replaces ?? null
      }
    case "LeaseGranted":
      return {
        ...row,
        stands: "held",
        machine: event.machine,
        region: event.region,
        price_pico_per_second: event.pricePicoPerSecond.toString(),
        billed_step_ms: event.billedStepMs,
        billed_ms_min: event.billedMsMin,
        since_ms: event.billedSinceMs ?? atMs,
        quote_source: event.quote.source,
        quote_read_at_ms: event.quote.readAtMs
      }
    case "LeaseRefused":
      return { ...row, stands: "refused", because: `${event.reason}: ${event.detail}`, ended_at_ms: atMs, cost_pico: "0" }
    case "LeaseWithdrawn":
      return { ...row, stands: "withdrawn", because: withDetail(event) }
    case "MachineEnrolled":
      return { ...row, host_id: event.hostId }
    case "ReclaimNoticed":
      return { ...row, reclaim_at_ms: event.deadlineAtMs, because: "its provider takes it back" }
    case "MachineRetiring":
      return { ...row, because: `${event.by} takes its place` }
    case "LeaseReleased":
      return { ...row, stands: "released", because: withDetail(event), released_at_ms: atMs, asked_by: event.askedBy ?? null }
    case "LeaseEnded":
      return { ...row, stands: "ended", ended_at_ms: event.endedAtMs, cost_pico: event.costPico.toString(), because: row.because ?? event.confirmed }
    case "OrphanFound":
      return {
        ...row,
        stands: row.stands === "released" ? "released" : "orphan",
        machine: event.machine,
        since_ms: event.runningSinceMs,
        cost_pico: event.costSoFarPico.toString(),
        because: "orphan",
        ...(event.pricePicoPerSecond === undefined ? {} : {
          price_pico_per_second: event.pricePicoPerSecond.toString(), billed_step_ms: event.billedStepMs ?? null, billed_ms_min: event.billedMsMin ?? null,
          quote_source: `${event.provider}: its list of machines`, quote_read_at_ms: atMs
        })
      }
    case "GhostFound":
      return { ...row, missed: event.sweeps, ...(event.costSoFarPico === undefined || row.stands === "ended" ? {} : { cost_pico: event.costSoFarPico.toString() }) }
    default:
      return event satisfies never
  }
}

const withDetail = ({ cause, detail }: { readonly cause: string; readonly detail?: string }): string => (detail === undefined ? cause : `${cause}: ${detail}`)

const marketAfter = (before: MarketRow | undefined, event: AboutMarket): MarketRow => {
  const row = before ?? { provider: event.provider, observed_at_ms: null, source: null, offers: "[]", suspended: null, suspended_until_ms: null, offers_digest: null }
  switch (event._tag) {
    case "OffersObserved":
      return {
        ...row,
        observed_at_ms: event.observedAtMs,
        source: event.source,
        offers: offersText(event.rows),
        offers_digest: event.offers.digest
      }
    case "ProviderSuspended":
      return event.region !== undefined ? row : { ...row, suspended: `${event.reason}: ${event.detail}`, suspended_until_ms: event.untilMs ?? null }
    case "ProviderResumed":
      return event.region !== undefined ? row : { ...row, suspended: null, suspended_until_ms: null }
    default:
      return event satisfies never
  }
}
