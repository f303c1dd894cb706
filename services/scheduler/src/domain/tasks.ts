import type { ArrayTerms, Outcome } from "@millrace/schemas"
import { beginsAgainMs } from "./snapshots.ts"
import { attemptOn, type JobState, type TaskStage, type TaskState, type Word, type World } from "./world.ts"

/** A host that never says the end of an attempt is told to end it this long after the attempt's time is up. */
export const overdueMs = 120_000

/** The members of a gang are its tasks: so it is told of like an array of them. */
export const arrayOf = (job: JobState): ArrayTerms | undefined => {
  const spec = job.submitted?.fact.spec
  return spec?.gang === undefined ? spec?.array : { tasks: spec.gang.members }
}

export const tasksOf = (job: JobState): number => arrayOf(job)?.tasks ?? 1

/** The last word on the attempt that counts, from the host that it was placed on. */
export const wordOn = ({ current, words }: TaskState): Word | undefined =>
  current === undefined ? undefined : words.get(attemptOn(current))

/** Its host was declared lost after it had been placed there. */
export const isLost = (world: World, { current }: TaskState): boolean =>
  current !== undefined && (world.hosts.get(current.hostId)?.lost?.sequence ?? 0) > current.sequence

/** Where a task stands. Waiting is what was due when its job was last told that there is no place. */
export const stageOf = (world: World, task: TaskState): TaskStage => {
  const { attempt, current, job } = task
  if (attempt === 0) return "unheard"
  if (current !== undefined) return wordOn(task) !== undefined ? "ended" : isLost(world, task) ? "lost" : "placed"
  return waitsForPlace(job) && beginsAgainMs(world, task) <= job.told!.atMs ? "waiting" : "backing_off"
}

/** Whether the last that a job was told is that there is no place for it, rather than that another thing comes first. */
export const waitsForPlace = ({ told }: JobState): boolean =>
  told !== undefined && told.reason !== "after" && told.reason !== "snapshot"

/** With more failed tasks than the array allows the rest is not begun. */
export const failedTooOften = (job: JobState): boolean => {
  const most = arrayOf(job)?.failuresMax
  return most !== undefined && job.tally.failed + job.tally.lost > most
}

/** Nothing of the job begins any more. */
export const isStopped = (job: JobState): boolean => job.cancelledBy !== undefined || failedTooOften(job)

/** How many tasks may begin now, were there room: one of the array's limits is how many are begun and not over. */
export const mayBegin = (job: JobState): number => {
  if (job.submitted === undefined || isStopped(job)) return 0
  const left = tasksOf(job) - job.next
  const most = arrayOf(job)?.parallelismMax
  return most === undefined ? left : Math.max(0, Math.min(left, most - job.derived.active))
}

/** How an array has ended, once no task of it is left. */
export const outcomeOfArray = (job: JobState): { readonly outcome: Outcome; readonly cause: string } => {
  const { cancelled, failed, lost, succeeded } = job.tally
  const total = tasksOf(job)
  const of = `${succeeded} of ${total} tasks succeeded`
  if (succeeded === total) return { outcome: "succeeded", cause: "every task succeeded" }
  if (job.cancelledBy !== undefined && cancelled + total - job.next > 0) return { outcome: "cancelled", cause: `cancelled by request; ${of}` }
  const most = arrayOf(job)?.failuresMax
  if (failedTooOften(job)) return { outcome: "failed", cause: `${failed + lost} tasks failed, and ${most} may; ${of}` }
  if (most !== undefined && cancelled === 0) return { outcome: "succeeded", cause: `${of}, and ${most} may fail` }
  if (failed > 0) return { outcome: "failed", cause: `${failed} tasks failed; ${of}` }
  if (lost > 0) return { outcome: "lost", cause: `${lost} tasks were lost; ${of}` }
  return { outcome: "refused", cause: `its grant no longer held; ${of}` }
}
