import type { Outcome } from "@millrace/schemas"
import type { Checker } from "./checkers.ts"
import { endsOf, factsIn, seenBy, taskOf } from "./history.ts"

/** Each task settles once, and what is told of an array when it is over is what was told of its tasks. */
const tasksSettleOnce: Checker = (history) => {
  const broken: Array<string> = []
  const sizes = new Map<string, number>()
  for (const { event: { jobId, spec: { array } } } of factsIn(history, "GATEWAY", "JobSubmitted")) if (array !== undefined) sizes.set(jobId, array.tasks)
  const outcomes = new Map<string, Map<number, Outcome>>()
  const settled = new Set<string>()
  for (const { event } of factsIn(history, "SCHEDULER", "TaskSettled")) {
    const { jobId, outcome, task } = event
    const name = taskOf(event)
    if (settled.has(name)) broken.push(`${name} was settled twice`)
    settled.add(name)
    if (task >= (sizes.get(jobId) ?? 0)) broken.push(`${name} was settled, and the job has ${sizes.get(jobId) ?? "no"} tasks`)
    outcomes.set(jobId, (outcomes.get(jobId) ?? new Map<number, Outcome>()).set(task, outcome))
  }
  for (const { event: { jobId, tasks } } of factsIn(history, "SCHEDULER", "JobSettled")) {
    if (sizes.has(jobId) !== (tasks !== undefined)) broken.push(`${jobId} was settled ${tasks === undefined ? "without" : "with"} counts of tasks`)
    if (tasks === undefined) continue
    const told = [...(outcomes.get(jobId)?.values() ?? [])]
    const count = (outcome: Outcome) => told.filter((one) => one === outcome).length
    const { cancelled, failed, lost, skipped, succeeded } = tasks
    // Those that were refused before they could run again count with the cancelled.
    const counted = succeeded === count("succeeded") && failed === count("failed") && lost === count("lost") && cancelled === count("cancelled") + count("refused")
    if (!counted || succeeded + failed + lost + cancelled + skipped !== sizes.get(jobId)) broken.push(`${jobId} was settled with ${JSON.stringify(tasks)} of ${sizes.get(jobId)}, and its tasks ended as ${told.join(", ")}`)
  }
  for (const { event } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    if (event.task !== undefined && !settled.has(taskOf(event))) broken.push(`${taskOf(event)} was placed and never settled`)
  }
  return broken
}

/** An array never runs more of its tasks at once than it says, as far as the scheduler knows. */
const arraysKeepTheirWidth: Checker = (history) => {
  const broken: Array<string> = []
  const width = new Map<string, number>()
  for (const { event: { jobId, spec: { array } } } of factsIn(history, "GATEWAY", "JobSubmitted")) {
    if (array?.parallelismMax !== undefined) width.set(jobId, array.parallelismMax)
  }
  const ends = endsOf(history)
  const seen = seenBy(history)
  const running = new Map<string, Map<string, string>>()
  for (const { commit, event } of factsIn(history, "SCHEDULER", "PlacementMade", "JobRetried", "TaskSettled")) {
    const here = running.get(event.jobId) ?? new Map<string, string>()
    running.set(event.jobId, here)
    if (event._tag !== "PlacementMade") {
      here.delete(taskOf(event))
      continue
    }
    for (const [task, attemptId] of here) if ((ends.get(attemptId as never) ?? Number.POSITIVE_INFINITY) <= seen(commit)) here.delete(task)
    here.set(taskOf(event), event.attemptId)
    const most = width.get(event.jobId)
    if (most !== undefined && here.size > most) broken.push(`${event.jobId} runs ${here.size} tasks at SCHEDULER ${commit.place.sequence}, and no more than ${most} may`)
  }
  return broken
}

/** What comes after other jobs is placed only when these are over, and well where it says so. */
const firstThingsFirst: Checker = (history) => {
  const broken: Array<string> = []
  const after = new Map<string, ReadonlyArray<{ readonly jobId: string; readonly on: "succeeded" | "over" }>>()
  for (const { event: { jobId, spec } } of factsIn(history, "GATEWAY", "JobSubmitted")) if (spec.after !== undefined) after.set(jobId, spec.after)
  const over = new Map<string, string>()
  for (const { event } of factsIn(history, "SCHEDULER", "PlacementMade", "JobSettled", "JobRefused")) {
    if (event._tag !== "PlacementMade") {
      over.set(event.jobId, event._tag === "JobRefused" ? "refused" : event.outcome)
      continue
    }
    for (const { jobId, on } of after.get(event.jobId) ?? []) {
      const outcome = over.get(jobId)
      if (outcome === undefined || (on === "succeeded" && outcome !== "succeeded")) broken.push(`${event.attemptId} of ${event.jobId} was placed, and ${jobId} before it is ${outcome ?? "not over"}`)
    }
  }
  return broken
}

/**
 * After a lost host no attempt is placed before the lost one's lease is over: as whoever places tells the time,
 * a whole lease, or as long as the job says, behind the last that was heard of the host.
 */
const leaseOverFirst: Checker = (history) => {
  const broken: Array<string> = []
  const placedOn = new Map<string, { readonly hostId: string; readonly keepMs: number }>()
  const losses = new Map<string, { readonly lastHeardAtMs: number; readonly leaseEndedAtMs: number }>()
  const free = new Map<string, number>()
  // Schedulers' clocks differ. What one of them took for over is over for the one after it.
  let latestMs = 0
  for (const { commit, event } of factsIn(history, "SCHEDULER", "HostDeclaredLost", "PlacementMade", "JobRetried", "JobDeferred")) {
    latestMs = Math.max(latestMs, commit.decided?.decidedAtMs ?? 0)
    switch (event._tag) {
      case "HostDeclaredLost":
        losses.set(event.hostId, event)
        break
      case "JobRetried": {
        const placed = placedOn.get(taskOf(event))
        const loss = placed === undefined ? undefined : losses.get(placed.hostId)
        if (event.lost !== true || placed === undefined || loss === undefined) break
        free.set(taskOf(event), Math.max(loss.leaseEndedAtMs, loss.lastHeardAtMs + placed.keepMs))
        break
      }
      case "PlacementMade": {
        const freeAtMs = free.get(taskOf(event)) ?? 0
        if (latestMs < freeAtMs) broken.push(`${event.attemptId} of ${taskOf(event)} was placed ${freeAtMs - latestMs} ms before the lost attempt's lease was over`)
        free.delete(taskOf(event))
        placedOn.set(taskOf(event), { hostId: event.hostId, keepMs: event.spec.onSilence.keepMs })
        break
      }
      case "JobDeferred":
        break
    }
  }
  return broken
}

/** Laws of arrays, of order among jobs and of lost hosts. */
export const lawsOfTasks: Readonly<Record<string, Checker>> = {
  "each task settles once, and an array counts them": tasksSettleOnce,
  "an array runs no more at once than it says": arraysKeepTheirWidth,
  "what comes after a job waits for it": firstThingsFirst,
  "no attempt is placed before a lost one's lease is over": leaseOverFirst
}
