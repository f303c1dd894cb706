import type { JobDeferred, JobRefused } from "@millrace/schemas"
import { type JobState, outcomeOf, type World } from "./world.ts"

/** Whether what must come before a job has come: it may go on, it waits, or it never will. */
export type Gate =
  | { readonly _tag: "Open" }
  | { readonly _tag: "Shut"; readonly why: Pick<JobDeferred, "reason" | "arithmetic" | "unblockedBy"> }
  | { readonly _tag: "Never"; readonly why: Pick<JobRefused, "reason" | "remedy"> }

const open: Gate = { _tag: "Open" }

/** Looks at the jobs that a job comes after and at the snapshot that it starts from. */
export const gateOf = (world: World, job: JobState): Gate => {
  const { after, startFrom } = job.submitted!.fact.spec
  if (after === undefined && startFrom === undefined) return open
  const afterOthers = gateOfAfter(world, job)
  return afterOthers._tag === "Open" ? gateOfSnapshot(world, job) : afterOthers
}

const gateOfAfter = (world: World, job: JobState): Gate => {
  const { fact } = job.submitted!
  const open_: Array<string> = []
  for (const { jobId, on } of fact.spec.after ?? []) {
    const outcome = outcomeOf(world, { workspace: fact.workspace, number: job.number }, jobId)
    if (outcome !== undefined) {
      if (on === "over" || outcome === "succeeded") continue
      return { _tag: "Never", why: { reason: "dependency_failed", remedy: `it was to follow the success of ${jobId}, which ended as ${outcome}; submit it again after one that succeeds, or with on: over` } }
    }
    const other = world.jobs.get(jobId)
    // One that was submitted later cannot come first: two jobs could wait for each other for ever.
    if (other?.submitted?.fact.workspace !== fact.workspace || other.number >= job.number) {
      return { _tag: "Never", why: { reason: "dependency_failed", remedy: `no job ${jobId} was submitted in this workspace before it${world.outcomes.forgottenAtMs === undefined ? "" : ", or it ended so long before that how is not remembered"}; name one that was` } }
    }
    open_.push(jobId)
  }
  if (open_.length === 0) return open
  return { _tag: "Shut", why: { reason: "after", unblockedBy: "job", arithmetic: `comes after ${open_.join(", ")}, of which ${open_.length} of ${fact.spec.after!.length} ${open_.length === 1 ? "is" : "are"} not over` } }
}

const gateOfSnapshot = (world: World, job: JobState): Gate => {
  const { spec: { startFrom }, workspace } = job.submitted!.fact
  if (startFrom === undefined) return open
  const kept = world.snapshots.get(startFrom)
  if (kept === undefined ? world.gone.has(startFrom) || world.gone.mustBe(startFrom) : kept.workspace !== workspace) {
    return { _tag: "Never", why: { reason: "snapshot_gone", remedy: `no snapshot ${startFrom} can be started from in this workspace; name one that is available` } }
  }
  if (kept?.stands === "available") return open
  return { _tag: "Shut", why: { reason: "snapshot", unblockedBy: "snapshot", arithmetic: kept === undefined ? `starts from ${startFrom}, of which nothing was heard yet` : `starts from ${startFrom}, which is being written` } }
}
