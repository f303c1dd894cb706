import { BadRequest, Unavailable } from "@millrace/service"
import { Journal, type JournalUnavailable } from "@millrace/journal"
import { noBooks, type PriceBooks, publish } from "@millrace/pricing"
import {
  type AsOf, Database, type DatabaseUnavailable, HistoryNotKept, type MomentMalformed, read, type Reading, type ReadOptions, readOptionsOf, ReadTooOld, type StatementFailed
} from "@millrace/readmodel"
import { PriceBook, type WorkspaceName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import { sql } from "kysely"
import { type AccountRow, accounts, type BookRow, books, losses, placed, type PlacedRow, spent, usage, type UsageTables, words, type WordsRow } from "../projections/tables.ts"

/**
 * By how much an attempt's last row may lie behind the fact that charged it, in ms: its time is the host's own, and
 * the streams' clocks are several servers'. What is looked at needlessly comes to no row.
 */
const behindChargeMsMax = 60_000
/** More attempts than this are not summed at once. */
export const attemptsMax = 50_000

type Trouble = ReadTooOld | HistoryNotKept | DatabaseUnavailable | StatementFailed | JournalUnavailable

/** The tables do not answer, or are not as far as they were asked to be; or what was asked names no moment. */
export const unreadable = (error: Trouble | MomentMalformed): BadRequest | Unavailable =>
  error._tag === "MomentMalformed" ? new BadRequest(error.words) : new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "metering's tables",
    remedy: "ask again in a moment; what was used is safe in the log"
  })

/** Which rows are read: the newest, those behind a write, or those of a cut or a moment in the past. */
export const optionsOf = (asked: AsOf): Effect.Effect<ReadOptions, BadRequest | Unavailable, Database | Journal> => Effect.mapError(readOptionsOf(asked, usage.hears), unreadable)

/** A book as the tables hold it, and since which of our facts. */
export interface BookKept extends BookRow {
  readonly valid_from_seq: number
  readonly read: PriceBook
}

const decodeBook = Schema.decodeUnknownSync(PriceBook)

const keptBooks = async ({ db, valid }: Reading<UsageTables>, workspace: WorkspaceName): Promise<ReadonlyArray<BookKept>> => {
  const rows = await db.selectFrom("books").selectAll().where(valid(books)).where(({ eb, or }) => or([eb("workspace", "is", null), eb("workspace", "=", workspace)])).execute()
  return rows.map((row) => ({ ...row, read: decodeBook(row.book) }))
}

/** The books that had been published before one of our facts; without one, by now. */
export const booksBefore = (kept: ReadonlyArray<BookKept>, sequence = Number.POSITIVE_INFINITY): PriceBooks =>
  kept.filter(({ valid_from_seq }) => Number(valid_from_seq) < sequence).map(({ read }) => read).reduce(publish, noBooks)

/** An attempt with what its host said, what it cost and when it was given up, as far as they are known. */
export interface AttemptKept extends PlacedRow {
  readonly marks: WordsRow["marks"] | null
  readonly amount_pico: string | null
  readonly settled_by: string | null
  readonly spent_seq: number | null
  readonly lost_at_ms: number | null
}

export interface Wanted {
  readonly job?: string
  readonly grant?: string
  readonly account?: string
  readonly fromMs?: number
  readonly toMs?: number
}

/** The workspace's attempts, the oldest first; one more than can be summed says that there are too many. */
export const attemptsOf = (workspace: WorkspaceName, { account, fromMs, grant, job, toMs }: Wanted, options: ReadOptions) =>
  Effect.mapError(read(usage, async (reading) => {
    const { db, valid } = reading
    let query = db.selectFrom("placed")
      .leftJoin("words", (join) => join.onRef("words.attempt_id", "=", "placed.attempt_id").onRef("words.host_id", "=", "placed.host_id").on(valid(words)))
      .leftJoin("spent", (join) => join.onRef("spent.attempt_id", "=", "placed.attempt_id").on(valid(spent)))
      .leftJoin("losses", (join) => join.onRef("losses.fact_id", "=", "spent.settled_by").on(valid(losses)))
      .selectAll("placed")
      .select(["words.marks", "spent.amount_pico", "spent.settled_by", "spent.valid_from_seq as spent_seq", "losses.lost_at_ms"])
      .where(valid(placed)).where("placed.workspace", "=", workspace)
    if (job !== undefined) query = query.where("placed.job_id", "=", job)
    if (account !== undefined) query = query.where("placed.account", "=", account)
    if (grant !== undefined) query = query.where(sql<boolean>`placed.grant_path ? ${grant}`)
    if (toMs !== undefined) query = query.where("placed.placed_at_ms", "<", toMs)
    if (fromMs !== undefined) query = query.where(({ eb, or }) => or([eb("spent.spent_at_ms", "is", null), eb("spent.spent_at_ms", ">=", fromMs - behindChargeMsMax)]))
    const attempts = await query.orderBy("placed.placed_at_ms").orderBy("placed.attempt_id").limit(attemptsMax + 1).execute()
    return { attempts: attempts as unknown as ReadonlyArray<AttemptKept>, books: await keptBooks(reading, workspace) }
  }, options), unreadable)

/** The workspace's accounts. */
export const accountsOf = (workspace: WorkspaceName, options: ReadOptions) =>
  Effect.mapError(read(usage, ({ db, valid }): Promise<ReadonlyArray<AccountRow>> =>
    db.selectFrom("accounts").selectAll().where(valid(accounts)).where("workspace", "=", workspace).orderBy("opened_at_ms").orderBy("account").execute(), options), unreadable)

/** The books that concern a workspace. */
export const booksOf = (workspace: WorkspaceName, options: ReadOptions) =>
  Effect.mapError(read(usage, (reading) => keptBooks(reading, workspace), options), unreadable)
