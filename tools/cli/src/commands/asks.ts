import { Effect } from "effect"
import { Command } from "effect/cli"
import { asking } from "../asking.ts"
import { type Answered, answerText } from "../asks.ts"
import { apiFlags } from "../door.ts"
import { askId } from "../flags.ts"
import { output, say, sayJson } from "../print.ts"

export const askCommand = Command.make("ask", { ask: askId, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answered = yield* origin.get<Answered>(`/v1/asks/${encodeURIComponent(given.ask)}`)
    return given.output === "json" ? sayJson(answered) : say(answerText(answered))
  }))).pipe(
  Command.withDescription("See what became of something that was asked of the cell, such as a grant, a token or a snapshot."),
  Command.withShortDescription("what became of an ask"),
  Command.withExamples([{ command: "millrace ask ASK", description: "The fact that answered it" }])
)
