import { Effect } from "effect"
import type { Runtime } from "./runtime.ts"

/** Work that is over when it has begun: what is left of a job is the chain itself. */
export const noop: Runtime = {
  name: "noop",
  start: () => Effect.succeed({ ended: Effect.succeed({ code: 0, output: [] }), stop: Effect.void }),
  endOrphan: () => Effect.void
}
