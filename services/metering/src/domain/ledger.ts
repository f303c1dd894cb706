import { noBooks, type PriceBooks } from "@millrace/pricing"
import type {
  AccountId,
  AskId,
  AttemptId,
  BudgetAsked,
  BudgetShare,
  BudgetTerms,
  ExportAsked,
  FactId,
  GrantId,
  HostId,
  JobId,
  LimitAsked,
  PeriodCloseAsked,
  PriceBookAsked,
  Resources,
  SliceId,
  WorkspaceName
} from "@millrace/schemas"
import type { Mark } from "./timeline.ts"

/** A part of an account that is lent. What is not yet spent of it is out: promised to attempts, or free. */
export interface Slice {
  readonly id: SliceId
  readonly account: AccountId
  outPico: bigint
  /** The sequence of our own stream at which it was called back; from there on its holder promises nothing of it. */
  recalledAt: number | undefined
}

export interface Account {
  readonly id: AccountId
  readonly workspace: WorkspaceName
  readonly parent: AccountId | undefined
  readonly closesAtMs: number | undefined
  readonly terms: BudgetTerms
  readonly story: FactId
  limitPico: bigint
  /** Spent for good, here and in every account below. */
  committedPico: bigint
  /** Committed and lent, here and in every account below. */
  usedPico: bigint
  /** How much was lent last: half of it is what should lie ready. */
  lastLentPico: bigint
  /** That nothing more can be lent has been said, and nothing has come back since. */
  exhausted: boolean
  readonly slices: Map<SliceId, Slice>
}

/** What we need of a placement to charge for it. */
export interface Placed {
  readonly factId: FactId
  readonly partOf: FactId
  readonly grant: GrantId | undefined
  readonly jobId: JobId
  readonly workspace: WorkspaceName
  readonly hostId: HostId
  readonly task: number | undefined
  readonly attempt: number
  readonly share: BudgetShare
  readonly resources: Resources
  readonly atMs: number
}

/**
 * What the scheduler has made of an attempt. `judged`: its host has said how it ended. `released`: its job is
 * over without it, and it ends by its host's word or with its host. `lost`: its host was given up before it had
 * said how the attempt ended; nothing of it is charged.
 */
export type Verdict =
  | { readonly verdict: "judged" | "released" }
  | { readonly verdict: "lost"; readonly atMs: number; readonly by: FactId }

/**
 * One attempt until it is charged, kept apart by who said it: placement and verdict are the scheduler's,
 * marks each host's own. So facts of different streams may arrive in any order.
 */
export interface Attempt {
  readonly id: AttemptId
  placed: Placed | undefined
  verdict: Verdict | undefined
  /** Its host was declared lost while nothing was made of it yet: until when it could have run, should it be given up. */
  hostLost?: { readonly atMs: number; readonly by: FactId }
  readonly marks: Map<HostId, ReadonlyArray<Mark>>
}

/** What people ask of us and we have not yet answered. */
export interface Ask {
  readonly factId: FactId
  readonly partOf: FactId
  readonly ask: BudgetAsked | LimitAsked | PriceBookAsked | PeriodCloseAsked | ExportAsked
}

/** A waiting job's want of money. */
export interface Want {
  readonly account: AccountId
  readonly needsPico: bigint
}

/** Everything that metering decides upon. The indexes are derived from the rest and never saved. */
export interface Ledger {
  /** The last fact of our own stream that was folded: amounts must not be counted twice. */
  told: { readonly sequence: number; readonly ordinal: number }
  term: number
  /** Who took over last, and what a new workspace is opened with since. */
  seat: { readonly factId: FactId; readonly workspaceLimitPico: bigint } | undefined
  books: PriceBooks
  readonly workspaces: Map<WorkspaceName, { readonly factId: FactId; readonly partOf: FactId }>
  readonly accounts: Map<AccountId, Account>
  /** Attempts that have cost what they have cost, or that nobody pays for: nothing more is minded of them. */
  readonly over: Set<AttemptId>
  readonly attempts: Map<AttemptId, Attempt>
  readonly asks: Map<AskId, Ask>
  readonly answered: Set<AskId>
  readonly wants: Map<JobId, Want>
  /** The last sequence of ours that the scheduler had folded when it last said something. */
  heardByScheduler: number
  /** Scopes that hold a fact which nobody here can read: `<kind>.<scope>`. */
  readonly frozen: Set<string>
  readonly index: Index
}

export interface Index {
  /** `<job> <task> <attempt>` of attempts that were placed. */
  readonly byTurn: Map<string, Attempt>
  readonly byJob: Map<JobId, Set<Attempt>>
  readonly byHost: Map<HostId, Set<Attempt>>
  /** What of each slice is promised to attempts. */
  readonly promised: Map<SliceId, bigint>
  /** Attempts of which all is known that a charge needs. */
  readonly due: Set<Attempt>
  readonly slices: Map<SliceId, Slice>
}

export const emptyLedger = (): Ledger => ({
  told: { sequence: 0, ordinal: 0 },
  term: 0,
  seat: undefined,
  books: noBooks,
  workspaces: new Map(),
  accounts: new Map(),
  over: new Set(),
  attempts: new Map(),
  asks: new Map(),
  answered: new Set(),
  wants: new Map(),
  heardByScheduler: 0,
  frozen: new Set(),
  index: { byTurn: new Map(), byJob: new Map(), byHost: new Map(), promised: new Map(), due: new Set(), slices: new Map() }
})

/** An account and those above it, from itself to the root. */
export const lineOf = (ledger: Ledger, id: AccountId): ReadonlyArray<Account> => {
  const line: Array<Account> = []
  for (let account = ledger.accounts.get(id); account !== undefined && !line.includes(account); account = account.parent === undefined ? undefined : ledger.accounts.get(account.parent)) {
    line.push(account)
  }
  return line
}

/** What a slice's holder can still promise. Never negative. */
export const freeOf = ({ index: { promised } }: Ledger, { id, outPico }: Slice): bigint => {
  const free = outPico - (promised.get(id) ?? 0n)
  return free > 0n ? free : 0n
}

/** Whether nobody can read something that was said there, so that nothing is decided until somebody has looked. */
export const isFrozen = ({ frozen }: Ledger, workspace: WorkspaceName, hostId?: HostId): boolean =>
  frozen.size > 0 && ([`budget.${workspace}`, `schedule.${workspace}`, `ask.${workspace}`, "pricebook.cell"].some((scope) => frozen.has(scope)) ||
    (hostId !== undefined && (frozen.has(`attempt.${hostId}`) || frozen.has(`placement.${hostId}`))))
