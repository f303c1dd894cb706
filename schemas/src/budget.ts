import { Schema } from "effect"
import { AccountId, AskId, AttemptId, FactId, JobId, Principal, SliceId, WorkspaceName } from "./ids.ts"
import { Count, EpochMillis, PicoDollars } from "./quantities.ts"
import { kind } from "./story.ts"

/** Which account. Amounts in its story are pico-dollars; committed plus lent never exceeds the limit. */
const inAccount = { workspace: WorkspaceName, account: AccountId }

/** What an account is opened with. A child's limit lies within its parent's and adds nothing to it. */
export const BudgetTerms = Schema.Struct({
  limitPico: PicoDollars,
  parent: Schema.optionalKey(AccountId),
  /** When the limit is reached: refuse new work, set running work aside, or end it. */
  atLimit: Schema.Literals(["refuse_new", "snapshot", "end"]),
  /** When it closes by itself. */
  closesAtMs: Schema.optionalKey(EpochMillis)
})
export type BudgetTerms = typeof BudgetTerms.Type

/** The account exists, and this is all that can be spent from it. */
export const BudgetOpened = Schema.TaggedStruct("BudgetOpened", {
  ...inAccount,
  terms: BudgetTerms,
  openedBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type BudgetOpened = typeof BudgetOpened.Type

/** The account has another limit. Below what is committed already, nothing more is lent. */
export const LimitChanged = Schema.TaggedStruct("LimitChanged", {
  ...inAccount,
  limitPico: PicoDollars,
  changedBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type LimitChanged = typeof LimitChanged.Type

/** A part of the account is lent to whoever places work. It can be spent without asking again. */
export const SliceLeased = Schema.TaggedStruct("SliceLeased", {
  ...inAccount,
  slice: SliceId,
  holder: Principal,
  amountPico: PicoDollars,
  /** What the account can still lend after this. */
  availablePico: PicoDollars
})
export type SliceLeased = typeof SliceLeased.Type

/** The holder is to return what it has not yet promised to work. */
export const SliceRecalled = Schema.TaggedStruct("SliceRecalled", {
  ...inAccount,
  slice: SliceId,
  cause: Schema.Literals(["needed_elsewhere", "limit_lowered", "closing"])
})
export type SliceRecalled = typeof SliceRecalled.Type

/** An attempt has cost this much of its slice, once and for all. */
export const SpendCommitted = Schema.TaggedStruct("SpendCommitted", {
  ...inAccount,
  slice: SliceId,
  jobId: JobId,
  attempt: Count,
  attemptId: AttemptId,
  amountPico: PicoDollars,
  /** The fact that settled what was used. */
  settledBy: FactId
})
export type SpendCommitted = typeof SpendCommitted.Type

/** What was left of a slice can be lent again. */
export const SliceReturned = Schema.TaggedStruct("SliceReturned", {
  ...inAccount,
  slice: SliceId,
  amountPico: PicoDollars,
  cause: Schema.Literals(["settled", "recalled", "holder_gone"])
})
export type SliceReturned = typeof SliceReturned.Type

/** Nothing more can be lent from the account until its limit changes or a slice comes back. */
export const BudgetExhausted = Schema.TaggedStruct("BudgetExhausted", {
  ...inAccount,
  limitPico: PicoDollars,
  committedPico: PicoDollars,
  lentPico: PicoDollars
})
export type BudgetExhausted = typeof BudgetExhausted.Type

/**
 * Another metering keeps the accounts from here on. Every append of the one before it fails. What it was
 * told by its settings is here, because decisions follow from facts alone.
 */
export const MeteringTookOver = Schema.TaggedStruct("MeteringTookOver", {
  term: Count,
  metering: Principal,
  codeVersion: Schema.NonEmptyString,
  /** What a new workspace's own account is opened with. */
  workspaceLimitPico: PicoDollars
})
export type MeteringTookOver = typeof MeteringTookOver.Type

/** Who keeps the cell's accounts. */
export const ledger = kind({ kind: "ledger", scope: "cell", only: "cell", stream: "METERING" }, MeteringTookOver)

/** One account, and who holds parts of it. */
export const budget = kind(
  { kind: "budget", scope: "workspace", story: "account", stream: "METERING" },
  BudgetOpened,
  LimitChanged,
  SliceLeased,
  SliceRecalled,
  SpendCommitted,
  SliceReturned,
  BudgetExhausted
)
