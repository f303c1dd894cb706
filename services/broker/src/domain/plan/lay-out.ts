import { settle } from "./cheapest-first.ts"
import { improve } from "./improve.ts"
import { Layout } from "./layout.ts"
import { kinds, type Problem, type Work } from "./problem.ts"
import type { Written } from "./program.ts"

/**
 * Lays a solver's answer out on whole machines: rounded down, largest work first; then places what rounding, or what the program could not know
 * of machines, left over, and lets go of what nobody needs.
 */
export const layOut = (problem: Problem, written: Written, values: Float64Array): Layout => {
  const layout = new Layout(problem)
  for (const at of written.columns) {
    const machines = [written.kept[at]!, written.fresh[at]!].reduce((sum, variable) => sum + (variable < 0 ? 0 : Math.floor(values[variable]! + 1e-6)), 0)
    for (let count = 0; count < machines; count += 1) layout.open(at)
  }
  // Whatever takes most of a machine, in any respect, first: what is small in every respect fits into what that leaves.
  const ordered = written.items.filter(({ variable }) => values[variable]! > 1e-6)
    .map((item) => ({ ...item, share: shareOf(problem, item.work, item.fit.column) }))
    .sort((a, b) => Number(b.work.whole) - Number(a.work.whole) || b.work.members - a.work.members || b.share - a.share || a.variable - b.variable)
  for (const { fit, variable, work } of ordered) {
    const { gpus } = problem.columns[fit.column]!
    const missing = work.items - layout.placed[work.at]!
    const items = Math.min(work.whole ? Math.floor(values[variable]! + 1e-6) * gpus : Math.floor(values[variable]! + 1e-6), missing)
    if (items > 0) layout.place(work, fit, items, false)
  }
  // What is left over: the large and the choosy first, because they find room least easily.
  const left = problem.works.filter((work) => work.items - layout.placed[work.at]! > 1e-9)
    .sort((a, b) => b.members - a.members || b.needs[0] - a.needs[0] || a.fits.length - b.fits.length || a.at - b.at)
  for (const work of left) settle(layout, work)
  return improve(layout)
}

/** The most that one unit takes of a machine, in any respect. */
const shareOf = ({ columns }: Problem, { needs }: Work, column: number): number =>
  kinds.reduce<number>((most, kind) => Math.max(most, needs[kind] === 0 ? 0 : needs[kind] / columns[column]!.has[kind]), 0)

/** A layout as values of a program's variables: something for the solver to begin from. */
export const valuesOf = (layout: Layout, written: Written): Float64Array => {
  const values = new Float64Array(written.program.cost.length)
  for (const at of written.columns) {
    if (written.kept[at]! >= 0) values[written.kept[at]!] = layout.kept[at]!
    if (written.fresh[at]! >= 0) values[written.fresh[at]!] = layout.fresh[at]!
  }
  for (const { fit, variable, work } of written.items) values[variable] = layout.itemsOn(work, fit.column)
  layout.problem.works.forEach((work) => {
    values[written.unmet[work.at]!] = Math.max(0, work.items - layout.placed[work.at]!)
  })
  return values
}

