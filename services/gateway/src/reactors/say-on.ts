import { Journal } from "@millrace/journal"
import type { FactId, MillFact, Principal, Subject } from "@millrace/schemas"
import { Clock, Effect } from "effect"

export interface Saying {
  readonly subject: Subject
  readonly actor: Principal
  readonly event: MillFact
  /** Its id, which may derive from what lies before it. */
  readonly idBehind: (sequence: number) => FactId
}

/** Says a fact on a subject that all gateways share, behind whatever is last there; whoever is overtaken looks again. */
export const sayOn = Effect.fnUntraced(function*({ actor, event, idBehind, subject }: Saying) {
  const journal = yield* Journal
  const happenedAtMs = yield* Clock.currentTimeMillis
  yield* Effect.gen(function*() {
    const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
    const id = idBehind(sequence)
    yield* journal.append({ subject, actor, happenedAtMs, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence })
  }).pipe(Effect.retry({ times: 20, while: (error) => error._tag === "Overtaken" }))
})
