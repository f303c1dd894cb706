import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fsyncMs, rounded } from "../figures.ts"
import type { Bench } from "../main.ts"
import { floor } from "./floor.ts"
import type { Measured } from "./load.ts"
import { quickRounds, usualRounds } from "./load.ts"
import { ours } from "./ours.ts"

/** Jobs end to end beside the bare chain, in the same run on the same disk. */
export const bench = ({ quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const rounds = quick ? quickRounds : usualRounds
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    say("floor: three processes, raw publisher, empty deciders")
    const bare = yield* Effect.scoped(floor(join(folder, "floor"), rounds, say))
    say("ours: gateway, scheduler, access and host as processes")
    const whole = yield* Effect.scoped(ours(join(folder, "ours"), rounds, say))
    return {
      floor: flat(bare),
      ours: flat(whole),
      ratio: rounded(whole.jobsPerS / bare.jobsPerS),
      factsPerJob: whole.factsPerJob,
      messagesPerJob: whole.messagesPerJob,
      fsyncMs: fsyncMs(folder),
      every10Ms: { floor: bare.every10Ms, ours: whole.every10Ms }
    }
  })

const flat = ({ jobsPerS, oneInFlight }: Measured) => ({ ...oneInFlight, jobsPerS })
