import { deriveId } from "@millrace/decider"
import { type AttemptId, type Capabilities, type FactId, HostId, JobId, type JobSpec, type PlacementMade, type WarrantId, WorkspaceName } from "@millrace/schemas"

export const hostId = HostId.make(`hst_${"0".repeat(26)}`)
export const workspace = WorkspaceName.make("acme")
export const job = (name: string): JobId => JobId.make(`job_${name.toUpperCase().padStart(26, "0")}`)
export const factId = (name: string): FactId => deriveId<FactId>("fct", 0, name)

export const capabilities: Capabilities = {
  resources: { cpuMilli: 4000, memoryMib: 4000, diskMib: 0, gpus: 0 },
  gpus: [],
  runtimes: ["noop", "process"],
  trusts: ["own"],
  labels: {}
}

/** A placement of a job as the scheduler makes it, with its warrant and without its signature. */
export const placement = (
  name: string,
  { attempt = 1, sequence = 1, spec, on = hostId }: {
    readonly attempt?: number
    readonly sequence?: number
    readonly spec?: Partial<JobSpec>
    readonly on?: HostId
  } = {}
): PlacementMade => {
  const jobId = job(name)
  const fence = { epoch: 1, sequence }
  const resources = spec?.resources ?? { cpuMilli: 1000, memoryMib: 100, diskMib: 0, gpus: 0 }
  return {
    _tag: "PlacementMade",
    jobId,
    workspace,
    hostId: on,
    attempt,
    attemptId: deriveId<AttemptId>("att", 0, jobId, attempt),
    fence,
    spec: { runtime: "process", trust: "own", attemptsMax: 1, runMsMax: 60_000, onSilence: { keepMs: 0 }, ...spec, resources },
    warrant: { warrantId: deriveId<WarrantId>("wrt", 0, jobId, attempt), hostId: on, jobId, attempt, fence, resources, grantPath: [], expiresAtMs: 100_000, view: {} },
    signature: "",
    reason: "the first host with room"
  }
}
