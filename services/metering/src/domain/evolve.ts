import { publish } from "@millrace/pricing"
import type { AccountId, AttemptId, BudgetOpened, FactId, GrantId, HostId, JobId, JobSettled, MillFact, PlacementMade, TaskSettled } from "@millrace/schemas"
import { type Account, type Ask, type Attempt, type Ledger, lineOf, type Slice, type Verdict } from "./ledger.ts"
import { endOf, type Mark } from "./timeline.ts"

/** A fact with what surrounds it, as far as metering minds. */
export interface Heard {
  readonly id: FactId
  readonly partOf: FactId
  readonly grant: GrantId | undefined
  readonly event: MillFact
  readonly sequence: number
  readonly ordinal: number
  readonly isOwn: boolean
  readonly storedAtMs: number
  /** Whose subject it was said on: a host speaks of its own attempts alone. */
  readonly scope: string
  /** For what the scheduler decided: how far it had read our own stream. */
  readonly sawMetering: number | undefined
}

/** Facts that answer what is asked of metering. */
const answersOfOurs: ReadonlySet<string> = new Set(["BudgetOpened", "LimitChanged", "PriceBookPublished", "AskRefused", "AskFoundDone"])

/** Tells the ledger one fact. It cannot refuse: the fact has happened. Telling it again changes nothing. */
export const evolve = (ledger: Ledger, heard: Heard): Ledger => {
  if (heard.sawMetering !== undefined) ledger.heardByScheduler = Math.max(ledger.heardByScheduler, heard.sawMetering)
  const { event, id, partOf } = heard
  if (heard.isOwn) {
    const { ordinal, sequence } = ledger.told
    if (heard.sequence < sequence || (heard.sequence === sequence && heard.ordinal <= ordinal)) return ledger
    ledger.told = { sequence: heard.sequence, ordinal: heard.ordinal }
  }
  if ("answers" in event && event.answers !== undefined && answersOfOurs.has(event._tag)) {
    ledger.answered.add(event.answers)
    ledger.asks.delete(event.answers)
  }
  switch (event._tag) {
    case "MeteringTookOver":
      if (event.term > ledger.term) {
        ledger.term = event.term
        ledger.seat = { factId: id, workspaceLimitPico: event.workspaceLimitPico }
      }
      return ledger
    case "PriceBookPublished":
      ledger.books = publish(ledger.books, event.priceBook)
      return ledger
    case "WorkspaceOpened":
      if (!ledger.workspaces.has(event.workspace)) ledger.workspaces.set(event.workspace, { factId: id, partOf })
      return ledger
    case "BudgetAsked":
    case "LimitAsked":
    case "PriceBookAsked":
    case "PeriodCloseAsked":
    case "ExportAsked":
      if (!ledger.answered.has(event.askId)) ledger.asks.set(event.askId, { factId: id, partOf, ask: event } satisfies Ask)
      return ledger
    case "BudgetOpened":
      if (!ledger.accounts.has(event.account)) ledger.accounts.set(event.account, opened(event, partOf))
      return ledger
    case "LimitChanged": {
      const account = ledger.accounts.get(event.account)
      if (account === undefined) return ledger
      account.limitPico = event.limitPico
      for (const other of ledger.accounts.values()) other.exhausted = false
      return ledger
    }
    case "SliceLeased": {
      const account = ledger.accounts.get(event.account)
      if (account === undefined || ledger.index.slices.has(event.slice)) return ledger
      const slice: Slice = { id: event.slice, account: event.account, outPico: event.amountPico, recalledAt: undefined }
      account.slices.set(slice.id, slice)
      account.lastLentPico = event.amountPico
      ledger.index.slices.set(slice.id, slice)
      use(ledger, event.account, event.amountPico)
      return ledger
    }
    case "SliceRecalled": {
      const slice = ledger.index.slices.get(event.slice)
      if (slice !== undefined) slice.recalledAt ??= heard.sequence
      return ledger
    }
    case "SliceReturned":
      takeFrom(ledger, event.slice, event.amountPico)
      use(ledger, event.account, -event.amountPico)
      for (const other of ledger.accounts.values()) other.exhausted = false
      return ledger
    case "BudgetExhausted": {
      const account = ledger.accounts.get(event.account)
      if (account !== undefined) account.exhausted = true
      return ledger
    }
    case "SpendCommitted": {
      if (ledger.over.has(event.attemptId)) return ledger
      takeFrom(ledger, event.slice, event.amountPico)
      for (const account of lineOf(ledger, event.account)) account.committedPico += event.amountPico
      return close(ledger, event.attemptId)
    }
    case "PlacementMade":
      if (!wantsMore(event)) ledger.wants.delete(event.jobId)
      return placed(ledger, event, heard)
    case "JobDeferred":
      if (event.reason === "budget" && event.budget !== undefined) ledger.wants.set(event.jobId, event.budget)
      else ledger.wants.delete(event.jobId)
      return ledger
    case "JobRefused":
      ledger.wants.delete(event.jobId)
      return ledger
    case "JobRetried":
      return judge(ledger, turn(event.jobId, event.task, event.failedAttempt), event.lost === true ? { verdict: "lost", atMs: heard.storedAtMs, by: id } : { verdict: "judged" })
    case "LateWordNoted":
      return judge(ledger, turn(event.jobId, event.task, event.attempt), { verdict: "judged" })
    case "TaskSettled":
      return judge(ledger, turn(event.jobId, event.task, event.attempt), verdictOf(event, heard))
    case "JobSettled":
      ledger.wants.delete(event.jobId)
      for (const attempt of ledger.index.byJob.get(event.jobId) ?? []) {
        decideOn(ledger, attempt, attempt.id === event.attemptId ? verdictOf(event, heard) : { verdict: "released" })
      }
      return ledger
    case "HostDeclaredLost":
      // The scheduler may hold the word of some of them already; which ones it gives up it says of each.
      for (const attempt of ledger.index.byHost.get(event.hostId) ?? []) {
        attempt.hostLost ??= { atMs: event.leaseEndedAtMs, by: id }
        if (attempt.verdict?.verdict === "released") decideOn(ledger, attempt, attempt.verdict)
      }
      return ledger
    case "AttemptStarted":
    case "PhaseEntered":
    case "AttemptExited":
    case "AttemptRefused":
      return marked(ledger, event.attemptId, event.hostId, heard)
    default:
      return ledger
  }
}

