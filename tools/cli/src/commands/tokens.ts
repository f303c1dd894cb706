import { Role } from "@millrace/schemas"
import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { PrincipalView } from "../../../../services/access/src/api/reads.ts"
import { ask, sayAnswer, secretOf } from "../asks.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, cursor, key, limit, optionally, principal, queryOf, span, text } from "../flags.ts"
import type { Origin } from "../origin.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { orDash, timeText } from "../render.ts"

const who = principal("principal", "who, such as user:ada or agent:reviewer")
const listFlags = { limit: limit(100), cursor, at, after, output, ...apiFlags }
type Listing = Command.Command.Config.Infer<typeof listFlags>
type Page = { readonly principals: ReadonlyArray<PrincipalView>; readonly next?: string | null }

const pageOf = (origin: Origin, { after, at, cursor, limit }: Listing) => origin.get<Page>("/v1/principals", queryOf({ after, at, cursor, limit }))
const more = ({ next }: Page) => (next === null || next === undefined ? undefined : note(`There are more: add --cursor ${next}`))

const listing = (given: Listing) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const page = yield* pageOf(origin, given)
    if (given.output === "json") return sayJson(page)
    say(table(["TOKEN", "OF", "GRANT", "UNTIL", "ISSUED BY", "REVOKED BY"], page.principals.flatMap(({ principal, tokens }) =>
      tokens.map(({ digest, expiresAtMs, grant, issuedBy, revokedBy }) => [digest, principal, orDash(grant), timeText(expiresAtMs), issuedBy, orDash(revokedBy)]))))
    more(page)
  }))

const ls = Command.make("ls", listFlags, listing).pipe(
  Command.withDescription("List bearer tokens by their digests; the tokens themselves are kept nowhere."),
  Command.withShortDescription("list tokens"),
  Command.withExamples([{ command: "millrace tokens ls", description: "Whose, until when, and which are revoked" }])
)

const issueFlags = {
  principal: who,
  grant: text("grant", "the grant that everything done with it names; agents need one"),
  life: span("for").pipe(Flag.withDescription("how long it holds, such as 8h (90d)"), Flag.optional),
  key,
  output,
  ...apiFlags
}

const issue = Command.make("issue", issueFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const body = { principal: given.principal, ...optionally("grant", given.grant), ...optionally("lifeMs", given.life) }
    const answered = yield* ask(origin, "POST", "/v1/credentials", { body, key: Option.getOrUndefined(given.key) })
    const secret = yield* secretOf(answered, "find it by the time it ends with: millrace tokens ls   then revoke it, and issue another")
    if (given.output === "json") return sayJson(answered)
    note("The token is shown this once, and kept nowhere:")
    say(secret)
  }))).pipe(
  Command.withDescription("Make a bearer token for a principal. It is shown this once; only its digest is kept."),
  Command.withShortDescription("make a token; it is shown once"),
  Command.withExamples([
    { command: "millrace tokens issue agent:reviewer --grant GRANT --for 8h > agent.token", description: "For an agent, for a day's work" },
    { command: "millrace tokens issue user:ada", description: "For a person" }
  ])
)

const digest = Argument.String("digest").pipe(
  Argument.filter((text) => /^sha256:[0-9a-f]{64}$/u.test(text), (text) => `${JSON.stringify(text)} is not a token's digest: those are sha256: and 64 digits, as tokens ls says`),
  Argument.withDescription("the token's digest (sha256:...), as tokens ls says")
)

const revoke = Command.make("revoke", { digest, key, output, ...apiFlags }, (given) =>
  asking(given, (origin) =>
    Effect.map(ask(origin, "DELETE", `/v1/credentials/${encodeURIComponent(given.digest)}`, { key: Option.getOrUndefined(given.key) }), (answer) => sayAnswer(answer, given.output)))).pipe(
  Command.withDescription("End a bearer token, by its digest."),
  Command.withShortDescription("end a token"),
  Command.withExamples([{ command: "millrace tokens revoke sha256:...", description: "From now on it opens nothing" }])
)

export const tokens = Command.make("tokens", listFlags, listing).pipe(
  Command.withDescription("Bearer tokens: who can speak as whom."),
  Command.withShortDescription("bearer tokens"),
  Command.withSubcommands([ls, issue, revoke])
)

const listingPrincipals = (given: Listing) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const page = yield* pageOf(origin, given)
    if (given.output === "json") return sayJson(page)
    say(table(["PRINCIPAL", "ROLES", "TOKENS"], page.principals.map(({ principal, roles, tokens }) =>
      [principal, orDash(roles.join(",")), String(tokens.filter(({ revokedBy }) => revokedBy === null).length)])))
    more(page)
  }))

const lsPrincipals = Command.make("ls", listFlags, listingPrincipals).pipe(
  Command.withDescription("List who there is in the workspace, and their roles: now, or as it was."),
  Command.withShortDescription("list principals"),
  Command.withExamples([{ command: "millrace principals ls", description: "Who, with which roles" }])
)

const role = Argument.Literals("role", Role.literals).pipe(Argument.withDescription("what the principal may do of itself"))

const bind = Command.make("bind", { principal: who, role, key, output, ...apiFlags }, (given) =>
  asking(given, (origin) =>
    Effect.map(ask(origin, "POST", "/v1/roles", { body: { principal: given.principal, role: given.role }, key: Option.getOrUndefined(given.key) }), (answer) => sayAnswer(answer, given.output)))).pipe(
  Command.withDescription("Give a principal a role."),
  Command.withShortDescription("give a role"),
  Command.withExamples([{ command: "millrace principals bind user:ada member", description: "From now on" }])
)

const unbind = Command.make("unbind", { principal: who, role, key, output, ...apiFlags }, (given) =>
  asking(given, (origin) =>
    Effect.map(ask(origin, "DELETE", "/v1/roles", { query: { principal: given.principal, role: given.role }, key: Option.getOrUndefined(given.key) }), (answer) => sayAnswer(answer, given.output)))).pipe(
  Command.withDescription("Take a role from a principal. Grants that it issued by that role rest."),
  Command.withShortDescription("take a role"),
  Command.withExamples([{ command: "millrace principals unbind user:ada member", description: "From now on" }])
)

export const principals = Command.make("principals", listFlags, listingPrincipals).pipe(
  Command.withDescription("People, agents and services of the workspace, and their roles."),
  Command.withShortDescription("people, agents and their roles"),
  Command.withSubcommands([lsPrincipals, bind, unbind])
)
