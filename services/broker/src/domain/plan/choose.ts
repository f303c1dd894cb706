import { byWorth, cheapestFirst } from "./cheapest-first.ts"
import { dive } from "./dive.ts"
import { improve } from "./improve.ts"
import type { PlanInputs, Weights } from "./inputs.ts"
import { layOut, valuesOf } from "./lay-out.ts"
import type { Layout } from "./layout.ts"
import { narrow } from "./narrow.ts"
import { brokenRules, withRules } from "./patterns.ts"
import { type Plan, planOf } from "./plan.ts"
import { type Problem, problemOf } from "./problem.ts"
import { type Answer, type Ask, type Program, write, type Written } from "./program.ts"

/** Chooses a plan and asks a solver on the way: pure, so the same answers give the same plan. */
export type Choosing = Generator<Ask, Plan, Answer>

export interface Patience {
  /** How long the solver may take in all. */
  readonly msMax: number
  /** It may stop this close to the best that is possible, as a share. */
  readonly gap: number
  /** Whole machines are looked for among the columns that the linear program uses, and their neighbours: much faster, and rarely worse. */
  readonly few: boolean
}

/** For an answer within a second. */
export const atOnce: Patience = { msMax: 800, gap: 0.002, few: true }
/** For the next interval. */
export const inTime: Patience = { msMax: 12_000, gap: 0.0002, few: false }

/** The greedy plan: no solver, no bound. */
export const chooseGreedily = (inputs: PlanInputs, weights: Weights): Plan => {
  const problem = problemOf(inputs, weights)
  return planOf("greedy", cheapestFirst(problem), undefined)
}

/**
 * A good plan at once. A linear program over the columns that matter gives prices and a first layout; columns that its prices rule out are left
 * away, and a whole-number program over the few others finds the plan. Whatever the solver fails to answer in time, the best layout so far stands.
 */
export function* chooseQuickly(inputs: PlanInputs, weights: Weights, patience: Patience = atOnce): Choosing {
  const problem = problemOf(inputs, weights)
  const first = greedily(problem)
  return yield* search(problem, write(problem, withThoseOf(first, narrow(problem))), first, patience)
}

/**
 * The best plan that can be had until the next interval, with a bound that no plan can be under. Begins from the greedy layout or, where that is
 * better, from an earlier plan's counts.
 */
export function* chooseThoroughly(inputs: PlanInputs, weights: Weights, patience: Patience = inTime): Choosing {
  const problem = problemOf(inputs, weights)
  const greedy = greedily(problem)
  const first = yield* findLayout(problem, write(problem, withThoseOf(greedy, narrow(problem))), greedy, atOnce)
  return yield* search(problem, write(problem), first.layout, patience)
}

/** The better of two orders, without what nobody needs. */
const greedily = (problem: Problem): Layout => {
  const arrived = improve(cheapestFirst(problem))
  // Where everybody found a place that there is, the order hardly matters.
  if (problem.works.every(({ at, items, nowhere }) => nowhere !== undefined || arrived.placed[at]! >= items)) return arrived
  const worthy = improve(cheapestFirst(problem, byWorth(problem)))
  return worthy.cost() < arrived.cost() ? worthy : arrived
}

/** The columns of a layout beside others: a program can begin from it only if it knows all of them. */
const withThoseOf = (layout: Layout, columns: ReadonlySet<number>): ReadonlySet<number> =>
  new Set([...columns, ...[...layout.machines].map(({ column }) => column)])

function* search(problem: Problem, written: Written, first: Layout, patience: Patience): Choosing {
  const { bound, layout, method } = yield* findLayout(problem, written, first, patience)
  // Only over all columns is a bound one that no plan can be under.
  return planOf(method, layout, written.columns.length === problem.columns.length ? bound : undefined)
}

/** In less than this a search over whole numbers hardly begins. */
const searchMsMin = 250

/** How often a program is asked again with the rules that its last answer broke. */
const roundsMax = 6

interface Found {
  readonly layout: Layout
  readonly bound: number | undefined
  readonly method: Plan["method"]
}

