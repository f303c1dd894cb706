import { deriveId } from "@millrace/decider"
import type { Round, Said, SaidFact } from "@millrace/journal"
import { Digest, type FactId, type LeaseId, type LeaseReleased, type LeaseWithdrawn, type MillFact } from "@millrace/schemas"
import { type Choice, chooseGreedily, type Room, roomOf } from "./greedy.ts"
import { type Lease, pricePerHourOf, stageOf } from "./lease.ts"
import { perHour } from "./money.ts"
import { blockNames, type Host, type State } from "./state.ts"

/** How many machines one round may ask for: what is bought in haste is corrected by the next round. */
const askedPerRoundMax = 16
/** A host that was declared lost may come back; its machine is kept for so long. */
const lostMsMax = 300_000
/** How long a provider rests that says our key is not good. */
const unauthorisedMs = 600_000
/** An orphan is listed by the first sweep that sees it, and ended only after the second. */
const sweepsBeforeEnd = 2

/** Stands where the digest of the one-time key goes: the key comes from a secret that is not in the log. */
export const digestToCome = Digest.make(`sha256:${"0".repeat(64)}`)

/** The name under which a provider knows a machine of ours: from the lease, so that asking again asks for the same one. */
export const tokenOf = (leaseId: LeaseId): string => `millrace-${leaseId.slice(4).toLowerCase()}`

/**
 * What follows now: hosts are matched to leases, what came too late or is wanted no longer is given back, then
 * machines are asked for, within the bounds. Pure; the same state and round say the same, in the same order.
 */
export const decide = (state: State, round: Round): ReadonlyArray<Said> => {
  const said: Array<Said> = []
  const say = (lease: Lease, event: MillFact, causedBy: FactId): void => {
    said.push({
      subject: { kind: "machine", scope: lease.provider, story: lease.id },
      facts: [{ event, partOf: lease.partOf, causedBy }]
    })
  }
  if (state.bounds === undefined) return said
  for (const lease of inOrder(state)) {
    if (isFrozen(state, lease.provider)) continue
    const enrolled = enrolment(state, lease)
    if (enrolled !== undefined) say(lease, enrolled.event, enrolled.causedBy)
    const withdrawn = withdrawal(state, lease, round.atMs)
    if (withdrawn !== undefined) say(lease, { _tag: "LeaseWithdrawn", leaseId: lease.id, provider: lease.provider, cause: withdrawn }, lease.factId)
    const released = release(state, lease, round.atMs)
    if (released !== undefined) say(lease, { _tag: "LeaseReleased", leaseId: lease.id, provider: lease.provider, cause: released.cause }, released.causedBy)
  }
  said.push(...suspensions(state, round), ...requests(state, round))
  return said
}

/** When time alone would change what is decided. */
export const dueAtMs = (state: State): number | undefined => {
  const { bounds } = state
  if (bounds === undefined) return undefined
  const due: Array<number> = [...state.suspended.values()].flatMap(({ untilMs }) => (untilMs === undefined ? [] : [untilMs]))
  for (const lease of state.leases.values()) {
    if (isFrozen(state, lease.provider)) continue
    const stage = stageOf(lease)
    if (stage === "asked" && lease.requested !== undefined) due.push(lease.requested.fact.answerByMs)
    if (stage !== "held") continue
    const host = hostOf(state, lease)
    if (host?.joined === undefined) due.push((lease.granted?.atMs ?? 0) + bounds.bootMsMax)
    else if (host.goneSinceMs !== undefined) due.push(host.goneSinceMs + lostMsMax)
    else if (host.running.size === 0) due.push(host.lastWorkAtMs + bounds.idleMsMax)
  }
  if (state.demand !== undefined && state.demand.fact.classes.length > 0) due.push(...state.blocked.values())
  return due.length === 0 ? undefined : Math.min(...due)
}

const inOrder = (state: State): ReadonlyArray<Lease> => [...state.leases.values()].sort((a, b) => (a.id < b.id ? -1 : 1))

const isFrozen = (state: State, provider: string): boolean =>
  state.frozen.size > 0 && ["machine", "market"].some((kind) => state.frozen.has(`${kind}.${provider}`))

export const hostOf = (state: State, { hostId, requested }: Lease): Host | undefined => {
  const id = hostId ?? (requested === undefined ? undefined : state.byDigest.get(requested.fact.oneTimeKeyDigest))
  return id === undefined ? undefined : state.hosts.get(id)
}

const enrolment = (state: State, lease: Lease): { readonly event: MillFact; readonly causedBy: FactId } | undefined => {
  if (lease.hostId !== undefined || lease.requested === undefined) return undefined
  const host = hostOf(state, lease)
  if (host?.admitted === undefined) return undefined
  return { event: { _tag: "MachineEnrolled", leaseId: lease.id, provider: lease.provider, hostId: host.id }, causedBy: host.admitted.factId }
}

const withdrawal = (state: State, lease: Lease, atMs: number): LeaseWithdrawn["cause"] | undefined => {
  if (stageOf(lease) !== "asked" || lease.requested === undefined) return undefined
  if (atMs >= lease.requested.fact.answerByMs) return "too_late"
  if (state.demand !== undefined && state.demand.fact.classes.every(({ waiting }) => waiting === 0)) return "not_needed"
  return overBounds(state, lease) ? "cap_reached" : undefined
}

/** Bounds may be narrower than those the lease was asked for under: the newest go first. */
const overBounds = (state: State, lease: Lease): boolean => {
  const older = inOrder(state).filter(({ id }) => id <= lease.id)
  const spend = older.reduce((sum, one) => sum + pricePerHourOf(one), 0n)
  return older.length > state.bounds!.machinesMax || spend > state.bounds!.spendPicoPerHourMax
}

