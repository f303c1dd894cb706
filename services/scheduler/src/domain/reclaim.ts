import type { TaskState, World } from "./world.ts"

/** Work is told this long before its machine is taken back: it is asked to end, its files are kept, and another attempt begins elsewhere. */
export const leaveMs = 120_000

/** When an attempt must leave a machine that is taken back; never where it must have ended by then. */
export const leavesAtMs = (world: World, { current, job }: TaskState): number | undefined => {
  const goneAtMs = current === undefined ? undefined : world.hosts.get(current.hostId)?.goneAtMs
  if (goneAtMs === undefined || current!.atMs + job.submitted!.fact.spec.runMsMax <= goneAtMs) return undefined
  return Math.max(0, goneAtMs - leaveMs)
}

export const mustLeave = (world: World, task: TaskState, atMs: number): boolean => {
  const leavesMs = leavesAtMs(world, task)
  return leavesMs !== undefined && leavesMs <= atMs
}