function* findLayout(problem: Problem, written: Written, first: Layout, patience: Patience): Generator<Ask, Found, Answer> {
  if (written.items.length === 0) return { layout: first, bound: first.cost(), method: "greedy" }
  let best: Found = { layout: first, bound: undefined, method: "greedy" }
  const offer = (layout: Layout, method: Plan["method"]): void => {
    if (layout.cost() < best.layout.cost() - 1e-9) best = { ...best, layout, method }
  }
  let leftMs = patience.msMax
  const enough = (bound: number): boolean => best.layout.cost() - bound <= patience.gap * costOfMachines(best.layout)

  let { program } = written
  let relaxed: Answer | undefined
  for (let round = 0; round < (patience.few ? 1 : roundsMax) && leftMs > patience.msMax * 0.6; round += 1) {
    const answer: Answer = yield { program, relaxed: true, gap: 0, msMax: leftMs * 0.6 }
    leftMs -= answer.tookMs
    if (answer.status !== "optimal") break
    relaxed = answer
    const rules = brokenRules(problem, written, answer.values)
    if (rules.length === 0) break
    program = withRules(problem, written, program, rules)
  }
  if (relaxed === undefined) return best
  const dived = yield* dive(problem, written, program, relaxed, leftMs * 0.6)
  leftMs -= dived.tookMs
  offer(dived.layout, "linear")
  let bound = relaxed.objective

  for (let round = 0; round < roundsMax && !enough(bound) && leftMs > searchMsMin; round += 1) {
    const gap = best.layout.cost() - relaxed.objective
    const answer: Answer = yield {
      program: without(patience.few ? among(problem, written, program, relaxed.values, best.layout) : program, relaxed.reduced, gap),
      relaxed: false,
      start: valuesOf(best.layout, written),
      gap: patience.gap * (costOfMachines(best.layout) / Math.max(best.layout.cost(), 1e-9)),
      // Some is kept for another round, should the answer break a rule.
      msMax: leftMs * 0.6
    }
    leftMs -= answer.tookMs
    // Over a few columns alone it is no bound for all of them.
    if (!patience.few) bound = Math.max(bound, Math.min(best.layout.cost(), answer.bound))
    if (answer.status === "none") break
    offer(layOut(problem, written, answer.values), "integer")
    const rules = brokenRules(problem, written, answer.values)
    if (rules.length === 0) break
    program = withRules(problem, written, program, rules)
  }
  return { ...best, bound }
}

const costOfMachines = (layout: Layout): number =>
  layout.problem.columns.reduce((sum, { at, freshCost, keptCost }) => sum + layout.kept[at]! * keptCost + layout.fresh[at]! * freshCost, 0)

/**
 * The program without what cannot be part of anything better: a variable that would by itself cost more than what is left to gain is fixed at none.
 * No plan that is better than the best one so far is lost.
 */
const without = (program: Program, reduced: Float64Array, gap: number): Program => ({
  ...program,
  upper: program.upper.map((most, at) => (reduced[at]! > gap + 1e-7 ? program.lower[at]! : most))
})

/** How many columns beside those that the linear program uses each work may look at. */
const neighbours = 3

/** The program over the columns of a solution and of a layout, and for each work the cheapest few others. */
const among = (problem: Problem, written: Written, program: Program, values: Float64Array, layout: Layout): Program => {
  const near = new Set([...layout.machines].map(({ column }) => column))
  for (const at of written.columns) if ([written.kept[at]!, written.fresh[at]!].some((variable) => variable >= 0 && values[variable]! > 1e-6)) near.add(at)
  const used = new Set(near)
  const known = new Set(written.columns)
  for (const work of problem.works) {
    const priceOf = (column: number, perMachine: number): number => problem.columns[column]!.freshCost / Math.max(perMachine, 1e-9)
    work.fits.filter(({ column }) => known.has(column) && !used.has(column)).sort((a, b) => priceOf(a.column, a.perMachine) - priceOf(b.column, b.perMachine) || a.column - b.column)
      .slice(0, neighbours).forEach(({ column }) => near.add(column))
  }
  const upper = Float64Array.from(program.upper)
  for (const at of written.columns) if (!near.has(at)) for (const variable of [written.kept[at]!, written.fresh[at]!]) if (variable >= 0) upper[variable] = 0
  for (const { fit, variable } of written.items) if (!near.has(fit.column)) upper[variable] = 0
  return { ...program, upper }
}
