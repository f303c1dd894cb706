import { Journal } from "@millrace/journal"
import { dollarsText, ratesAt } from "@millrace/pricing"
import { Database, timeFrom } from "@millrace/readmodel"
import type { WorkspaceName } from "@millrace/schemas"
import { Authority, BadRequest, mayRead } from "@millrace/service"
import { Clock, Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { midnights, sumOf, type Summed, sumsBy } from "../domain/sums.ts"
import { rowsOf } from "../domain/usage.ts"
import type { AccountRow } from "../projections/tables.ts"
import { type AccountView, Api, type PriceView, type UsageRow } from "./api.ts"
import { accountsOf, type AttemptKept, attemptsMax, attemptsOf, type BookKept, booksBefore, booksOf, optionsOf } from "./reading.ts"

/** What the outside asks of usage, accounts and prices, answered from this service's own tables. */
export const UsageLive = HttpApiBuilder.group(Api, "usage", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const database = yield* Database
  const journal = yield* Journal

  const allowed = (action: "usage.read" | "budget.read") => Effect.provideService(mayRead(action), Authority, authority)
  const provided = <A, E>(effect: Effect.Effect<A, E, Database | Journal>) =>
    effect.pipe(Effect.provideService(Database, database), Effect.provideService(Journal, journal))

  return handlers.handleAll({
    usage: Effect.fnUntraced(function*({ query }) {
      const workspace = yield* allowed("usage.read")
      const fromMs = yield* boundOf(query.from, "from")
      const toMs = yield* boundOf(query.to, "to")
      const { job, grant, account } = query
      const { cut, value } = yield* provided(Effect.flatMap(optionsOf(query), (options) => attemptsOf(workspace, {
        ...(job === undefined ? {} : { job }),
        ...(grant === undefined ? {} : { grant }),
        ...(account === undefined ? {} : { account }),
        ...(fromMs === undefined ? {} : { fromMs }),
        ...(toMs === undefined ? {} : { toMs })
      }, options)))
      if (value.attempts.length > attemptsMax) return yield* tooMany
      const byDay = query.by === "day"
      const rows = value.attempts.flatMap((attempt) => usedBy(workspace, attempt, value.books, { fromMs, toMs, byDay }))
      const { by, limit = 1_000, offset = 0 } = query
      return {
        rows: rows.slice(offset, offset + limit).map(viewOf),
        rowsAll: rows.length,
        groups: by === undefined ? [] : sumsBy(rows, (row) => keysBy[by](row)),
        total: sumOf("all", rows),
        cut
      }
    }),
    budgets: Effect.fnUntraced(function*({ query }) {
      const workspace = yield* allowed("budget.read")
      const { cut, value } = yield* provided(Effect.flatMap(optionsOf(query), (options) => accountsOf(workspace, options)))
      return { accounts: accountViews(value), cut }
    }),
    prices: Effect.fnUntraced(function*({ query }) {
      const workspace = yield* allowed("usage.read")
      const { cut, value } = yield* provided(Effect.flatMap(optionsOf(query), (options) => booksOf(workspace, options)))
      const atMs = (query.at === undefined ? undefined : timeFrom(query.at)) ?? (yield* Clock.currentTimeMillis)
      const rates = ratesAt(booksBefore(value), { workspace, atMs })
      return {
        rates: rates?.name ?? null,
        prices: (rates?.prices ?? []).map(({ billedMsMin, billedStepMs, picoPerUnit, sku, unit }): PriceView => ({
          book: rates!.name, sku, unit, picoPerUnit: String(picoPerUnit), dollarsPerHour: dollarsText(picoPerUnit * 3_600n), billedMsMin, billedStepMs
        })),
        books: value.map(({ digest, published_at_ms, published_by, read: { book, effectiveFromMs, side, version } }) => ({
          book, version, side, effectiveFromMs, publishedBy: published_by, publishedAtMs: Number(published_at_ms), digest
        })),
        cut
      }
    })
  })
}))

const tooMany = new BadRequest({
  code: "usage_too_wide",
  what: `more than ${attemptsMax} attempts lie within what was asked`,
  where: "from and to in the query",
  remedy: "ask for a shorter time, or for one job or one grant"
})

const boundOf = (text: string | undefined, name: string): Effect.Effect<number | undefined, BadRequest> => {
  const atMs = text === undefined ? undefined : timeFrom(text)
  return text === undefined || atMs !== undefined
    ? Effect.succeed(atMs)
    : Effect.fail(new BadRequest({
      code: "moment_malformed",
      what: `${JSON.stringify(text)} is no moment`,
      where: `${name} in the query`,
      remedy: "write a day such as 2026-03-01, a moment such as 2026-03-01T12:00:00Z, or milliseconds since 1970"
    }))
}

interface Used extends Summed {
  readonly kept: AttemptKept
  readonly fromMs: number
  readonly rates: string | null
}

