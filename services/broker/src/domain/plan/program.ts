import { type Fit, kinds, type Problem, type Work } from "./problem.ts"

/** A linear program with some variables whole, in the arrays that a solver takes: rows one after the other. */
export interface Program {
  readonly cost: Float64Array
  readonly lower: Float64Array
  readonly upper: Float64Array
  readonly whole: Uint8Array
  readonly rowLower: Float64Array
  readonly rowUpper: Float64Array
  readonly starts: Int32Array
  readonly indices: Int32Array
  readonly values: Float64Array
}

/** What a solver is asked. */
export interface Ask {
  readonly program: Program
  /** As if nothing had to be whole: its optimum is a bound for whatever is whole. */
  readonly relaxed: boolean
  /** A solution to begin from. */
  readonly start?: Float64Array
  /** It may stop this close to the best that is possible, as a share. */
  readonly gap: number
  readonly msMax: number
}

/** What a solver answers. `none`: it found nothing in time, or there is nothing. */
export interface Answer {
  readonly status: "optimal" | "in_time" | "none"
  readonly values: Float64Array
  /** Of a relaxed program: how much dearer it would get by one more of each variable. */
  readonly reduced: Float64Array
  readonly objective: number
  /** No solution is cheaper. */
  readonly bound: number
  readonly tookMs: number
}

/** The program of a problem over some of its columns, and what its variables stand for. */
export interface Written {
  readonly program: Program
  readonly columns: ReadonlyArray<number>
  /** Variables of kept and of fresh machines, by column; -1 where there is none. */
  readonly kept: Int32Array
  readonly fresh: Int32Array
  /** Variables of items, beside the work and its fit. */
  readonly items: ReadonlyArray<{ readonly work: Work; readonly fit: Fit; readonly variable: number }>
  readonly unmet: ReadonlyArray<number>
}

class Rows {
  readonly lower: Array<number> = []
  readonly upper: Array<number> = []
  readonly starts: Array<number> = [0]
  readonly indices: Array<number> = []
  readonly values: Array<number> = []

  add(terms: ReadonlyArray<readonly [number, number]>, lower: number, upper: number): void {
    if (terms.length === 0) return
    for (const [index, value] of terms) {
      this.indices.push(index)
      this.values.push(value)
    }
    this.starts.push(this.indices.length)
    this.lower.push(lower)
    this.upper.push(upper)
  }
}

/**
 * min  Σ price·machines + Σ extra·items + Σ penalty·unmet
 *  s.t. items + unmet ≥ wanted, for each work;
 *       shares of items ≤ machines + rooms, for each column and each resource that some work is short of;
 *       items ≤ what fits on a machine · machines, where whole devices leave something over;
 *       machines ≤ limit, for quotas, shares and caps; machines ≤ stock, kept ≤ idle.
 *
 * Every true plan satisfies it, so its optimum is a bound; what satisfies it can nearly always be laid out on machines, and `layOut` sees to the rest.
 */
