import highsLoader, { type Highs } from "highs"
import { parentPort } from "node:worker_threads"
import type { Answer, Ask, Program } from "../domain/plan/program.ts"

/**
 * The thread in which programs are solved: the call blocks for as long as it takes, and a defect in the solver ends this thread and nothing else.
 * One ask at a time; each is answered by its number.
 */
// Its types speak of a CommonJS module; what Node imports is the ES module beside it.
const load = highsLoader as unknown as typeof highsLoader.default
const highs: Highs = await load()

const modelOf = ({ cost, indices, lower, rowLower, rowUpper, starts, upper, values, whole }: Program, relaxed: boolean) => ({
  numCols: cost.length,
  numRows: rowLower.length,
  colCost: cost,
  colLower: lower,
  colUpper: upper,
  rowLower,
  rowUpper,
  matrix: { format: "csr" as const, numRows: rowLower.length, numCols: cost.length, starts, indices, values },
  ...(relaxed ? {} : { integrality: Int32Array.from(whole) })
})

const solve = ({ gap, msMax, program, relaxed, start }: Ask): Answer => {
  const beganMs = performance.now()
  const model = highs.createModel()
  try {
    model.options.set({ output_flag: false, time_limit: Math.max(0.01, msMax / 1000), mip_rel_gap: gap, random_seed: 1 })
    model.passModel(modelOf(program, relaxed))
    if (start !== undefined) model.setSolution({ colValue: start })
    model.run()
    const { modelStatus } = highs.constants
    const status = model.getModelStatus()
    const found = model.info.get("primal_solution_status") === highs.constants.solutionStatus.feasible
    const { colDual, colValue } = model.getSolution()
    const objective = model.getObjectiveValue()
    const optimal = status === modelStatus.optimal
    return {
      status: optimal ? "optimal" : found && !relaxed ? "in_time" : "none",
      values: colValue,
      reduced: relaxed ? colDual : new Float64Array(),
      objective,
      bound: relaxed ? (optimal ? objective : -Infinity) : Number(model.info.get("mip_dual_bound")),
      tookMs: performance.now() - beganMs
    }
  } finally {
    model.dispose()
  }
}

/** A first program of a usual size, so that what a solver is made of is compiled before somebody waits for it. */
const warmUp = (): void => {
  const wide = 800
  const rows = 300
  const terms = 6
  const each = (of: (at: number) => number): Float64Array => Float64Array.from({ length: wide }, (_, at) => of(at))
  const program: Program = {
    cost: each((at) => 1 + ((at * 7919) % 101) / 10), lower: each(() => 0), upper: each(() => 5), whole: new Uint8Array(wide).fill(1),
    rowLower: Float64Array.from({ length: rows }, (_, row) => 3.5 + (row % 5)), rowUpper: new Float64Array(rows).fill(Infinity),
    starts: Int32Array.from({ length: rows + 1 }, (_, row) => row * terms),
    indices: Int32Array.from({ length: rows * terms }, (_, at) => (Math.floor(at / terms) * 37 + (at % terms) * 131) % wide),
    values: Float64Array.from({ length: rows * terms }, (_, at) => 1 + (at % 3))
  }
  for (let round = 0; round < 3; round += 1) solve({ program, relaxed: true, gap: 0, msMax: 300 })
  solve({ program, relaxed: false, gap: 0, msMax: 300 })
}

parentPort?.on("message", ({ ask, number }: { readonly ask: Ask; readonly number: number }) => {
  try {
    parentPort?.postMessage({ number, answer: solve(ask) })
  } catch (error) {
    parentPort?.postMessage({ number, failed: error instanceof Error ? error.message : String(error) })
  }
})
warmUp()
parentPort?.postMessage({ ready: true })
