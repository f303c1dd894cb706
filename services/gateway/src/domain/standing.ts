import type { MillFact } from "@millrace/schemas"

/** Where a job or one task of an array stands, in one word. */
export type State = "queued" | "waiting" | "placed" | "running" | "succeeded" | "failed" | "cancelled" | "lost" | "refused"

/**
 * What one fact changes of where a job stands. Each field belongs to one stream, so facts of different
 * streams may come in any order: within a stream the later word stands, attempts only rise, and what was
 * spent adds up.
 */
export interface Change {
  readonly submitted_by?: string
  readonly submitted_at_ms?: number
  readonly submitted_sequence?: number
  readonly name?: string | null
  readonly tasks?: number | null
  readonly grant_id?: string | null
  readonly parent_job_id?: string | null
  readonly trigger?: string | null
  readonly attempt?: number
  readonly host_id?: string
  /** Why it waits; empty when it waits no more. */
  readonly waits?: string
  readonly started_attempt?: number
  readonly outcome?: string
  readonly exit_code?: number | null
  readonly cause?: string
  readonly settled_at_ms?: number
  readonly spent_pico?: string
}

/** What a fact changes: the job itself, or one task of it, or both. */
export interface Changes {
  readonly job?: Change
  readonly task?: { readonly number: number; readonly change: Change }
}

/** Where and when a fact was stored. */
export interface Stored {
  readonly sequence: number
  readonly storedAtMs: number
}

const none: Changes = {}

/** Pure: what a fact changes of a job. Facts that change nothing of it are lines of its story all the same. */
export const changesOf = (fact: MillFact, { sequence, storedAtMs }: Stored): Changes => {
  switch (fact._tag) {
    case "JobSubmitted":
      return {
        job: {
          submitted_by: fact.submittedBy,
          submitted_at_ms: storedAtMs,
          submitted_sequence: sequence,
          name: fact.name ?? null,
          tasks: fact.spec.array?.tasks ?? null,
          grant_id: fact.grant ?? null,
          parent_job_id: fact.parent?.jobId ?? null,
          trigger: fact.origin?.trigger ?? null
        }
      }
    case "JobDeferred":
      return { job: { waits: fact.arithmetic } }
    case "PlacementMade":
      return perTask(fact.task, { attempt: fact.attempt, host_id: fact.hostId, waits: "" }, { attempt: fact.attempt, waits: "" })
    case "AttemptStarted":
      return perTask(fact.task, { started_attempt: fact.attempt }, { started_attempt: fact.attempt })
    case "JobRetried":
      return perTask(fact.task, { waits: `attempt ${fact.failedAttempt} ${fact.lost === true ? "was lost" : "failed"}: ${fact.cause}` }, undefined)
    case "TaskSettled":
      return {
        task: {
          number: fact.task,
          change: { outcome: fact.outcome, exit_code: fact.exitCode ?? null, cause: fact.cause, settled_at_ms: storedAtMs }
        }
      }
    case "JobRefused":
      return { job: { outcome: "refused", exit_code: null, cause: `${fact.reason}: ${fact.remedy}`, settled_at_ms: storedAtMs } }
    case "JobSettled":
      return { job: { outcome: fact.outcome, exit_code: fact.exitCode ?? null, cause: fact.cause, settled_at_ms: storedAtMs } }
    case "SpendCommitted":
      return { job: { spent_pico: fact.amountPico.toString() } }
    default:
      return none
  }
}

/** Of a plain job a placement is the job's own; of an array it is the task's, and the job keeps what sums up. */
const perTask = (task: number | undefined, own: Change, ofArray: Change | undefined): Changes =>
  task === undefined
    ? { job: own }
    : { task: { number: task, change: own }, ...(ofArray === undefined ? {} : { job: ofArray }) }

/** One change after another, of one job: what a row says is this, folded from nothing. */
export const after = (before: Change, next: Change): Change => ({
  ...before,
  ...next,
  ...(before.attempt === undefined ? {} : { attempt: Math.max(before.attempt, next.attempt ?? 0) }),
  ...(before.started_attempt === undefined ? {} : { started_attempt: Math.max(before.started_attempt, next.started_attempt ?? 0) }),
  ...(before.spent_pico === undefined || next.spent_pico === undefined
    ? {}
    : { spent_pico: (BigInt(before.spent_pico) + BigInt(next.spent_pico)).toString() })
})

/** Where something stands, by what was changed of it so far. */
export const stateOf = ({ attempt = 0, outcome, started_attempt = 0, tasks, waits }: {
  readonly attempt?: number
  readonly outcome?: string | null | undefined
  readonly started_attempt?: number
  readonly tasks?: number | null | undefined
  readonly waits?: string | null | undefined
}): State => {
  if (outcome !== undefined && outcome !== null) return outcome as State
  // Of an array some tasks may wait while others run: it runs once one has begun.
  if (tasks !== undefined && tasks !== null && started_attempt > 0) return "running"
  if (waits !== undefined && waits !== null && waits !== "") return "waiting"
  if (attempt === 0) return "queued"
  return started_attempt >= attempt ? "running" : "placed"
}
