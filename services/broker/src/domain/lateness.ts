import type { LeaseId } from "@millrace/schemas"
import { inOrder } from "./bounds.ts"
import { chanceOf } from "./chances.ts"
import { hostOf } from "./hosts.ts"
import { type Lease, stageOf } from "./lease.ts"
import type { State } from "./state.ts"

/** A machine is late once it takes so many times as long as machines of its kind usually do. */
const timesUsual = 2
/** No machine is called late sooner than this. */
const lateMsMin = 20_000
/** So many second attempts may be under way for each hundred leases; one always may. */
const hedgesPerHundred = 2

/** Asked for or handed over, and its host is not there yet. */
export const isAwaited = (state: State, lease: Lease): boolean => {
  const stage = stageOf(lease)
  return lease.requested !== undefined && (stage === "asked" || stage === "held") && hostOf(state, lease)?.joined === undefined
}

/** From when on a lease that is still awaited is later than its kind usually is. */
export const lateFromMs = (state: State, lease: Lease): number | undefined => {
  const { bounds } = state
  if (lease.requested === undefined || bounds === undefined) return undefined
  const { answerByMs, column } = lease.requested.fact
  const { readyMs } = chanceOf(state.chances, lease.provider, column, lease.requested.atMs)
  const allMs = answerByMs - lease.requested.atMs + bounds.bootMsMax
  return lease.requested.atMs + (readyMs === 0 ? Math.trunc(allMs / 2) : Math.min(allMs, Math.max(lateMsMin, readyMs * timesUsual)))
}

/** The second attempt at a lease, by that lease's id, and the lease that a second attempt stands in for. */
export const hedgesIn = (state: State): ReadonlyMap<LeaseId, Lease> => {
  const hedges = new Map<LeaseId, Lease>()
  for (const lease of state.leases.values()) if (lease.requested?.fact.insteadOf !== undefined) hedges.set(lease.requested.fact.insteadOf, lease)
  return hedges
}

/** Late leases that have no second attempt yet, the longest awaited first, as many as may have one now. */
export const lateOnes = (state: State, atMs: number): ReadonlyArray<Lease> => {
  const hedges = hedgesIn(state)
  const may = Math.max(1, Math.trunc((state.leases.size * hedgesPerHundred) / 100)) - [...hedges.keys()].filter((id) => state.leases.has(id)).length
  if (may <= 0) return []
  return inOrder(state).filter((lease) => {
    if (hedges.has(lease.id) || lease.requested?.fact.insteadOf !== undefined || lease.requested?.fact.replaces !== undefined || !isAwaited(state, lease)) return false
    return atMs >= (lateFromMs(state, lease) ?? Number.POSITIVE_INFINITY)
  }).slice(0, may)
}

/** Whether the other one of a lease and its second attempt is there already, while this one is not. */
export const isOutrun = (state: State, lease: Lease, hedges: ReadonlyMap<LeaseId, Lease>): boolean => {
  if (!isAwaited(state, lease)) return false
  const insteadOf = lease.requested?.fact.insteadOf
  const other = insteadOf === undefined ? hedges.get(lease.id) : state.leases.get(insteadOf)
  return other !== undefined && stageOf(other) === "held" && hostOf(state, other)?.joined !== undefined
}