/**
 * An array is told once that it waits for money, and each of its placements may leave others waiting. Those that
 * are tried again go first, so the first attempt of its last task is the last of what waited.
 */
const wantsMore = ({ attempt, spec: { array }, task = 0 }: PlacementMade): boolean => array !== undefined && (attempt > 1 || task + 1 < array.tasks)

const opened = ({ account, terms, workspace }: BudgetOpened, story: FactId): Account => ({
  id: account,
  workspace,
  parent: terms.parent,
  closesAtMs: terms.closesAtMs,
  terms,
  story,
  limitPico: terms.limitPico,
  committedPico: 0n,
  usedPico: 0n,
  lastLentPico: 0n,
  exhausted: false,
  slices: new Map()
})

/** A child's money is its parent's: what is used below counts at every level. */
const use = (ledger: Ledger, id: AccountId, pico: bigint): void => {
  for (const account of lineOf(ledger, id)) account.usedPico += pico
}

const takeFrom = (ledger: Ledger, id: Slice["id"], pico: bigint): void => {
  const slice = ledger.index.slices.get(id)
  if (slice === undefined) return
  slice.outPico -= pico
  if (slice.outPico > 0n) return
  ledger.index.slices.delete(id)
  ledger.accounts.get(slice.account)?.slices.delete(id)
}

const turn = (jobId: JobId, task: number | undefined, attempt: number): string => `${jobId} ${task ?? ""} ${attempt}`

const placed = (ledger: Ledger, made: PlacementMade, { grant, id, partOf, storedAtMs }: Heard): Ledger => {
  if (ledger.over.has(made.attemptId)) return ledger
  if (made.share === undefined) return close(ledger, made.attemptId)
  const attempt = attemptOf(ledger, made.attemptId)
  if (attempt.placed !== undefined) return ledger
  const { hostId, jobId, share, spec: { resources }, task, workspace } = made
  attempt.placed = { factId: id, partOf, grant, jobId, workspace, hostId, task, attempt: made.attempt, share, resources, atMs: storedAtMs }
  return indexed(ledger, attempt)
}

/** Puts a placed attempt where it is looked up. */
export const indexed = (ledger: Ledger, attempt: Attempt): Ledger => {
  const { byHost, byJob, byTurn, due, promised } = ledger.index
  const { placed } = attempt
  if (placed === undefined) return ledger
  byTurn.set(turn(placed.jobId, placed.task, placed.attempt), attempt)
  byJob.set(placed.jobId, (byJob.get(placed.jobId) ?? new Set()).add(attempt))
  byHost.set(placed.hostId, (byHost.get(placed.hostId) ?? new Set()).add(attempt))
  promised.set(placed.share.slice, (promised.get(placed.share.slice) ?? 0n) + placed.share.amountPico)
  if (isDue(attempt)) due.add(attempt)
  return ledger
}

