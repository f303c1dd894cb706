import { asReadBack, type Checkpoint, foldCommit, hashOf, Journal, memoryJournal, type StreamDecider, verify } from "@millrace/journal"
import { check, factsIn, type History, VirtualTime, type Violation } from "@millrace/sim"
import { Effect, Exit } from "effect"
import { metering } from "../../services/metering/src/domain/metering.ts"
import { scheduler } from "../../services/scheduler/src/domain/scheduler.ts"
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
const replayed = (run: Run): ReadonlyArray<Violation> => [...replayedBy(scheduler, run), ...replayedBy(metering, run)]

const replayedBy = <State>(decider: StreamDecider<State>, { broker }: Run): ReadonlyArray<Violation> => {
  const law = `the log replays by ${decider.name}`
  const verdict = new VirtualTime().run(verify(decider, { comparable }).pipe(Effect.provideService(Journal, memoryJournal(broker.log))))
  if (Exit.isFailure(verdict)) return [{ law, detail: String(verdict.cause) }]
  return verdict.value.mismatches.slice(0, 3).map((mismatch) => ({ law, detail: wordsOf(mismatch).slice(0, 2_000) }))
}

/** Amounts are no numbers that JSON knows. */
const wordsOf = (value: unknown): string => JSON.stringify(value, (_, held: unknown) => typeof held === "bigint" ? String(held) : held)

/** A checkpoint is what reading from fact one comes to, and with its tail it leads to the same end. */
const rebuilt = (run: Run): ReadonlyArray<Violation> => [...rebuiltBy(scheduler, run), ...rebuiltBy(metering, run)]

const rebuiltBy = <State>(decider: StreamDecider<State>, { checkpoints, history }: Run): ReadonlyArray<Violation> => {
  const law = `a checkpoint of ${decider.name} and its tail are what a rebuild is`
  const wrong: Array<Violation> = []
  const own = checkpoints.filter(({ fold }) => fold === decider.name)
  const all = hashOf(decider.save(folded(decider, history, decider.initial(), {}, undefined)))
  for (const checkpoint of [own[0], own[own.length >> 1], own.at(-1)]) {
    if (checkpoint === undefined) continue
    const { saw } = checkpoint
    const loaded = () => decider.load(asReadBack(checkpoint)!.state as never)
    const rebuilt = hashOf(decider.save(folded(decider, history, decider.initial(), {}, saw)))
    if (rebuilt !== hashOf(decider.save(loaded()))) wrong.push({ law, detail: `the one up to ${JSON.stringify(saw)} holds what the log does not` })
    const tail = hashOf(decider.save(folded(decider, history, loaded(), saw, undefined)))
    if (all !== tail) wrong.push({ law, detail: `the one up to ${JSON.stringify(saw)} leads elsewhere` })
  }
  return wrong
}

/** The fold over all that a decider hears and says, from behind one cut up to another, or to the end. */
const folded = <State>(decider: StreamDecider<State>, history: History, state: State, after: Checkpoint["saw"], upTo: Checkpoint["saw"] | undefined): State => {
  let next = state
  for (const stream of [...decider.hears, decider.writes]) {
    const commits = history.streams.get(stream) ?? []
    for (const commit of commits.slice(after[stream] ?? 0, upTo === undefined ? undefined : upTo[stream] ?? 0)) next = foldCommit(decider, next, commit)
  }
  return next
}
