import { type Amounts, type Fit, kinds, type Problem, times, type Work } from "./problem.ts"
import type { Program, Written } from "./program.ts"

/**
 * A rule of one shape of machine: weights such that whatever lies on one machine weighs one at most. The rows of a program add up what many
 * machines have; a rule knows that a unit which needs the last memory of one machine cannot use the free GPU of the next.
 */
export interface Rule {
  readonly shape: string
  readonly weights: ReadonlyMap<number, number>
}

/** Past so many patterns of one machine no rule is looked for. */
const patternsMax = 2_000
const worksMax = 10

/** Rules that a program's solution breaks, each once: found from the patterns in which a machine can be filled. */
export const brokenRules = (problem: Problem, written: Written, values: Float64Array): ReadonlyArray<Rule> => {
  const rules: Array<Rule> = []
  const known = new Set<string>()
  for (const [column, items] of itemsByColumn(written)) {
    const there = items.filter(({ variable }) => values[variable]! > 1e-6)
    if (there.length < 2 || there.length > worksMax || there.some(({ work }) => work.whole)) continue
    const machines = machinesOn(problem, written, values, column)
    const sizes = there.map(({ fit, work }) => sizeOf(work, fit))
    const counts = there.map(({ fit, variable, work }) => values[variable]! * unitsOf(work, fit))
    const patterns = patternsOf(problem.columns[column]!.has, sizes)
    if (patterns === undefined) continue
    const weights = heaviest(patterns, counts)
    const weight = weights.reduce((sum, each, at) => sum + each * counts[at]!, 0)
    if (weight <= machines + Math.max(1e-4, machines * 1e-5)) continue
    const rule: Rule = { shape: shapeOf(problem, column), weights: new Map(there.map(({ work }, at) => [work.at, weights[at]!] as const).filter(([, each]) => each > 1e-9)) }
    const name = `${rule.shape} ${[...rule.weights].map(([work, each]) => `${work}:${each.toFixed(6)}`).join(" ")}`
    if (!known.has(name)) rules.push(rule)
    known.add(name)
  }
  return rules
}

/** The program with rules as rows, on every column of a rule's shape. */
export const withRules = (problem: Problem, written: Written, program: Program, rules: ReadonlyArray<Rule>): Program => {
  if (rules.length === 0) return program
  const starts = [...program.starts]
  const indices = [...program.indices]
  const values = [...program.values]
  const rowLower = [...program.rowLower]
  const rowUpper = [...program.rowUpper]
  const byShape = Map.groupBy(rules, ({ shape }) => shape)
  for (const [column, items] of itemsByColumn(written)) {
    for (const { weights } of byShape.get(shapeOf(problem, column)) ?? []) {
      const terms = items.filter(({ work }) => weights.has(work.at))
      if (terms.length < 2 && weights.size > 1) continue
      for (const { fit, variable, work } of terms) {
        indices.push(variable)
        values.push(weights.get(work.at)! * unitsOf(work, fit))
      }
      for (const variable of [written.kept[column]!, written.fresh[column]!]) {
        if (variable < 0) continue
        indices.push(variable)
        values.push(-1)
      }
      starts.push(indices.length)
      rowLower.push(-Infinity)
      // Whatever lies in what is left of a machine could lie on an empty one.
      rowUpper.push(problem.columns[column]!.rooms.length)
    }
  }
  return {
    ...program, starts: Int32Array.from(starts), indices: Int32Array.from(indices), values: Float64Array.from(values),
    rowLower: Float64Array.from(rowLower), rowUpper: Float64Array.from(rowUpper)
  }
}

type Item = Written["items"][number]

const itemsByColumn = (written: Written): ReadonlyMap<number, ReadonlyArray<Item>> => Map.groupBy(written.items, ({ fit }) => fit.column)

/** Two columns of one shape can be filled in the same ways; a gang that nothing joins lies on one machine as a whole. */
const shapeOf = (problem: Problem, at: number): string => `${problem.columns[at]!.has.join("/")}${problem.columns[at]!.from.fabric ? " joined" : ""}`

