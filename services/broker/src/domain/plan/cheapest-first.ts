import { Layout } from "./layout.ts"
import type { Fit, Problem, Work } from "./problem.ts"

/**
 * The greedy choice: work in the order in which it came; each fills what earlier work left over, then takes the machine that is cheapest for each
 * item it holds. What a program's answer is measured against, and what stands while none has come.
 */
export const cheapestFirst = (problem: Problem, order: ReadonlyArray<Work> = problem.works): Layout => {
  const layout = new Layout(problem)
  for (const work of order) settle(layout, work)
  return layout
}

/** Who is worst left waiting first, for each GPU that it takes: better than the order of arrival where there is not enough for all. */
export const byWorth = ({ works }: Problem): ReadonlyArray<Work> => {
  const worth = ({ members, needs, unmetCost }: Work): number => unmetCost / Math.max(0.001, members * needs[0])
  return works.toSorted((a, b) => worth(b) - worth(a) || a.at - b.at)
}

/** Places what of a work has no place yet: where there is room, then on new machines. What fits nowhere stays unmet. */
export const settle = (layout: Layout, work: Work): void => {
  const missing = (): number => work.items - layout.placed[work.at]!
  if (!work.whole) {
    for (const fit of work.fits) if (missing() > 0 && layout.on(fit.column).size > 0) layout.place(work, fit, missing(), false)
  }
  while (missing() > 1e-9) {
    const fit = cheapest(layout, work, missing())
    if (fit === undefined) return
    const atOnce = work.whole || fit.perMachine < 1 ? 1 : Math.min(missing(), Math.floor(fit.perMachine))
    if (layout.place(work, fit, atOnce, true) === 0) return
  }
}

const cheapest = (layout: Layout, work: Work, missing: number): Fit | undefined => {
  let best: Fit | undefined
  let least = Infinity
  for (const fit of work.fits) {
    const each = priceEach(layout, work, fit, missing)
    if (each < least) {
      best = fit
      least = each
    }
  }
  return best
}

/** What one item costs on a column if a machine is bought for it; a machine counts as full as it will be. */
const priceEach = (layout: Layout, work: Work, fit: Fit, missing: number): number => {
  if (layout.openable(fit.column) === 0) return Infinity
  const price = layout.nextCost(fit.column)
  if (work.whole) return price / Math.min(missing, layout.problem.columns[fit.column]!.gpus)
  if (work.members > 1) {
    const machines = layout.newFor(work, fit)
    if (machines === undefined) return Infinity
    return fit.perMachine >= 1 ? price / Math.min(Math.floor(fit.perMachine), missing) + fit.extra : price * machines + fit.extra
  }
  return fit.perMachine < 1 ? Infinity : price / Math.min(Math.floor(fit.perMachine), missing) + fit.extra
}
