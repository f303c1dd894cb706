import type { Layout } from "./layout.ts"
import { layOut } from "./lay-out.ts"
import { brokenRules, withRules } from "./patterns.ts"
import type { Problem } from "./problem.ts"
import type { Answer, Ask, Program, Written } from "./program.ts"

/** How many programs one dive may ask. */
const stepsMax = 10
/** Of what is left broken, so much is made whole in one step. */
const atOnce = 0.4

export interface Dived {
  readonly layout: Layout
  readonly tookMs: number
}

/**
 * Makes machines whole a few at a time: what is nearly whole is rounded, the rest is asked again with that fixed, and so can still make up for it.
 * Rounding all at once cannot. A step costs one linear program, so a dive ends when a search over whole numbers has hardly begun.
 */
export function* dive(problem: Problem, written: Written, asked: Program, relaxed: Answer, msMax: number): Generator<Ask, Dived, Answer> {
  let best = layOut(problem, written, relaxed.values)
  let { values } = relaxed
  let program = asked
  let tookMs = 0
  const lower = Float64Array.from(program.lower)
  const upper = Float64Array.from(program.upper)
  const machines = written.columns.flatMap((at) => [written.kept[at]!, written.fresh[at]!].filter((variable) => variable >= 0))
  // A gang is there or it is not, and so is a machine.
  const wholes = [...machines, ...written.items.filter(({ work }) => work.members > 1).map(({ variable }) => variable)]
  const look = (): void => {
    const layout = layOut(problem, written, values)
    if (layout.cost() < best.cost()) best = layout
  }
  for (let step = 0; step < stepsMax && tookMs < msMax; step += 1) {
    const broken = wholes.filter((variable) => lower[variable]! < upper[variable]! && Math.abs(values[variable]! - Math.round(values[variable]!)) > 1e-6)
    if (broken.length === 0) break
    const up = broken.map((variable) => ({ variable, part: values[variable]! - Math.floor(values[variable]!) })).sort((a, b) => b.part - a.part || a.variable - b.variable)
    up.slice(0, Math.max(1, Math.ceil(up.length * atOnce))).forEach(({ variable, part }) => {
      if (part < 0.3) upper[variable] = Math.floor(values[variable]!)
      else lower[variable] = Math.min(upper[variable]!, Math.ceil(values[variable]!))
    })
    up.filter(({ part }) => part < 0.1).forEach(({ variable }) => {
      upper[variable] = Math.floor(values[variable]!)
    })
    const answer: Answer = yield { program: { ...program, lower: Float64Array.from(lower), upper: Float64Array.from(upper) }, relaxed: true, gap: 0, msMax: Math.max(20, msMax - tookMs) }
    tookMs += answer.tookMs
    if (answer.status !== "optimal") break
    ;({ values } = answer)
    // A rule that this answer breaks holds from the next step on: it costs no step of its own.
    program = withRules(problem, written, program, brokenRules(problem, written, values))
    if (step % 2 === 1) look()
  }
  look()
  return { layout: best, tookMs }
}
