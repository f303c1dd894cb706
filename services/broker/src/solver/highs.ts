import highsLoader, { type Highs } from "highs"
import type { Answer, Ask, Program } from "../domain/plan/program.ts"

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

/** Solves a program on the thread that asks, which blocks for as long as it takes. A defect of the solver is thrown. */
export const solveHere = ({ gap, msMax, program, relaxed, start }: Ask): Answer => {
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
