import { Fence, HostId } from "@millrace/schemas"
import { Context, Effect, Schema, type Scope } from "effect"

/** A host says that it is there and asks that its lease goes on. Nothing of it is stored. */
export const HostBeat = Schema.Struct({
  hostId: HostId,
  bootId: Schema.NonEmptyString,
  /** When it was sent, on the host's own monotonic clock: from here its lease runs. */
  sentAtMonoMs: Schema.Int,
  /** How many attempts run there. */
  attempts: Schema.Int
})
export type HostBeat = typeof HostBeat.Type

/** What the scheduler answers to a beat. */
export const BeatAnswer = Schema.Struct({
  /** The term of the scheduler that answers: a host takes no answer of a lower one than it has heard. */
  term: Schema.Int,
  /** How long the host may go on without another answer, from when the beat was sent. */
  leaseMs: Schema.Int,
  /** The host was declared lost and has not been taken up again: it says anew that it is there. */
  lost: Schema.Boolean,
  /** Every placement with a lower fence is void: it was made before the host was declared lost. */
  voidBelow: Schema.optionalKey(Fence)
})
export type BeatAnswer = typeof BeatAnswer.Type

/**
 * How hosts and the scheduler hear of each other between facts. Beats get lost, and nothing waits for one:
 * a host without answers lets its lease run out, a scheduler without beats declares the host lost.
 */
export class Beats extends Context.Service<Beats, {
  /** A host's end: asks once. Nothing: nobody answered in time, or nobody who may be understood. */
  readonly beat: (beat: HostBeat) => Effect.Effect<BeatAnswer | undefined>
  /**
   * The scheduler's end: answers every beat for as long as the scope lives. `answer` is asked at once, must
   * not wait, and gives nothing where this scheduler does not decide.
   */
  readonly answer: (answer: (beat: HostBeat) => BeatAnswer | undefined) => Effect.Effect<void, never, Scope.Scope>
}>()("millrace/Beats") {}

/** Beats within one process. Of several that answer the first one is heard. */
export const beatsInMemory: Effect.Effect<Beats["Service"]> = Effect.sync(() => {
  const answering = new Set<(beat: HostBeat) => BeatAnswer | undefined>()
  return {
    beat: (beat) =>
      Effect.sync(() => {
        for (const answer of answering) {
          const answered = answer(beat)
          if (answered !== undefined) return answered
        }
        return undefined
      }),
    answer: (answer) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => void answering.add(answer)),
        () => Effect.sync(() => void answering.delete(answer))
      ))
  }
})
