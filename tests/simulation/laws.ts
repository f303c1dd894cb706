import { type Checkpoint, foldCommit, hashOf, Journal, memoryJournal, verify } from "@millrace/journal"
import { check, type History, VirtualTime, type Violation } from "@millrace/sim"
import { Effect, Exit } from "effect"
import { scheduler } from "../../services/scheduler/src/domain/scheduler.ts"
import type { World } from "../../services/scheduler/src/domain/world.ts"
import { comparable } from "../../services/scheduler/src/service.ts"
import type { Run } from "./world.ts"

/** Everything that a run violates: none is what it should be. */
export const breaches = (run: Run): ReadonlyArray<Violation> => [
  ...run.bugs.map((detail) => ({ law: "a process ends only by a fault", detail })),
  ...run.stuck.map((jobId) => ({ law: "when all is healed, every job comes to its end", detail: jobId })),
  ...check(run.history),
  ...replayed(run),
  ...rebuilt(run)
]

/** Every decision follows from what it had seen: made again from the log alone, it is the same. */
const replayed = ({ broker }: Run): ReadonlyArray<Violation> => {
  const law = "the log replays"
  const verdict = new VirtualTime().run(verify(scheduler, { comparable }).pipe(Effect.provideService(Journal, memoryJournal(broker.log))))
  if (Exit.isFailure(verdict)) return [{ law, detail: String(verdict.cause) }]
  return verdict.value.mismatches.slice(0, 3).map((mismatch) => ({ law, detail: JSON.stringify(mismatch).slice(0, 2_000) }))
}

/** A checkpoint is what reading from fact one comes to, and with its tail it leads to the same end. */
const rebuilt = ({ checkpoints, history }: Run): ReadonlyArray<Violation> => {
  const law = "a checkpoint and its tail are what a rebuild is"
  const wrong: Array<Violation> = []
  const all = hashOf(scheduler.save(folded(history, scheduler.initial(), {}, undefined)))
  for (const checkpoint of [checkpoints[0], checkpoints[checkpoints.length >> 1], checkpoints.at(-1)]) {
    if (checkpoint === undefined) continue
    const { saw, state } = checkpoint
    const rebuilt = hashOf(scheduler.save(folded(history, scheduler.initial(), {}, saw)))
    if (rebuilt !== checkpoint.hash) wrong.push({ law, detail: `the one up to ${JSON.stringify(saw)} holds what the log does not` })
    const tail = hashOf(scheduler.save(folded(history, scheduler.load(structuredClone(state) as never), saw, undefined)))
    if (all !== tail) wrong.push({ law, detail: `the one up to ${JSON.stringify(saw)} leads elsewhere` })
  }
  return wrong
}

/** The fold over all that the scheduler hears and says, from behind one cut up to another, or to the end. */
const folded = (history: History, world: World, after: Checkpoint["saw"], upTo: Checkpoint["saw"] | undefined): World => {
  let next = world
  for (const stream of [...scheduler.hears, scheduler.writes]) {
    const commits = history.streams.get(stream) ?? []
    for (const commit of commits.slice(after[stream] ?? 0, upTo === undefined ? undefined : upTo[stream] ?? 0)) next = foldCommit(scheduler, next, commit)
  }
  return next
}
