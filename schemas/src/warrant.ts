import { Schema } from "effect"
import { Constraints } from "./authority.ts"
import { AskId, AttemptId, FactId, HostId, JobId, WarrantId, WorkspaceName } from "./ids.ts"
import { Count, EpochMillis } from "./quantities.ts"
import { kind } from "./story.ts"

/** Which warrant: it was signed for one attempt on one host. */
const which = {
  warrantId: WarrantId,
  hostId: HostId,
  workspace: WorkspaceName,
  jobId: JobId,
  task: Schema.optionalKey(Count),
  attempt: Count,
  attemptId: AttemptId
}

/** The host may do nothing more for this attempt, and ends it. */
export const WarrantRevoked = Schema.TaggedStruct("WarrantRevoked", {
  ...which,
  /** The fact that took the authority away. */
  because: FactId,
  answers: Schema.optionalKey(AskId)
})
export type WarrantRevoked = typeof WarrantRevoked.Type

/** The host may do less for this attempt than its warrant says. */
export const WarrantNarrowed = Schema.TaggedStruct("WarrantNarrowed", {
  ...which,
  constraints: Constraints,
  expiresAtMs: Schema.optionalKey(EpochMillis),
  because: FactId,
  answers: Schema.optionalKey(AskId)
})
export type WarrantNarrowed = typeof WarrantNarrowed.Type

/** What one host may no longer do: all that a host hears from access. */
export const warrant = kind({ kind: "warrant", scope: "host", stream: "ACCESS" }, WarrantRevoked, WarrantNarrowed)
