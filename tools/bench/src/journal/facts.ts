import { deriveId } from "@millrace/decider"
import type { Commit } from "@millrace/journal"
import type { AttemptExited, AttemptStarted, FactId, HostJoined, MillFact, PlacementMade, Principal } from "@millrace/schemas"
import { exited, joined, subjectOf } from "../../../../services/scheduler/src/testing/cell.ts"

export { admitted, host, joined, needs, submitted } from "../../../../services/scheduler/src/testing/cell.ts"

/** What a host says of one placement: that it runs, and that it is over. */
export const startOf = (made: PlacementMade): AttemptStarted => {
  const { attempt, attemptId, fence, hostId, jobId, workspace } = made
  return { _tag: "AttemptStarted", attempt, attemptId, fence, hostId, jobId, workspace, bootId: "boot", hostMs: 1 }
}
export const endOf = (made: PlacementMade): AttemptExited => exited(made)

/** A machine of 192 cores, a TiB and 8 GPUs, of two models in turn. */
export const gpuMachine = (name: string, number: number): HostJoined => ({
  ...(joined(name) as HostJoined),
  dialect: 3,
  capabilities: {
    resources: { cpuMilli: 192_000, memoryMib: 1_024 * 1_024, diskMib: 0, gpus: 8 },
    gpus: Array.from({ length: 8 }, (_, index) => ({ index, model: number % 2 === 0 ? "NVIDIA H100 80GB HBM3" : "NVIDIA A100-SXM4-80GB", memoryMib: 81_559 })),
    runtimes: ["noop", "process"], trusts: ["own"], labels: {}
  }
})

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
