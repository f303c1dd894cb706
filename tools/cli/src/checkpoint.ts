import { Checkpoints, foldCommit, hashOf, Journal, type JournalUnavailable, type StreamDecider } from "@millrace/journal"
import { Effect } from "effect"

/** What became of a fold's checkpoint when the log was folded again up to where it stands. */
export type CheckpointVerdict =
  | { readonly found: false }
  | { readonly found: true; readonly codeVersion: string; readonly saw: Readonly<Record<string, number>>; readonly agrees: boolean; readonly because: string }

/**
 * Folds the log anew up to what a decider's checkpoint saw, and compares the states by their hash. A
 * checkpoint of other code or of another epoch is never taken, so it has nothing to agree with.
 */
export const verifyCheckpoint = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>): Effect.fn.Return<CheckpointVerdict, JournalUnavailable, Journal | Checkpoints> {
  const journal = yield* Journal
  const kept = yield* Checkpoints.use((checkpoints) => checkpoints.load(decider.name))
  if (kept === undefined) return { found: false }
  const { codeVersion, epoch, saw, state } = kept
  const verdict = (agrees: boolean, because: string) => ({ found: true, codeVersion, saw, agrees, because }) as const
  if (codeVersion !== decider.codeVersion || epoch !== journal.epoch) return verdict(true, "it is of other code or another epoch, and will be passed over")
  for (const [stream, sequence] of Object.entries(saw)) {
    const head = yield* journal.head(stream as never)
    if (head < sequence) return verdict(false, `it saw ${stream} up to ${sequence}, and the log ends at ${head}`)
  }
  let rebuilt = decider.initial()
  for (const stream of [...decider.hears, decider.writes]) {
    rebuilt = yield* foldedUpTo(decider, rebuilt, stream, saw[stream] ?? 0)
  }
  // Loaded and saved again: a long state lies in a checkpoint in the order in which it came to be.
  return hashOf(decider.save(rebuilt)) === hashOf(decider.save(decider.load(state as never))) ? verdict(true, "a rebuild from fact one comes to the same state") : verdict(false, "a rebuild from fact one comes to another state")
})

const foldedUpTo = <State>(decider: StreamDecider<State>, from: State, stream: string, upTo: number): Effect.Effect<State, JournalUnavailable, Journal> =>
  Effect.scoped(Effect.gen(function*() {
    if (upTo === 0) return from
    const journal = yield* Journal
    const reader = yield* journal.read(stream as never, { after: 0 })
    let state = from
    let at = 0
    while (at < upTo) {
      for (const commit of yield* reader.take) {
        if (commit.place.sequence > upTo) return state
        state = foldCommit(decider, state, commit)
        at = commit.place.sequence
      }
    }
    return state
  }))
