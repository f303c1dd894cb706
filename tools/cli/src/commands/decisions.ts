import { Effect } from "effect"
import { Command, Flag } from "effect/cli"
import type { DecisionView } from "../../../../services/access/src/api/reads.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, cursor, limit, queryOf, text } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { orDash, timeText } from "../render.ts"
import { missingText } from "../trouble.ts"

const flags = {
  verdict: Flag.Literals("verdict", ["allow", "deny"]).pipe(Flag.withDescription("only what was allowed, or refused"), Flag.optional),
  principal: text("principal", "only what this principal asked, such as agent:reviewer"),
  action: text("action", "only this action, such as job.submit"),
  job: text("job", "only what is about this job"),
  limit: limit(100),
  cursor,
  at,
  after,
  output,
  ...apiFlags
}

export const decisions = Command.make("decisions", flags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { action, after, at, cursor, job: jobId, limit, principal, verdict } = given
    const answer = yield* origin.get<{ decisions: ReadonlyArray<DecisionView>; next?: string | null }>("/v1/decisions", queryOf({ action, after, at, cursor, jobId, limit, principal, verdict }))
    if (given.output === "json") return sayJson(answer)
    say(table(["WHEN", "VERDICT", "PRINCIPAL", "ACTION", "RESOURCE", "AT", "RULE", "WHY", "MISSING"], answer.decisions.map((one) => [
      timeText(one.decidedAtMs), one.verdict, one.principal, one.action, one.resource, one.point, one.rule, orDash(one.reason),
      one.missing === null || one.missing === undefined ? "-" : missingText(one.missing)
    ])))
    if (answer.next !== null && answer.next !== undefined) note(`There are more: add --cursor ${answer.next}`)
  }))).pipe(
  Command.withDescription("The audit: what was decided at every gate, by which rule, on which view, and what was missing; the newest first."),
  Command.withShortDescription("the audit: who was refused what, and why"),
  Command.withExamples([
    { command: "millrace decisions --verdict deny", description: "What was refused, and what was missing" },
    { command: "millrace decisions --principal agent:reviewer -o json", description: "One agent's, for a program" }
  ])
)
