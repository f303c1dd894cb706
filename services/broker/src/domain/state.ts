import type { Fact } from "@millrace/journal"
import type {
  AttemptId, BrokerTookOver, DemandChanged, FactId, HostId, LeaseEnded, LeaseGranted, LeaseId, LeaseRefused, LeaseReleased, Offer, OffersListed, OffersObserved,
  PlanChosen, ProviderName, ProviderSuspended, RentalQuota, Target
} from "@millrace/schemas"
import { blockedUntilMs, blockNameOf, blockNames } from "./blocks.ts"
import { type Found, foundIn } from "./boot-check.ts"
import { type Chances, learnOutcome, learnReady } from "./chances.ts"
import { comesBack, forgetOwn, forgetRented, isOver, type Over } from "./forgetting.ts"
import { type Growths, learnDemand } from "./growth.ts"
import { learnQuota, type LearntQuota, unlearnQuotas } from "./limits.ts"
import type { Lease } from "./lease.ts"

/** A host, as far as the broker minds: whose key it used, and whether it has work. */
export interface Host {
  readonly id: HostId
  /** By which one-time key it was admitted, and where in ACCESS that lies. */
  admitted?: { readonly digest: string; readonly factId: FactId; readonly sequence: number }
  joined?: { readonly sequence: number; readonly atMs: number; readonly found: Found }
  /** It was declared lost, then. */
  goneSinceMs?: number
  /** How much of HOSTS had been seen by whoever declared it lost: only what it said later is word of its return. */
  goneSawHosts?: number
  left: boolean
  readonly running: Set<AttemptId>
  /** Exits that were heard before their placement: streams order nothing between them. */
  readonly endedEarly: Set<AttemptId>
  lastWorkAtMs: number
  /** How many attempts have ended here. */
  ended: number
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
  /** It takes one ask in so long. 0: as many as come. */
  readonly asksEveryMs: number
  /** What it says that our account may have at most. */
  readonly quotas?: ReadonlyArray<RentalQuota>
}

/** Parts of a list that is too long for one fact, until the one is said that ends it. */
export interface Parts<Row> {
  readonly digest: string
  readonly rows: ReadonlyArray<Row>
}

/** What the newest plan wants of each column, by its narrowest name. */
export interface Plan {
  readonly factId: FactId
  readonly atMs: number
  /** What waited when it was made. */
  readonly demand: FactId | undefined
  readonly wanted: ReadonlyMap<string, number>
}

/** How much may be asked of a provider that has come back, in thousandths, since when. */
export interface Share {
  readonly permille: number
  readonly sinceMs: number
  readonly factId: FactId
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
  /** Hosts, and keys of leases, that are over, for as long as something may still be said of them. */
  readonly over: Map<string, Over>
  readonly markets: Map<ProviderName, Market>
  readonly suspended: Map<ProviderName, Suspension>
  /** A provider said that our key is not good, and nothing has come of it yet. */
  readonly unauthorised: Map<ProviderName, FactId>
  /** What would get the same refusal again, and until when. */
  readonly blocked: Map<string, number>
  /** How often in a row something has been refused, by the same names. */
  readonly refusals: Map<string, number>
  /** Providers that are asked again, little by little. */
  readonly shares: Map<ProviderName, Share>
  /** What refusals have shown of what providers let us have, by the same names. */
  readonly quotas: Map<string, LearntQuota>
  readonly chances: Chances
  readonly growths: Growths
  /** Offers of providers of which more is to be said. */
  readonly listing: Map<ProviderName, Parts<Offer>>
  /** A plan of which more is to be said. */
  preparing: Parts<Target> | undefined
  plan: Plan | undefined
  /** When a machine was asked for last. */
  lastRequestedAtMs: number
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
  over: new Map(),
  markets: new Map(),
  suspended: new Map(),
  unauthorised: new Map(),
  blocked: new Map(),
  refusals: new Map(),
  shares: new Map(),
  quotas: new Map(),
  chances: new Map(),
  growths: new Map(),
  listing: new Map(),
  preparing: undefined,
  plan: undefined,
  lastRequestedAtMs: 0,
  fruitless: undefined,
  frozen: new Set()
})

