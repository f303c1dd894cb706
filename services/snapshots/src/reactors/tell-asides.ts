import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import { type Aside, asideFact, asideIdentity } from "@millrace/readmodel"
import type { FactId, Principal } from "@millrace/schemas"
import { Clock, Effect } from "effect"

const subject = { kind: "aside", scope: "snapshots" }

/**
 * Says that a table of ours went on past a fact that it could not read. Asked again after a crash it finds its
 * own word by its id, and adds nothing. It lies in the stream whose order keeping owns, which begins anew behind it.
 */
export const tellAside = Effect.fnUntraced(function*(aside: Aside) {
  const journal = yield* Journal
  const id = deriveId<FactId>("fct", aside.storedAtMs, ...asideIdentity(aside))
  const happenedAtMs = yield* Clock.currentTimeMillis
  yield* Effect.gen(function*() {
    const story = yield* journal.story(subject)
    if (story.some(({ facts }) => facts.some((fact) => fact.id === id))) return
    const sequence = story.at(-1)?.place.sequence ?? 0
    yield* journal.append({ subject, actor: "service:snapshots" as Principal, happenedAtMs, facts: [{ id, partOf: id, event: asideFact(aside) }] }, { last: "subject", sequence })
  }).pipe(Effect.retry({ times: 20, while: (error) => error._tag === "Overtaken" }))
})
