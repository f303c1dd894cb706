import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { AccountView, PriceView, UsageRow, UsageSum } from "../../../../services/metering/src/api/api.ts"
import { ask, sayAnswer } from "../asks.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { accountId, after, at, dollars, key, optionally, queryOf, text } from "../flags.ts"
import { dollarsExact, dollarsShort, picoOf } from "../money.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { orDash, spanText, timeText } from "../render.ts"

const usageFlags = {
  by: Flag.Literals("by", ["job", "grant", "account", "phase", "day"]).pipe(Flag.withDescription("what to sum over (job)"), Flag.withDefault("job" as const)),
  job: text("job", "only this job"),
  grant: text("grant", "only what was done under this grant"),
  account: text("account", "only what this account pays"),
  from: text("from", "from this day or moment on, such as 2026-03-01 (UTC)"),
  to: text("to", "up to this day or moment"),
  rows: Flag.Boolean("rows").pipe(Flag.withoutNegation, Flag.withDescription("each attempt's time, phase by phase, instead of sums"), Flag.withDefault(false)),
  limit: Flag.Int("limit").pipe(
    Flag.filter((limit) => limit >= 0 && limit <= 10_000, (limit) => `${limit} is not a number from 0 to 10000`),
    Flag.withDescription("rows at most, 0 to 10000 (100); sums are over all of them"),
    Flag.withDefault(100)
  ),
  offset: Flag.Int("offset").pipe(Flag.withDescription("how many rows to pass over (0)"), Flag.withDefault(0)),
  at,
  after,
  output,
  ...apiFlags
}

interface Usage {
  readonly rows: ReadonlyArray<UsageRow>
  readonly rowsAll: number
  readonly groups: ReadonlyArray<UsageSum>
  readonly total: UsageSum
}

export const usage = Command.make("usage", usageFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { account, after, at, by, from, grant, job, limit, offset, to } = given
    const used = yield* origin.get<Usage>("/v1/usage", queryOf({ account, after, at, by, from, grant, job, limit, offset, to }))
    if (given.output === "json") return sayJson(used)
    if (!given.rows) return say(sumsText(by, used.groups, used.total))
    say(rowsText(used.rows))
    if (used.rowsAll > offset + used.rows.length) note(`${used.rows.length} of ${used.rowsAll} rows; add --offset ${offset + used.rows.length} for the next ones`)
  }))).pipe(
  Command.withDescription("What was used and what it cost: by job, grant, account, phase or day; now, or as it was known. Amounts are exact."),
  Command.withShortDescription("what was used, and what it cost"),
  Command.withExamples([
    { command: "millrace usage --by day --from 2026-03-01 --to 2026-04-01", description: "A month, day by day" },
    { command: "millrace usage --job JOB --rows", description: "Every millisecond of one job" },
    { command: "millrace usage --by grant -o json | jq -r '.groups[] | [.key, .amountPico] | @tsv'", description: "Exact amounts, for a program" }
  ])
)

const sumsText = (by: string, groups: ReadonlyArray<UsageSum>, total: UsageSum): string =>
  table([by.toUpperCase(), "ATTEMPTS", "CHARGED", "FREE", "LOST", "COST", "EXACTLY", "NOT SETTLED"], [...groups, total].map((sum) => [
    sum.key, String(sum.attempts), spanText(sum.chargedMs), spanText(sum.freeMs), spanText(sum.lostMs), dollarsShort(sum.amountPico), dollarsExact(sum.amountPico),
    BigInt(sum.unsettledPico ?? "0") === 0n ? "-" : dollarsShort(sum.unsettledPico)
  ]))

const rowsText = (rows: ReadonlyArray<UsageRow>): string =>
  table(["JOB", "TASK", "ATTEMPT", "PHASE", "FROM", "TIME", "COST", "EXACTLY", "SETTLED", "HOST"], rows.map((row) => [
    row.jobId, orDash(row.task), String(row.attempt), row.phase, timeText(row.fromMs), spanText(row.ms), dollarsShort(row.amountPico), dollarsExact(row.amountPico),
    row.settled ? "yes" : "no", row.hostId
  ]))

const budgetFlags = { at, after, output, ...apiFlags }

