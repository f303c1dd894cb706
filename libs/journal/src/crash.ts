import { Context, Effect } from "effect"
import type { Commit } from "./commit.ts"
import type { JournalShape } from "./journal.ts"

/**
 * Named places between two effects, where a process may die: around each append, each acknowledgement
 * and each transaction. Fault tests end the process there, the simulator ends the fiber; in production
 * nothing listens.
 */
export const CrashPoints = Context.Reference<((point: string) => Effect.Effect<void>) | undefined>("millrace/CrashPoints", {
  defaultValue: () => undefined
})

/** Passes one such place. */
export const crashPoint = (point: string): Effect.Effect<void> =>
  Effect.flatMap(CrashPoints, (listen) => listen?.(point) ?? Effect.void)

/**
 * Passes the places around an append: one for each kind of fact in the commit, so that the names are as many as
 * the catalogue's facts, however they gather in commits.
 */
export const appendPoints = (commit: Commit, when: "before" | "after"): Effect.Effect<void> =>
  Effect.flatMap(CrashPoints, (listen) => {
    if (listen === undefined) return Effect.void
    const names = new Set(commit.facts.map(({ event }) => event._tag))
    return Effect.forEach([...names].sort(), (name) => listen(`append ${name} ${when}`), { discard: true })
  })

/** A journal with a place to die before and after everything it writes. A line's owner passes its own. */
export const withCrashPoints = (journal: JournalShape): JournalShape => ({
  ...journal,
  append: (commit, expect) =>
    appendPoints(commit, "before").pipe(
      Effect.andThen(journal.append(commit, expect)),
      Effect.tap(() => appendPoints(commit, "after"))
    ),
  react: (options, handle) => {
    const consumer = options.durable.replace(/[a-z]+_[0-9A-Za-z]+$/u, "*")
    return journal.react(options, (commit) =>
      crashPoint(`ack ${consumer} ${commit.facts[0]?.name} unhandled`).pipe(
        Effect.andThen(handle(commit)),
        Effect.tap(() => crashPoint(`ack ${consumer} ${commit.facts[0]?.name} handled`))
      ))
  }
})
