import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import type { GrantView } from "../../../../services/access/src/api/reads.ts"
import { ask, sayAnswer } from "../asks.ts"
import { type Asked, asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, cursor, dollars, grantId, key, limit, optionally, principal, queryOf, several, size, span, text } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { allFields, fieldsText, orDash, timeText } from "../render.ts"

const states = ["in_force", "suspended", "revoked", "over", "not_yet"] as const

const listFlags = {
  holder: text("holder", "only grants of this principal, such as agent:reviewer"),
  state: Flag.Literals("state", states).pipe(Flag.withDescription("only grants in this state"), Flag.optional),
  limit: limit(100),
  cursor,
  at,
  after,
  output,
  ...apiFlags
}

const listing = (given: Command.Command.Config.Infer<typeof listFlags>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at, cursor, holder, limit, state } = given
    const answer = yield* origin.get<{ grants: ReadonlyArray<GrantView>; next: string | null }>("/v1/grants", queryOf({ after, at, cursor, holder, limit, state }))
    if (given.output === "json") return sayJson(answer)
    say(table(["GRANT", "STATE", "HOLDER", "ISSUER", "ACTIONS", "UNTIL", "DEPTH", "PARENT"], answer.grants.map((grant) => [
      grant.grantId, grant.state, grant.holder, grant.issuer, orDash(grant.reach?.actions.join(",")), timeText(grant.reach?.expiresAtMs), String(grant.depth), orDash(grant.parent)
    ])))
    if (answer.next !== null && answer.next !== undefined) note(`There are more: add --cursor ${answer.next}`)
  }))

const ls = Command.make("ls", listFlags, listing).pipe(
  Command.withDescription("List the workspace's grants, the newest first: now, or as they were."),
  Command.withShortDescription("list grants"),
  Command.withExamples([
    { command: "millrace grants ls --holder agent:reviewer", description: "What one agent may do" },
    { command: "millrace grants ls --at 2026-07-01T12:00:00Z", description: "What held at noon" }
  ])
)

const show = Command.make("show", { grant: grantId, at, after, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ grant: GrantView; path: ReadonlyArray<GrantView>; children: ReadonlyArray<string>; holds: boolean }>(
      `/v1/grants/${encodeURIComponent(given.grant)}`, queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(fieldsText([["holds", answer.holds ? "yes" : "no"], ...allFields(answer.grant as never)]))
    say(`\nPath, from the root:\n${table(["GRANT", "STATE", "HOLDER", "ISSUER"], answer.path.map(({ grantId, holder, issuer, state }) => [grantId, state, holder, issuer]))}`)
    if (answer.children.length > 0) say(`\nHanded on to: ${answer.children.join(", ")}`)
  }))).pipe(
  Command.withDescription("Show one grant: its limits, every link above it, and whether it holds: now, or as it was."),
  Command.withShortDescription("one grant, and whether it holds"),
  Command.withExamples([{ command: "millrace grants show GRANT", description: "Limits, path from the root, and those it was handed on to" }])
)

const terms = {
  holder: principal("holder", "who may act under it, such as agent:reviewer"),
  action: several("action", "what it gives: job.submit, job.*, or * for everything", "action"),
  resource: several("resource", "what for, such as workspace/main/*; without one the whole workspace", "resource"),
  life: span("for").pipe(Flag.withDescription("how long it holds, such as 8h or 30d (1d)"), Flag.withDefault(86_400_000)),
  depth: Flag.Int("depth").pipe(Flag.withDescription("how often it may be handed on (0)"), Flag.withDefault(0)),
  account: text("account", "whose money it may spend"),
  spend: dollars("spend").pipe(Flag.withDescription("how much may be spent under it, in dollars"), Flag.optional),
  uses: Flag.Int("uses").pipe(Flag.withDescription("how many jobs may be submitted under it"), Flag.optional),
  concurrency: Flag.Int("concurrency").pipe(Flag.withDescription("how many may run at once"), Flag.optional),
  cpu: Flag.Finite("cpu").pipe(Flag.withMetavar("cores"), Flag.withDescription("cores of a job at most"), Flag.optional),
  memory: size("memory").pipe(Flag.withDescription("memory of a job at most, such as 2GiB"), Flag.optional),
  gpus: Flag.Int("gpus").pipe(Flag.withDescription("GPUs of a job at most"), Flag.optional),
  timeLimit: span("time-limit").pipe(Flag.withDescription("how long a job may run at most"), Flag.optional),
  egress: several("egress", "where its jobs may connect to", "host:port"),
  noEgress: Flag.Boolean("no-egress").pipe(Flag.withoutNegation, Flag.withDescription("its jobs have no network"), Flag.withDefault(false)),
  reason: text("reason", "why, for those who read it later"),
  key,
  output,
  ...apiFlags
}