const hostIn = (state: State, id: HostId): Host => {
  const known = state.hosts.get(id)
  if (known !== undefined) return known
  const host: Host = { id, left: false, running: new Set(), endedEarly: new Set(), lastWorkAtMs: 0, ended: 0, worked: false }
  state.hosts.set(id, host)
  return host
}

/** Folds one fact. What is none of the broker's business changes nothing. */
export const evolve = (state: State, { causedBy, commit, event, id, partOf }: Fact): State => {
  const atMs = commit.happenedAtMs
  switch (event._tag) {
    case "BrokerTookOver":
      state.term = event.term
      // What somebody else began to list is begun anew.
      state.listing.clear()
      state.preparing = undefined
      state.bounds = event
      return state
    case "DemandChanged":
      learnDemand(state.growths, event.classes, atMs)
      state.demand = { fact: event, factId: id, partOf, sawHosts: commit.decided?.saw["HOSTS"] ?? 0, sawAccess: commit.decided?.saw["ACCESS"] ?? 0 }
      return state
    case "LeaseRequested":
      state.lastRequestedAtMs = Math.max(state.lastRequestedAtMs, atMs)
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
    case "LeaseRefused":
      return refused(state, event, id, atMs)
    case "LeaseEnded":
      return ended(state, event, atMs)
    case "MachineAskedFor":
    case "LeaseGranted":
    case "LeaseWithdrawn":
    case "MachineEnrolled":
    case "ReclaimNoticed":
    case "MachineRetiring":
    case "LeaseReleased":
    case "GhostFound": {
      const lease = state.leases.get(event.leaseId)
      if (lease === undefined) return state
      if (event._tag === "MachineAskedFor") lease.called = { term: event.term, untilMs: event.untilMs }
      else if (event._tag === "LeaseGranted") granted(state, lease, event, id, atMs)
      else if (event._tag === "LeaseWithdrawn") lease.withdrawn = { factId: id, atMs }
      else if (event._tag === "MachineEnrolled") enrolled(state, lease, event.hostId, atMs)
      else if (event._tag === "ReclaimNoticed") reclaimed(state, lease, event.deadlineAtMs, id)
      else if (event._tag === "MachineRetiring") lease.retiring ??= { by: event.by, factId: id }
      else if (event._tag === "LeaseReleased") released(state, lease, event, id, atMs)
      else lease.missed = event.sweeps
      return state
    }
    case "OffersListed":
      return listed(state, event)
    case "OffersObserved":
      return offered(state, event)
    case "ProviderSuspended":
      state.unauthorised.delete(event.provider)
      state.shares.delete(event.provider)
      if (event.region === undefined) state.suspended.set(event.provider, { reason: event.reason, factId: id, ...(event.untilMs === undefined ? {} : { untilMs: event.untilMs }) })
      return state
    case "ProviderResumed":
      if (event.region !== undefined) return state
      state.suspended.delete(event.provider)
      if (event.sharePermilleMax >= 1000) state.shares.delete(event.provider)
      else state.shares.set(event.provider, { permille: event.sharePermilleMax, sinceMs: atMs, factId: id })
      return state
    case "PlanPrepared":
      state.preparing = { digest: event.inputs.digest, rows: [...partsOf(state.preparing, event.inputs.digest), ...event.targets] }
      return state
    case "PlanChosen":
      return planned(state, event, id, atMs, causedBy)
    case "HostAdmitted":
      if (isOver(state, event.oneTimeKeyDigest)) return state
      hostIn(state, event.hostId).admitted = { digest: event.oneTimeKeyDigest, factId: id, sequence: commit.place.sequence }
      state.byDigest.set(event.oneTimeKeyDigest, event.hostId)
      return state
    default:
      return evolveHost(state, event, commit, atMs)
  }
}

/** What has been said before of the same list; nothing where the last one was of another, which was never ended. */
const partsOf = <Row>(before: Parts<Row> | undefined, digest: string): ReadonlyArray<Row> => (before?.digest === digest ? before.rows : [])

