import { Schema } from "effect"
import { Fence } from "./cut.ts"
import { AttemptId, HostId, JobId, SnapshotId, WorkspaceName } from "./ids.ts"
import { BlobRef, Count, Millis } from "./quantities.ts"
import { kind } from "./story.ts"

/** Which attempt, on which host, under which fence: the head of everything a host says of its work. */
const which = {
  jobId: JobId,
  workspace: WorkspaceName,
  hostId: HostId,
  /** Of an array: which of its tasks. */
  task: Schema.optionalKey(Count),
  attempt: Count,
  attemptId: AttemptId,
  fence: Fence
}

/** A moment on the host's own clock: whole ms since its boot, comparable only within one boot id. */
const monotonic = { bootId: Schema.NonEmptyString, hostMs: Millis }

/** The work runs. Written after its sandbox exists; from here on it may have had effects. */
export const AttemptStarted = Schema.TaggedStruct("AttemptStarted", { ...which, ...monotonic })
export type AttemptStarted = typeof AttemptStarted.Type

/** The work says it can serve. */
export const AttemptReady = Schema.TaggedStruct("AttemptReady", { ...which, ...monotonic })
export type AttemptReady = typeof AttemptReady.Type

/** The attempt is in another phase; each of its milliseconds lies in exactly one. */
export const PhaseEntered = Schema.TaggedStruct("PhaseEntered", {
  ...which,
  ...monotonic,
  phase: Schema.Literals(["preparing", "restoring", "running", "paused", "snapshotting", "stopping"])
})
export type PhaseEntered = typeof PhaseEntered.Type

/** The work is over on this host and what it held is free again. */
export const AttemptExited = Schema.TaggedStruct("AttemptExited", {
  ...which,
  ...monotonic,
  code: Schema.optionalKey(Schema.Int),
  signal: Schema.optionalKey(Schema.String),
  /** `timed_out`, `start_timed_out` and `idle_timed_out`: a limit that its job names, of running, of beginning to run, of doing nothing. */
  cause: Schema.Literals(["exited", "withdrawn", "timed_out", "out_of_memory", "agent_restarted", "lease_ended", "spend_ended", "start_timed_out", "idle_timed_out"])
})
export type AttemptExited = typeof AttemptExited.Type

/** The host will not run it: what is asked breaks a rule that the host itself enforces. Nothing ran. */
export const AttemptRefused = Schema.TaggedStruct("AttemptRefused", {
  ...which,
  reason: Schema.Literals(["warrant_invalid", "warrant_expired", "fence_old", "no_room", "runtime_missing", "not_isolated", "program_unreadable", "cannot_start"]),
  detail: Schema.String
})
export type AttemptRefused = typeof AttemptRefused.Type

/** A snapshot of the attempt lies in the blob store. */
export const SnapshotWritten = Schema.TaggedStruct("SnapshotWritten", {
  ...which,
  snapshotId: SnapshotId,
  blob: BlobRef,
  form: Schema.Literals(["files", "memory"])
})
export type SnapshotWritten = typeof SnapshotWritten.Type

/** Something the work made, or said, lies in the blob store. */
export const ArtefactKept = Schema.TaggedStruct("ArtefactKept", {
  ...which,
  name: Schema.NonEmptyString,
  blob: BlobRef,
  /** Bytes that were made but not kept, past the limit. Counted, never silently gone. */
  droppedBytes: Count
})
export type ArtefactKept = typeof ArtefactKept.Type

/** What became of work on one host, in the host's words. */
export const attempt = kind(
  { kind: "attempt", scope: "host", stream: "HOSTS" },
  AttemptStarted,
  AttemptReady,
  PhaseEntered,
  AttemptExited,
  AttemptRefused,
  SnapshotWritten,
  ArtefactKept
)
