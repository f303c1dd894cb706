import { Context, Effect } from "effect"

/**
 * Bugs that a test has planted, by name, to see that the tests find them. Empty unless a test provides it:
 * no environment variable, file or argument reaches it, so production cannot switch one on.
 */
export const PlantedBugs = Context.Reference<ReadonlySet<string>>("millrace/PlantedBugs", {
  defaultValue: () => none
})

const none: ReadonlySet<string> = new Set()

/** Whether this bug is planted here. */
export const planted = (name: string): Effect.Effect<boolean> => Effect.map(PlantedBugs, (bugs) => bugs.has(name))
