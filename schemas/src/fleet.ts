import { Schema } from "effect"
import { GpuWish } from "./gpu.ts"
import { HostId, Principal } from "./ids.ts"
import { Count, CpuMilli, EpochMillis, GpuMilli, Mebibytes, Millis } from "./quantities.ts"
import { kind } from "./story.ts"
import { Where } from "./where.ts"

/** Another scheduler decides from here on. Every append of the one before it fails. */
export const SchedulerTookOver = Schema.TaggedStruct("SchedulerTookOver", {
  term: Count,
  scheduler: Principal,
  codeVersion: Schema.NonEmptyString
})
export type SchedulerTookOver = typeof SchedulerTookOver.Type

/** The host was silent for longer than its lease. What it ran may run elsewhere now. */
export const HostDeclaredLost = Schema.TaggedStruct("HostDeclaredLost", {
  hostId: HostId,
  /** When its last beat came: the clock's part in the decision. */
  lastHeardAtMs: EpochMillis,
  leaseEndedAtMs: EpochMillis
})
export type HostDeclaredLost = typeof HostDeclaredLost.Type

/** A host that had been declared lost speaks again. Whatever an older fence says of it is void. */
export const HostReturned = Schema.TaggedStruct("HostReturned", {
  hostId: HostId,
  bootId: Schema.NonEmptyString
})
export type HostReturned = typeof HostReturned.Type

/** The cell's hosts, as the scheduler judges them. */
export const fleet = kind(
  { kind: "fleet", scope: "cell", only: "cell", stream: "SCHEDULER" },
  SchedulerTookOver,
  HostDeclaredLost,
  HostReturned
)

/** One class of work that waits for capacity. */
export const DemandClass = Schema.Struct({
  cpuMilli: CpuMilli,
  memoryMib: Mebibytes,
  gpus: Count,
  gpuModels: Schema.Array(Schema.String),
  waiting: Count,
  oldestSinceMs: EpochMillis,
  diskMib: Schema.optionalKey(Mebibytes),
  /** Each wants a part of one device, instead of whole ones. */
  gpuMilli: Schema.optionalKey(GpuMilli),
  /** Kinds of GPU that would do, the most wished for first; `gpuModels` names the models among them. */
  gpu: Schema.optionalKey(Schema.Array(GpuWish)),
  where: Schema.optionalKey(Where),
  /** So many of them begin together, on machines of one region that a fast network joins. */
  gang: Schema.optionalKey(Count),
  /**
   * So many of them begin at the same time or not at all, on machines of one zone, of one provider, or of any. What
   * begins together on one fabric says `gang` instead, and what shares a machine is one piece of work here.
   */
  together: Schema.optionalKey(Schema.Struct({ members: Count, on: Schema.Literals(["zone", "provider", "anywhere"]) })),
  /** The earliest moment by which one of them must be over, and how much work that one has left, told together. */
  deadlineAtMs: Schema.optionalKey(EpochMillis),
  workLeftMs: Schema.optionalKey(Millis),
  /** Work that is our own: a container on somebody's machine is isolation enough for it. */
  own: Schema.optionalKey(Schema.Boolean)
})
export type DemandClass = typeof DemandClass.Type

/** What waits for capacity has changed. It wakes the broker. */
export const DemandChanged = Schema.TaggedStruct("DemandChanged", {
  classes: Schema.Array(DemandClass)
})
export type DemandChanged = typeof DemandChanged.Type

/** What the cell's waiting work would need. */
export const demand = kind({ kind: "demand", scope: "cell", only: "cell", stream: "SCHEDULER" }, DemandChanged)