export const write = (problem: Problem, chosen?: ReadonlySet<number>): Written => {
  const cost: Array<number> = []
  const upper: Array<number> = []
  const whole: Array<number> = []
  const variable = (price: number, most: number, isWhole: boolean): number => {
    cost.push(price)
    upper.push(most)
    whole.push(isWhole ? 1 : 0)
    return cost.length - 1
  }
  const kept = new Int32Array(problem.columns.length).fill(-1)
  const fresh = new Int32Array(problem.columns.length).fill(-1)
  const columns = problem.columns.filter(({ at }) => chosen === undefined || chosen.has(at)).map(({ at }) => at)
  const here = new Uint8Array(problem.columns.length)
  for (const at of columns) {
    const column = problem.columns[at]!
    here[at] = 1
    if (column.idle > 0) kept[at] = variable(column.keptCost, column.idle, true)
    if (column.stock > 0) fresh[at] = variable(column.freshCost, column.stock, true)
  }
  const items: Array<{ work: Work; fit: Fit; variable: number }> = []
  const byColumn: Array<Array<{ work: Work; fit: Fit; variable: number }>> = problem.columns.map(() => [])
  for (const work of problem.works) {
    for (const fit of work.fits) {
      if (here[fit.column] === 0) continue
      // Single GPUs that need nothing else come out whole by themselves once the machines are.
      const isWhole = work.members > 1 || work.whole || work.needs[0] !== 1000 || work.needs[1] > 0 || work.needs[2] > 0 || work.needs[3] > 0
      const one = { work, fit, variable: variable(fit.extra, work.whole ? fit.most : Math.min(fit.most, work.items), isWhole) }
      items.push(one)
      byColumn[fit.column]!.push(one)
    }
  }
  const unmet = problem.works.map((work) => variable(work.unmetCost, work.items, work.members > 1))
  const rows = new Rows()
  const byWork: Array<Array<readonly [number, number]>> = problem.works.map(({ at }) => [[unmet[at]!, 1]])
  for (const { fit, variable: item, work } of items) byWork[work.at]!.push([item, work.whole ? problem.columns[fit.column]!.gpus : 1])
  for (const work of problem.works) rows.add(byWork[work.at]!, work.items, Infinity)
  for (const at of columns) writeRoom(problem, at, byColumn[at]!, machinesOf(kept, fresh, at), rows)
  for (const { columns: bound, most, weight } of problem.limits) {
    rows.add(bound.flatMap((at) => machinesOf(kept, fresh, at).map((one) => [one, weight(problem.columns[at]!)] as const)), -Infinity, most)
  }
  return {
    program: {
      cost: Float64Array.from(cost),
      lower: new Float64Array(cost.length),
      upper: Float64Array.from(upper),
      whole: Uint8Array.from(whole),
      rowLower: Float64Array.from(rows.lower),
      rowUpper: Float64Array.from(rows.upper),
      starts: Int32Array.from(rows.starts),
      indices: Int32Array.from(rows.indices),
      values: Float64Array.from(rows.values)
    },
    columns, kept, fresh, items, unmet
  }
}

const machinesOf = (kept: Int32Array, fresh: Int32Array, at: number): ReadonlyArray<number> => [kept[at]!, fresh[at]!].filter((one) => one >= 0)

/** What the items of one column take of its machines. */
const writeRoom = (problem: Problem, at: number, items: ReadonlyArray<{ work: Work; fit: Fit; variable: number }>, machines: ReadonlyArray<number>, rows: Rows): void => {
  if (items.length === 0) return
  const { has, rooms } = problem.columns[at]!
  /** Of one unit; an item of a gang has several. */
  const shareOf = ({ needs, whole }: Work, kind: number): number => (whole ? 1 : has[kind]! === 0 ? 0 : needs[kind]! / has[kind]!)
  const less = machines.map((one) => [one, -1] as const)
  const term = (work: Work, variable: number, share: number) => [variable, share * work.members] as const
  // CPU, memory and disk bind only where some work takes more of them than of the GPUs; the row of GPUs says the rest.
  const bound = kinds.filter((kind) => items.some(({ work }) => shareOf(work, kind) > (kind === 0 ? 0 : shareOf(work, 0)) + 1e-9))
  for (const kind of bound) {
    const room = has[kind] === 0 ? 0 : rooms.reduce((sum, free) => sum + free[kind], 0) / has[kind]
    rows.add([...items.map(({ variable, work }) => term(work, variable, shareOf(work, kind))).filter(([, share]) => share > 0), ...less], -Infinity, room)
    for (const parts of partsOf(items.map(({ work }) => shareOf(work, kind)))) {
      rows.add([...items.map(({ variable, work }) => term(work, variable, inParts(shareOf(work, kind), parts))).filter(([, share]) => share > 0), ...less], -Infinity, rooms.length)
    }
  }
}

/**
 * What a share of a machine counts for when a machine is thought of in so many parts: whatever lies on one machine still counts for one at most
 * (the dual feasible function u(k) of Fekete and Schepers). With it two units that each take more than half of a machine never share one.
 */
const inParts = (share: number, parts: number): number => {
  const scaled = share * (parts + 1)
  return Math.abs(scaled - Math.round(scaled)) < 1e-9 ? share : Math.floor(scaled) / parts
}

/** In how many parts it is worth to think of a machine: as many as units of some size fit on it, where they leave something over. */
const partsOf = (shares: ReadonlyArray<number>): ReadonlyArray<number> =>
  [...new Set(shares.flatMap((share) => {
    const fitting = share <= 1e-9 ? 0 : Math.floor(1 / share + 1e-9)
    return fitting === 0 || fitting > 64 || share * fitting > 1 - 1e-9 ? [] : [fitting]
  }))]
