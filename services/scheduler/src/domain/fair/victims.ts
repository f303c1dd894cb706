/** Running work that might give way. */
export interface Candidate {
  readonly id: string
  /** What ending it throws away: ms since it began or was last kept, times how much it holds. */
  readonly cost: bigint
}

/**
 * What ending an attempt throws away: time since its work was last kept, times its GPUs in thousandths of one. Work
 * without GPUs counts by its cores, sixteen of which weigh as much as one GPU.
 */
export const costOf = ({ cpuMilli, gpuMilli, keptAtMs, nowMs }: { readonly keptAtMs: number; readonly nowMs: number; readonly gpuMilli: number; readonly cpuMilli: number }): bigint =>
  BigInt(Math.max(0, nowMs - keptAtMs)) * BigInt(gpuMilli > 0 ? gpuMilli * coresPerGpu : cpuMilli)

const coresPerGpu = 16

/** Candidates in a fixed order: the cheapest first, then by id. */
export const cheapestFirst = (left: Candidate, right: Candidate): number =>
  left.cost < right.cost ? -1 : left.cost > right.cost ? 1 : left.id < right.id ? -1 : left.id > right.id ? 1 : 0

export const costOfAll = (victims: ReadonlyArray<Candidate>): bigint => victims.reduce((sum, { cost }) => sum + cost, 0n)

/** How many candidates are tried in every combination; beyond it in order of cost. */
const combinedMax = 10

/**
 * The cheapest set of candidates whose end makes room, as `enough` has it; undefined where not even the end of all
 * does. `enough` must hold of more whenever it holds of less. Few candidates are tried in every combination; of many
 * the cheapest are taken until there is room, and then those that proved unnecessary are spared, the dearest first.
 */
export const cheapestSet = <C extends Candidate>(candidates: ReadonlyArray<C>, enough: (gone: ReadonlyArray<C>) => boolean): ReadonlyArray<C> | undefined => {
  const sorted = [...candidates].sort(cheapestFirst)
  if (enough([])) return []
  if (!enough(sorted)) return undefined
  return sorted.length <= combinedMax ? bestCombination(sorted, enough) : thinned(sorted, enough)
}

const bestCombination = <C extends Candidate>(sorted: ReadonlyArray<C>, enough: (gone: ReadonlyArray<C>) => boolean): ReadonlyArray<C> => {
  let best: { readonly gone: ReadonlyArray<C>; readonly cost: bigint } | undefined
  const look = (at: number, gone: ReadonlyArray<C>, cost: bigint): void => {
    // More than the best so far, or as much with more of them, cannot win: costs are never below 0.
    if (best !== undefined && (cost > best.cost || (cost === best.cost && gone.length >= best.gone.length))) return
    if (enough(gone)) {
      best = { gone, cost }
      return
    }
    if (at === sorted.length) return
    look(at + 1, [...gone, sorted[at]!], cost + sorted[at]!.cost)
    look(at + 1, gone, cost)
  }
  look(0, [], 0n)
  return best!.gone
}

const thinned = <C extends Candidate>(sorted: ReadonlyArray<C>, enough: (gone: ReadonlyArray<C>) => boolean): ReadonlyArray<C> => {
  let many = sorted.length
  let low = 1
  while (low < many) {
    const middle = (low + many) >> 1
    if (enough(sorted.slice(0, middle))) many = middle
    else low = middle + 1
  }
  let gone: ReadonlyArray<C> = sorted.slice(0, many)
  for (const spared of [...gone].reverse()) {
    const without = gone.filter((one) => one !== spared)
    if (enough(without)) gone = without
  }
  return gone
}
