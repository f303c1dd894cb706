import type { Problem, Work } from "./problem.ts"

/** Whole machines never fit as well as their sum. */
const spare = 1.25

/**
 * The columns that matter at a first look: for each work its cheapest, until they would hold it and all other work that could lie there, too.
 * Exact where no limit binds, because whoever is driven off a column finds the next one among them.
 */
export const narrow = (problem: Problem): ReadonlySet<number> => {
  const suitors: Array<Array<Work>> = problem.columns.map(() => [])
  for (const work of problem.works) for (const { column } of work.fits) suitors[column]!.push(work)
  const chosen = new Set<number>()
  for (const work of problem.works) {
    const gpuWork = work.whole || work.needs[0] > 0
    const sizeOf = (one: Work): number => (one.whole ? one.items : (one.items * one.members * (gpuWork ? one.needs[0] : one.needs[1])) / 1000)
    const priceOf = (column: number, perMachine: number): number => problem.columns[column]!.freshCost / Math.max(perMachine, 1e-9)
    const rivals = new Set<Work>([work])
    let wanted = sizeOf(work)
    let room = 0
    const ranked = work.fits.map((fit) => ({ fit, price: priceOf(fit.column, work.whole ? problem.columns[fit.column]!.gpus : fit.perMachine) + fit.extra }))
      .sort((a, b) => a.price - b.price || a.fit.column - b.fit.column)
    for (const { fit: { column, perMachine } } of ranked) {
      const { gpus, has, idle, rooms, stock } = problem.columns[column]!
      if (room >= wanted * spare && idle === 0 && rooms.length === 0) continue
      chosen.add(column)
      // Of a machine that is short of something else, only what this work can use of it.
      const usable = work.whole ? gpus : (perMachine * work.members * (gpuWork ? work.needs[0] : work.needs[1])) / 1000
      room += (idle + stock) * Math.min(usable, gpuWork ? gpus : has[1] / 1000)
      for (const rival of suitors[column]!) {
        if (rivals.has(rival)) continue
        rivals.add(rival)
        wanted += sizeOf(rival)
      }
    }
  }
  return chosen
}
