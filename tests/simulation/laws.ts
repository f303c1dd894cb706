import { asReadBack, type Checkpoint, foldCommit, hashOf, Journal, memoryJournal, type StreamDecider, verify } from "@millrace/journal"
import { check, factsIn, type History, VirtualTime, type Violation } from "@millrace/sim"
import { Effect, Exit } from "effect"
import { metering } from "../../services/metering/src/domain/metering.ts"
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
  ...rebuilt(run),
  ...counted(run),
  ...leftAlone(run)
]

/** When all is over nothing is held: no host's room, no quota, no money; and on the way there each count is what counting anew comes to. */
const counted = ({ checkpoints, decider, history, stuck }: Run): ReadonlyArray<Violation> => {
  const wrong: Array<Violation> = []
  const conserved = "what is counted is what counting anew comes to"
  const own = checkpoints.filter(({ fold }) => fold === decider.name)
  const end = folded(decider, history, decider.initial(), {}, undefined)
  for (const [where, world] of [...[own[own.length >> 1], own.at(-1)].flatMap((kept) => kept === undefined ? [] : [[JSON.stringify(kept.saw), folded(decider, history, decider.initial(), {}, kept.saw)] as const]), ["the end", end] as const]) {
    const [counts, anew] = [countsIn(world), countsIn(decider.load(structuredClone(decider.save(world)) as never))]
    if (counts !== anew) wrong.push({ law: conserved, detail: `at ${where} there is counted ${counts}, and anew ${anew}` })
  }
  if (stuck.length > 0) return wrong
  const law = "when all is over nothing is held"
  for (const { holds, id } of end.hosts.values()) if (holds.size > 0 && history.gone?.has(id) !== true) wrong.push({ law, detail: `${id} holds ${[...holds.keys()].join(", ")}` })
  for (const [workspace, tasks] of end.index.pieces) wrong.push({ law, detail: `${tasks.size} attempts count against the quota of ${workspace}` })
  for (const name of end.index.ledger.tree.names) for (const [dimension, amount] of end.index.ledger.held(name)) wrong.push({ law, detail: `${name} holds ${amount} ${dimension}` })
  for (const { id, promisedPico } of end.money.slices.values()) if (promisedPico !== 0n) wrong.push({ law, detail: `${promisedPico} of ${id} are promised` })
  return wrong
}

/** What a world counts beside what it knows: of quotas, capacity and urgency. */
const countsIn = ({ index: { capacity, ledger, pieces, urgencies } }: World): string =>
  JSON.stringify([
    [...capacity].sort(),
    ledger.tree.names.map((name) => [name, [...ledger.held(name)].sort()]),
    [...pieces].map(([workspace, tasks]) => [workspace, [...tasks].map(({ current }) => current?.attemptId).sort()]).sort(),
    [...urgencies].map(([workspace, counts]) => [workspace, [...counts].sort()]).sort()
  ])

/** Where there is a seat, and nothing is done to the cell, whoever decides goes on deciding. Two that begin at once may both find it free. */
const leftAlone = ({ calm, contested, history }: Run): ReadonlyArray<Violation> => {
  const takeOvers = calm && contested ? factsIn(history, "SCHEDULER", "SchedulerTookOver").length : 0
  return takeOvers > 2 ? [{ law: "a scheduler that is well is left alone", detail: `it was replaced ${takeOvers - 1} times` }] : []
}

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