const release = (state: State, lease: Lease, atMs: number): { readonly cause: LeaseReleased["cause"]; readonly causedBy: FactId } | undefined => {
  const { bounds } = state
  const stage = stageOf(lease)
  if (stage === "orphan" && lease.found !== undefined) {
    return lease.found.fact.sweeps >= sweepsBeforeEnd ? { cause: "orphan", causedBy: lease.found.factId } : undefined
  }
  if (stage !== "held" || lease.granted === undefined || bounds === undefined) return undefined
  const causedBy = lease.granted.factId
  if (lease.withdrawn !== undefined) return { cause: "came_too_late", causedBy }
  const host = hostOf(state, lease)
  if (host?.joined === undefined) return atMs >= lease.granted.atMs + bounds.bootMsMax ? { cause: "never_enrolled", causedBy } : undefined
  if (host.left) return { cause: "drained", causedBy }
  if (host.goneSinceMs !== undefined) return atMs >= host.goneSinceMs + lostMsMax ? { cause: "unhealthy", causedBy } : undefined
  return host.running.size === 0 && atMs >= host.lastWorkAtMs + bounds.idleMsMax ? { cause: host.worked ? "idle" : "unused", causedBy } : undefined
}

const suspensions = (state: State, { atMs }: Round): ReadonlyArray<Said> => {
  const fact = (provider: string, event: MillFact, causedBy: FactId): Said =>
    ({ subject: { kind: "market", scope: provider }, facts: [{ event, partOf: causedBy, causedBy } satisfies SaidFact] })
  return [
    ...[...state.unauthorised].map(([provider, causedBy]) => fact(provider, {
      _tag: "ProviderSuspended",
      provider,
      reason: "unauthorised",
      detail: "it does not know our key: look at the key file of this provider",
      untilMs: atMs + unauthorisedMs
    }, causedBy)),
    ...[...state.suspended].filter(([, { untilMs }]) => untilMs !== undefined && untilMs <= atMs).map(([provider, { factId }]) =>
      fact(provider, { _tag: "ProviderResumed", provider, sharePermilleMax: 1000 }, factId))
  ]
}

/** Whether the scheduler knew of the lease's capacity when it said what waits. */
const isCounted = (state: State, lease: Lease): boolean => {
  const host = hostOf(state, lease)
  return host?.joined !== undefined && host.admitted !== undefined && state.demand !== undefined &&
    host.joined.sequence <= state.demand.sawHosts && host.admitted.sequence <= state.demand.sawAccess
}

/** Capacity that is on its way, or has come since the scheduler last said what waits. */
const onTheWay = (state: State): ReadonlyArray<Room> =>
  inOrder(state).flatMap((lease) => {
    const stage = stageOf(lease)
    if ((stage !== "asked" && stage !== "held") || lease.requested === undefined || isCounted(state, lease)) return []
    return [roomOf(lease.requested.fact.resources, lease.requested.fact.gpuModel)]
  })

/** What could be bought now: offered, not blocked, from providers that may be asked. */
const choices = (state: State, atMs: number): ReadonlyArray<Choice> =>
  [...state.markets].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([provider, { rows }]) =>
    state.suspended.has(provider) || state.unauthorised.has(provider) || isFrozen(state, provider) ? [] : rows.flatMap((offer) =>
      offer.regions.flatMap((region) => {
        const column = { region, machineType: offer.machineType, market: offer.market }
        const blocked = Object.values(blockNames(provider, column)).some((name) => (state.blocked.get(name) ?? 0) > atMs)
        // A price of nothing is an error of the list, never an offer.
        return blocked || offer.pricePicoPerSecond <= 0n ? [] : [{ provider, region, offer }]
      })))

const requests = (state: State, round: Round): ReadonlyArray<Said> => {
  const { bounds, demand } = state
  if (demand === undefined || bounds === undefined || isFrozenDemand(state) || state.fruitless === demand.factId) return []
  let machines = state.leases.size
  let spend = [...state.leases.values()].reduce((sum, lease) => sum + pricePerHourOf(lease), 0n)
  const asked: Array<Choice> = []
  const mayBuy = ({ offer }: Choice): boolean => {
    const more = asked.reduce((sum, one) => sum + perHour(one.offer.pricePicoPerSecond), 0n)
    return machines + asked.length < bounds.machinesMax && spend + more + perHour(offer.pricePicoPerSecond) <= bounds.spendPicoPerHourMax
  }
  const remember = (choice: Choice): boolean => {
    const may = mayBuy(choice)
    if (may) asked.push(choice)
    return may
  }
  return chooseGreedily(demand.fact.classes, onTheWay(state), choices(state, round.atMs), remember, askedPerRoundMax).map((choice, ordinal) => {
    const leaseId = deriveId<LeaseId>("lse", round.atMs, demand.factId, choice.provider, ordinal, round.epoch, round.saw["BROKER"] ?? 0)
    const { gpuModel, machineType, market, pricePicoPerSecond, resources } = choice.offer
    const event: MillFact = {
      _tag: "LeaseRequested",
      leaseId,
      provider: choice.provider,
      column: { region: choice.region, machineType, market },
      resources,
      ...(gpuModel === undefined ? {} : { gpuModel }),
      pricePicoPerSecondMax: pricePicoPerSecond,
      token: tokenOf(leaseId),
      cell: bounds.cell,
      oneTimeKeyDigest: digestToCome,
      answerByMs: round.atMs + bounds.answerMsMax
    }
    return { subject: { kind: "machine", scope: choice.provider, story: leaseId }, facts: [{ event, partOf: demand.partOf, causedBy: demand.factId }] }
  })
}

const isFrozenDemand = (state: State): boolean => state.frozen.has("demand.cell") || state.frozen.has("brokerage.cell")
