import { foldHistory, history, projection } from "@millrace/readmodel"
import type {
  BrokerTookOver, GhostFound, LeaseEnded, LeaseGranted, LeaseRefused, LeaseReleased, LeaseRequested, LeaseWithdrawn, MachineEnrolled, OffersObserved,
  OrphanFound, ProviderResumed, ProviderSuspended, ReclaimNoticed
} from "@millrace/schemas"

/** One machine lease. Money is decimal text: whole pico-dollars. */
export interface LeaseRow {
  readonly lease_id: string
  readonly provider: string
  readonly stands: "asked" | "refused" | "withdrawn" | "held" | "released" | "ended" | "orphan"
  readonly machine: string | null
  readonly machine_type: string | null
  readonly region: string | null
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
}

export interface MarketRow {
  readonly provider: string
  readonly observed_at_ms: number | null
  readonly source: string | null
  /** As JSON text: a list of offers. */
  readonly offers: string
  readonly suspended: string | null
  readonly suspended_until_ms: number | null
}

export interface BoundsRow {
  readonly cell: string
  readonly term: number
  readonly machines_max: number
  readonly spend_pico_per_hour_max: string
}

export interface CapacityTables {
  readonly leases: LeaseRow
  readonly markets: MarketRow
  readonly bounds: BoundsRow
}

type AboutLease =
  | LeaseRequested | LeaseGranted | LeaseRefused | LeaseWithdrawn | MachineEnrolled | ReclaimNoticed | LeaseReleased | LeaseEnded | OrphanFound | GhostFound
type AboutMarket = OffersObserved | ProviderSuspended | ProviderResumed
type Minded = AboutLease | AboutMarket | BrokerTookOver

export const leasesHistory = history({ table: "leases", stream: "BROKER", key: ["lease_id"] })
export const marketsHistory = history({ table: "markets", stream: "BROKER", key: ["provider"] })
export const boundsHistory = history({ table: "bounds", stream: "BROKER", key: ["cell"] })

/** What we rent, and from whom it could be rented. Answers "what do we hold, since when, at what price, and what have we not seen end". */
export const leases = projection<CapacityTables>()<Minded>({
  name: "broker.leases",
  version: 1,
  hears: ["BROKER"],
  only: [
    "LeaseRequested", "LeaseGranted", "LeaseRefused", "LeaseWithdrawn", "MachineEnrolled", "ReclaimNoticed", "LeaseReleased", "LeaseEnded", "OrphanFound",
    "GhostFound", "OffersObserved", "ProviderSuspended", "ProviderResumed", "BrokerTookOver"
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
        .addColumn("missed", "integer", (column) => column.notNull())),
    ...marketsHistory.create(schema, (table) =>
      table.addColumn("provider", "text", (column) => column.notNull())
        .addColumn("observed_at_ms", "bigint")
        .addColumn("source", "text")
        .addColumn("offers", "text", (column) => column.notNull())
        .addColumn("suspended", "text")
        .addColumn("suspended_until_ms", "bigint")),
    ...boundsHistory.create(schema, (table) =>
      table.addColumn("cell", "text", (column) => column.notNull())
        .addColumn("term", "bigint", (column) => column.notNull())
        .addColumn("machines_max", "bigint", (column) => column.notNull())
        .addColumn("spend_pico_per_hour_max", "text", (column) => column.notNull()))
  ],
  history: [leasesHistory, marketsHistory, boundsHistory],
  apply: async (tx, facts) => {
    await foldHistory<LeaseRow, Minded>(tx, facts, leasesHistory, {
      about: ({ event }) => ("leaseId" in event ? { lease_id: event.leaseId } : undefined),
      evolve: (row, { commit, event }) => ("leaseId" in event ? leaseAfter(row, event, commit.happenedAtMs) : row)
    })
    await foldHistory<MarketRow, Minded>(tx, facts, marketsHistory, {
      about: ({ event }) => (isAboutMarket(event) ? { provider: event.provider } : undefined),
      evolve: (row, { event }) => (isAboutMarket(event) ? marketAfter(row, event) : row)
    })
    await foldHistory<BoundsRow, Minded>(tx, facts, boundsHistory, {
      about: ({ event }) => (event._tag === "BrokerTookOver" ? { cell: event.cell } : undefined),
      evolve: (row, { event }) => event._tag !== "BrokerTookOver" ? row : {
        cell: event.cell,
        term: event.term,
        machines_max: event.machinesMax,
        spend_pico_per_hour_max: event.spendPicoPerHourMax.toString()
      }
    })
  }
})

const isAboutMarket = (event: Minded): event is AboutMarket =>
  event._tag === "OffersObserved" || event._tag === "ProviderSuspended" || event._tag === "ProviderResumed"

const newLease = (leaseId: string, provider: string): LeaseRow => ({
  lease_id: leaseId, provider, stands: "asked", machine: null, machine_type: null, region: null, gpu_model: null, cpu_milli: null, memory_mib: null,
  gpus: null, host_id: null, price_pico_per_second: null, billed_step_ms: null, billed_ms_min: null, requested_at_ms: null, since_ms: null,
  released_at_ms: null, ended_at_ms: null, cost_pico: null, because: null, missed: 0
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
        requested_at_ms: atMs
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
        since_ms: event.billedSinceMs ?? atMs
      }
    case "LeaseRefused":
      return { ...row, stands: "refused", because: `${event.reason}: ${event.detail}`, ended_at_ms: atMs, cost_pico: "0" }
    case "LeaseWithdrawn":
      return { ...row, stands: "withdrawn", because: event.cause }
    case "MachineEnrolled":
      return { ...row, host_id: event.hostId }
    case "ReclaimNoticed":
      return { ...row, because: `reclaimed at ${event.deadlineAtMs}` }
    case "LeaseReleased":
      return { ...row, stands: "released", because: event.cause, released_at_ms: atMs }
    case "LeaseEnded":
      return { ...row, stands: "ended", ended_at_ms: event.endedAtMs, cost_pico: event.costPico.toString(), because: row.because ?? event.confirmed }
    case "OrphanFound":
      return { ...row, stands: row.stands === "released" ? "released" : "orphan", machine: event.machine, since_ms: event.runningSinceMs, cost_pico: event.costSoFarPico.toString(), because: "orphan" }
    case "GhostFound":
      return { ...row, missed: event.sweeps }
    default:
      return event satisfies never
  }
}

const marketAfter = (before: MarketRow | undefined, event: AboutMarket): MarketRow => {
  const row = before ?? { provider: event.provider, observed_at_ms: null, source: null, offers: "[]", suspended: null, suspended_until_ms: null }
  switch (event._tag) {
    case "OffersObserved":
      return {
        ...row,
        observed_at_ms: event.observedAtMs,
        source: event.source,
        offers: JSON.stringify(event.rows ?? [], (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value))
      }
    case "ProviderSuspended":
      return event.region !== undefined ? row : { ...row, suspended: `${event.reason}: ${event.detail}`, suspended_until_ms: event.untilMs ?? null }
    case "ProviderResumed":
      return event.region !== undefined ? row : { ...row, suspended: null, suspended_until_ms: null }
    default:
      return event satisfies never
  }
}
