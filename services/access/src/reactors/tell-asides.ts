import { Journal, readable } from "@millrace/journal"
import { type Aside, asideFact } from "@millrace/readmodel"
import type { Principal } from "@millrace/schemas"
import { Effect } from "effect"
import { Register } from "./register.ts"

const subject = { kind: "aside", scope: "access" }

/** Says that a table of ours went on past a fact that it could not read. Asked again after a crash it finds its own word. */
export const tellAside = Effect.fnUntraced(function*(aside: Aside) {
  const journal = yield* Journal
  const { say } = yield* Register
  const event = asideFact(aside)
  const story = yield* journal.story(subject)
  const said = story.flatMap((commit) => readable(commit).facts).some(({ event: known }) => JSON.stringify(known) === JSON.stringify(event))
  if (!said) yield* say(() => ({ subject, actor: "service:access" as Principal, facts: [{ event }] }))
})
