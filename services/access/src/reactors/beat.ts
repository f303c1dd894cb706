import { Journal, Pulse } from "@millrace/journal"
import { Clock, Effect } from "effect"

/** How often access says how far it is, in ms. */
const everyMs = 250

/**
 * Says every moment how far the stream of access is, so that whoever keeps a view of it knows the view's
 * age. The time is taken before the log is asked: a beat never makes a view look younger than it is.
 */
export const beat = Effect.gen(function*() {
  const journal = yield* Journal
  const pulse = yield* Pulse
  return yield* Effect.forever(Effect.gen(function*() {
    const atMs = yield* Clock.currentTimeMillis
    const headSeq = yield* journal.head("ACCESS")
    yield* pulse.beat({ headSeq, atMs })
    yield* Effect.sleep(everyMs)
  }))
})