const listed = (state: State, { offers: { digest }, provider, rows }: OffersListed): State => {
  state.listing.set(provider, { digest, rows: [...partsOf(state.listing.get(provider), digest), ...rows] })
  return state
}

const offered = (state: State, { asksEveryMs = 0, observedAtMs, offers: { digest }, provider, quotas, rows }: OffersObserved): State => {
  if (rows !== undefined) {
    state.markets.set(provider, { rows: [...partsOf(state.listing.get(provider), digest), ...rows], observedAtMs, asksEveryMs, ...(quotas === undefined ? {} : { quotas }) })
  }
  state.listing.delete(provider)
  return state
}

const planned = (state: State, { inputs: { digest }, targets }: PlanChosen, factId: FactId, atMs: number, demand: FactId | undefined): State => {
  const all = [...partsOf(state.preparing, digest), ...targets]
  state.preparing = undefined
  state.plan = { factId, atMs, demand, wanted: new Map(all.map(({ column, provider, wanted }) => [blockNames(provider, column).offer, wanted])) }
  return state
}

type Refused = Pick<LeaseRefused, "reason" | "narrows">
type Where = NonNullable<Lease["requested"]>["fact"]["column"]

/** The same would be refused again: not asked for again until then, and each time in a row for longer. */
const block = (state: State, provider: ProviderName, column: Where, why: Refused, atMs: number, untilMs?: number): void => {
  const name = blockNameOf(provider, column, why)
  const inARow = state.refusals.get(name) ?? 0
  state.refusals.set(name, inARow + 1)
  state.blocked.set(name, Math.max(untilMs ?? blockedUntilMs(why, column, inARow, atMs), state.blocked.get(name) ?? 0))
  for (const [one, until] of state.blocked) {
    if (until >= atMs - forgottenAfterMs) continue
    state.blocked.delete(one)
    state.refusals.delete(one)
    state.refusals.delete(uselessName(one))
  }
}

/** What was refused a day ago says nothing of today. */
const forgottenAfterMs = 86_400_000

const refused = (state: State, event: LeaseRefused, id: FactId, atMs: number): State => {
  const lease = state.leases.get(event.leaseId)
  if (lease?.requested !== undefined) {
    const { column } = lease.requested.fact
    if (event.notBeforeMs !== undefined) block(state, event.provider, column, event, atMs, event.notBeforeMs)
    learnQuota(state, event, column, atMs)
    // A wrong key or too many requests say nothing of the machines.
    if (event.reason !== "unauthorised" && event.reason !== "rate_limited") learnOutcome(state.chances, event.provider, column, false, atMs)
  }
  if (event.reason === "unauthorised" && !state.suspended.has(event.provider)) state.unauthorised.set(event.provider, id)
  state.leases.delete(event.leaseId)
  return state
}

const granted = (state: State, lease: Lease, event: LeaseGranted, id: FactId, atMs: number): void => {
  if (lease.granted !== undefined) return
  lease.granted = { fact: event, factId: id, atMs }
  if (lease.requested === undefined) return
  const { column } = lease.requested.fact
  learnOutcome(state.chances, lease.provider, column, true, atMs)
  for (const name of Object.values(blockNames(lease.provider, column))) state.refusals.delete(name)
  unlearnQuotas(state, lease)
}

const enrolled = (state: State, lease: Lease, hostId: HostId, atMs: number): void => {
  if (lease.hostId !== undefined) return
  lease.hostId = hostId
  if (lease.requested !== undefined) learnReady(state.chances, lease.provider, lease.requested.fact.column, atMs - lease.requested.atMs, atMs)
}

/** What is taken back here cannot be had here for a while. */
const reclaimed = (state: State, lease: Lease, deadlineAtMs: number, id: FactId): void => {
  if (lease.reclaim?.deadlineAtMs === deadlineAtMs) return
  lease.reclaim = { deadlineAtMs, factId: id }
  if (lease.requested !== undefined) block(state, lease.provider, lease.requested.fact.column, { reason: "out_of_capacity", narrows: "market" }, deadlineAtMs)
}