const bodyOf = (given: Command.Command.Config.Infer<typeof terms>): Record<string, unknown> => {
  const constraints = {
    ...optionally("spendPicoMax", given.spend), ...optionally("usesMax", given.uses), ...optionally("concurrencyMax", given.concurrency),
    ...optionally("cpuMilliMax", Option.map(given.cpu, (cores) => Math.round(cores * 1000))), ...optionally("memoryMibMax", given.memory),
    ...optionally("gpusMax", given.gpus), ...optionally("runMsMax", given.timeLimit),
    ...(given.egress.length > 0 || given.noEgress ? { egress: given.noEgress ? [] : given.egress } : {})
  }
  return {
    holder: given.holder,
    reach: {
      actions: given.action.length === 0 ? ["job.*"] : given.action,
      ...(given.resource.length === 0 ? {} : { resources: given.resource }),
      constraints,
      lifeMs: given.life,
      depthMax: given.depth
    },
    ...optionally("account", given.account),
    ...optionally("reason", given.reason)
  }
}

const issue = Command.make("issue", terms, (given) =>
  asking(given, (origin) =>
    Effect.map(ask(origin, "POST", "/v1/grants", { body: bodyOf(given), key: Option.getOrUndefined(given.key) }), (answer) => sayAnswer(answer, given.output, "grantId")))).pipe(
  Command.withDescription("Issue a grant, by a role that you have: what its holder may do, within which limits, until when. Prints its id."),
  Command.withShortDescription("issue a grant"),
  Command.withExamples([
    { command: "millrace grants issue agent:reviewer --action 'job.*' --spend 5 --for 8h --no-egress", description: "Jobs for five dollars, today, without network" },
    { command: "millrace grants issue agent:planner --depth 2 --concurrency 4", description: "One that may hand parts of it on" }
  ])
)

const delegate = Command.make("delegate", { grant: grantId, ...terms }, (given) =>
  asking(given, (origin) =>
    Effect.map(
      ask(origin, "POST", `/v1/grants/${encodeURIComponent(given.grant)}/delegate`, { body: bodyOf(given), key: Option.getOrUndefined(given.key) }),
      (answer) => sayAnswer(answer, given.output, "grantId")
    ))).pipe(
  Command.withDescription("Hand a part of a grant on. What is handed on lies within it, or it is refused with what is missing. Prints the new grant's id."),
  Command.withShortDescription("hand a part of a grant on"),
  Command.withExamples([{ command: "millrace grants delegate GRANT agent:helper --action job.submit --spend 0.50 --for 1h", description: "Half a dollar, for an hour" }])
)

const changing = (word: "suspend" | "resume" | "revoke", description: string, done: string) =>
  Command.make(word, { grant: grantId, cause: text("cause", "why, for those who read it later"), key, output, ...apiFlags }, (given) =>
    asking(given as Asked & typeof given, (origin) =>
      Effect.map(
        ask(origin, "POST", `/v1/grants/${encodeURIComponent(given.grant)}/${word}`, { body: optionally("cause", given.cause), key: Option.getOrUndefined(given.key) }),
        (answer) => sayAnswer(answer, given.output)
      ))).pipe(
    Command.withDescription(description),
    Command.withShortDescription(done),
    Command.withExamples([{ command: `millrace grants ${word} GRANT --cause 'as agreed'`, description: "With a word for those who read it later" }])
  )

export const grants = Command.make("grants", listFlags, listing).pipe(
  Command.withDescription("Who may do what, within which limits, until when."),
  Command.withShortDescription("who may do what"),
  Command.withSubcommands([
    ls,
    show,
    issue,
    delegate,
    changing("suspend", "Let a grant rest, and all below it, until it is resumed.", "let a grant rest"),
    changing("resume", "Let a resting grant hold again.", "let a resting grant hold again"),
    changing("revoke", "End a grant for good, and all below it.", "end a grant for good")
  ])
)
