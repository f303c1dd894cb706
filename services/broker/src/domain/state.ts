import type { Fact } from "@millrace/journal"
import type {
  AttemptId, BrokerTookOver, Column, DemandChanged, FactId, HostId, LeaseId, LeaseRefused, Offer, ProviderName, ProviderSuspended
} from "@millrace/schemas"
import type { Lease } from "./lease.ts"

/** A host, as far as the broker minds: whose key it used, and whether it has work. */
export interface Host {
  readonly id: HostId
  /** By which one-time key it was admitted, and where in ACCESS that lies. */
  admitted?: { readonly digest: string; readonly factId: FactId; readonly sequence: number }
  joined?: { readonly sequence: number; readonly atMs: number }
  /** It is gone by its own will, or was declared lost, since then. */
  goneSinceMs?: number
  left: boolean
  readonly running: Set<AttemptId>
  /** Exits that were heard before their placement: streams order nothing between them. */
  readonly endedEarly: Set<AttemptId>
  lastWorkAtMs: number
  /** Something was placed here once. */
  worked: boolean
}

/** What waits for capacity, and what the scheduler knew when it said so. */
export interface Demand {
  readonly fact: DemandChanged
  readonly factId: FactId
  readonly partOf: FactId
  readonly sawHosts: number
  readonly sawAccess: number
}

export interface Market {
  readonly rows: ReadonlyArray<Offer>
  readonly observedAtMs: number
}

export interface Suspension {
  readonly reason: ProviderSuspended["reason"]
  readonly untilMs?: number
  readonly factId: FactId
}

/** Everything the broker decides from. Changed in place by `evolve`, and by nothing else. */
export interface State {
  term: number
  bounds: BrokerTookOver | undefined
  demand: Demand | undefined
  readonly leases: Map<LeaseId, Lease>
  readonly hosts: Map<HostId, Host>
  /** Which host used a one-time key. */
  readonly byDigest: Map<string, HostId>
  readonly markets: Map<ProviderName, Market>
  readonly suspended: Map<ProviderName, Suspension>
  /** A provider said that our key is not good, and nothing has come of it yet. */
  readonly unauthorised: Map<ProviderName, FactId>
  /** What would get the same refusal again, and until when. */
  readonly blocked: Map<string, number>
  /** What waited when a machine was bought for it that then never had work: more machines would not help it. */
  fruitless: FactId | undefined
  readonly frozen: Set<string>
}

export const emptyState = (): State => ({
  term: 0,
  bounds: undefined,
  demand: undefined,
  leases: new Map(),
  hosts: new Map(),
  byDigest: new Map(),
  markets: new Map(),
  suspended: new Map(),
  unauthorised: new Map(),
  blocked: new Map(),
  fruitless: undefined,
  frozen: new Set()
})

/** The names under which a refusal of a column is remembered, from the widest to the narrowest. */
export const blockNames = (provider: ProviderName, { machineType, market, region }: Column) => ({
  provider,
  region: `${provider}/${region}`,
  type: `${provider}/${region}/${machineType}`,
  market: `${provider}/${region}/${machineType}/${market}`
})

const blockNameOf = (fact: LeaseRefused, column: Column): string => {
  const names = blockNames(fact.provider, column)
  switch (fact.narrows) {
    case "provider":
      return names.provider
    case "region":
      return names.region
    case "zone":
    case "type":
      return names.type
    case "market":
    case "offer":
      return names.market
  }
}

const hostIn = (state: State, id: HostId): Host => {
  const known = state.hosts.get(id)
  if (known !== undefined) return known
  const host: Host = { id, left: false, running: new Set(), endedEarly: new Set(), lastWorkAtMs: 0, worked: false }
  state.hosts.set(id, host)
  return host
}

