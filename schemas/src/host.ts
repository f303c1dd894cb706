import { Effect, Schema } from "effect"
import { Dialect, Runtime, Trust } from "./job.ts"
import { Bytes, Digest, Resources } from "./quantities.ts"
import { HostId, ImageId, SnapshotId } from "./ids.ts"
import { kind } from "./story.ts"

/** One GPU device as its driver names it. */
export const Gpu = Schema.Struct({
  index: Schema.Int,
  model: Schema.NonEmptyString,
  memoryMib: Schema.Int
})

/** What a host can do, found out by doing it: a probe that ran, never a file that exists. */
export const Capabilities = Schema.Struct({
  resources: Resources,
  gpus: Schema.Array(Gpu).pipe(Schema.withDecodingDefaultKey(Effect.succeed([]))),
  runtimes: Schema.Array(Runtime),
  /** Whose work it may run. A host that cannot isolate takes only our own. */
  trusts: Schema.Array(Trust),
  labels: Schema.Record(Schema.String, Schema.String).pipe(Schema.withDecodingDefaultKey(Effect.succeed({})))
})
export type Capabilities = typeof Capabilities.Type

/** The host is here and ready for work. Said again after each start, with another boot id. */
export const HostJoined = Schema.TaggedStruct("HostJoined", {
  hostId: HostId,
  /** Host-monotonic times are comparable only within one boot id. */
  bootId: Schema.NonEmptyString,
  capabilities: Capabilities,
  agentVersion: Schema.NonEmptyString,
  /** What the agent understands of placements; one that does not say understands the first. */
  dialect: Schema.optionalKey(Dialect)
})
export type HostJoined = typeof HostJoined.Type

/** The host finishes what it runs and takes nothing new. */
export const HostDraining = Schema.TaggedStruct("HostDraining", { hostId: HostId, cause: Schema.String })
export type HostDraining = typeof HostDraining.Type

/** The host is gone by its own will, with nothing left running. */
export const HostLeft = Schema.TaggedStruct("HostLeft", { hostId: HostId, cause: Schema.String })
export type HostLeft = typeof HostLeft.Type

/** A GPU behaves badly. Nothing new goes there until it is cleared. */
export const GpuSuspected = Schema.TaggedStruct("GpuSuspected", {
  hostId: HostId,
  gpu: Schema.Int,
  symptom: Schema.NonEmptyString
})
export type GpuSuspected = typeof GpuSuspected.Type

/** A suspected GPU passed its test. */
export const GpuCleared = Schema.TaggedStruct("GpuCleared", {
  hostId: HostId,
  gpu: Schema.Int,
  test: Schema.NonEmptyString
})
export type GpuCleared = typeof GpuCleared.Type

/** What the host holds ready, and no more than that: a job that starts from it here starts sooner. What a later one no longer names has gone. */
export const StateResident = Schema.TaggedStruct("StateResident", {
  hostId: HostId,
  snapshots: Schema.Array(SnapshotId),
  images: Schema.Array(ImageId),
  blobs: Schema.Array(Digest),
  /** How many bytes each of `blobs` has, in their order. */
  sizesBytes: Schema.optionalKey(Schema.Array(Bytes)),
  /** How fast it has lately loaded what it did not hold, in bytes a millisecond. Without it nobody has measured. */
  loadBytesPerMs: Schema.optionalKey(Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(1))))
})
export type StateResident = typeof StateResident.Type

/** A machine that runs work, in its own words. */
export const host = kind(
  { kind: "host", scope: "host", stream: "HOSTS" },
  HostJoined,
  HostDraining,
  HostLeft,
  GpuSuspected,
  GpuCleared,
  StateResident
)
