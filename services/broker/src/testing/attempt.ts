import { namedId } from "@millrace/decider"
import { type AttemptExited, type AttemptId, type HostId, type JobId, type PlacementMade, type WarrantId, WorkspaceName } from "@millrace/schemas"

/** Work on a host: as it is placed, and as it ends. */
export const attemptAt = (hostId: HostId, about: string): { readonly placed: PlacementMade; readonly exited: AttemptExited; due: boolean } => {
  const jobId = namedId<JobId>("job", about)
  const fence = { epoch: 1, sequence: 1 }
  const resources = { cpuMilli: 1000, memoryMib: 500, diskMib: 0, gpus: 0 }
  const which = { attempt: 1, attemptId: namedId<AttemptId>("att", about), fence, hostId, jobId, workspace: WorkspaceName.make("acme") }
  const placed: PlacementMade = {
    _tag: "PlacementMade", ...which,
    spec: { runtime: "noop", trust: "own", resources, attemptsMax: 1, runMsMax: 60_000, onSilence: { keepMs: 0 } },
    warrant: { warrantId: namedId<WarrantId>("wrt", about), hostId, jobId, attempt: 1, fence, resources, grantPath: [], expiresAtMs: 1, view: {} },
    signature: "", reason: "there is room"
  }
  return { placed, exited: { _tag: "AttemptExited", ...which, bootId: "b", hostMs: 1, cause: "exited", code: 0 }, due: false }
}
