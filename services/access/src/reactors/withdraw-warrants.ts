import { Checkpoints, Journal, readable, type StoredCommit } from "@millrace/journal"
import type { Principal } from "@millrace/schemas"
import { Clock, Effect } from "effect"
import { changesPlacements, hearPlacement, nextEnd, type Placed, placementsOf, savedPlacements, underBroken, withdrawals } from "../domain/placements.ts"
import { Register } from "./register.ts"

const actor = "service:access" as Principal

/** Rises with whatever is kept of a placement. */
const codeVersion = "1"
const fold = "access.placements"
/**
 * Ends what runs under a grant that was revoked, rests or is over: tells each host that has such work. It
 * begins with all that the scheduler has said, behind a checkpoint where there is one, so what a crash left
 * unsaid is said then; what was said is in the register and is not said again. A placement that was made before the scheduler had heard of a
 * revocation is ended as soon as it is heard of.
 */
export const withdrawWarrants = (checkpointEvery: number) => Effect.scoped(Effect.gen(function*() {
  const journal = yield* Journal
  const { registry, say, taken } = yield* Register
  const { load, save } = yield* Checkpoints
  const kept = yield* load(fold)
  const head = yield* journal.head("SCHEDULER")
  const holds = kept !== undefined && kept.codeVersion === codeVersion && kept.epoch === journal.epoch &&
    (kept.saw["SCHEDULER"] ?? 0) <= head
  const placements = placementsOf(holds ? kept.state as ReadonlyArray<Placed> : [])
  let sequence = holds ? kept.saw["SCHEDULER"] ?? 0 : 0
  let folded = 0

  const tell = (placed: ReadonlyArray<Placed>) =>
    Effect.forEach(placed, (one) =>
      say((known, atMs) => {
        const [told] = withdrawals(known, placements.byAttempt.has(one.attemptId) ? [one] : [], atMs)
        return told === undefined ? undefined : {
          subject: { kind: "warrant", scope: one.hostId },
          actor,
          facts: [{ event: told.fact, partOf: one.partOf, causedBy: told.fact.because }]
        }
      }), { discard: true })
  const sweep = Effect.flatMap(Clock.currentTimeMillis, (atMs) => tell(underBroken(registry, placements, atMs)))
  const hear = (commits: ReadonlyArray<StoredCommit>): ReadonlyArray<Placed> => {
    sequence = commits.at(-1)?.place.sequence ?? sequence
    folded += commits.reduce((sum, { facts }) => sum + facts.length, 0)
    return commits.flatMap((commit) => readable(commit, changesPlacements).facts).flatMap((fact) => hearPlacement(placements, fact) ?? [])
  }
  const checkpoint = Effect.suspend(() => {
    if (folded < checkpointEvery) return Effect.void
    folded = 0
    const state = savedPlacements(placements)
    return save({ fold, codeVersion, epoch: journal.epoch, saw: { SCHEDULER: sequence }, state })
  })

  // What is long over is folded first, so that nobody is told to end what has ended.
  const reader = yield* journal.read("SCHEDULER", { after: sequence })
  while (sequence < head) hear(yield* reader.take)
  yield* sweep
  yield* checkpoint

  // Told first, kept then: what is in a checkpoint was told, or is told by the sweep of the next start.
  const follow = Effect.forever(Effect.flatMap(reader.take, (commits) => Effect.andThen(tell(hear(commits)), checkpoint)))
  const whenTaken = Effect.gen(function*() {
    let since = registry.taken
    yield* sweep
    while (true) {
      since = yield* taken(since)
      yield* sweep
    }
  })
  const whenOver = Effect.forever(Effect.gen(function*() {
    const nowMs = yield* Clock.currentTimeMillis
    const endMs = nextEnd(registry, placements, nowMs)
    yield* Effect.sleep(Math.min(lookMsMax, Math.max(1, (endMs ?? Number.POSITIVE_INFINITY) - nowMs)))
    if (endMs !== undefined) yield* sweep
  }))
  return yield* Effect.raceFirst(follow, Effect.raceFirst(whenTaken, whenOver))
}))

/** How late, at most, a grant's end is noticed under which something was begun meanwhile, in ms. */
const lookMsMax = 1_000
