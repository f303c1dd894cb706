import { deriveId } from "@millrace/decider"
import type { Commit } from "@millrace/journal"
import type { AttemptExited, AttemptStarted, FactId, MillFact, PlacementMade, Principal } from "@millrace/schemas"
import { exited, subjectOf } from "../../../../services/scheduler/src/testing/cell.ts"

export { admitted, host, joined, needs, submitted } from "../../../../services/scheduler/src/testing/cell.ts"

/** What a host says of one placement: that it runs, and that it is over. */
export const startOf = (made: PlacementMade): AttemptStarted => {
  const { attempt, attemptId, fence, hostId, jobId, workspace } = made
  return { _tag: "AttemptStarted", attempt, attemptId, fence, hostId, jobId, workspace, bootId: "boot", hostMs: 1 }
}
export const endOf = (made: PlacementMade): AttemptExited => exited(made)

/** These facts as one commit, on the subject that the first belongs to. */
export const commitOf = (...events: readonly [MillFact, ...ReadonlyArray<MillFact>]): Commit => {
  const atMs = Date.now()
  const [first] = events
  const idOf = (event: MillFact, ordinal: number) => deriveId<FactId>("fct", atMs, JSON.stringify(event), ordinal)
  const partOf = idOf(first, 0)
  return {
    subject: subjectOf(first),
    actor: "user:ada" as Principal,
    happenedAtMs: atMs,
    facts: events.map((event, ordinal) => ({ id: idOf(event, ordinal), partOf, event })) as unknown as Commit["facts"]
  }
}
