import { MomentText } from "@millrace/readmodel"
import { Count, Cut, CutText, EpochMillis, Millis } from "@millrace/schemas"
import { Authentication, BadRequest, Forbidden, Unavailable, Wellformed } from "@millrace/service"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

/** A cut as it travels in a query: `SCHEDULER=12,METERING=40`. */
/** An amount twice: whole pico-dollars, and the same in dollars, both exact decimal texts. */
const money = { amountPico: Schema.String, dollars: Schema.String }
/** A moment (`2026-03-01T12:00:00Z`), a day in UTC (`2026-03-01`), or milliseconds since 1970. */
const Moment = Schema.String.pipe(Schema.check(Schema.isMaxLength(40)))

/** Whole milliseconds of one attempt in one phase, and what they cost. */
export const UsageRow = Schema.Struct({
  jobId: Schema.String,
  task: Schema.NullOr(Count),
  attempt: Count,
  attemptId: Schema.String,
  hostId: Schema.String,
  grant: Schema.NullOr(Schema.String),
  account: Schema.NullOr(Schema.String),
  phase: Schema.String,
  fromMs: EpochMillis,
  ms: Millis,
  cpuMilli: Count,
  memoryMib: Count,
  gpus: Count,
  /** The price books that it was priced by; null where nothing is charged. */
  rates: Schema.NullOr(Schema.String),
  ...money,
  /** Charged for good; otherwise the attempt has not ended, or is not charged yet. */
  settled: Schema.Boolean
})
export type UsageRow = typeof UsageRow.Type

/** Sums over rows. Time on hosts that were lost is never charged and stands apart. */
export const UsageSum = Schema.Struct({
  /** What the sum is over: a job, a grant, an account, a phase or a day; `all` for the total. */
  key: Schema.String,
  attempts: Count,
  /** Milliseconds that are charged for. */
  chargedMs: Millis,
  /** Milliseconds that are not: before the work began. */
  freeMs: Millis,
  lostMs: Millis,
  lostAttempts: Count,
  ...money,
  /** Of the amount, what is not settled yet. */
  unsettledPico: Schema.String
})
export type UsageSum = typeof UsageSum.Type

export const AccountView = Schema.Struct({
  account: Schema.String,
  parent: Schema.NullOr(Schema.String),
  limitPico: Schema.String,
  /** Spent for good, here and in every account below. */
  committedPico: Schema.String,
  /** Lent to whoever places work and not yet spent, here and below. */
  lentPico: Schema.String,
  /** What can still be lent, within this limit and every one above it. */
  availablePico: Schema.String,
  /** The same figures in dollars. */
  dollars: Schema.Struct({ limit: Schema.String, committed: Schema.String, lent: Schema.String, available: Schema.String }),
  openedBy: Schema.String,
  openedAtMs: EpochMillis,
  closesAtMs: Schema.NullOr(EpochMillis),
  /** Nothing more could be lent when it was last tried. */
  exhausted: Schema.Boolean
})
export type AccountView = typeof AccountView.Type

export const PriceView = Schema.Struct({
  book: Schema.String,
  sku: Schema.String,
  unit: Schema.String,
  picoPerUnit: Schema.String,
  dollarsPerHour: Schema.String,
  billedMsMin: Millis,
  billedStepMs: Millis
})
export type PriceView = typeof PriceView.Type

export const BookView = Schema.Struct({
  book: Schema.String,
  version: Count,
  side: Schema.String,
  effectiveFromMs: EpochMillis,
  publishedBy: Schema.String,
  publishedAtMs: EpochMillis,
  digest: Schema.String
})

const read = {
  /** Rows at least as new as this cut. */
  after: Schema.optionalKey(CutText),
  waitMs: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: 30_000 })))),
  /** As it was at a cut or at a moment. */
  at: Schema.optionalKey(MomentText)
}
const error = [BadRequest, Forbidden, Unavailable]

export class Usage extends HttpApiGroup.make("usage")
  .add(
    HttpApiEndpoint.get("usage", "/usage", {
      query: {
        ...read,
        job: Schema.optionalKey(Schema.String),
        grant: Schema.optionalKey(Schema.String),
        account: Schema.optionalKey(Schema.String),
        from: Schema.optionalKey(Moment),
        to: Schema.optionalKey(Moment),
        by: Schema.optionalKey(Schema.Literals(["job", "grant", "account", "phase", "day"])),
        /** Which page of rows: as many as `limit`, behind the first `offset`. Sums are over all of them. */
        limit: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: 10_000 })))),
        offset: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: 10_000_000 }))))
      },
      success: Schema.Struct({ rows: Schema.Array(UsageRow), rowsAll: Count, groups: Schema.Array(UsageSum), total: UsageSum, cut: Cut }),
      error
    }),
    HttpApiEndpoint.get("budgets", "/budgets", { query: read, success: Schema.Struct({ accounts: Schema.Array(AccountView), cut: Cut }), error }),
    HttpApiEndpoint.get("prices", "/prices", { query: read, success: Schema.Struct({ rates: Schema.NullOr(Schema.String), prices: Schema.Array(PriceView), books: Schema.Array(BookView), cut: Cut }), error })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** What the outside can ask of what was used and what it costs. */
export class Api extends HttpApi.make("millrace-metering").add(Usage).annotateMerge(OpenApi.annotations({ title: "Millrace metering", version: "1" })) {}
