import type { AttemptId, AttemptRefused, Capabilities, FactId, Fence, PlacementMade, Resources } from "@millrace/schemas"
import { devicesRefused } from "./devices.ts"

/** What the host itself remembers of an attempt. It outlives the agent, not the machine's boot. */
export type Remembered =
  /** The agent was about to start it, and may have. */
  | { readonly state: "begun"; readonly made: PlacementMade; readonly causedBy: FactId; readonly partOf: FactId }
  /** It runs, and its start has been told. */
  | { readonly state: "running"; readonly made: PlacementMade; readonly causedBy: FactId; readonly partOf: FactId }
  /** It is over, and its end has been told. */
  | { readonly state: "told"; readonly made: Pick<PlacementMade, "jobId" | "task" | "fence"> }
  /** It was withdrawn before it was heard of. */
  | { readonly state: "withdrawn" }

/** What a host knows when it judges a placement. */
export interface Local {
  readonly hostId: string
  readonly capabilities: Capabilities
  readonly attempts: ReadonlyMap<AttemptId, Remembered>
  /** The highest fence that was seen, per task. */
  readonly fences: ReadonlyMap<string, Fence>
  /** Every placement with a lower fence is void: it was made before this host was declared lost. */
  readonly voidBelow?: Fence | undefined
  /** What the attempts that have begun and are not over take of the host. */
  readonly held: Resources
  readonly nowMs: number
}

export type Judgement =
  | { readonly verdict: "start" }
  /** It was judged before: whatever is to be said of it is being said, or was. */
  | { readonly verdict: "known" }
  | { readonly verdict: "withdrawn" }
  | { readonly verdict: "refuse"; readonly reason: AttemptRefused["reason"]; readonly detail: string }

const refuse = (reason: AttemptRefused["reason"], detail: string): Judgement => ({ verdict: "refuse", reason, detail })

/**
 * Whether the host carries out a placement. It trusts nobody's arithmetic but its own: not the fence, not
 * the room, not the right to run work that it cannot isolate. The warrant's signature is checked before.
 */
export const judge = (local: Local, made: PlacementMade): Judgement => {
  const { attemptId, fence, hostId, jobId, spec: { resources, runtime, trust }, warrant } = made
  const known = local.attempts.get(attemptId)
  if (known?.state === "withdrawn") return { verdict: "withdrawn" }
  if (known !== undefined) return { verdict: "known" }
  if (warrant.hostId !== local.hostId || warrant.jobId !== jobId || warrant.attempt !== made.attempt || hostId !== local.hostId) {
    return refuse("warrant_invalid", `the warrant names ${warrant.hostId}, ${warrant.jobId}, attempt ${warrant.attempt}`)
  }
  if (isOlder(fence, warrant.fence) || isOlder(warrant.fence, fence)) {
    return refuse("warrant_invalid", `the placement's fence ${fence.epoch}/${fence.sequence} is not its warrant's, ${warrant.fence.epoch}/${warrant.fence.sequence}`)
  }
  if (!within(resources, warrant.resources)) return refuse("warrant_invalid", "the placement asks for more than its warrant allows")
  if (warrant.expiresAtMs <= local.nowMs) return refuse("warrant_expired", `it ended at ${warrant.expiresAtMs} ms`)
  if (local.voidBelow !== undefined && isOlder(fence, local.voidBelow)) {
    return refuse("fence_old", `this host was declared lost at ${local.voidBelow.epoch}/${local.voidBelow.sequence}, after fence ${fence.epoch}/${fence.sequence}`)
  }
  const seen = local.fences.get(fencedBy(made))
  if (seen !== undefined && isOlder(fence, seen)) {
    return refuse("fence_old", `fence ${fence.epoch}/${fence.sequence} came after ${seen.epoch}/${seen.sequence}`)
  }
  if (!local.capabilities.runtimes.includes(runtime)) return refuse("runtime_missing", `this host does not run ${runtime}`)
  if (!local.capabilities.trusts.includes(trust)) return refuse("not_isolated", `this host runs only work with trust ${local.capabilities.trusts.join(", ")}`)
  if (trust === "others" && runtime === "process") return refuse("not_isolated", "a plain process isolates nothing: the work of others runs in a sandbox alone")
  const room = roomLeft(local)
  if (!within(resources, room)) return refuse("no_room", `${room.cpuMilli} milli-cores, ${room.memoryMib} MiB and ${room.gpus} GPUs are free`)
  const devices = devicesRefused(made, local)
  return devices === undefined ? { verdict: "start" } : refuse(devices.reason, devices.detail)
}

/** What a fence orders: the attempts of one task of a job, and of no other. */
export const fencedBy = ({ jobId, task }: Pick<PlacementMade, "jobId" | "task">): string => task === undefined ? jobId : `${jobId}/${task}`

export const isOlder = (left: Fence, right: Fence): boolean =>
  left.epoch < right.epoch || (left.epoch === right.epoch && left.sequence < right.sequence)

const within = (need: Resources, room: Resources): boolean =>
  need.cpuMilli <= room.cpuMilli && need.memoryMib <= room.memoryMib && need.diskMib <= room.diskMib && need.gpus <= room.gpus && (need.gpuMilli ?? 0) <= (room.gpuMilli ?? 1000)

const roomLeft = ({ capabilities: { resources }, held }: Local): Resources => ({
  cpuMilli: resources.cpuMilli - held.cpuMilli,
  memoryMib: resources.memoryMib - held.memoryMib,
  diskMib: resources.diskMib - held.diskMib,
  gpus: resources.gpus - held.gpus
})

/** What one attempt takes of its host: something from when it has begun until its end is told. */
export const holdingOf = (remembered: Remembered | undefined): Resources =>
  remembered?.state === "begun" || remembered?.state === "running" ? remembered.made.spec.resources : nothingHeld

export const nothingHeld: Resources = { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 }

/** What is held when one holding takes the place of another. */
export const exchange = (held: Resources, before: Resources, after: Resources): Resources => ({
  cpuMilli: held.cpuMilli - before.cpuMilli + after.cpuMilli,
  memoryMib: held.memoryMib - before.memoryMib + after.memoryMib,
  diskMib: held.diskMib - before.diskMib + after.diskMib,
  gpus: held.gpus - before.gpus + after.gpus
})
