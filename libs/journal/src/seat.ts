import { Context, Effect, type Scope } from "effect"

/** What is heard when somebody asks who decides: an answer, that nobody is there, or nothing. */
export type SeatWord = "taken" | "free" | "silent"

/**
 * Where one of several that could decide sits. It is told beside the log, so that a standby takes over soon and
 * without displacing one that is well; who may append is settled in the log alone, and whoever is wrong here loses
 * there.
 */
export class Seat extends Context.Service<Seat, {
  /** Answers whoever asks, for as long as the scope lives. */
  readonly hold: Effect.Effect<void, never, Scope.Scope>
  /** Asks once, and waits for an answer no longer than a part of a second. */
  readonly ask: Effect.Effect<SeatWord>
}>()("millrace/Seat") {}

/** How often a standby asks, in ms. */
export const seatAskEveryMs = 250

/** So often in a row nothing may be heard of whoever holds the seat before it counts as free. */
export const seatSilencesMax = 2

/** Seats within one process. `silence` has the one who holds it stay dumb, as if it stood still. */
export const seatInMemory = Effect.sync(() => {
  let holders = 0
  let dumb = false
  const seat: Seat["Service"] = {
    hold: Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => void (holders += 1)),
      () => Effect.sync(() => void (holders -= 1))
    )),
    ask: Effect.sync(() => (holders === 0 ? "free" : dumb ? "silent" : "taken"))
  }
  return { seat, silence: (now: boolean): void => void (dumb = now) }
})
