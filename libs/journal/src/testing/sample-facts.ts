import { deriveId } from "@millrace/decider"
import { type FactId, JobCancelRequested, JobId, type Principal, type Subject, WorkspaceName } from "@millrace/schemas"
import type { Commit } from "../commit.ts"

/** A job of a test, by its name. */
export const jobNamed = (name: string): JobId => deriveId<JobId>("job", 1_700_000_000_000, "test", name)

/** The story of one job, in the gateway's stream. */
export const storyOf = (name: string, workspace = "tests"): Subject => ({ kind: "job", scope: workspace, story: jobNamed(name) })

/** A small commit on a job's story. The same name and word make the same commit, under the same ids. */
export const commitOn = (name: string, word: string | number = "once", { facts = 1, workspace = "tests" }: { readonly facts?: number; readonly workspace?: string } = {}): Commit => {
  const jobId = jobNamed(name)
  const idOf = (ordinal: number) => deriveId<FactId>("fct", 1_700_000_000_000, "test", workspace, name, word, ordinal)
  return {
    subject: storyOf(name, workspace),
    actor: "user:ada" as Principal,
    happenedAtMs: 1_700_000_000_000,
    facts: Array.from({ length: facts }, (_, ordinal) => ({
      id: idOf(ordinal),
      partOf: idOf(0),
      event: JobCancelRequested.make({
        jobId,
        workspace: WorkspaceName.make(workspace),
        requestedBy: "user:ada" as Principal,
        decision: { rule: "test", view: {} }
      })
    })) as unknown as Commit["facts"]
  }
}
