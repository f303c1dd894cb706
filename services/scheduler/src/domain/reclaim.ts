import type { JobSpec } from "@millrace/schemas"
import type { TaskState, World } from "./world.ts"

/** Until it has heard that it is to end, has ended in its grace, and that is known here: with room for a host that is busy. */
const endMs = 30_000
/** A host reads what a sandbox left, packs it and stores it at this pace at least. */
const keptMibPerSecond = 16
/** A sandbox whose job names no disk has this much, as its host has it. */
const diskMibByDefault = 256
/** No work is told earlier than this: large disks are seldom full. */
export const leaveMsMax = 120_000

/**
 * How long before its machine is taken back work is told: in that time it ends, what it made and its files are kept, and
 * another attempt can begin elsewhere. Providers tell a machine's end as little as half a minute before, so that what
 * leaves nothing behind works on for most of two minutes.
 */
export const leaveMsOf = ({ resources: { diskMib }, runtime }: Pick<JobSpec, "resources" | "runtime">): number =>
  Math.min(leaveMsMax, endMs + (runtime === "sandbox" ? Math.ceil(((diskMib === 0 ? diskMibByDefault : diskMib) * 1_000) / keptMibPerSecond) : 0))

/** When an attempt must leave a machine that is taken back; never where it must have ended by then. */
export const leavesAtMs = (world: World, { current, job }: TaskState): number | undefined => {
  const goneAtMs = current === undefined ? undefined : world.hosts.get(current.hostId)?.goneAtMs
  if (goneAtMs === undefined) return undefined
  const { spec } = job.submitted!.fact
  return current!.atMs + spec.runMsMax <= goneAtMs ? undefined : Math.max(0, goneAtMs - leaveMsOf(spec))
}

export const mustLeave = (world: World, task: TaskState, atMs: number): boolean => {
  const leavesMs = leavesAtMs(world, task)
  return leavesMs !== undefined && leavesMs <= atMs
}
