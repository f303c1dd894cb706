import { foldHistory, history, projection } from "@millrace/readmodel"
import type {
  AttemptExited,
  AttemptRefused,
  AttemptStarted,
  BudgetExhausted,
  BudgetOpened,
  HostDeclaredLost,
  JobRetried,
  JobSettled,
  LimitChanged,
  MillFact,
  PhaseEntered,
  PlacementMade,
  PriceBookPublished,
  Resources,
  SliceLeased,
  SliceReturned,
  SpendCommitted,
  TaskSettled
} from "@millrace/schemas"
import { markOf } from "../domain/evolve.ts"
import type { Mark } from "../domain/timeline.ts"

/** An attempt as the scheduler placed it. */
export interface PlacedRow {
  readonly attempt_id: string
  readonly job_id: string
  readonly workspace: string
  readonly task: number | null
  readonly attempt: number
  readonly host_id: string
  readonly resources: Resources
  readonly grant_path: ReadonlyArray<string>
  readonly account: string | null
  readonly share_pico: string | null
  readonly placed_at_ms: number
}

/** What a host said of an attempt's time, in its order. */
export interface WordsRow {
  readonly attempt_id: string
  readonly host_id: string
  readonly marks: ReadonlyArray<Mark>
}

/** A fact by which attempts were given up, and until when their time counts. */
export interface LossRow {
  readonly fact_id: string
  readonly lost_at_ms: number
}

/** What an attempt has cost, once and for all. */
export interface SpentRow {
  readonly attempt_id: string
  readonly amount_pico: string
  readonly settled_by: string
  readonly spent_at_ms: number
}

export interface BookRow {
  readonly digest: string
  readonly workspace: string | null
  /** The book as JSON, its amounts as decimal texts. */
  readonly book: unknown
  readonly published_by: string
  readonly published_at_ms: number
}

/** An account's own figures: those of the accounts below it are not in them. */
export interface AccountRow {
  readonly account: string
  readonly workspace: string
  readonly parent: string | null
  readonly limit_pico: string
  readonly committed_pico: string
  readonly lent_pico: string
  readonly closes_at_ms: number | null
  readonly opened_by: string
  readonly opened_at_ms: number
  readonly exhausted: boolean
}

interface Kept {
  readonly valid_from_seq: number
  readonly valid_to_seq: number | null
}

export interface UsageTables {
  readonly placed: PlacedRow & Kept
  readonly words: WordsRow & Kept
  readonly losses: LossRow & Kept
  readonly spent: SpentRow & Kept
  readonly books: BookRow & Kept
  readonly accounts: AccountRow & Kept
}

export const placed = history({ table: "placed", stream: "SCHEDULER", key: ["attempt_id"] })
export const losses = history({ table: "losses", stream: "SCHEDULER", key: ["fact_id"] })
export const words = history({ table: "words", stream: "HOSTS", key: ["attempt_id", "host_id"] })
export const spent = history({ table: "spent", stream: "METERING", key: ["attempt_id"] })
export const books = history({ table: "books", stream: "METERING", key: ["digest"] })
export const accounts = history({ table: "accounts", stream: "METERING", key: ["account"] })

type Words = AttemptStarted | PhaseEntered | AttemptExited | AttemptRefused
type Losing = HostDeclaredLost | JobRetried | TaskSettled | JobSettled
type OfAccounts = BudgetOpened | LimitChanged | SliceLeased | SliceReturned | SpendCommitted | BudgetExhausted
type Minded = PlacementMade | Losing | Words | OfAccounts | PriceBookPublished

/**
 * What usage rows are made of, at any cut: each table is fed by one stream, and rows are cut and priced where they
 * are read, by the function that charged the attempt. So a row is never stored twice, nor ever of another opinion
 * than the charge.
 */
