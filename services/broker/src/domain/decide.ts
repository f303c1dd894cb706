import { deriveId } from "@millrace/decider"
import type { Round, Said } from "@millrace/journal"
import { Digest, type FactId, type HostId, type LeaseId, type LeaseReleased, type LeaseWithdrawn, type MillFact, type ProviderName } from "@millrace/schemas"
import { beyondBounds, inOrder } from "./bounds.ts"
import { choicesIn, freshPlan, insteadOf, keptByPlan, mostPicoOf, onTheWay, planMsMax, Purse, takeOne } from "./choosing.ts"
import { type Choice, chooseGreedily } from "./greedy.ts"
import { hostOf, shortOf } from "./hosts.ts"
import { hedgesIn, isAwaited, isOutrun, lateFromMs, lateOnes } from "./lateness.ts"
import { type Lease, stageOf } from "./lease.ts"
import type { State } from "./state.ts"
import { isLookedFor, mayRetire, replacements, successorsIn } from "./replacing.ts"
import { dangersMs, steered } from "./spot/steering.ts"
import { stepMs, suspensions } from "./suspensions.ts"

/** How many machines one round may ask for: what is bought in haste is corrected by the next round. */
const askedPerRoundMax = 16
/** A host that was declared lost may come back; its machine is kept for so long. */
const lostMsMax = 300_000
/** An orphan is listed by the first sweep that sees it, and ended only after the second. */
const sweepsBeforeEnd = 2

/** Stands where the digest of the one-time key goes: the key comes from a secret that is not in the log. */
export const digestToCome = Digest.make(`sha256:${"0".repeat(64)}`)

/** The name under which a provider knows a machine of ours: from the lease, so that asking again asks for the same one. */
export const tokenOf = (leaseId: LeaseId): string => `millrace-${leaseId.slice(4).toLowerCase()}`

/** What all leases of a round are looked at with. */
interface Look {
  readonly state: State
  readonly atMs: number
  readonly beyond: ReadonlySet<LeaseId>
  readonly kept: ReadonlySet<LeaseId>
  readonly hedges: ReadonlyMap<LeaseId, Lease>
  readonly successors: ReadonlyMap<LeaseId, Lease>
}

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
  const look: Look = { state, atMs: round.atMs, beyond: beyondBounds(state), kept: keptByPlan(state, round.atMs), hedges: hedgesIn(state), successors: successorsIn(state) }
  const frozen = (provider: ProviderName): boolean => isFrozen(state, provider)
  for (const lease of inOrder(state)) {
    if (frozen(lease.provider)) continue
    const which = { leaseId: lease.id, provider: lease.provider }
    const enrolled = enrolment(state, lease)
    if (enrolled !== undefined) say(lease, enrolled.event, enrolled.causedBy)
    const withdrawn = withdrawal(look, lease)
    if (withdrawn !== undefined) say(lease, { _tag: "LeaseWithdrawn", ...which, ...withdrawn }, lease.factId)
    const retiring = retirement(look, lease)
    if (retiring !== undefined) say(lease, { _tag: "MachineRetiring", ...which, ...retiring.what }, retiring.causedBy)
    const released = release(look, lease)
    if (released !== undefined) say(lease, { _tag: "LeaseReleased", ...which, ...released.why }, released.causedBy)
  }
  said.push(...suspensions(state, round, frozen), ...requests(state, round, frozen))
  return said
}

/** When time alone would change what is decided, after a moment; what was due by then has been decided. */
export const dueAfterMs = (state: State, atMs: number): number | undefined => {
  const { bounds } = state
  if (bounds === undefined) return undefined
  const due: Array<number> = [
    ...[...state.suspended.values()].flatMap(({ untilMs }) => (untilMs === undefined ? [] : [untilMs])),
    ...[...state.shares.values()].map(({ sinceMs }) => sinceMs + stepMs)
  ]
  const hedges = hedgesIn(state)
  for (const lease of state.leases.values()) {
    if (isFrozen(state, lease.provider)) continue
    const stage = stageOf(lease)
    if (stage === "asked" && lease.requested !== undefined) due.push(lease.requested.fact.answerByMs, lease.requested.fact.answerByMs + bounds.bootMsMax)
    if (isAwaited(state, lease) && !hedges.has(lease.id)) due.push(lateFromMs(state, lease) ?? Number.POSITIVE_INFINITY)
    if (stage !== "held") continue
    if (lease.reclaim !== undefined) due.push(lease.reclaim.deadlineAtMs)
    const host = hostOf(state, lease)
    if (host?.joined === undefined) due.push((lease.granted?.atMs ?? 0) + bounds.bootMsMax)
    else if (host.goneSinceMs !== undefined) due.push(host.goneSinceMs + lostMsMax)
    else if (host.running.size === 0) due.push(host.lastWorkAtMs + Math.trunc(bounds.idleMsMax / 2), host.lastWorkAtMs + bounds.idleMsMax)
  }
  if (state.plan !== undefined) due.push(state.plan.atMs + planMsMax)
  if (state.demand !== undefined && state.demand.fact.classes.length > 0) due.push(...state.blocked.values(), ...dangersMs(state))
  const later = due.filter((one) => one > atMs && Number.isFinite(one))
  return later.length === 0 ? undefined : later.reduce((least, one) => Math.min(least, one))
}