/** A charge needs the scheduler's verdict and, unless the host is lost, the host's word. */
const isDue = ({ marks, placed, verdict }: Attempt): boolean =>
  placed !== undefined && verdict !== undefined && (verdict.verdict === "lost" || endOf(marks.get(placed.hostId) ?? []) !== undefined)

const judge = (ledger: Ledger, key: string, verdict: Verdict): Ledger => {
  const attempt = ledger.index.byTurn.get(key)
  return attempt === undefined ? ledger : decideOn(ledger, attempt, verdict)
}

/** How a task or a job ended says how the attempt that it names did. */
const verdictOf = ({ endedBy, outcome }: TaskSettled | JobSettled, { id, storedAtMs }: Heard): Verdict =>
  outcome === "lost" ? { verdict: "lost", atMs: storedAtMs, by: id } : { verdict: endedBy === undefined ? "released" : "judged" }

/** The scheduler's first verdict on an attempt counts; one that is released is lost with its host, before or after. */
const decideOn = (ledger: Ledger, attempt: Attempt, said: Verdict): Ledger => {
  const { hostLost } = attempt
  const verdict = hostLost !== undefined && said.verdict !== "judged" ? { verdict: "lost" as const, ...hostLost } : said
  if (attempt.verdict === undefined || (attempt.verdict.verdict === "released" && verdict.verdict === "lost")) attempt.verdict = verdict
  if (isDue(attempt)) ledger.index.due.add(attempt)
  return ledger
}

const attemptOf = (ledger: Ledger, id: AttemptId): Attempt => {
  const known = ledger.attempts.get(id)
  if (known !== undefined) return known
  const attempt: Attempt = { id, placed: undefined, verdict: undefined, marks: new Map() }
  ledger.attempts.set(id, attempt)
  return attempt
}

const marked = (ledger: Ledger, attemptId: AttemptId, hostId: HostId, { event, id, scope, storedAtMs }: Heard): Ledger => {
  if (hostId !== scope || ledger.over.has(attemptId)) return ledger
  const mark = markOf(event, id, storedAtMs)
  const attempt = attemptOf(ledger, attemptId)
  const marks = attempt.marks.get(hostId) ?? []
  if (mark === undefined || endOf(marks) !== undefined || marks.some(({ factId }) => factId === id)) return ledger
  attempt.marks.set(hostId, [...marks, mark])
  if (isDue(attempt)) ledger.index.due.add(attempt)
  return ledger
}

/** What a host's fact says of an attempt's time; undefined when it says nothing of it. */
export const markOf = (event: MillFact, factId: FactId, storedAtMs: number): Mark | undefined => {
  switch (event._tag) {
    case "AttemptStarted":
      return { what: "started", bootId: event.bootId, hostMs: event.hostMs, storedAtMs, factId }
    case "PhaseEntered":
      return { what: event.phase, bootId: event.bootId, hostMs: event.hostMs, storedAtMs, factId }
    case "AttemptExited":
      return { what: "exited", bootId: event.bootId, hostMs: event.hostMs, storedAtMs, factId }
    case "AttemptRefused":
      return { what: "refused", storedAtMs, factId }
    default:
      return undefined
  }
}

/** Nothing more is minded of this attempt, whatever is said of it and in whatever order. */
const close = (ledger: Ledger, id: AttemptId): Ledger => {
  const attempt = ledger.attempts.get(id)
  ledger.over.add(id)
  ledger.attempts.delete(id)
  if (attempt?.placed === undefined) return ledger
  const { byHost, byJob, byTurn, due, promised } = ledger.index
  const { attempt: number, hostId, jobId, share, task } = attempt.placed
  byTurn.delete(turn(jobId, task, number))
  drop(byJob, jobId, attempt)
  drop(byHost, hostId, attempt)
  due.delete(attempt)
  const rest = (promised.get(share.slice) ?? 0n) - share.amountPico
  if (rest > 0n) promised.set(share.slice, rest)
  else promised.delete(share.slice)
  return ledger
}

const drop = <K>(sets: Map<K, Set<Attempt>>, key: K, attempt: Attempt): void => {
  const set = sets.get(key)
  set?.delete(attempt)
  if (set?.size === 0) sets.delete(key)
}