const unitsOf = (work: Work, fit: Fit): number => (fit.together ? 1 : work.members)

const sizeOf = ({ members, needs }: Work, { together }: Fit): Amounts => (together ? [needs[0] * members, needs[1] * members, needs[2] * members, needs[3] * members] : needs)

const machinesOn = (problem: Problem, { fresh, kept }: Written, values: Float64Array, at: number): number =>
  [kept[at]!, fresh[at]!].reduce((sum, variable) => sum + (variable < 0 ? 0 : values[variable]!), problem.columns[at]!.rooms.length)

/** Every way to fill a machine to which nothing can be added. Undefined: too many. */
const patternsOf = (has: Amounts, sizes: ReadonlyArray<Amounts>): ReadonlyArray<ReadonlyArray<number>> | undefined => {
  const found: Array<ReadonlyArray<number>> = []
  let steps = 0
  const fill = (at: number, free: Amounts, counts: ReadonlyArray<number>): boolean => {
    steps += 1
    if (steps > patternsMax * 4 || found.length > patternsMax) return false
    const size = sizes[at]!
    const most = times(size, free)
    if (at === sizes.length - 1) {
      const whole = [...counts, most]
      const left = less(free, size, most)
      if (sizes.every((other, before) => before === at || times(other, left) === 0)) found.push(whole)
      return true
    }
    for (let count = most; count >= 0; count -= 1) if (!fill(at + 1, less(free, size, count), [...counts, count])) return false
    return true
  }
  return fill(0, has, []) ? found : undefined
}

const less = (free: Amounts, size: Amounts, count: number): Amounts => {
  const left: [number, number, number, number] = [...free]
  for (const kind of kinds) left[kind] -= size[kind] * count
  return left
}

/**
 * The weights that make the given counts heaviest while no pattern weighs more than one: a small linear program, max counts·w with patterns·w ≤ 1
 * and w ≥ 0, by the simplex method with Bland's rule, which cannot go round in circles.
 */
export const heaviest = (patterns: ReadonlyArray<ReadonlyArray<number>>, counts: ReadonlyArray<number>): ReadonlyArray<number> => {
  const wide = counts.length
  const rows = patterns.map((pattern) => Float64Array.from([...pattern, 1]))
  const top = Float64Array.from([...counts.map((count) => -count), 0])
  const basis = patterns.map((_, at) => wide + at)
  // Columns of the variables outside of the basis alone are kept: one leaves where another enters.
  const outside = counts.map((_, at) => at)
  for (let step = 0; step < 500; step += 1) {
    let enter = -1
    for (let at = 0; at < wide; at += 1) if (top[at]! < -1e-9 && (enter < 0 || outside[at]! < outside[enter]!)) enter = at
    if (enter < 0) break
    let leave = -1
    for (let row = 0; row < rows.length; row += 1) {
      if (rows[row]![enter]! <= 1e-9) continue
      const ratio = rows[row]![wide]! / rows[row]![enter]!
      const least = leave < 0 ? Infinity : rows[leave]![wide]! / rows[leave]![enter]!
      if (ratio < least - 1e-12 || (Math.abs(ratio - least) <= 1e-12 && basis[row]! < basis[leave]!)) leave = row
    }
    if (leave < 0) break
    pivot(rows, top, leave, enter)
    const left = basis[leave]!
    basis[leave] = outside[enter]!
    outside[enter] = left
  }
  const weights = new Array<number>(wide).fill(0)
  basis.forEach((variable, row) => {
    if (variable < wide) weights[variable] = Math.max(0, rows[row]![wide]!)
  })
  return weights
}

const pivot = (rows: ReadonlyArray<Float64Array>, top: Float64Array, leave: number, enter: number): void => {
  const own = rows[leave]!
  const by = 1 / own[enter]!
  for (let at = 0; at < own.length; at += 1) own[at]! *= by
  own[enter] = by
  for (const row of [...rows, top]) {
    if (row === own) continue
    const factor = row[enter]!
    if (factor === 0) continue
    for (let at = 0; at < row.length; at += 1) row[at]! -= factor * own[at]!
    row[enter] = -factor * by
  }
}
