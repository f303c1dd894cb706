import { type Amounts, kinds, times } from "./problem.ts"

/** Past so many steps the search gives up, and whoever asked packs as well as they can. */
const stepsMax = 20_000

/**
 * Packs units of some sizes onto so many empty machines: for each machine how many units of each size. Exact where first-fit is not: three that
 * need half of the memory beside two that need half of the GPUs. Undefined: it cannot be, or was not found in time.
 */
export const pack = (has: Amounts, sizes: ReadonlyArray<Amounts>, counts: ReadonlyArray<number>, machines: number): ReadonlyArray<ReadonlyArray<number>> | undefined => {
  const hopeless = new Set<string>()
  let steps = 0
  const search = (left: ReadonlyArray<number>, machinesLeft: number): ReadonlyArray<ReadonlyArray<number>> | undefined => {
    const first = left.findIndex((count) => count > 0)
    if (first < 0) return []
    const state = `${machinesLeft}/${left.join(",")}`
    steps += 1
    if (machinesLeft === 0 || steps > stepsMax || hopeless.has(state) || tooMuch(has, sizes, left, machinesLeft)) return undefined
    // Somebody has to take the first size that is left; every full machine with it is tried.
    for (const filling of fillings(has, sizes, left, first)) {
      const rest = search(left.map((count, at) => count - filling[at]!), machinesLeft - 1)
      if (rest !== undefined) return [filling, ...rest]
      if (steps > stepsMax) return undefined
    }
    hopeless.add(state)
    return undefined
  }
  return search(counts, machines)
}

const tooMuch = (has: Amounts, sizes: ReadonlyArray<Amounts>, left: ReadonlyArray<number>, machines: number): boolean =>
  kinds.some((kind) => left.reduce((sum, count, at) => sum + count * sizes[at]![kind], 0) > has[kind] * machines + 1e-6)

/** Every way to fill one machine from what is left, with one of a size at least, to which nothing that is left can be added. */
function* fillings(has: Amounts, sizes: ReadonlyArray<Amounts>, left: ReadonlyArray<number>, first: number): Generator<ReadonlyArray<number>> {
  const counts = left.map(() => 0)
  const order = [first, ...left.map((_, at) => at).filter((at) => at !== first && left[at]! > 0)]
  function* from(step: number, free: Amounts): Generator<ReadonlyArray<number>> {
    if (step === order.length) {
      if (order.every((at) => counts[at]! >= left[at]! || times(sizes[at]!, free) === 0)) yield [...counts]
      return
    }
    const at = order[step]!
    const size = sizes[at]!
    for (let count = Math.min(left[at]!, times(size, free)); count >= (step === 0 ? 1 : 0); count -= 1) {
      counts[at] = count
      yield* from(step + 1, [free[0] - size[0] * count, free[1] - size[1] * count, free[2] - size[2] * count, free[3] - size[3] * count])
    }
    counts[at] = 0
  }
  yield* from(0, has)
}