/** Folds one fact. What is none of the broker's business changes nothing. */
export const evolve = (state: State, { causedBy, commit, event, id, partOf }: Fact): State => {
  const atMs = commit.happenedAtMs
  switch (event._tag) {
    case "BrokerTookOver":
      state.term = event.term
      state.bounds = event
      return state
    case "DemandChanged":
      state.demand = { fact: event, factId: id, partOf, sawHosts: commit.decided?.saw["HOSTS"] ?? 0, sawAccess: commit.decided?.saw["ACCESS"] ?? 0 }
      return state
    case "LeaseRequested":
      if (!state.leases.has(event.leaseId)) {
        state.leases.set(event.leaseId, { id: event.leaseId, provider: event.provider, factId: id, partOf, requested: { fact: event, atMs, ...(causedBy === undefined ? {} : { demand: causedBy }) }, missed: 0 })
      }
      return state
    case "OrphanFound": {
      const known = state.leases.get(event.leaseId)
      const found = { fact: event, factId: id, atMs }
      if (known === undefined) state.leases.set(event.leaseId, { id: event.leaseId, provider: event.provider, factId: id, partOf, found, missed: 0 })
      else known.found = found
      return state
    }
    case "LeaseRefused": {
      const lease = state.leases.get(event.leaseId)
      if (lease?.requested !== undefined && event.notBeforeMs !== undefined) {
        const name = blockNameOf(event, lease.requested.fact.column)
        state.blocked.set(name, Math.max(event.notBeforeMs, state.blocked.get(name) ?? 0))
      }
      if (event.reason === "unauthorised" && !state.suspended.has(event.provider)) state.unauthorised.set(event.provider, id)
      state.leases.delete(event.leaseId)
      return state
    }
    case "LeaseEnded":
      state.leases.delete(event.leaseId)
      return state
    case "LeaseGranted":
    case "LeaseWithdrawn":
    case "MachineEnrolled":
    case "LeaseReleased":
    case "GhostFound": {
      const lease = state.leases.get(event.leaseId)
      if (lease === undefined) return state
      if (event._tag === "LeaseGranted") lease.granted = { fact: event, factId: id, atMs }
      else if (event._tag === "LeaseWithdrawn") lease.withdrawn = { factId: id, atMs }
      else if (event._tag === "MachineEnrolled") lease.hostId = event.hostId
      else if (event._tag === "LeaseReleased") {
        lease.released = { cause: event.cause, factId: id, atMs }
        if (event.cause === "unused") state.fruitless = lease.requested?.demand
      }
      else lease.missed = event.sweeps
      return state
    }
    case "OffersObserved":
      if (event.rows !== undefined) state.markets.set(event.provider, { rows: event.rows, observedAtMs: event.observedAtMs })
      return state
    case "ProviderSuspended":
      state.unauthorised.delete(event.provider)
      if (event.region === undefined) state.suspended.set(event.provider, { reason: event.reason, factId: id, ...(event.untilMs === undefined ? {} : { untilMs: event.untilMs }) })
      return state
    case "ProviderResumed":
      if (event.region === undefined) state.suspended.delete(event.provider)
      return state
    case "HostAdmitted":
      hostIn(state, event.hostId).admitted = { digest: event.oneTimeKeyDigest, factId: id, sequence: commit.place.sequence }
      state.byDigest.set(event.oneTimeKeyDigest, event.hostId)
      return state
    default:
      return evolveHost(state, event, commit.place.sequence, atMs)
  }
}

const evolveHost = (state: State, event: Fact["event"], sequence: number, atMs: number): State => {
  switch (event._tag) {
    case "HostJoined": {
      const host = hostIn(state, event.hostId)
      host.joined = { sequence, atMs }
      host.lastWorkAtMs = Math.max(host.lastWorkAtMs, atMs)
      host.left = false
      delete host.goneSinceMs
      return state
    }
    case "HostLeft": {
      const host = hostIn(state, event.hostId)
      host.left = true
      host.running.clear()
      return state
    }
    case "HostDeclaredLost": {
      const host = hostIn(state, event.hostId)
      host.goneSinceMs ??= atMs
      host.running.clear()
      return state
    }
    case "HostReturned":
      delete hostIn(state, event.hostId).goneSinceMs
      return state
    case "PlacementMade": {
      const host = hostIn(state, event.hostId)
      if (!host.endedEarly.delete(event.attemptId)) host.running.add(event.attemptId)
      host.lastWorkAtMs = Math.max(host.lastWorkAtMs, atMs)
      host.worked = true
      return state
    }
    case "AttemptExited":
    case "AttemptRefused": {
      const host = hostIn(state, event.hostId)
      if (!host.running.delete(event.attemptId)) host.endedEarly.add(event.attemptId)
      host.lastWorkAtMs = Math.max(host.lastWorkAtMs, atMs)
      return state
    }
    default:
      return state
  }
}
