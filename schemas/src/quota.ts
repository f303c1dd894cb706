import { Schema } from "effect"
import { AskId, Principal, WorkspaceName } from "./ids.ts"
import { Count } from "./quantities.ts"
import { kind } from "./story.ts"

/** How urgent work is: more goes first. `priorityClasses` has the numbers that people name. */
export const Priority = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 100 })))
export type Priority = typeof Priority.Type

/** Classes of priority by the names that people give them. Work that says nothing is `normal`. */
export const priorityClasses = { low: 20, normal: 50, high: 80, urgent: 95 } as const

/** Who shares: `workspace/<name>`, or `cohort/<name>` for several that borrow from one another. */
export const QuotaNodeName = Schema.String.pipe(Schema.check(Schema.isPattern(/^(workspace|cohort)\/[a-z][a-z0-9-]{0,39}$/u)))
export type QuotaNodeName = typeof QuotaNodeName.Type

/** A cohort, by the same name that it has as a node. */
export const CohortName = Schema.String.pipe(Schema.check(Schema.isPattern(/^cohort\/[a-z][a-z0-9-]{0,39}$/u)))

/**
 * What is shared out: thousandths of a core, mebibytes, thousandths of a GPU of whatever model, and with a model
 * behind it those of that model alone.
 */
export const QuotaDimension = Schema.String.pipe(Schema.check(Schema.isPattern(/^(cpuMilli|memoryMib|gpuMilli(\/(?=.*[A-Za-z0-9])[A-Za-z0-9 ._+-]{1,64})?)$/u)))

/** How much of one dimension belongs to a node, and how far it borrows and lends. */
export const QuotaLimit = Schema.Struct({
  dimension: QuotaDimension,
  nominal: Count,
  /** The most that it takes beyond its own; without it as much as others leave. */
  borrowingMax: Schema.optionalKey(Count),
  /** The most of its own that others may take while it lies idle; without it all. */
  lendingMax: Schema.optionalKey(Count)
})
export type QuotaLimit = typeof QuotaLimit.Type

/** What a workspace or a cohort is due. What no node of a tree limits is not limited in it. */
export const QuotaTerms = Schema.Struct({
  /** The cohort that it shares with; without it it stands alone. */
  parent: Schema.optionalKey(CohortName),
  /** How many parts of what is shared it is due against its siblings; 1 unless said. */
  weight: Schema.optionalKey(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 1_000 })))),
  limits: Schema.Array(QuotaLimit).pipe(Schema.check(Schema.isMaxLength(64))),
  /** Of a workspace: the priority of its jobs that say none. */
  priorityDefault: Schema.optionalKey(Priority),
  /** Of a workspace: the most that its jobs' priority counts against other workspaces; `normal` unless said. */
  priorityMax: Schema.optionalKey(Priority)
})
export type QuotaTerms = typeof QuotaTerms.Type

/** From here on this is what the workspace or cohort is due. It replaces what was said of it before, and ends nothing that runs. */
export const QuotaSet = Schema.TaggedStruct("QuotaSet", {
  node: QuotaNodeName,
  terms: QuotaTerms,
  setBy: Principal,
  /** Where it was asked for. */
  workspace: WorkspaceName,
  answers: Schema.optionalKey(AskId)
})
export type QuotaSet = typeof QuotaSet.Type

/** Nothing is said of the workspace or cohort any more: it takes what there is, and is due nothing for certain. */
export const QuotaLifted = Schema.TaggedStruct("QuotaLifted", {
  node: QuotaNodeName,
  liftedBy: Principal,
  workspace: WorkspaceName,
  answers: Schema.optionalKey(AskId)
})
export type QuotaLifted = typeof QuotaLifted.Type

/** Who is due how much of the cell. */
export const quota = kind({ kind: "quota", scope: "cell", only: "cell", stream: "SCHEDULER" }, QuotaSet, QuotaLifted)
