import type { AttemptId, JobId } from "@millrace/schemas"
import { timeOfId } from "@millrace/decider"
import { jobChanged } from "./reindex.ts"
import type { JobState, World } from "./world.ts"

/**
 * Forgets how jobs ended of which nobody can ask any more: what was submitted before that and comes after one of them
 * still has its outcome, for as long as it is not over itself.
 */
export const forgetOutcomes = (world: World): void => {
  const { index: { awaiting }, outcomes } = world
  const heard = world.heard.get("GATEWAY")?.sequence ?? 0
  for (let lot = outcomes.forget(heard); lot !== undefined; lot = outcomes.forget(heard)) {
    for (const [id, jobs] of awaiting) {
      const ended = lot.ended.get(id as JobId)
      if (ended === undefined) continue
      if (namedBefore(jobs, lot.leavesAt!)) outcomes.pinned.set(id as JobId, { ended, upTo: lot.leavesAt! })
      for (const job of jobs) jobChanged(world, job)
    }
  }
}

/** A job is over, and asks no more how those ended that it came after. */
export const asksNoMore = ({ index: { awaiting }, outcomes: { pinned } }: World, job: JobState): void => {
  if (pinned.size === 0) return
  for (const { jobId } of job.submitted?.fact.spec.after ?? []) {
    const kept = pinned.get(jobId)
    if (kept !== undefined && !namedBefore(awaiting.get(jobId) ?? [], kept.upTo)) pinned.delete(jobId)
  }
}

const namedBefore = (jobs: Iterable<JobState>, upTo: number): boolean => {
  for (const { number } of jobs) if (number <= upTo) return true
  return false
}

/**
 * Whether an attempt of a job that nobody knows is one of a job that is over and forgotten. What is placed after that
 * is placed later, also where its placement was not heard of yet.
 */
export const isForgotten = ({ outcomes: { forgottenAtMs } }: World, attemptId: AttemptId): boolean =>
  forgottenAtMs !== undefined && timeOfId(attemptId) <= forgottenAtMs
