import { holds, type Layout, type Machine } from "./layout.ts"
import type { Work } from "./problem.ts"

/**
 * Lets go of machines whose work has room elsewhere, and changes machines for cheaper ones that hold the same. Each step costs less than the one
 * before, so it ends; gangs and buffers stay where they are.
 */
export const improve = (layout: Layout): Layout => {
  for (let round = 0; round < 4; round += 1) {
    const before = layout.cost()
    const room = [...layout.machines].reduce((sum, { free }) => sum + free[0], 0)
    for (const machine of dearestFirst(layout)) if (layout.machines.has(machine) && takenOf(layout, machine) <= room) letGo(layout, machine)
    for (const machine of dearestFirst(layout)) if (layout.machines.has(machine)) exchange(layout, machine)
    if (layout.cost() > before - 1e-9) break
  }
  return layout
}

const dearestFirst = (layout: Layout): ReadonlyArray<Machine> => {
  const cost = (machine: Machine) => costOf(layout, machine)
  return [...layout.machines].filter(({ bound, kind }) => kind !== "room" && !bound)
    .sort((a, b) => (b.free[0] + 1) * cost(b) - (a.free[0] + 1) * cost(a) || a.column - b.column)
}

/** GPUs in use, in thousandths. */
const takenOf = ({ problem: { columns } }: Layout, { column, free }: Machine): number => columns[column]!.has[0] - free[0]

const costOf = (layout: Layout, { column, kind }: Machine): number => {
  const { freshCost, keptCost } = layout.problem.columns[column]!
  return kind === "kept" ? keptCost : freshCost
}

/** Moves everything from a machine into room that others have left, if all of it goes and that costs less. */
const letGo = (layout: Layout, machine: Machine): void => {
  const { works } = layout.problem
  const moved: Array<readonly [Machine, Work, number]> = []
  let gain = costOf(layout, machine)
  for (const [at, units] of machine.loads) {
    const work = works[at]!
    let missing = units
    for (const [column, fit] of work.fitOn) {
      if (missing === 0) break
      const dearer = fit.extra - (work.fitOn.get(machine.column)?.extra ?? 0)
      for (const other of layout.on(column)) {
        if (missing === 0) break
        if (other === machine || (other.bound && other.loads.size === 0)) continue
        const put = layout.put(other, work, missing)
        if (put === 0) continue
        moved.push([other, work, put])
        missing -= put
        gain -= dearer * put
      }
    }
    if (missing > 0) {
      gain = -1
      break
    }
  }
  if (gain <= 1e-9) {
    for (const [other, work, units] of moved) layout.take(other, work, units)
    return
  }
  for (const [other, work, units] of moved) layout.moved(work, machine.column, other.column, units)
  layout.close(machine)
}

/** Buys a cheaper machine for exactly what lies on this one. */
const exchange = (layout: Layout, machine: Machine): void => {
  const { columns, works } = layout.problem
  const [first] = machine.loads.keys()
  if (first === undefined) return
  const extra = (column: number): number => {
    let sum = 0
    for (const [at, units] of machine.loads) {
      const fit = works[at]!.fitOn.get(column)
      if (fit === undefined) return Infinity
      sum += fit.extra * units
    }
    return sum
  }
  const now = costOf(layout, machine) + extra(machine.column)
  let best: number | undefined
  let least = now - 1e-9
  for (const column of works[first]!.fitOn.keys()) {
    const price = layout.nextCost(column)
    if (price >= least || column === machine.column || layout.openable(column) === 0) continue
    const cost = price + extra(column)
    if (cost < least && holds(columns[column]!, machine.loads, works)) {
      best = column
      least = cost
    }
  }
  const other = best === undefined ? undefined : layout.open(best)
  if (best === undefined || other === undefined) return
  for (const [at, units] of machine.loads) {
    layout.put(other, works[at]!, units)
    layout.moved(works[at]!, machine.column, best, units)
  }
  layout.close(machine)
}