const isFrozen = (state: State, provider: string): boolean =>
  state.frozen.size > 0 && ["machine", "market"].some((kind) => state.frozen.has(`${kind}.${provider}`))

const enrolment = (state: State, lease: Lease): { readonly event: MillFact; readonly causedBy: FactId } | undefined => {
  if (lease.hostId !== undefined || lease.requested === undefined) return undefined
  const host = hostOf(state, lease)
  if (host?.admitted === undefined) return undefined
  return { event: { _tag: "MachineEnrolled", leaseId: lease.id, provider: lease.provider, hostId: host.id }, causedBy: host.admitted.factId }
}

const otherWasFirst = "the other attempt was there first"

const withdrawal = ({ atMs, beyond, hedges, kept, state }: Look, lease: Lease): Pick<LeaseWithdrawn, "cause" | "detail"> | undefined => {
  if (stageOf(lease) !== "asked" || lease.requested === undefined) return undefined
  const { answerByMs } = lease.requested.fact
  // Its host may be there, and at work, before its provider's answer is: then the answer is waited for.
  if (hostOf(state, lease)?.joined !== undefined && atMs < answerByMs + state.bounds!.bootMsMax) return undefined
  if (atMs >= answerByMs) return { cause: "too_late" }
  // A plan that was made of what waits now may want it all the same, to have it ready.
  const { replaces } = lease.requested.fact
  const ready = (kept.has(lease.id) && state.plan?.demand === state.demand?.factId) || (replaces !== undefined && stillWorks(state, replaces))
  if (!ready && state.demand !== undefined && state.demand.fact.classes.every(({ waiting }) => waiting === 0)) return { cause: "not_needed" }
  if (isOutrun(state, lease, hedges)) return { cause: "not_needed", detail: otherWasFirst }
  // What waits is to be had elsewhere meanwhile; a machine that comes of it after all is given back.
  if (state.suspended.get(lease.provider)?.reason === "outage") return { cause: "not_needed", detail: "its provider does not answer" }
  return beyond.has(lease.id) ? { cause: "cap_reached" } : undefined
}

/** Whether a machine that is to be replaced is still there, with work on it. */
const stillWorks = (state: State, id: LeaseId): boolean => {
  const lease = state.leases.get(id)
  return lease !== undefined && stageOf(lease) === "held" && (hostOf(state, lease)?.running.size ?? 0) > 0
}

/** Its successor is there: nothing more begins on it. */
const retirement = ({ state, successors }: Look, lease: Lease): { readonly what: { readonly hostId?: HostId; readonly by: LeaseId }; readonly causedBy: FactId } | undefined => {
  const successor = successors.get(lease.id)
  if (lease.retiring !== undefined || stageOf(lease) !== "held" || successor?.granted === undefined || !mayRetire(state, successor)) return undefined
  const hostId = hostOf(state, lease)?.id
  return { what: { ...(hostId === undefined ? {} : { hostId }), by: successor.id }, causedBy: successor.granted.factId }
}

interface Release {
  readonly why: Pick<LeaseReleased, "cause" | "detail">
  readonly causedBy: FactId
}

const release = (look: Look, lease: Lease): Release | undefined => {
  const { atMs, hedges, state } = look
  const { bounds } = state
  const stage = stageOf(lease)
  if (stage === "orphan" && lease.found !== undefined) {
    return lease.found.fact.sweeps >= sweepsBeforeEnd ? { why: { cause: "orphan" }, causedBy: lease.found.factId } : undefined
  }
  if (stage !== "held" || lease.granted === undefined || bounds === undefined) return undefined
  const causedBy = lease.granted.factId
  if (lease.withdrawn !== undefined) return { why: { cause: "came_too_late" }, causedBy }
  if (isOutrun(state, lease, hedges)) return { why: { cause: "came_too_late", detail: otherWasFirst }, causedBy }
  const host = hostOf(state, lease)
  // Taken back before its host was there: it may stand there stopped, and cost on.
  if (host?.joined === undefined && lease.reclaim !== undefined && atMs >= lease.reclaim.deadlineAtMs) return { why: { cause: "reclaimed" }, causedBy: lease.reclaim.factId }
  if (host?.joined === undefined) return atMs >= lease.granted.atMs + bounds.bootMsMax ? { why: { cause: "never_enrolled" }, causedBy } : undefined
  if (host.left) return { why: { cause: "drained" }, causedBy }
  const short = shortOf(state, lease)
  if (short !== undefined && host.running.size === 0) return { why: { cause: "unhealthy", detail: short }, causedBy }
  if (lease.reclaim !== undefined && (host.running.size === 0 || atMs >= lease.reclaim.deadlineAtMs)) return { why: { cause: "reclaimed" }, causedBy: lease.reclaim.factId }
  if (lease.retiring !== undefined && host.running.size === 0) return { why: { cause: "replaced", detail: `by ${lease.retiring.by}` }, causedBy: lease.retiring.factId }
  if (host.goneSinceMs !== undefined) return atMs >= host.goneSinceMs + lostMsMax ? { why: { cause: "unhealthy", ...(host.worked ? {} : { detail: "it was lost before it had work" }) }, causedBy } : undefined
  return host.running.size === 0 ? idle(look, lease, host.lastWorkAtMs, host.worked, bounds.idleMsMax) : undefined
}

