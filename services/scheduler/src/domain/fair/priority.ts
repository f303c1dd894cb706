import { priorityClasses } from "@millrace/schemas"

/** What a workspace's quota says of priorities. */
export interface PriorityTerms {
  /** Of a job that says nothing. */
  readonly priorityDefault?: number | undefined
  /** The most that counts against other workspaces. Within its own a job's counts as it was said. */
  readonly priorityMax?: number | undefined
}

/** A job's priority: `own` among the work of its workspace, `outer` against everybody's. */
export interface Priority {
  readonly own: number
  readonly outer: number
}

/**
 * Whoever submits says how urgent a job is to them; how urgent that is to others is the workspace's quota to say,
 * and without a word of it no more than normal: nobody comes before other workspaces by saying so of themselves.
 */
export const priorityOf = (asked: number | undefined, { priorityDefault = priorityClasses.normal, priorityMax = priorityClasses.normal }: PriorityTerms): Priority => {
  const own = asked ?? priorityDefault
  return { own, outer: Math.min(own, priorityMax) }
}
