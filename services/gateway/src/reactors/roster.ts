import { Journal, readable } from "@millrace/journal"
import { isSignedBy } from "@millrace/journal/admission"
import type { HostId } from "@millrace/schemas"
import { Clock, Context, Effect, Layer, Schedule, Schema } from "effect"

/** How old a host's word of who it is may be, in ms. */
const tokenMsMax = 60_000

/** Nobody who may come in: unknown, dismissed, too late, or not who it says. */
export class NotOnRoster extends Schema.TaggedError<NotOnRoster>()("NotOnRoster", { reason: Schema.String }) {}

/** What a host signs to dial in. */
export const dialText = (publicKey: string, atMs: number): string => `millrace relay ${publicKey} ${atMs}`

/** The hosts of the cell and their keys, as access says. */
export class Roster extends Context.Service<Roster, {
  /** Which host holds the key that signed this token, `<public key>.<ms>.<signature>`. */
  readonly hostOf: (token: string) => Effect.Effect<HostId, NotOnRoster>
  /** Waits for the next host that is dismissed. */
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
        const [, publicKey = "", at = "", signature = ""] = /^(U[A-Z2-7]{55})\.([0-9]{1,15})\.([A-Za-z0-9_-]{86})$/u.exec(token) ?? []
        const nowMs = yield* Clock.currentTimeMillis
        const host = hosts.get(publicKey)
        if (host === undefined) return yield* new NotOnRoster({ reason: "the key is on no roster" })
        if (Math.abs(nowMs - Number(at)) > tokenMsMax) return yield* new NotOnRoster({ reason: "the token is too old, or from a clock that is ahead" })
        if (!isSignedBy("user", publicKey, dialText(publicKey, Number(at)), Buffer.from(signature, "base64url"))) return yield* new NotOnRoster({ reason: "the token is not signed by its key" })
        return host
      }),
      onDismissed: (then) => Effect.sync(() => void listeners.add(then))
    }
  }))
}