/** A machine without work stays as long as the plan wants it, and goes sooner where there is a plan that does not. */
const idle = ({ atMs, kept, state }: Look, lease: Lease, sinceMs: number, worked: boolean, idleMsMax: number): Release | undefined => {
  if (kept.has(lease.id)) return undefined
  const plan = freshPlan(state, atMs)
  const soon = plan !== undefined && worked
  if (atMs < sinceMs + (soon ? Math.trunc(idleMsMax / 2) : idleMsMax)) return undefined
  return { why: { cause: worked ? "idle" : "unused", ...(soon ? { detail: "the plan wants it no longer" } : {}) }, causedBy: lease.granted!.factId }
}

const requests = (state: State, round: Round, frozen: (provider: ProviderName) => boolean): ReadonlyArray<Said> => {
  const { bounds, demand } = state
  if (demand === undefined || bounds === undefined || bounds.dryRun === true || isFrozenDemand(state)) return []
  const waits = demand.fact.classes.some(({ waiting }) => waiting > 0) && state.fruitless !== demand.factId
  const planned = planIsCurrent(state, round.atMs)
  if (!waits && !planned && !isLookedFor(state, round.atMs)) return []
  const purse = new Purse(state, round.atMs)
  // Most facts leave nothing to buy for: what is offered is then not looked through.
  let offered: ReadonlyArray<Choice> | undefined
  const choices = () => (offered ??= choicesIn(state, round.atMs, frozen))
  const chosen: Array<Asked> = waits
    ? chooseGreedily(steered(state, demand.fact.classes, choices, round.atMs), onTheWay(state), choices, purse, askedPerRoundMax).map((choice) => ({ choice }))
    : []
  // Machines that the plan wants and nothing waits for yet: what it keeps ready.
  if (planned && !waits) chosen.push(...ahead(choices(), purse))
  if (waits) {
    for (const lease of lateOnes(state, round.atMs)) {
      const choice = insteadOf(lease, choices(), purse)
      if (choice !== undefined) chosen.push({ choice, lease })
    }
  }
  chosen.push(...replacements(state, choices, purse, round.atMs))
  return chosen.map(({ choice, lease, replaces }, ordinal) => {
    const leaseId = deriveId<LeaseId>("lse", round.atMs, demand.factId, choice.provider, ordinal, round.epoch, round.saw["BROKER"] ?? 0)
    const { arrivesMs = 0, fabric, gpuModel, resources } = choice.offer
    const event: MillFact = {
      _tag: "LeaseRequested",
      leaseId,
      provider: choice.provider,
      column: choice.column,
      resources,
      ...(gpuModel === undefined ? {} : { gpuModel }),
      ...(fabric === true ? { fabric } : {}),
      pricePicoPerSecondMax: mostPicoOf(choice),
      token: tokenOf(leaseId),
      cell: bounds.cell,
      oneTimeKeyDigest: digestToCome,
      answerByMs: round.atMs + Math.max(bounds.answerMsMax, Math.trunc(arrivesMs * 1.5)),
      ...(choice.lacking > 0 && state.plan !== undefined ? { plan: state.plan.factId } : {}),
      ...(lease === undefined ? {} : { insteadOf: lease.id }),
      ...(replaces === undefined ? {} : { replaces: replaces.id })
    }
    return { subject: { kind: "machine", scope: choice.provider, story: leaseId }, facts: [{ event, partOf: demand.partOf, causedBy: demand.factId }] }
  })
}

interface Asked {
  readonly choice: Choice
  /** The late lease that this is a second attempt at. */
  readonly lease?: Lease
  /** The machine at work that this one is to take the place of. */
  readonly replaces?: Lease
}

/** The newest plan was made of what waits now, and nothing has been asked for since: what it lacks is still lacking. */
const planIsCurrent = (state: State, atMs: number): boolean => {
  const plan = freshPlan(state, atMs)
  return plan !== undefined && plan.demand === state.demand?.factId && state.lastRequestedAtMs < plan.atMs
}

const ahead = (choices: ReadonlyArray<Choice>, purse: Purse): ReadonlyArray<Asked> =>
  choices.flatMap((choice) => Array.from({ length: Math.min(choice.lacking, askedPerRoundMax) }, () => choice))
    .slice(0, askedPerRoundMax).filter(takeOne(purse)).map((choice) => ({ choice }))

const isFrozenDemand = (state: State): boolean => state.frozen.has("demand.cell") || state.frozen.has("brokerage.cell")
