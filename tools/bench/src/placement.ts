import { deriveId } from "@millrace/decider"
import type { Commit, NewFact } from "@millrace/journal"
import { type AttemptId, type FactId, type HostId, type JobId, type Principal, type WarrantId, WorkspaceName } from "@millrace/schemas"

const workspace = WorkspaceName.make("bench")
const actor = "service:scheduler" as Principal

/** What the scheduler says to one host in one round: so many placements in one commit, as large as real ones. */
export const placementsOn = (hostId: HostId, number: number, count = 1): Commit => {
  const atMs = Date.now()
  return {
    subject: { kind: "placement", scope: hostId },
    actor,
    happenedAtMs: atMs,
    decided: { saw: { GATEWAY: number, HOSTS: number, ACCESS: number, SCHEDULER: number }, decidedAtMs: atMs, ordinal: 0, of: 1 },
    facts: Array.from({ length: count }, (_, ordinal) => placementMade(hostId, number, ordinal, atMs)) as unknown as Commit["facts"]
  }
}

const placementMade = (hostId: HostId, number: number, ordinal: number, atMs: number): NewFact => {
  const jobId = deriveId<JobId>("job", atMs, "bench", number, ordinal)
  const id = deriveId<FactId>("fct", atMs, "bench", number, ordinal)
  const fence = { epoch: 1, sequence: number }
  const resources = { cpuMilli: 100, memoryMib: 100, diskMib: 0, gpus: 0 }
  return {
    id,
    partOf: id,
    event: {
      _tag: "PlacementMade",
      jobId,
      workspace,
      hostId,
      attempt: 1,
      attemptId: deriveId<AttemptId>("att", atMs, jobId),
      fence,
      spec: { runtime: "noop", trust: "own", resources, attemptsMax: 1, runMsMax: 60_000, onSilence: { keepMs: 0 } },
      warrant: { warrantId: deriveId<WarrantId>("wrt", atMs, jobId), hostId, jobId, attempt: 1, fence, resources, grantPath: [], expiresAtMs: atMs + 60_000, view: { ACCESS: number } },
      signature: "A".repeat(86),
      reason: "it is its turn"
    }
  }
}
