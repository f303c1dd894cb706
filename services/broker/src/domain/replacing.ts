import { type LeaseId, residencyOf } from "@millrace/schemas"
import { inOrder } from "./bounds.ts"
import { chanceOf } from "./chances.ts"
import { freshPlan, type Purse, takeOne } from "./choosing.ts"
import { type Choice, nameOf } from "./greedy.ts"
import { hostOf, shortOf } from "./hosts.ts"
import { type Lease, priceOf, stageOf } from "./lease.ts"
import { isPaidFor } from "./limits.ts"
import type { Host, State } from "./state.ts"

/** Work that has ended so often on a machine says how long the rest will take. */
const endedMin = 3
/** Where work ends less often than this, a machine would be paid for beside its successor for too long. */
const turnoverMsMax = 600_000
/** What has been at work for so long goes on about as long again; nobody looks further than this. */
const horizonMsMax = 86_400_000
/** Less than a tenth cheaper is not worth a move, and what a move costs must come back so many times. */
const cheaperPermille = 100
const worthTimes = 2n
/** It is looked for right after a plan was said, so that not every fact has everything compared with everything. */
const afterPlanMs = 1_000
/** One machine in so many may be on its way out for a cheaper one at a time; one always may. */
const atOnceShare = 10

/** Machines that are to take another's place, by that other's lease. */
export const successorsIn = (state: State): ReadonlyMap<LeaseId, Lease> => {
  const successors = new Map<LeaseId, Lease>()
  for (const lease of state.leases.values()) {
    const { replaces } = lease.requested?.fact ?? {}
    if (replaces !== undefined && (stageOf(lease) === "asked" || stageOf(lease) === "held")) successors.set(replaces, lease)
  }
  return successors
}

/** Whether a machine's successor is there, and as good as was bought: then nothing more begins on the machine. */
export const mayRetire = (state: State, successor: Lease): boolean =>
  stageOf(successor) === "held" && successor.reclaim === undefined && hostOf(state, successor)?.joined !== undefined && shortOf(state, successor) === undefined

/** How long it takes on average until a piece of work on a machine has ended. Undefined: too few have. */
const turnoverMsOf = ({ ended, joined }: Host, atMs: number): number | undefined =>
  joined === undefined || ended < endedMin ? undefined : Math.ceil((atMs - joined.atMs) / ended)

/** Whether a choice does all that a lease's machine does: as large in all, of the same GPUs, under the same law, as sure to stay, as near to its like. */
const doesAsMuch = ({ provider, requested }: Lease, { column, offer, provider: other }: Choice): boolean => {
  const { column: { market, region }, fabric, gpuModel, resources } = requested!.fact
  return offer.gpuModel === gpuModel && (["gpus", "cpuMilli", "memoryMib", "diskMib"] as const).every((of) => offer.resources[of] >= resources[of]) &&
    (column.market !== "spot" || market === "spot") && offer.sells !== "containers" &&
    (column.region === region ? other === provider || residencyOf(region) !== undefined : residencyOf(region) !== undefined && residencyOf(column.region) === residencyOf(region)) &&
    (fabric !== true || (offer.fabric === true && other === provider && column.region === region))
}

/**
 * What a replacement would save over the time that the machine is likely to go on, less what it costs to move: both machines are paid
 * while the new one comes and while work on the old one ends. In thousandths of pico-dollars; more is better.
 */
const gainOf = (state: State, lease: Lease, host: Host, { column, offer, provider, reckonedPico }: Choice, atMs: number): bigint | undefined => {
  const turnoverMs = turnoverMsOf(host, atMs)
  const oldPico = priceOf(lease)
  const newPico = isPaidFor(column) ? 0n : reckonedPico > offer.pricePicoPerSecond ? reckonedPico : offer.pricePicoPerSecond
  if (turnoverMs === undefined || turnoverMs > turnoverMsMax || newPico * 1000n > oldPico * BigInt(1000 - cheaperPermille)) return undefined
  const horizonMs = Math.min(horizonMsMax, atMs - host.joined!.atMs)
  const { readyMs } = chanceOf(state.chances, provider, column, atMs)
  const churn = newPico * BigInt(readyMs === 0 ? state.bounds!.bootMsMax : readyMs) + oldPico * BigInt(turnoverMs)
  const gain = (oldPico - newPico) * BigInt(horizonMs) - churn
  return gain > churn * (worthTimes - 1n) ? gain : undefined
}

/** Machines at work that have been there for long enough to be judged, and that nobody takes back or replaces yet. */
const replaceable = (state: State, successors: ReadonlyMap<LeaseId, Lease>): ReadonlyArray<readonly [Lease, Host]> =>
  inOrder(state).flatMap((lease) => {
    const host = hostOf(state, lease)
    const { reclaim, requested, retiring } = lease
    return stageOf(lease) !== "held" || requested === undefined || isPaidFor(requested.fact.column) || reclaim !== undefined || retiring !== undefined || successors.has(lease.id) ||
        host?.joined === undefined || host.running.size === 0 || host.goneSinceMs !== undefined || host.left ? [] : [[lease, host] as const]
  })

/** Whether it is looked now for machines that would be replaced. */
export const isLookedFor = (state: State, atMs: number): boolean => atMs - (freshPlan(state, atMs)?.atMs ?? Number.NEGATIVE_INFINITY) <= afterPlanMs

/**
 * Machines at work that cost enough more than others that do the same: what would save most is replaced first, a few at a time, while a
 * plan is followed. The new machine comes first; then the old one takes nothing more, and goes when its work has ended.
 */
export const replacements = (state: State, choices: () => ReadonlyArray<Choice>, purse: Purse, atMs: number): ReadonlyArray<{ readonly choice: Choice; readonly replaces: Lease }> => {
  if (!isLookedFor(state, atMs)) return []
  const successors = successorsIn(state)
  const old = replaceable(state, successors)
  const may = Math.max(1, Math.trunc(old.length / atOnceShare)) - [...successors.keys()].filter((id) => state.leases.has(id)).length
  if (may <= 0 || old.length === 0) return []
  const cheapest = [...choices()].sort((a, b) => (a.reckonedPico === b.reckonedPico ? (nameOf(a) < nameOf(b) ? -1 : 1) : a.reckonedPico < b.reckonedPico ? -1 : 1))
  const better = old.flatMap(([lease, host]) => {
    // Of as many as could be wanted of them, the first that do as much are the best; what costs as much as it does already is none.
    const fitting: Array<{ readonly choice: Choice; readonly replaces: Lease; readonly gain: bigint }> = []
    for (const choice of cheapest) {
      if (fitting.length >= may || choice.reckonedPico >= priceOf(lease)) break
      const gain = doesAsMuch(lease, choice) ? gainOf(state, lease, host, choice, atMs) : undefined
      if (gain !== undefined) fitting.push({ choice, replaces: lease, gain })
    }
    return fitting
  }).sort((a, b) => (a.gain === b.gain ? (a.replaces.id === b.replaces.id ? (nameOf(a.choice) < nameOf(b.choice) ? -1 : 1) : a.replaces.id < b.replaces.id ? -1 : 1) : a.gain > b.gain ? -1 : 1))
  const chosen = new Map<LeaseId, Choice>()
  for (const { choice, replaces } of better) if (chosen.size < may && !chosen.has(replaces.id) && takeOne(purse)(choice)) chosen.set(replaces.id, choice)
  return [...chosen].map(([id, choice]) => ({ choice, replaces: state.leases.get(id)! }))
}