const listing = (given: Command.Command.Config.Infer<typeof budgetFlags>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ accounts: ReadonlyArray<AccountView> }>("/v1/budgets", queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(table(["ACCOUNT", "PARENT", "LIMIT", "SPENT", "LENT", "LEFT", "EXHAUSTED"], answer.accounts.map((one) => [
      one.account, orDash(one.parent), dollarsShort(one.limitPico), dollarsExact(one.committedPico), dollarsExact(one.lentPico), dollarsExact(one.availablePico), one.exhausted ? "yes" : "no"
    ])))
  }))

const lsBudgets = Command.make("ls", budgetFlags, listing).pipe(
  Command.withDescription("List the workspace's accounts: limits, what is spent, lent and left; now, or as it was."),
  Command.withShortDescription("accounts, and what is left in them"),
  Command.withExamples([{ command: "millrace budgets ls", description: "What can still be spent" }])
)

const openFlags = {
  limit: dollars("limit").pipe(Flag.withDescription("all that may be spent from it, in dollars")),
  account: text("account", "an id of your own (made up without it)"),
  parent: text("parent", "the account within whose limit it lies"),
  atLimit: Flag.Literals("at-limit", ["refuse_new", "snapshot", "end"]).pipe(
    Flag.withDescription("when the limit is reached: refuse new work, set running work aside, or end it (refuse_new)"),
    Flag.withDefault("refuse_new" as const)
  ),
  key,
  output,
  ...apiFlags
}

const open = Command.make("open", openFlags, (given) =>
  asking(given, (origin) =>
    Effect.map(
      ask(origin, "POST", "/v1/budgets", {
        body: { limitPico: given.limit, atLimit: given.atLimit, ...optionally("account", given.account), ...optionally("parent", given.parent) },
        key: Option.getOrUndefined(given.key)
      }),
      (answer) => sayAnswer(answer, given.output, "account")
    ))).pipe(
  Command.withDescription("Open an account with a limit. Prints its id."),
  Command.withShortDescription("open an account with a limit"),
  Command.withExamples([{ command: "millrace budgets open --limit 25", description: "Twenty-five dollars" }])
)

const dollarsArgument = Argument.String("dollars").pipe(
  Argument.filterMap((text) => Option.fromUndefinedOr(picoOf(text)), (text) => `${JSON.stringify(text)} is not an amount in dollars such as 25 or 0.50`),
  Argument.withDescription("its new limit in dollars")
)
const limitFlags = { account: accountId, limit: dollarsArgument, reason: text("reason", "why"), key, output, ...apiFlags }

const change = Command.make("limit", limitFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const limitPico = given.limit
    const answer = yield* ask(origin, "POST", `/v1/budgets/${encodeURIComponent(given.account)}/limit`, { body: { limitPico, ...optionally("reason", given.reason) }, key: Option.getOrUndefined(given.key) })
    sayAnswer(answer, given.output)
  }))).pipe(
  Command.withDescription("Give an account another limit. Below what is spent already, nothing more is lent."),
  Command.withShortDescription("change an account's limit"),
  Command.withExamples([{ command: "millrace budgets limit ACCOUNT 50", description: "Fifty dollars from now on" }])
)

export const budgets = Command.make("budgets", budgetFlags, listing).pipe(
  Command.withDescription("Accounts: how much may be spent, and how much is."),
  Command.withShortDescription("accounts and their limits"),
  Command.withSubcommands([lsBudgets, open, change])
)

export const prices = Command.make("prices", { at, after, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ rates: string | null; prices: ReadonlyArray<PriceView> }>("/v1/prices", queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(table(["SKU", "UNIT", "DOLLARS AN HOUR", "PICO A UNIT", "BOOK"], answer.prices.map(({ book, dollarsPerHour, picoPerUnit, sku, unit }) => [sku, unit, dollarsPerHour, picoPerUnit, book])))
  }))).pipe(
  Command.withDescription("The prices in force, with the book that they stand in: now, or as they were."),
  Command.withShortDescription("the prices in force"),
  Command.withExamples([{ command: "millrace prices --at 2026-07-01T12:00:00Z", description: "What was charged at noon" }])
)
