import { AccountId, AskId, GrantId, HostId, JobId, Principal, SnapshotId } from "@millrace/schemas"
import { Option, Schema } from "effect"
import { Argument, Flag } from "effect/cli"
import { cutText, parseCut, parseMoment } from "./cut.ts"
import { picoOf } from "./money.ts"
import { memoryMib, millis } from "./quantities.ts"

/** A flag whose text is read by `parse`; what it cannot read is refused by name. */
export const read = <A>(name: string, parse: (text: string) => A | undefined, wants: string): Flag.Flag<A> =>
  Flag.String(name).pipe(Flag.filterMap((text) => Option.fromUndefinedOr(parse(text)), (text) => `${JSON.stringify(text)} is not ${wants}`))

export const span = (name: string): Flag.Flag<number> => read(name, millis, "a length of time such as 90s or 10m").pipe(Flag.withMetavar("time"))

export const size = (name: string): Flag.Flag<number> => read(name, memoryMib, "a size such as 256MiB or 2GiB").pipe(Flag.withMetavar("size"))

/** An amount of money in dollars, as exact pico-dollars. */
export const dollars = (name: string): Flag.Flag<string> => read(name, picoOf, "an amount in dollars such as 25 or 0.50").pipe(Flag.withMetavar("dollars"))

export const text = (name: string, description: string) => Flag.String(name).pipe(Flag.withDescription(description), Flag.optional)

/** A flag that may be given several times. */
export const several = (name: string, description: string, metavar = "text") =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(`${description}; may be repeated`), Flag.atLeast(0))

export const switched = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withoutNegation, Flag.withDescription(description), Flag.withDefault(false))

/** Rows at least as new as a cut. */
export const after = read("after", parseCut, "a cut such as GATEWAY=12").pipe(
  Flag.withMetavar("cut"),
  Flag.withDescription("wait until the answer holds this cut, such as GATEWAY=12"),
  Flag.optional
)

/** The past: as it was at a cut or at a moment. */
export const at = read("at", momentText, "a cut, or a time such as 2026-07-01T12:00:00Z").pipe(
  Flag.withMetavar("cut|time"),
  Flag.withDescription("as it was at a cut, or at a time such as 2026-07-01T12:00:00Z"),
  Flag.optional
)

/** A moment, in ms since 1970. */
export const moment = (name: string): Flag.Flag<number> => read(name, momentMs, "a time such as 2026-07-01T12:00:00Z").pipe(Flag.withMetavar("time"))

export const limit = (usual: number, most = 1000) =>
  Flag.Int("limit").pipe(
    Flag.filter((limit) => limit >= 1 && limit <= most, (limit) => `${limit} is not a number from 1 to ${most}`),
    Flag.withDescription(`how many at most, 1 to ${most} (${usual})`),
    Flag.withDefault(usual)
  )

export const cursor = text("cursor", "where the next page begins, as the page before said")

export const key = text("key", "an idempotency key: the same request under it is done once")

/** What names one thing, as an argument. What can be no such name is refused here: the API would speak of patterns. */
const named = (name: string, schema: Schema.Schema<string>, looks: string): Argument.Argument<string> =>
  Argument.String(name).pipe(Argument.filter(Schema.is(schema), (given) => `${JSON.stringify(given)} is not ${looks}`))

const idText = (of: string, prefix: string): string => `the id of ${of}: those are ${prefix}_ and 26 letters and digits`

export const jobId = named("job", JobId, idText("a job", "job")).pipe(Argument.withDescription("the job's id"))
export const hostId = named("host", HostId, idText("a host", "hst")).pipe(Argument.withDescription("the host's id"))
export const grantId = named("grant", GrantId, idText("a grant", "grt")).pipe(Argument.withDescription("the grant's id"))
export const askId = named("ask", AskId, idText("an ask", "ask")).pipe(Argument.withDescription("the ask's id"))
export const snapshotId = named("snapshot", SnapshotId, idText("a snapshot", "snp")).pipe(Argument.withDescription("the snapshot's id"))
export const accountId = named("account", AccountId, idText("an account", "acc")).pipe(Argument.withDescription("the account's id"))

/** Who is meant, by the kind of principal and its name. */
export const principal = (name: string, description: string) =>
  named(name, Principal, "a principal: those are user:, agent:, service: or host: and a name of letters, digits, - and _").pipe(Argument.withDescription(description))

/** Whatever a thing is called, but not nothing: the API's address of nothing is that of its list. */
export const something = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.filter((given) => given !== "", () => `nothing is named by ""`), Argument.withDescription(description))

export const task = Flag.Int("task").pipe(
  Flag.filter((task) => task >= 0, (task) => `${task} is no task: they are numbered from 0`),
  Flag.withDescription("of an array: which task, from 0"),
  Flag.optional
)

/** What flags mean in a query; what was not given is left out. */
export const queryOf = (given: Readonly<Record<string, Option.Option<unknown> | string | number | undefined>>): Record<string, string> =>
  Object.fromEntries(Object.entries(given).flatMap(([name, value]) => {
    const found = Option.isOption(value) ? Option.getOrUndefined(value) : value
    if (found === undefined) return []
    return [[name, typeof found === "object" && found !== null ? cutText(found as Readonly<Record<string, number>>) : String(found)]]
  }))

/** How long an answer may wait for the cut that was asked for, in ms. */
const freshMsMax = 5_000

/** `after` with the time that it may take. */
export const freshness = (cut: Option.Option<Readonly<Record<string, number>>>): { after?: string; waitMs?: number } =>
  Option.match(cut, { onNone: () => ({}), onSome: (cut) => ({ after: cutText(cut), waitMs: freshMsMax }) })

/** A field of a request that is there only when its flag was given. */
export const optionally = <Name extends string, A>(name: Name, value: Option.Option<A>): { readonly [K in Name]?: A } =>
  Option.match(value, { onNone: () => ({}), onSome: (found) => ({ [name]: found }) as { readonly [K in Name]?: A } })

/** A moment as every service reads it: a cut, or a time in UTC to the millisecond. */
function momentMs(text: string): number | undefined {
  const moment = parseMoment(text)
  return moment !== undefined && "atMs" in moment ? moment.atMs : undefined
}

function momentText(text: string): string | undefined {
  const moment = parseMoment(text)
  if (moment === undefined) return undefined
  return "cut" in moment ? cutText(moment.cut) : new Date(moment.atMs).toISOString()
}