const usedBy = (
  workspace: WorkspaceName,
  kept: AttemptKept,
  books: ReadonlyArray<BookKept>,
  { byDay, fromMs = 0, toMs = Number.POSITIVE_INFINITY }: { readonly fromMs: number | undefined; readonly toMs: number | undefined; readonly byDay: boolean }
): ReadonlyArray<Used> => {
  const marks = kept.marks ?? []
  const placedAtMs = Number(kept.placed_at_ms)
  // A charge is the last word on its amount: its rows never come to more.
  const sharePico = kept.amount_pico ?? kept.share_pico
  const lastMs = Math.max(placedAtMs, Number(kept.lost_at_ms ?? 0), ...marks.map(({ storedAtMs }) => storedAtMs)) + 86_400_000
  const cutsAtMs = [fromMs, ...(Number.isFinite(toMs) ? [toMs] : []), ...(byDay ? midnights(placedAtMs, lastMs) : [])]
  const rows = rowsOf({
    workspace,
    placedAtMs,
    resources: kept.resources,
    marks,
    books: booksBefore(books, kept.spent_seq === null ? undefined : Number(kept.spent_seq)),
    ...(sharePico === null ? {} : { sharePico: BigInt(sharePico) }),
    ...(kept.settled_by === null ? {} : { spent: { settledBy: kept.settled_by, ...(kept.lost_at_ms === null ? {} : { lostAtMs: Number(kept.lost_at_ms) }) } })
  }, cutsAtMs)
  return rows.filter((row) => row.fromMs >= fromMs && row.fromMs < toMs).map(({ amountPico, counted, fromMs, ms, phase, rates }) => ({
    kept, attemptId: kept.attempt_id, phase, fromMs, ms, counted, amountPico, rates: rates ?? null, settled: kept.settled_by !== null
  }))
}

/** The day (UTC) of a moment, as `2026-03-01`. */
const dayOf = (atMs: number): string => new Date(atMs).toISOString().slice(0, 10)

const grantOf = ({ grant_path }: AttemptKept): string | null => grant_path.at(-1) ?? null

const keysBy: Record<"job" | "grant" | "account" | "phase" | "day", (row: Used) => string> = {
  job: ({ kept }) => kept.job_id,
  grant: ({ kept }) => grantOf(kept) ?? "none",
  account: ({ kept }) => kept.account ?? "none",
  phase: ({ phase }) => phase,
  day: ({ fromMs }) => dayOf(fromMs)
}

const viewOf = ({ amountPico, fromMs, kept, ms, phase, rates, settled }: Used): UsageRow => ({
  jobId: kept.job_id,
  task: kept.task,
  attempt: kept.attempt,
  attemptId: kept.attempt_id,
  hostId: kept.host_id,
  grant: grantOf(kept),
  account: kept.account,
  phase,
  fromMs,
  ms,
  cpuMilli: kept.resources.cpuMilli,
  memoryMib: kept.resources.memoryMib,
  gpus: kept.resources.gpus,
  rates,
  amountPico: String(amountPico),
  dollars: dollarsText(amountPico),
  settled
})

/** Figures of each account with those of the accounts below it, and what the whole line above it leaves. */
const accountViews = (rows: ReadonlyArray<AccountRow>): ReadonlyArray<AccountView> => {
  const byId = new Map(rows.map((row) => [row.account, row]))
  const lineOf = (row: AccountRow): ReadonlyArray<AccountRow> => {
    const line = [row]
    for (let above = byId.get(row.parent ?? ""); above !== undefined && !line.includes(above); above = byId.get(above.parent ?? "")) line.push(above)
    return line
  }
  const figures = new Map(rows.map((row) => [row, { committed: 0n, lent: 0n }]))
  for (const row of rows) {
    for (const above of lineOf(row)) {
      const sums = figures.get(above)!
      sums.committed += BigInt(row.committed_pico)
      sums.lent += BigInt(row.lent_pico)
    }
  }
  return rows.map((row) => {
    const { committed, lent } = figures.get(row)!
    const limit = BigInt(row.limit_pico)
    const left = lineOf(row).map((above) => BigInt(above.limit_pico) - figures.get(above)!.committed - figures.get(above)!.lent).reduce((least, each) => each < least ? each : least)
    const available = left > 0n ? left : 0n
    return {
      account: row.account,
      parent: row.parent,
      limitPico: String(limit),
      committedPico: String(committed),
      lentPico: String(lent),
      availablePico: String(available),
      dollars: { limit: dollarsText(limit), committed: dollarsText(committed), lent: dollarsText(lent), available: dollarsText(available) },
      openedBy: row.opened_by,
      openedAtMs: Number(row.opened_at_ms),
      closesAtMs: row.closes_at_ms === null ? null : Number(row.closes_at_ms),
      exhausted: row.exhausted
    }
  })
}
