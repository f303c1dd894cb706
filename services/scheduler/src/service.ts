import { type Checkpoints, type Commit, type Journal, runDecider, type RunOptions } from "@millrace/journal"
import { WarrantSigner, worker } from "@millrace/service"
import type { MillFact, Principal } from "@millrace/schemas"
import { Effect, Layer } from "effect"
import { scheduler } from "./domain/scheduler.ts"
import type { World } from "./domain/world.ts"

/** How the scheduler runs, where that may differ: what it decides never does. */
export type Pace = Partial<Pick<RunOptions<World>, "decider" | "checkpointEvery" | "windowMax" | "watch">>

/** The scheduler at another pace than the usual one, for simulations and benches. */
export const schedulerService = (pace: Pace = {}): Layer.Layer<never, never, Journal | Checkpoints | WarrantSigner> =>
  Layer.unwrap(Effect.map(WarrantSigner, (signer) =>
    worker(
      runDecider({
        decider: scheduler,
        ...pace,
        takeOver: { subject: { kind: "fleet", scope: "cell" }, fact: tookOver },
        finish: (commit) => signed(commit, signer)
      }),
      { name: "scheduler" }
    )))

/**
 * Everything the scheduler does: it owns the cell's one order, and in it places, withdraws, retries and
 * settles. When another scheduler takes over, this one can append nothing more; it begins anew after a pause
 * that grows up to ten seconds, and then takes over in turn. Two that live are safe and wasteful: run one,
 * and let whatever supervises processes start the next. A bug in it ends the process, so that nobody waits
 * for a scheduler that is there and decides nothing.
 */
export const SchedulerService: Layer.Layer<never, never, Journal | Checkpoints | WarrantSigner> = schedulerService()

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
