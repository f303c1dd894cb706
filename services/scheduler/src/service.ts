import { type Checkpoints, type Commit, Journal, runDecider } from "@millrace/journal"
import { supervise, WarrantSigner } from "@millrace/service"
import type { MillFact, Principal } from "@millrace/schemas"
import { Effect, Layer } from "effect"
import { scheduler } from "./domain/scheduler.ts"
import type { World } from "./domain/world.ts"

/**
 * Everything the scheduler does: it owns the cell's one order, and in it places, withdraws, retries and
 * settles. When another scheduler takes over, this one looks again and waits its turn.
 */
export const SchedulerService: Layer.Layer<never, never, Journal | Checkpoints | WarrantSigner> = Layer.effectDiscard(
  Effect.gen(function*() {
    const signer = yield* WarrantSigner
    yield* Effect.forkScoped(supervise(
      runDecider({
        decider: scheduler,
        takeOver: { subject: { kind: "fleet", scope: "cell" }, fact: tookOver },
        finish: (commit) => signed(commit, signer)
      }),
      { name: "scheduler" }
    ))
  })
)

const tookOver = (world: World): MillFact => ({
  _tag: "SchedulerTookOver",
  term: world.term + 1,
  scheduler: scheduler.actor as Principal,
  codeVersion: scheduler.codeVersion
})

/** Warrants are signed behind the decision, because the key is not in the log and a replay has none. */
const signed = (commit: Commit, signer: WarrantSigner["Service"]): Commit => ({
  ...commit,
  facts: commit.facts.map((fact) =>
    fact.event._tag === "PlacementMade"
      ? { ...fact, event: { ...fact.event, signature: signer.sign(fact.event.warrant) } }
      : fact) as unknown as Commit["facts"]
})

/** What a replay compares: everything but the signature. */
export const comparable = (event: unknown): unknown => ({ ...(event as object), signature: undefined })
