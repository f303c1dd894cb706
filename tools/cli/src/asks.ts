import { Clock, Effect } from "effect"
import type { Origin, Sending } from "./origin.ts"
import { note, type Output, say, sayJson } from "./print.ts"
import { allFields, fieldsText } from "./render.ts"
import { Trouble } from "./trouble.ts"

/** What the gateway answers when something is asked of the services behind it. */
export interface Answered {
  readonly askId: string
  /** The fact that answers; without it the answer is still to come. */
  readonly answer?: { readonly name: string; readonly body: Readonly<Record<string, unknown>> }
  readonly repeated?: boolean
  /** What is shown this once. */
  readonly secret?: string
  readonly cut: Readonly<Record<string, number>>
}

const lateMsMax = 20_000
const lookMs = 500

/** Asks, and waits for the answer: the gateway for ten seconds, this command for as long again. */
export const ask = Effect.fnUntraced(function*(origin: Origin, method: "POST" | "DELETE", path: string, sending: Sending = {}): Effect.fn.Return<Answered, Trouble> {
  const said = yield* origin.send<Answered>(method, path, sending)
  if (said.answer !== undefined) return said
  note(`The ask is written down as ${said.askId}; waiting for its answer.`)
  const untilMs = (yield* Clock.currentTimeMillis) + lateMsMax
  while ((yield* Clock.currentTimeMillis) < untilMs) {
    yield* Effect.sleep(lookMs)
    const now = yield* origin.get<Answered>(`/v1/asks/${said.askId}`)
    if (now.answer !== undefined) return { ...said, answer: now.answer, cut: now.cut }
  }
  note(`Its answer is still to come. Look with: millrace ask ${said.askId}`)
  return said
})

/** Says an answer: the id that came of it as data, the rest as remarks. */
export const sayAnswer = (answered: Answered, format: Output, idField?: string): void => {
  if (format === "json") return sayJson(answered)
  const { answer, askId, repeated } = answered
  if (repeated === true) note("This key has been used for the same before: nothing was done again.")
  if (answer === undefined) return say(askId)
  if (answer.name === "AskFoundDone") return note(`It was so already: ${String(answer.body["detail"] ?? "")}`)
  const id = idField === undefined ? undefined : answer.body[idField]
  if (typeof id === "string") say(id)
  else note(`${answer.name}.`)
}

/** The secret of an answer, which is shown this once; it cannot be shown to whoever lost the first answer. */
export const secretOf = (answered: Answered, remedy: string): Effect.Effect<string, Trouble> =>
  answered.secret === undefined
    ? Effect.fail(new Trouble({ code: "secret_shown_before", what: "it was made by the same request before, and its secret was shown then", where: answered.askId, remedy, ending: "rejected" }))
    : Effect.succeed(answered.secret)

/** Everything that an answer says, for people. */
export const answerText = ({ answer, askId }: Answered): string =>
  answer === undefined ? `${askId} has no answer yet` : fieldsText([["ask", askId], ["answer", answer.name], ...allFields(answer.body)])
