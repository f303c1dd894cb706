import { deriveId } from "@millrace/decider"
import type { NewFact } from "@millrace/journal"
import {
  AskId, type AttemptExited, type AttemptId, type BlobRef, type FactId, HostId, JobId, type MillFact, type PlacementMade, Principal, type SnapshotWritten, type Subject,
  type WarrantId, WorkspaceName
} from "@millrace/schemas"
import { snapshotAtEndOf } from "../domain/snapshot-id.ts"

export const acme = WorkspaceName.make("acme")
export const hostId = HostId.make(`hst_${"0".repeat(26)}`)
export const otherHost = HostId.make(`hst_${"1".repeat(26)}`)
export const job = (number: number): JobId => JobId.make(`job_${String(number).padStart(26, "0")}`)
export const ask = (number: number): AskId => AskId.make(`ask_${String(number).padStart(26, "0")}`)

/** A placement of a job whose files are to be kept, unless said otherwise. */
export const placed = (number: number, { attempt = 1, keep = true, on = hostId }: { readonly attempt?: number; readonly keep?: boolean; readonly on?: HostId } = {}): PlacementMade => {
  const [jobId, fence, resources] = [job(number), { epoch: 1, sequence: attempt }, { cpuMilli: 1000, memoryMib: 100, diskMib: 0, gpus: 0 }]
  const attemptId = deriveId<AttemptId>("att", 0, jobId, attempt)
  return {
    _tag: "PlacementMade", jobId, workspace: acme, hostId: on, attempt, attemptId, fence,
    spec: { runtime: "sandbox", trust: "others", resources, attemptsMax: 1, runMsMax: 60_000, onSilence: { keepMs: 0 }, ...(keep ? { snapshotAtEnd: "files" as const } : {}) },
    warrant: { warrantId: deriveId<WarrantId>("wrt", 0, jobId, attempt), hostId: on, jobId, attempt, fence, resources, grantPath: [], expiresAtMs: 100_000, view: {} },
    signature: "", reason: "the first host with room"
  }
}

const which = ({ attempt, attemptId, fence, hostId, jobId, workspace }: PlacementMade) => ({ attempt, attemptId, fence, hostId, jobId, workspace })

export const written = (made: PlacementMade, blob: BlobRef): SnapshotWritten => ({ _tag: "SnapshotWritten", ...which(made), snapshotId: snapshotAtEndOf(made), blob, form: "files" })
export const exited = (made: PlacementMade): AttemptExited => ({ _tag: "AttemptExited", ...which(made), bootId: "boot", hostMs: 1, code: 0, cause: "exited" })
export const refused = (made: PlacementMade): MillFact => ({ _tag: "AttemptRefused", ...which(made), reason: "no_room", detail: "as it says" })
export const lost = (of: HostId): MillFact => ({ _tag: "HostDeclaredLost", hostId: of, lastHeardAtMs: 0, leaseEndedAtMs: 15_000 })

const asking = (number: number) => ({ askId: ask(number), workspace: acme, askedBy: Principal.make("user:ada"), decision: { rule: "role.owner", view: {} } })
export const expiryAsked = (number: number, made: PlacementMade): MillFact => ({ _tag: "SnapshotExpiryAsked", ...asking(number), snapshotId: snapshotAtEndOf(made), cause: "as it says" })
export const snapshotAsked = (number: number, jobId: JobId, form: "files" | "memory" = "files"): MillFact => ({ _tag: "SnapshotAsked", ...asking(number), jobId, form, retention: {} })
export const imageAsked = (number: number): MillFact => ({ _tag: "ImageAsked", ...asking(number), imageId: `img_${"0".repeat(26)}` as never, reference: "debian:13" })

/** Where a fact is said. */
export const subjectOf = (event: MillFact): Subject => {
  switch (event._tag) {
    case "PlacementMade":
      return { kind: "placement", scope: event.hostId }
    case "HostDeclaredLost":
      return { kind: "fleet", scope: "cell" }
    case "SnapshotAsked":
    case "SnapshotExpiryAsked":
    case "ImageAsked":
      return { kind: "ask", scope: event.workspace }
    case "WorkspaceOpened":
    case "RoleBound":
    case "CredentialIssued":
      return { kind: "principal", scope: event.workspace }
    default:
      return { kind: "attempt", scope: "hostId" in event ? String(event.hostId) : "" }
  }
}

let told = 0
/** A fact as it is said, under an id of its own. */
export const saying = (event: MillFact): NewFact => {
  const id = deriveId<FactId>("fct", 0, "test", told += 1)
  return { id, partOf: id, event }
}
