import { Journal, readable } from "@millrace/journal"
import { Admission } from "@millrace/journal/admission"
import { Effect } from "effect"

/**
 * Shuts out who was dismissed: revokes the key, which ends its connections, and removes its consumers. The
 * log was told first. Delivered at least once; dismissing twice dismisses once.
 */
export const dismissHosts = Effect.gen(function*() {
  const admission = yield* Admission
  const journal = yield* Journal
  return yield* journal.react({ stream: "ACCESS", durable: "access-dismissals", filter: "mill.admission.*" }, (commit) =>
    Effect.forEach(readable(commit).facts, ({ event }) =>
      event._tag === "HostDismissed" ? admission.dismissHost(event) : Effect.void, { discard: true }))
})
