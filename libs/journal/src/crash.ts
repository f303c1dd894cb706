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

/** A journal with a place to die before and after everything it writes. */
export const withCrashPoints = (journal: JournalShape): JournalShape => ({
  ...journal,
  append: (commit, expect) =>
    crashPoint(`append ${said(commit)} before`).pipe(
      Effect.andThen(journal.append(commit, expect)),
      Effect.tap(() => crashPoint(`append ${said(commit)} after`))
    ),
  react: (options, handle) =>
    journal.react(options, (commit) =>
      crashPoint(`ack ${options.durable} ${commit.facts[0]?.name} unhandled`).pipe(
        Effect.andThen(handle(commit)),
        Effect.tap(() => crashPoint(`ack ${options.durable} ${commit.facts[0]?.name} handled`))
      ))
})

const said = (commit: Commit): string => commit.facts.map(({ event }) => event._tag).join("+")
