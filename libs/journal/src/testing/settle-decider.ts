import { type JobId, JobSettled, type Principal, SchedulerTookOver, type StreamName, WorkspaceName } from "@millrace/schemas"
import type { StreamDecider } from "../deciding.ts"
import type { RunOptions } from "../run-decider.ts"

/** What the decider of the tests knows: who waits for an end, what has ended, where it must not decide. */
export interface Settling {
  readonly waiting: Map<JobId, { readonly workspace: WorkspaceName; readonly cause: never }>
  readonly settled: Set<JobId>
  readonly frozen: Set<string>
}

/** Settles every job whose end was asked for, once. Small enough that its whole behaviour can be foretold. */
export const settleDecider = (name: string, hears: ReadonlyArray<StreamName>): StreamDecider<Settling> => ({
  name,
  codeVersion: "1",
  actor: "service:scheduler" as Principal,
  writes: "SCHEDULER",
  hears,
  initial: () => ({ waiting: new Map(), settled: new Set(), frozen: new Set() }),
  evolve: (state, { event, id }) => {
    if (event._tag === "JobCancelRequested" && !state.settled.has(event.jobId)) {
      state.waiting.set(event.jobId, { workspace: event.workspace, cause: id as never })
    }
    if (event._tag === "JobSettled") {
      state.settled.add(event.jobId)
      state.waiting.delete(event.jobId)
    }
    return state
  },
  freeze: (state, commit) => {
    state.frozen.add(commit.subject.scope)
    return state
  },
  decide: (state) =>
    [...state.waiting].filter(([, { workspace }]) => !state.frozen.has(workspace)).map(([jobId, { cause, workspace }]) => ({
      subject: { kind: "schedule", scope: workspace },
      facts: [{ partOf: cause, causedBy: cause, event: JobSettled.make({ jobId, workspace, outcome: "cancelled", attempt: 0, cause: "asked" }) }]
    })),
  save: ({ frozen, settled, waiting }) => ({
    waiting: [...waiting].sort(([a], [b]) => (a < b ? -1 : 1)),
    settled: [...settled].sort(),
    frozen: [...frozen].sort()
  }),
  load: (saved: never) => {
    const { frozen, settled, waiting } = saved as { waiting: Array<[JobId, never]>; settled: Array<JobId>; frozen: Array<string> }
    return { waiting: new Map(waiting), settled: new Set(settled), frozen: new Set(frozen) }
  }
})

/** Runs it under a name; every run says so first. */
export const settling = (name: string, hears: ReadonlyArray<StreamName>, more: Partial<RunOptions<Settling>> = {}): RunOptions<Settling> => ({
  decider: settleDecider(name, hears),
  takeOver: {
    subject: { kind: "fleet", scope: "cell" },
    fact: () => SchedulerTookOver.make({ term: 1, scheduler: "service:scheduler" as Principal, codeVersion: "1" })
  },
  ...more
})
