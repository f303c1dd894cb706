import { Schema } from "effect"
import { AskId, AttemptId, HostId, ImageId, JobId, SnapshotId, WorkspaceName } from "./ids.ts"
import { BlobRef, Digest, EpochMillis, Bytes } from "./quantities.ts"
import { kind } from "./story.ts"

/** What a snapshot holds: the files of the work, or its memory and processes too. */
export const SnapshotForm = Schema.Literals(["files", "memory"])
export type SnapshotForm = typeof SnapshotForm.Type

/** How long a snapshot is kept: until a moment, or, without one, until somebody asks for its end. */
export const Retention = Schema.Struct({ untilMs: Schema.optionalKey(EpochMillis) })
export type Retention = typeof Retention.Type

/** A snapshot of this job is wanted. Its host writes it, or says why not. */
export const SnapshotPlanned = Schema.TaggedStruct("SnapshotPlanned", {
  snapshotId: SnapshotId,
  workspace: WorkspaceName,
  jobId: JobId,
  hostId: Schema.optionalKey(HostId),
  attemptId: Schema.optionalKey(AttemptId),
  form: SnapshotForm,
  retention: Retention,
  cause: Schema.Literals(["asked", "finished", "idle", "preemption", "reclaim"]),
  answers: Schema.optionalKey(AskId)
})
export type SnapshotPlanned = typeof SnapshotPlanned.Type

/** Jobs can start from the snapshot: all its bytes are stored and were verified. */
export const SnapshotAvailable = Schema.TaggedStruct("SnapshotAvailable", {
  snapshotId: SnapshotId,
  workspace: WorkspaceName,
  jobId: JobId,
  /** Whose work it holds: what that attempt has done until now is not lost with it. */
  attemptId: Schema.optionalKey(AttemptId),
  form: SnapshotForm,
  blob: BlobRef,
  /** What it stands on and cannot start without. */
  image: Schema.optionalKey(ImageId),
  parent: Schema.optionalKey(SnapshotId),
  /** Which runtime can restore it. A memory image needs the same one. */
  runtime: Schema.NonEmptyString
})
export type SnapshotAvailable = typeof SnapshotAvailable.Type

/** The snapshot also lies in another place. */
export const SnapshotReplicated = Schema.TaggedStruct("SnapshotReplicated", {
  snapshotId: SnapshotId,
  workspace: WorkspaceName,
  place: Schema.NonEmptyString,
  sizeBytes: Bytes
})
export type SnapshotReplicated = typeof SnapshotReplicated.Type

/** The planned snapshot will not come. */
export const SnapshotAbandoned = Schema.TaggedStruct("SnapshotAbandoned", {
  snapshotId: SnapshotId,
  workspace: WorkspaceName,
  jobId: JobId,
  cause: Schema.Literals(["work_ended", "host_lost", "not_written", "not_whole"]),
  detail: Schema.String
})
export type SnapshotAbandoned = typeof SnapshotAbandoned.Type

/** No job starts from the snapshot any more, and its bytes may go. */
export const SnapshotExpired = Schema.TaggedStruct("SnapshotExpired", {
  snapshotId: SnapshotId,
  workspace: WorkspaceName,
  cause: Schema.Literals(["retention", "asked", "replaced", "key_forgotten"]),
  answers: Schema.optionalKey(AskId)
})
export type SnapshotExpired = typeof SnapshotExpired.Type

/** Kept states of a workspace's jobs. */
export const snapshot = kind(
  { kind: "snapshot", scope: "workspace", stream: "SNAPSHOTS" },
  SnapshotPlanned,
  SnapshotAvailable,
  SnapshotReplicated,
  SnapshotAbandoned,
  SnapshotExpired
)

/** Jobs can start from the image: its name means exactly these bytes. */
export const ImageKnown = Schema.TaggedStruct("ImageKnown", {
  imageId: ImageId,
  workspace: WorkspaceName,
  /** What people call it. */
  reference: Schema.NonEmptyString,
  /** What it is: the digest of its manifest. */
  manifest: Digest,
  sizeBytes: Bytes,
  answers: Schema.optionalKey(AskId)
})
export type ImageKnown = typeof ImageKnown.Type

/** Images that a workspace's jobs start from. */
export const image = kind({ kind: "image", scope: "workspace", stream: "SNAPSHOTS" }, ImageKnown)
