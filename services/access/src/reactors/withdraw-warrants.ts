import { Journal, readable, type StoredCommit } from "@millrace/journal"
import type { Principal } from "@millrace/schemas"
import { Clock, Effect } from "effect"
import { changesPlacements, emptyPlacements, hearPlacement, nextEnd, type Placed, underBroken, withdrawals } from "../domain/placements.ts"
import { Register } from "./register.ts"

const actor = "service:access" as Principal

/**
 * Ends what runs under a grant that was revoked, rests or is over: tells each host that has such work. It
 * begins with all that the scheduler has said, so what a crash left unsaid is said then; what was said is in
 * the register and is not said again. A placement that was made before the scheduler had heard of a
 * revocation is ended as soon as it is heard of.
 */
export const withdrawWarrants = Effect.scoped(Effect.gen(function*() {
  const journal = yield* Journal
  const { registry, say, taken } = yield* Register
  const placements = emptyPlacements()

  const tell = (placed: ReadonlyArray<Placed>) =>
    Effect.forEach(placed, (one) =>
      say((known, atMs) => {
        const [told] = withdrawals(known, placements.byAttempt.has(one.made.attemptId) ? [one] : [], atMs)
        return told === undefined ? undefined : {
          subject: { kind: "warrant", scope: one.made.hostId },
          actor,
          facts: [{ event: told.fact, partOf: one.partOf, causedBy: told.fact.because }]
        }
      }), { discard: true })
  const sweep = Effect.flatMap(Clock.currentTimeMillis, (atMs) => tell(underBroken(registry, placements, atMs)))
  const hear = (commits: ReadonlyArray<StoredCommit>): ReadonlyArray<Placed> =>
    commits.flatMap((commit) => readable(commit, changesPlacements).facts).flatMap((fact) => hearPlacement(placements, fact) ?? [])

  // What is long over is folded first, so that nobody is told to end what has ended.
  const reader = yield* journal.read("SCHEDULER", { after: 0 })
  const head = yield* journal.head("SCHEDULER")
  let sequence = 0
  while (sequence < head) {
    const commits = yield* reader.take
    hear(commits)
    sequence = commits.at(-1)?.place.sequence ?? sequence
  }
  yield* sweep

  const follow = Effect.forever(Effect.flatMap(reader.take, (commits) => tell(hear(commits))))
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
