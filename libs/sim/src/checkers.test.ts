import { assert, describe, it } from "@effect/vitest"
import { deriveId } from "@millrace/decider"
import { type Commit, encodeCommit } from "@millrace/journal"
import type { AttemptId, Digest, FactId, HostId, JobId, MillFact, Principal, Resources, Subject, WarrantId, WorkspaceName } from "@millrace/schemas"
import { subjectText } from "@millrace/schemas"
import { Broker } from "./broker.ts"
import { Chance } from "./chance.ts"
import { check } from "./checkers.ts"
import { calm } from "./faults.ts"
import { type History, streamsOf, type WorkMark } from "./history.ts"
import { Sometimes } from "./sometimes.ts"
import { VirtualTime } from "./virtual-time.ts"

const workspace = "acme" as WorkspaceName
const jobId = deriveId<JobId>("job", 0, "job")
const hostId = deriveId<HostId>("hst", 0, "host")
const fence = { epoch: 1, sequence: 0 }
const resources: Resources = { cpuMilli: 1_000, memoryMib: 100, diskMib: 0, gpus: 0 }
const attemptId = (attempt: number) => deriveId<AttemptId>("att", 0, attempt)
const which = (attempt: number) => ({ jobId, workspace, hostId, attempt, attemptId: attemptId(attempt), fence })
const spec = { runtime: "noop", trust: "own", resources, attemptsMax: 3, runMsMax: 1_000, onSilence: { keepMs: 0 } } as const

const submitted: MillFact = {
  _tag: "JobSubmitted",
  jobId,
  workspace,
  submittedBy: "user:ada" as Principal,
  spec,
  requestDigest: `sha256:${"0".repeat(64)}` as Digest,
  decision: { rule: "own", view: {} }
}
const cancelled: MillFact = { _tag: "JobCancelRequested", jobId, workspace, requestedBy: "user:ada" as Principal, decision: { rule: "own", view: {} } }
const tookOver = (term: number): MillFact => ({ _tag: "SchedulerTookOver", term, scheduler: "service:scheduler" as Principal, codeVersion: "1" })
const placed = (attempt: number): MillFact => ({
  _tag: "PlacementMade",
  ...which(attempt),
  spec,
  warrant: { warrantId: deriveId<WarrantId>("wrt", 0, attempt), hostId, jobId, attempt, fence, resources, grantPath: [], expiresAtMs: 1, view: {} },
  signature: "",
  reason: "it fits"
})
const started = (attempt: number): MillFact => ({ _tag: "AttemptStarted", ...which(attempt), bootId: "boot", hostMs: 1 })
const exited = (attempt: number): MillFact => ({ _tag: "AttemptExited", ...which(attempt), bootId: "boot", hostMs: 2, cause: "exited", code: 0 })
const settled: MillFact = { _tag: "JobSettled", jobId, workspace, outcome: "succeeded", attempt: 1, cause: "exited with 0" }

const job: Subject = { kind: "job", scope: workspace, story: jobId }
const placement: Subject = { kind: "placement", scope: hostId }
const attempts: Subject = { kind: "attempt", scope: hostId }
const schedule: Subject = { kind: "schedule", scope: workspace }
const fleet: Subject = { kind: "fleet", scope: "cell" }

/** A history told by hand: each commit lies behind the one before it, as an honest writer would have it. */
class Telling {
  readonly broker = new Broker({ time: new VirtualTime(), chance: new Chance("telling"), swarm: calm, sometimes: new Sometimes() })
  readonly work: Array<WorkMark> = []
  #facts = 0

  say(subject: Subject, event: MillFact, saw: Readonly<Record<string, number>> = {}): this {
    const commit = this.commit(subject, event, saw)
    const stream = this.broker.log.streamOf(subjectText(subject))!
    const ordered = stream === "SCHEDULER"
    this.broker.store(commit, { last: ordered ? "stream" : "subject", sequence: ordered ? this.broker.log.head(stream) : this.broker.log.lastOn(subjectText(subject)) })
    return this
  }