export const usage = projection<UsageTables>()<Minded>({
  name: "metering.usage",
  version: 1,
  hears: ["SCHEDULER", "HOSTS", "METERING"],
  only: [
    "PlacementMade", "HostDeclaredLost", "JobRetried", "TaskSettled", "JobSettled", "AttemptStarted", "PhaseEntered", "AttemptExited", "AttemptRefused",
    "BudgetOpened", "LimitChanged", "SliceLeased", "SliceReturned", "SpendCommitted", "BudgetExhausted", "PriceBookPublished"
  ],
  history: [placed, losses, words, spent, books, accounts],
  tables: (schema) => [
    ...placed.create(schema, (table) => table.addColumn("attempt_id", "text").addColumn("job_id", "text").addColumn("workspace", "text").addColumn("task", "integer")
      .addColumn("attempt", "integer").addColumn("host_id", "text").addColumn("resources", "jsonb").addColumn("grant_path", "jsonb").addColumn("account", "text")
      .addColumn("share_pico", "text").addColumn("placed_at_ms", "bigint")),
    schema.createIndex("placed_by_job").on("placed").columns(["workspace", "job_id"]),
    schema.createIndex("placed_by_time").on("placed").columns(["workspace", "placed_at_ms"]),
    ...losses.create(schema, (table) => table.addColumn("fact_id", "text").addColumn("lost_at_ms", "bigint")),
    ...words.create(schema, (table) => table.addColumn("attempt_id", "text").addColumn("host_id", "text").addColumn("marks", "jsonb")),
    ...spent.create(schema, (table) => table.addColumn("attempt_id", "text").addColumn("amount_pico", "text").addColumn("settled_by", "text").addColumn("spent_at_ms", "bigint")),
    ...books.create(schema, (table) => table.addColumn("digest", "text").addColumn("workspace", "text").addColumn("book", "jsonb").addColumn("published_by", "text").addColumn("published_at_ms", "bigint")),
    ...accounts.create(schema, (table) => table.addColumn("account", "text").addColumn("workspace", "text").addColumn("parent", "text").addColumn("limit_pico", "text")
      .addColumn("committed_pico", "text").addColumn("lent_pico", "text").addColumn("closes_at_ms", "bigint").addColumn("opened_by", "text").addColumn("opened_at_ms", "bigint")
      .addColumn("exhausted", "boolean"))
  ],
  apply: async (tx, facts) => {
    await foldHistory<PlacedRow, Minded>(tx, facts, placed, {
      about: ({ event }) => event._tag === "PlacementMade" ? { attempt_id: event.attemptId } : undefined,
      evolve: (row, { commit, event }) => row ?? (event._tag === "PlacementMade" ? placedRow(event, commit.place.storedAtMs) : row)
    })
    await foldHistory<LossRow, Minded>(tx, facts, losses, {
      about: ({ event, id }) => losing(event) ? { fact_id: id } : undefined,
      evolve: (row, { commit, event, id }) => row ?? { fact_id: id, lost_at_ms: event._tag === "HostDeclaredLost" ? event.leaseEndedAtMs : commit.place.storedAtMs }
    })
    await foldHistory<WordsRow, Minded>(tx, facts, words, {
      about: ({ commit, event }) => "bootId" in event || event._tag === "AttemptRefused"
        ? commit.subject.scope === event.hostId ? { attempt_id: event.attemptId, host_id: event.hostId } : undefined
        : undefined,
      evolve: (row, { commit, event, id }) => marked(row, event as Words, markOf(event, id, commit.place.storedAtMs))
    })
    await foldHistory<SpentRow, Minded>(tx, facts, spent, {
      about: ({ event }) => event._tag === "SpendCommitted" ? { attempt_id: event.attemptId } : undefined,
      evolve: (row, { commit, event }) => row ?? (event._tag === "SpendCommitted"
        ? { attempt_id: event.attemptId, amount_pico: String(event.amountPico), settled_by: event.settledBy, spent_at_ms: commit.place.storedAtMs }
        : row)
    })
    await foldHistory<BookRow, Minded>(tx, facts, books, {
      about: ({ event }) => event._tag === "PriceBookPublished" ? { digest: event.digest } : undefined,
      evolve: (row, { commit, event }) => row ?? (event._tag === "PriceBookPublished"
        ? { digest: event.digest, workspace: event.priceBook.workspace ?? null, book: event.priceBook, published_by: event.publishedBy, published_at_ms: commit.place.storedAtMs }
        : row)
    })
    await foldHistory<AccountRow, Minded>(tx, facts, accounts, {
      about: ({ event }) => "account" in event ? { account: event.account } : undefined,
      evolve: (row, { commit, event }) => accountAfter(row, event as OfAccounts, commit.place.storedAtMs)
    })
  }
})

const losing = (event: MillFact): boolean =>
  event._tag === "HostDeclaredLost" || (event._tag === "JobRetried" && event.lost === true) ||
  ((event._tag === "TaskSettled" || event._tag === "JobSettled") && event.outcome === "lost")

const placedRow = ({ attempt, attemptId, hostId, jobId, share, spec, task, warrant, workspace }: PlacementMade, storedAtMs: number): PlacedRow => ({
  attempt_id: attemptId,
  job_id: jobId,
  workspace,
  task: task ?? null,
  attempt,
  host_id: hostId,
  resources: spec.resources,
  grant_path: warrant.grantPath,
  account: share?.account ?? null,
  share_pico: share === undefined ? null : String(share.amountPico),
  placed_at_ms: storedAtMs
})

const marked = (row: WordsRow | undefined, { attemptId, hostId }: Words, mark: Mark | undefined): WordsRow | undefined => {
  const marks = row?.marks ?? []
  if (mark === undefined || marks.some(({ factId, what }) => factId === mark.factId || what === "exited" || what === "refused")) return row
  return { attempt_id: attemptId, host_id: hostId, marks: [...marks, mark] }
}

const accountAfter = (row: AccountRow | undefined, event: OfAccounts, storedAtMs: number): AccountRow | undefined => {
  if (event._tag === "BudgetOpened") {
    const { account, openedBy, terms, workspace } = event
    return row ?? {
      account,
      workspace,
      parent: terms.parent ?? null,
      limit_pico: String(terms.limitPico),
      committed_pico: "0",
      lent_pico: "0",
      closes_at_ms: terms.closesAtMs ?? null,
      opened_by: openedBy,
      opened_at_ms: storedAtMs,
      exhausted: false
    }
  }
  if (row === undefined) return row
  const lent = BigInt(row.lent_pico)
  switch (event._tag) {
    case "LimitChanged":
      return { ...row, limit_pico: String(event.limitPico), exhausted: false }
    case "SliceLeased":
      return { ...row, lent_pico: String(lent + event.amountPico) }
    case "SliceReturned":
      return { ...row, lent_pico: String(lent - event.amountPico), exhausted: false }
    case "SpendCommitted":
      return event.amountPico === 0n ? row : { ...row, lent_pico: String(lent - event.amountPico), committed_pico: String(BigInt(row.committed_pico) + event.amountPico) }
    case "BudgetExhausted":
      return { ...row, exhausted: true }
  }
}
