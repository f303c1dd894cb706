import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import { type Aside, asideFact, asideIdentity } from "@millrace/readmodel"
import type { FactId, Principal } from "@millrace/schemas"
import { Effect } from "effect"
import { sayOn } from "./say-on.ts"

const subject = { kind: "aside", scope: "gateway" }

/**
 * Says that a table of ours went on past a fact that it could not read. Asked again after a crash it finds
 * its own word by its id, and adds nothing.
 */
export const tellAside = Effect.fnUntraced(function*(aside: Aside) {
  const journal = yield* Journal
  const id = deriveId<FactId>("fct", aside.storedAtMs, ...asideIdentity(aside))
  const story = yield* journal.story(subject)
  if (story.some(({ facts }) => facts.some((fact) => fact.id === id))) return
  yield* sayOn({ subject, actor: "service:gateway" as Principal, event: asideFact(aside), idBehind: () => id })
})
