import { parentPort } from "node:worker_threads"
import type { Ask, Program } from "../domain/plan/program.ts"
import { solveHere } from "./highs.ts"

/**
 * The thread in which programs are solved: the call blocks for as long as it takes, and a defect in the solver ends this thread and nothing else.
 * One ask at a time; each is answered by its number.
 */

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
  for (let round = 0; round < 3; round += 1) solveHere({ program, relaxed: true, gap: 0, msMax: 300 })
  solveHere({ program, relaxed: false, gap: 0, msMax: 300 })
}

parentPort?.on("message", ({ ask, number }: { readonly ask: Ask; readonly number: number }) => {
  try {
    parentPort?.postMessage({ number, answer: solveHere(ask) })
  } catch (error) {
    parentPort?.postMessage({ number, failed: error instanceof Error ? error.message : String(error) })
  }
})
warmUp()
parentPort?.postMessage({ ready: true })
