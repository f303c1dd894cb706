import { settle } from "./cheapest-first.ts"
import { improve } from "./improve.ts"
import { Layout } from "./layout.ts"
import { pack } from "./pack.ts"
import { kinds, type Problem, type Work } from "./problem.ts"
import type { Written } from "./program.ts"

/** More machines of one column are packed first-fit: there the odd one out weighs little. */
const packedMax = 24

/**
 * Lays a solver's answer out on whole machines: rounded down, largest work first; then places what rounding, or what the program could not know
 * of machines, left over, and lets go of what nobody needs.
 */
export const layOut = (problem: Problem, written: Written, values: Float64Array): Layout => {
  const layout = new Layout(problem)
  for (const at of written.columns) {
    const machines = [written.kept[at]!, written.fresh[at]!].reduce((sum, variable) => sum + (variable < 0 ? 0 : countOf(values, variable)), 0)
    for (let count = 0; count < machines; count += 1) layout.open(at)
  }
  // Whatever takes most of a machine, in any respect, first: what is small in every respect fits into what that leaves.
  const ordered = written.items.filter(({ variable }) => values[variable]! > 1e-6)
    .map((item) => ({ ...item, share: shareOf(problem, item.work, item.fit.column) }))
    .sort((a, b) => Number(b.work.whole) - Number(a.work.whole) || b.work.members - a.work.members || b.share - a.share || a.variable - b.variable)
  const packed = new Set<number>()
  for (const [column, items] of Map.groupBy(ordered, ({ fit }) => fit.column)) if (packExactly(layout, column, items, values)) packed.add(column)
  for (const { fit, variable, work } of ordered) {
    if (packed.has(fit.column)) continue
    const { gpus } = problem.columns[fit.column]!
    const missing = work.items - layout.placed[work.at]!
    const items = Math.min(countOf(values, variable) * (work.whole ? gpus : 1), missing)
    if (items > 0) layout.place(work, fit, items, false)
  }
  // What is left over: the large and the choosy first, because they find room least easily.
  const left = problem.works.filter((work) => work.items - layout.placed[work.at]! > 1e-9)
    .sort((a, b) => b.members - a.members || b.needs[0] - a.needs[0] || a.fits.length - b.fits.length || a.at - b.at)
  for (const work of left) settle(layout, work)
  return improve(layout)
}

const countOf = (values: Float64Array, variable: number): number => Math.floor(values[variable]! + 1e-6)

/** Lays all items of a column onto its machines at once, where they are few enough to find out how; whether it did. */
const packExactly = (layout: Layout, column: number, items: ReadonlyArray<Written["items"][number]>, values: Float64Array): boolean => {
  const { has, rooms } = layout.problem.columns[column]!
  const machines = [...layout.on(column)]
  const there = items.map((item) => ({ ...item, count: Math.min(countOf(values, item.variable), item.work.items - layout.placed[item.work.at]!) })).filter(({ count }) => count > 0)
  if (rooms.length > 0 || machines.length > packedMax || there.length < 2 || there.some(({ fit, work }) => work.whole || fit.together)) return false
  const fillings = pack(has, there.map(({ work }) => work.needs), there.map(({ count, work }) => count * work.members), machines.length)
  if (fillings === undefined) return false
  fillings.forEach((filling, at) => filling.forEach((units, which) => {
    const { work } = there[which]!
    if (units > 0) layout.put(machines[at]!, work, units)
    if (units > 0 && work.members > 1) machines[at]!.bound = true
  }))
  for (const { count, fit, work } of there) layout.settled(work, fit, count)
  return true
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