  commit(subject: Subject, event: MillFact, saw: Readonly<Record<string, number>> = {}): Commit {
    this.#facts += 1
    const id = deriveId<FactId>("fct", 0, this.#facts)
    return { subject, actor: "user:ada" as Principal, happenedAtMs: 0, facts: [{ id, partOf: id, event }], decided: { saw, decidedAtMs: 0, ordinal: 0, of: 1 } }
  }

  mark(mark: WorkMark["mark"], attempt: number, atMs = this.broker.time.nowMs): this {
    this.work.push({ atMs, hostId, jobId, attempt, attemptId: attemptId(attempt), mark, resources })
    return this
  }

  broken(more: Partial<History> = {}): ReadonlyArray<string> {
    const history: History = { streams: streamsOf(this.broker), work: this.work, acknowledged: new Set([jobId]), cancelled: new Set(), capacity: new Map([[hostId, resources]]), ...more }
    return [...new Set(check(history).map(({ law }) => law))]
  }
}

const wellRun = () =>
  new Telling()
    .say(fleet, tookOver(1))
    .say(job, submitted)
    .say(placement, placed(1), { GATEWAY: 1 })
    .mark("started", 1)
    .say(attempts, started(1))
    .mark("stopped", 1)
    .say(attempts, exited(1))
    .say(schedule, settled, { GATEWAY: 1, HOSTS: 2 })

describe("the laws of a history", () => {
  it("a job that was run well breaks none", () => assert.deepStrictEqual(wellRun().broken(), []))

  const law = {
    ends: "every job in the log ends once, and none that was acknowledged is lost",
    cancel: "a cancel that was seen holds",
    start: "the work of an attempt starts at most once, where it was placed",
    together: "two attempts of a task never run at once",
    next: "no attempt is placed before the end of the one before it was seen",
    order: "no host is over-committed in the scheduler's order",
    machine: "no machine runs more than it has",
    chain: "each commit lies behind what its writer expected",
    once: "no fact is said twice",
    words: "what hosts tell of attempts is true, and told once",
    readable: "everything in the log can be read",
    terms: "terms count up by one"
  }
  const seen: ReadonlyArray<readonly [law: string, how: string, history: () => ReadonlyArray<string>]> = [
    [law.ends, "a job that is never settled", () => new Telling().say(job, submitted).broken()],
    [law.ends, "a job that is settled twice", () => wellRun().say(schedule, settled).broken()],
    [law.ends, "an answer for a job that is not in the log", () => new Telling().broken()],
    [law.cancel, "a placement by somebody who had seen the cancel", () => new Telling().say(job, submitted).say(job, cancelled).say(placement, placed(1), { GATEWAY: 2 }).broken()],
    [law.cancel, "an answer for a cancel that is not in the log", () => wellRun().broken({ cancelled: new Set([jobId]) })],
    [law.start, "work that starts again", () => wellRun().mark("started", 1).mark("stopped", 1).broken()],
    [law.start, "work that nobody placed", () => new Telling().mark("started", 1).broken()],
    [law.together, "a second attempt beside the first", () => new Telling().mark("started", 1).mark("started", 2).broken()],
    [law.next, "a second attempt before the first one's end was seen", () => wellRun().say(placement, placed(2), { HOSTS: 1 }).say(placement, placed(3), { HOSTS: 1 }).broken()],
    [law.next, "an attempt that is left out", () => new Telling().say(placement, placed(2)).broken()],
    [law.order, "two placements where one fits", () => new Telling().say(placement, placed(1)).say(placement, placed(2)).broken()],
    [law.machine, "more work than the machine has room for", () => new Telling().mark("started", 1).mark("started", 2).broken()],
    [law.words, "a start that is told twice", () => wellRun().say(attempts, started(1)).broken()],
    [law.words, "an end that is told while the work runs", () => new Telling().say(placement, placed(1)).mark("started", 1).say(attempts, exited(1)).mark("stopped", 1, 2_000_000_000_000).broken()],
    [law.words, "work whose end is never told", () => new Telling().say(placement, placed(1)).mark("started", 1).mark("stopped", 1).broken()],
    [law.terms, "a term that was there before", () => new Telling().say(fleet, tookOver(1)).say(fleet, tookOver(1)).broken()],
    [law.chain, "a commit behind another than it expected", () => {
      const telling = new Telling().say(fleet, tookOver(1))
      const { log } = telling.broker
      log.put("SCHEDULER", subjectText(fleet), encodeCommit(telling.commit(fleet, tookOver(2)), { last: "stream", sequence: 0 }, log.epoch), 0)
      return telling.broken()
    }],
    [law.once, "one fact in two commits", () => {
      const telling = new Telling()
      const commit = telling.commit(fleet, tookOver(1))
      telling.broker.store(commit, { last: "stream", sequence: 0 })
      telling.broker.store(commit, { last: "stream", sequence: 1 })
      return telling.broken()
    }],
    [law.readable, "bytes that nobody can read", () => {
      const telling = new Telling()
      const { log } = telling.broker
      log.put("SCHEDULER", subjectText(fleet), { headers: encodeCommit(telling.commit(fleet, tookOver(1)), { last: "stream", sequence: 0 }, 1).headers, body: Buffer.from([0xc1]) }, 0)
      return telling.broken()
    }]
  ]
  for (const [broken, how, history] of seen) it(`"${broken}" is broken by ${how}`, () => assert.include(history(), broken))
})
