import { accountOfWorkspace } from "@millrace/authority"
import { deriveId } from "@millrace/decider"
import { commitsOf, foldCommit, foreseen, type Round, type StoredCommit } from "@millrace/journal"
import { noBooks, priceOf, type PriceBooks, publish, ratesAt } from "@millrace/pricing"
import {
  type AccountId,
  AskId,
  AttemptId,
  type BudgetTerms,
  type FactId,
  HostId,
  JobId,
  kinds,
  type MillFact,
  nameOf,
  type PlacementMade,
  Principal,
  type Resources,
  type SliceId,
  type Subject,
  WorkspaceName
} from "@millrace/schemas"
import { Result } from "effect"
import type { Ledger } from "../domain/ledger.ts"
import { metering } from "../domain/metering.ts"

/** The ids' alphabet has no I, L, O and U. */
const tail = (prefix: string, name: string): string => `${prefix}_${name.toUpperCase().replace(/[ILOU]/gu, "Z").padStart(26, "0")}`

export const host = (name: string): HostId => HostId.make(tail("hst", name))
export const job = (name: string): JobId => JobId.make(tail("job", name))
export const account = (name: string): AccountId => tail("acc", name) as AccountId
export const ask = (name: string): AskId => AskId.make(tail("ask", name))
export const acme = WorkspaceName.make("acme")
export const acmeAccount = accountOfWorkspace(acme)
const ada = Principal.make("user:ada")
const dollar = 1_000_000_000_000n

export const tookOver = (limitPico = 100n * dollar, term = 1): MillFact => ({ _tag: "MeteringTookOver", term, metering: Principal.make("service:metering"), codeVersion: "1", workspaceLimitPico: limitPico })
export const workspaceOpened = (workspace = acme): MillFact => ({ _tag: "WorkspaceOpened", workspace, organisation: workspace, owner: ada })

export const budgetAsked = (name: string, limitPico: bigint, more: Partial<BudgetTerms> = {}): MillFact => ({
  _tag: "BudgetAsked", askId: ask(`b${name}`), workspace: acme, askedBy: ada, decision: { rule: "owner", view: {} }, account: account(name), terms: { limitPico, atLimit: "refuse_new", ...more }
})
export const limitAsked = (id: string, of: AccountId, limitPico: bigint): MillFact => ({
  _tag: "LimitAsked", askId: ask(id), workspace: acme, askedBy: ada, decision: { rule: "owner", view: {} }, account: of, limitPico, reason: "as asked"
})

const which = ({ attempt, attemptId, fence, hostId, jobId, workspace }: PlacementMade) => ({ attempt, attemptId, fence, hostId, jobId, workspace })

export const started = (made: PlacementMade, hostMs: number, bootId = "boot"): MillFact => ({ _tag: "AttemptStarted", ...which(made), bootId, hostMs })
export const phase = (made: PlacementMade, entered: "preparing" | "running" | "paused" | "stopping", hostMs: number, bootId = "boot"): MillFact => ({ _tag: "PhaseEntered", ...which(made), bootId, hostMs, phase: entered })
export const exited = (made: PlacementMade, hostMs: number, bootId = "boot"): MillFact => ({ _tag: "AttemptExited", ...which(made), bootId, hostMs, code: 0, cause: "exited" })
export const refused = (made: PlacementMade): MillFact => ({ _tag: "AttemptRefused", ...which(made), reason: "no_room", detail: "as it says" })
export const settled = (made: PlacementMade, endedBy: FactId, outcome: "succeeded" | "failed" = "succeeded"): MillFact => ({
  _tag: "JobSettled", jobId: made.jobId, workspace: made.workspace, outcome, attempt: made.attempt, attemptId: made.attemptId, hostId: made.hostId, endedBy, cause: "as it says"
})
export const hostLost = (hostId: HostId, leaseEndedAtMs: number): MillFact => ({ _tag: "HostDeclaredLost", hostId, lastHeardAtMs: leaseEndedAtMs - 15_000, leaseEndedAtMs })
export const retriedAsLost = (made: PlacementMade): MillFact => ({ _tag: "JobRetried", jobId: made.jobId, workspace: made.workspace, failedAttempt: made.attempt, cause: "its host was lost", notBeforeMs: 0, lost: true })

const kindOf = (event: MillFact) => kinds.find(({ facts }) => facts.some((fact) => nameOf(fact) === event._tag))!

const subjectOf = (event: MillFact): Subject => {
  const { kind, ...rest } = kindOf(event)
  if ("only" in rest) return { kind, scope: rest.only }
  if (rest.scope === "host") return { kind, scope: (event as { hostId: string }).hostId }
  return { kind, scope: (event as { workspace: string }).workspace }
}

const readIn = (commit: StoredCommit): ReadonlyArray<MillFact> => commit.facts.flatMap(({ event }) => Result.isSuccess(event) ? [event.success] : [])

interface Held {
  readonly account: AccountId
  outPico: bigint
  recalled: boolean
}

/**
 * A cell whose log is a list: it hears facts, has metering decide, and plays a scheduler that promises shares of
 * what it was lent, knowing no more than what it has read.
 */
export class Cell {
  ledger: Ledger = metering.initial()
  readonly log: Array<StoredCommit> = []
  readonly saw: Record<string, number> = {}
  atMs = 1_000_000
  /** The scheduler's own view of what it may promise. */
  readonly #slices = new Map<SliceId, Held>()
  readonly #promised = new Map<AttemptId, { readonly slice: SliceId; readonly pico: bigint }>()
  readonly #attempts = new Map<JobId, number>()
  #books: PriceBooks = noBooks
  #read = 0

