import { type Cause, Context, Effect } from "effect"

/**
 * Told when something that a process cannot live without has ended: a bug in a worker, or a failure that no
 * repetition mends. `runService` ends the process then, with the cause in its log once; in a test without a
 * process around it the cause is only logged.
 */
export const Ending = Context.Reference<(cause: Cause.Cause<unknown>) => Effect.Effect<void>>("millrace/Ending", {
  defaultValue: () => (cause) => Effect.logFatal("a worker has ended, and no process is around it", cause)
})

/** Runs an effect whose failure or defect ends the process. An interruption does not. */
export const endingWith = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.tapCause(effect, (cause) =>
    cause.reasons.some((reason) => reason._tag !== "Interrupt") ? Effect.flatMap(Ending, (tell) => tell(cause)) : Effect.void)
