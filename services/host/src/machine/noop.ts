import { Effect, Option } from "effect"
import type { Runtime } from "./runtime.ts"

/** Work that is over when it has begun: what is left of a job is the chain itself. */
export const noop: Runtime = {
  name: "noop",
  start: () => Effect.succeed({ ended: Effect.succeed({ code: 0, output: [] }), extend: () => Effect.void, stop: Effect.void, release: Effect.void }),
  adopt: () => Effect.succeed(Option.none()),
  endOrphan: () => Effect.void
}