const useless = { reason: "out_of_capacity", narrows: "market" } as const
/** Counts machines that were of no use in a row. They were handed over each time: what resets refusals says nothing of them. */
const uselessName = (blocked: string): string => `useless ${blocked}`

/** It was handed over and is of no use: as good as refused, and another of its kind would be no better for a while, each time for longer. */
const failed = (state: State, { provider, requested }: Lease, atMs: number): void => {
  if (requested === undefined) return
  const { column } = requested.fact
  const name = uselessName(blockNameOf(provider, column, useless))
  const inARow = state.refusals.get(name) ?? 0
  learnOutcome(state.chances, provider, column, false, atMs)
  block(state, provider, column, useless, atMs, blockedUntilMs(useless, column, inARow, atMs))
  state.refusals.set(name, inARow + 1)
}

const usable: ReadonlySet<LeaseReleased["cause"]> = new Set(["idle", "drained", "replaced"])

const released = (state: State, lease: Lease, { cause, detail }: LeaseReleased, id: FactId, atMs: number): void => {
  if (lease.released !== undefined) return
  lease.released = { cause, factId: id, atMs }
  // A machine that was to take another's place was bought for no work that waits.
  if (cause === "unused" && lease.requested?.fact.replaces === undefined) state.fruitless = lease.requested?.demand
  // What was wrong with it is said in the fact: what its host did lies in other streams, and may not be heard yet.
  if (cause === "never_enrolled" || (cause === "unhealthy" && detail !== undefined)) failed(state, lease, atMs)
  else if (usable.has(cause) && lease.requested !== undefined) state.refusals.delete(uselessName(blockNameOf(lease.provider, lease.requested.fact.column, useless)))
}

const ended = (state: State, event: LeaseEnded, atMs: number): State => {
  const lease = state.leases.get(event.leaseId)
  // Its end was not asked for and nobody ever was there: a refusal that came late.
  if (lease?.granted !== undefined && lease.released === undefined && lease.hostId === undefined) failed(state, lease, atMs)
  if (lease !== undefined) forgetRented(state, lease, atMs)
  state.leases.delete(event.leaseId)
  return state
}

/** So many exits are kept that were heard before their placement: they come within moments of each other. */
const earlyMax = 256

const isThere = (host: Host): void => {
  delete host.goneSinceMs
  delete host.goneSawHosts
}

const evolveHost = (state: State, event: Fact["event"], { decided, place: { sequence } }: Fact["commit"], atMs: number): State => {
  const sawHosts = decided?.saw["HOSTS"] ?? 0
  if (event._tag === "HostJoined") comesBack(state, event.hostId)
  if ("hostId" in event && event.hostId !== undefined && isOver(state, event.hostId)) return state
  switch (event._tag) {
    case "HostJoined": {
      const host = hostIn(state, event.hostId)
      host.joined = { sequence, atMs, found: foundIn(event.capabilities) }
      host.lastWorkAtMs = Math.max(host.lastWorkAtMs, atMs)
      host.left = false
      if (sequence > (host.goneSawHosts ?? 0)) isThere(host)
      return state
    }
    case "HostLeft": {
      const host = hostIn(state, event.hostId)
      host.left = true
      host.running.clear()
      host.endedEarly.clear()
      forgetOwn(state, event.hostId, atMs)
      return state
    }
    case "HostDeclaredLost": {
      const host = hostIn(state, event.hostId)
      host.running.clear()
      // It may have joined again since, and that may have been heard first: streams order nothing between them.
      if ((host.joined?.sequence ?? 0) > sawHosts) return state
      host.goneSinceMs = atMs
      host.goneSawHosts = sawHosts
      return state
    }
    case "HostReturned":
      isThere(hostIn(state, event.hostId))
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
      // Of what a host that is gone had, nothing is at work any more: its exits are none that came early.
      if (!host.running.delete(event.attemptId) && host.goneSinceMs === undefined && !host.left && host.endedEarly.size < earlyMax) host.endedEarly.add(event.attemptId)
      if (event._tag === "AttemptExited") host.ended += 1
      host.lastWorkAtMs = Math.max(host.lastWorkAtMs, atMs)
      return state
    }
    default:
      return state
  }
}