  /** A fact of another service, in its own stream; gives its id. */
  hear(event: MillFact): FactId {
    const { stream } = kindOf(event)
    const sequence = (this.saw[stream] ?? 0) + 1
    const id = deriveId<FactId>("fct", this.atMs, stream, sequence)
    const decided = stream === "SCHEDULER" ? { decided: { saw: { METERING: this.#read }, decidedAtMs: this.atMs, ordinal: 0, of: 1 } } : {}
    this.fold(foreseen({ subject: subjectOf(event), actor: ada, happenedAtMs: this.atMs, facts: [{ id, partOf: id, event }], ...decided }, stream, sequence, 1))
    return id
  }

  fold(commit: StoredCommit): void {
    this.log.push(commit)
    this.saw[commit.place.stream] = commit.place.sequence
    this.ledger = foldCommit(metering, this.ledger, commit)
  }

  round(): Round {
    return { atMs: this.atMs, epoch: 1, saw: { ...this.saw }, silences: [] }
  }

  /** Decides until nothing more is to be said, and gives all that was said. */
  decide(roundsMax = 50): ReadonlyArray<MillFact> {
    const said: Array<MillFact> = []
    for (let turn = 0; turn < roundsMax; turn += 1) {
      const round = this.round()
      const commits = commitsOf(metering, round, metering.decide(this.ledger, round))
      if (commits.length === 0) return said
      for (const commit of commits) {
        const stored = foreseen(commit, "METERING", (this.saw["METERING"] ?? 0) + 1, 1)
        this.fold(stored)
        said.push(...readIn(stored))
      }
    }
    throw new Error(`metering still has something to say after ${roundsMax} rounds`)
  }

  said<Name extends MillFact["_tag"]>(name: Name): ReadonlyArray<Extract<MillFact, { readonly _tag: Name }>> {
    return this.log.flatMap(readIn).filter((event): event is Extract<MillFact, { readonly _tag: Name }> => event._tag === name)
  }

  /** The scheduler reads what metering has said by now. */
  schedulerReads(): void {
    for (const commit of this.log) {
      if (commit.place.stream !== "METERING" || commit.place.sequence <= this.#read) continue
      this.#read = commit.place.sequence
      for (const event of readIn(commit)) this.#learn(event)
    }
  }

  #learn(event: MillFact): void {
    switch (event._tag) {
      case "PriceBookPublished":
        this.#books = publish(this.#books, event.priceBook)
        break
      case "SliceLeased":
        this.#slices.set(event.slice, { account: event.account, outPico: event.amountPico, recalled: false })
        break
      case "SliceRecalled":
        this.#slices.get(event.slice)!.recalled = true
        break
      case "SliceReturned":
        this.#slices.get(event.slice)!.outPico -= event.amountPico
        break
      case "SpendCommitted":
        this.#slices.get(event.slice)!.outPico -= event.amountPico
        this.#promised.delete(event.attemptId)
        break
    }
  }

  /** Places an attempt of a job with a share of what was lent; says that it waits when there is none. */
  place(name: string, hostName: string, { from = acmeAccount, resources = { cpuMilli: 1000, memoryMib: 256, diskMib: 0, gpus: 0 }, runMsMax = 60_000 }: {
    readonly from?: AccountId
    readonly resources?: Resources
    readonly runMsMax?: number
  } = {}): PlacementMade | undefined {
    const rates = ratesAt(this.#books, { workspace: acme, atMs: this.atMs })
    if (rates === undefined) return undefined
    const needsPico = priceOf(rates, resources, runMsMax)
    const slice = [...this.#slices].find(([id, held]) => held.account === from && !held.recalled && this.#free(id) >= needsPico)?.[0]
    if (slice === undefined) {
      this.hear({ _tag: "JobDeferred", jobId: job(name), workspace: acme, reason: "budget", arithmetic: "", unblockedBy: "budget", budget: { account: from, needsPico } })
      return undefined
    }
    const attempt = (this.#attempts.get(job(name)) ?? 0) + 1
    this.#attempts.set(job(name), attempt)
    const attemptId = deriveId<AttemptId>("att", 0, name, attempt)
    this.#promised.set(attemptId, { slice, pico: needsPico })
    const fence = { epoch: 1, sequence: 1 }
    const made: PlacementMade = {
      _tag: "PlacementMade", jobId: job(name), workspace: acme, hostId: host(hostName), attempt, attemptId, fence,
      spec: { runtime: "process", trust: "own", resources, attemptsMax: 3, runMsMax, onSilence: { keepMs: 0 } },
      warrant: { warrantId: deriveId("wrt", 0, attemptId), hostId: host(hostName), jobId: job(name), attempt, fence, resources, grantPath: [], expiresAtMs: 0, view: {} },
      signature: "", share: { account: from, slice, amountPico: needsPico }, reason: "as it says"
    }
    this.hear(made)
    return made
  }

  #free(id: SliceId): bigint {
    let free = this.#slices.get(id)!.outPico
    for (const { pico, slice } of this.#promised.values()) if (slice === id) free -= pico
    return free
  }
}

/** A cell that has opened, with its price book, the workspace's account and a first slice lent. */
export const openCell = (limitPico = 100n * dollar): Cell => {
  const cell = new Cell()
  cell.hear(workspaceOpened())
  cell.hear(tookOver(limitPico))
  cell.decide()
  cell.schedulerReads()
  return cell
}
