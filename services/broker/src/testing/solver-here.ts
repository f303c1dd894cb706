import { Effect } from "effect"
import { solveHere } from "../solver/highs.ts"
import type { Solver } from "../solver/solver.ts"

/** The solver on this thread, and as if it took no time: for worlds whose time is virtual. */
export const solverHere: Solver["Service"] = {
  solve: (ask) => Effect.sync(() => ({ ...solveHere(ask), tookMs: 0 })),
  choose: (choosing) => Effect.sync(() => {
    let step = choosing.next()
    while (step.done !== true) step = choosing.next({ ...solveHere(step.value), tookMs: 0 })
    return step.value
  }),
  thread: Effect.succeed(undefined)
}
