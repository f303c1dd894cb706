import { Journal, readable } from "@millrace/journal"
import { isSignedBy } from "@millrace/journal/admission"
import type { HostId } from "@millrace/schemas"
import { dialText, hostTokenOf } from "@millrace/wire"
import { Clock, Context, Effect, Layer, Schedule, Schema } from "effect"

/** How old a host's word of who it is may be, in ms. */
const tokenMsMax = 60_000

/** Nobody who may come in: unknown, dismissed, too late, or not who it says. */
export class NotOnRoster extends Schema.TaggedError<NotOnRoster>()("NotOnRoster", { reason: Schema.String }) {}

/** The hosts of the cell and their keys, as access says. */
export class Roster extends Context.Service<Roster, {
  /** Which host holds the key that signed this token (`HostToken`). */
  readonly hostOf: (token: string) => Effect.Effect<HostId, NotOnRoster>
  /** Calls `then` for each host that is dismissed from now on. */
  readonly onDismissed: (then: (host: HostId) => void) => Effect.Effect<void>
}>()("millrace/gateway/Roster") {
  static readonly layer: Layer.Layer<Roster, never, Journal> = Layer.effect(Roster, Effect.gen(function*() {
    const journal = yield* Journal
    const hosts = new Map<string, HostId>()
    const listeners = new Set<(host: HostId) => void>()
    let known = 0
    // Read for as long as the gateway lives. While the log is away those who were known stay known.
    const reading = Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("ACCESS", { after: known, filter: "mill.admission.cell" })
      while (true) {
        for (const commit of yield* reader.take) {
          for (const { event } of readable(commit).facts) {
            if (event._tag === "HostAdmitted") hosts.set(event.publicKey, event.hostId)
            if (event._tag === "HostDismissed") {
              hosts.delete(event.publicKey)
              for (const listener of listeners) listener(event.hostId)
            }
          }
          known = commit.place.sequence
        }
      }
    }))
    yield* Effect.forkScoped(reading.pipe(
      Effect.tapError((error) => Effect.logWarning(`The roster of hosts cannot be read on: ${error.message}`)),
      Effect.retry(Schedule.spaced("1 second"))
    ))
    return {
      hostOf: Effect.fnUntraced(function*(token) {
        const read = hostTokenOf(token)
        const host = read === undefined ? undefined : hosts.get(read.publicKey)
        if (read === undefined || host === undefined) return yield* new NotOnRoster({ reason: "the key is on no roster" })
        const { atMs, publicKey, signature } = read
        if (Math.abs((yield* Clock.currentTimeMillis) - atMs) > tokenMsMax) return yield* new NotOnRoster({ reason: "the token is too old, or from a clock that is ahead" })
        if (!isSignedBy("user", publicKey, dialText(publicKey, atMs), signature)) return yield* new NotOnRoster({ reason: "the token is not signed by its key" })
        return host
      }),
      onDismissed: (then) => Effect.sync(() => void listeners.add(then))
    }
  }))
}
