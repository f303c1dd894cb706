import type { Decision } from "@millrace/authority"
import { DateTime } from "effect"
import type { FactId, JobRefused, JobRetried, JobSettled, LateWordNoted, Outcome, PlacementWithdrawn, TaskSettled } from "@millrace/schemas"
import { endingText } from "./ending.ts"
import { gangOf } from "./gangs.ts"
import { losesTooOften, lossesOf, lossInWords } from "./losses.ts"
import { isAhead, permission } from "./permits.ts"
import { mustLeave } from "./reclaim.ts"
import type { Saying } from "./saying.ts"
import { settleGang } from "./settle-gang.ts"
import { keptWait } from "./snapshots.ts"
import { arrayOf, outcomeOfArray, stageOf, tasksOf, wordOn } from "./tasks.ts"
import { type GivenUp, isFrozen, type JobState, type TaskState, type Word, type World } from "./world.ts"

const backOffMsMin = 200
const backOffMsMax = 60_000
/** Between the end of a lost attempt's lease and the next attempt, against clocks that differ. */
const lossMarginMs = 1_000

/** Says what has come to its end, what is to be ended, and what follows from either. */
export const settle = (world: World, saying: Saying): void => {
  const due = world.index.agenda.by(saying.round.atMs)
  for (const given of inOrderOfLoss(world.index.late)) lateWord(given, saying)
  const jobs = new Set<JobState>([...world.index.shaken, ...world.index.closing])
  const tasks = new Set<TaskState>(world.index.toSay)
  for (const one of due) {
    if (isTask(one)) tasks.add(one)
    else jobs.add(one)
  }
  for (const job of oldestFirst(jobs)) if (!isFrozen(world, job)) settleJob(world, job, saying)
  const gangs = new Set<JobState>()
  for (const task of [...tasks].sort(byAge)) {
    if (isFrozen(world, task.job) || saying.done.has(task.job)) continue
    if (isWhole(task.job)) gangs.add(task.job)
    if (!isWhole(task.job) || stageOf(world, task) === "placed") settleTask(world, task, saying)
  }
  for (const job of oldestFirst(gangs)) settleGang(world, job, saying)
}

/** A gang is settled whole, unless somebody has ended it: then each member ends by itself. */
const isWhole = (job: JobState): boolean =>
  gangOf(job) !== undefined && job.cancelledBy === undefined && ![...job.tasks.values()].some(({ withdrawn }) => withdrawn === "revoked")

/** What a gang's end means for one of its members. */
export type GangEnd =
  | { readonly _tag: "Well" }
  | { readonly _tag: "Badly" | "Lost" | "Ended"; readonly cause: string }
  | { readonly _tag: "Again"; readonly terms: Parameters<typeof retry>[1] }

export const afterGang = (task: TaskState, end: GangEnd, saying: Saying): void => {
  const word = wordOn(task)
  switch (end._tag) {
    case "Well":
      return endTask(task, "succeeded", "exited with 0", saying, word)
    case "Again":
      return retry(task, end.terms, saying, word?.factId)
    case "Badly":
      return endTask(task, "failed", end.cause, saying, word)
    case "Lost":
      return endTask(task, "lost", end.cause, saying, word)
    case "Ended":
      return endTask(task, "cancelled", end.cause, saying, word)
  }
}

const isTask = (one: JobState | TaskState): one is TaskState => "job" in one

export const oldestFirst = (jobs: Iterable<JobState>): ReadonlyArray<JobState> => [...jobs].sort((left, right) => left.number - right.number)

const byAge = (left: TaskState, right: TaskState): number => left.job.number - right.job.number || left.number - right.number

const inOrderOfLoss = (late: ReadonlySet<GivenUp>): ReadonlyArray<GivenUp> =>
  [...late].sort((left, right) => (left.attemptId < right.attemptId ? -1 : left.attemptId > right.attemptId ? 1 : left.hostId < right.hostId ? -1 : 1))

const lateWord = ({ attempt, jobId, partOf, task, word, workspace }: GivenUp, saying: Saying): void => {
  const event: LateWordNoted = {
    _tag: "LateWordNoted", jobId, workspace, ...numbered(task), attempt, word: word!.name, said: word!.factId
  }
  saying.say({ kind: "schedule", scope: workspace }, { event, partOf, causedBy: word!.factId })
}

const numbered = (task: number | undefined) => (task === undefined ? {} : { task })

/** The number of a task as facts carry it: a plain job's only one has none. */
export const taskField = ({ job, number }: TaskState) => numbered(arrayOf(job) === undefined ? undefined : number)

const settleJob = (world: World, job: JobState, saying: Saying): void => {
  const { fact: { spec: { queueMsMax } } } = job.submitted!
  if (job.derived.active === 0 && world.index.closing.has(job)) {
    const { cause, outcome } = arrayOf(job) === undefined
      ? { outcome: "cancelled" as const, cause: "cancelled before it was placed" }
      : job.next === 0 && job.cancelledBy !== undefined
      ? { outcome: "cancelled" as const, cause: "cancelled before any of it was placed" }
      : outcomeOfArray(job)
    saying.ofJob(job, jobSettled(job, outcome, cause), job.cancelledBy)
    return
  }
  if (job.cancelledBy !== undefined) return
  const decision = isAhead(world, job) ? undefined : permission(world, job, saying.round.atMs)
  if (decision?.verdict === "deny") {
    deny(world, job, decision, saying)
    return
  }
  const patienceEnds = queueMsMax !== undefined && job.waitingSinceMs !== undefined && job.waitingSinceMs + queueMsMax <= saying.round.atMs
  if (patienceEnds && job.next === 0) {
    saying.ofJob(job, jobSettled(job, "failed", `no place was found for it within ${queueMsMax} ms: ${job.told?.reason ?? "no_room"}`))
  }
}

/**
 * The job's authority has ended: what runs is withdrawn, what waits is not begun. A job of which nothing
 * was begun is refused; of another each task ends by itself.
 */
export const deny = (world: World, job: JobState, decision: Decision, saying: Saying): void => {
  let withdrew = false
  for (const task of [...job.tasks.values()].sort(byAge)) {
    if (stageOf(world, task) !== "placed" || task.withdrawn !== undefined) continue
    withdraw(task, "revoked", saying)
    withdrew = true
  }
  const ended = refuse(world, job, { reason: "not_allowed", remedy: remedyOf(decision) }, saying)
  if (!withdrew && !ended) return
  saying.denied(job, decision)
  saying.done.add(job)
}

/** An exact limit of the job's grant allows no more of it: what runs goes on, and nothing follows. */
export const exceed = (world: World, job: JobState, decision: Decision, saying: Saying): void => {
  const reason = decision.reason === "budget" ? "over_budget" : "not_allowed"
  if (refuse(world, job, { reason, remedy: remedyOf(decision) }, saying)) saying.denied(job, decision)
  saying.done.add(job)
}

/** Nothing more of a job may begin. Gives whether anything ended by that: what still runs ends by itself. */
export const refuse = (world: World, job: JobState, why: Pick<JobRefused, "reason" | "remedy">, saying: Saying): boolean => {
  if (job.derived.active === 0) {
    const { workspace } = job.submitted!.fact
    saying.ofJob(job, job.next === 0 ? { _tag: "JobRefused", jobId: job.id, workspace, ...why } : jobSettled(job, "refused", why.remedy))
    return true
  }
  const waiting = [...job.tasks.values()].filter((task) => ["waiting", "backing_off"].includes(stageOf(world, task)))
  for (const task of waiting.sort(byAge)) endTask(task, "refused", why.remedy, saying)
  return waiting.length > 0
}

const remedyOf = ({ missing, reason, rule }: Decision): string => {
  const where = missing?.narrowedBy === undefined ? "" : ` of ${missing.narrowedBy}`
  const short = missing?.limit === undefined ? "" : `: ${missing.limit}${where} is ${missing.has}, and this needs ${missing.needs}`
  return `${reason} (${rule})${short || where}; ask for a grant that allows it and submit again under that`
}

const settleTask = (world: World, task: TaskState, saying: Saying): void => {
  const { job } = task
  const word = wordOn(task)
  const stage = stageOf(world, task)
  if (stage === "ended" && word !== undefined) afterEnd(task, word, saying)
  else if (stage === "lost") afterLoss(world, task, saying)
  else if (job.cancelledBy !== undefined && (stage === "backing_off" || stage === "waiting")) {
    endTask(task, "cancelled", "cancelled between two attempts", saying)
  } else if (stage === "placed" && task.withdrawn === undefined) {
    if (job.cancelledBy !== undefined) withdraw(task, "cancelled", saying)
    else if (mustLeave(world, task, saying.round.atMs)) leave(world, task, saying)
    else if (task.dueMs !== undefined && task.dueMs <= saying.round.atMs && !saying.withdrawn.has(task)) withdraw(task, "timed_out", saying)
  }
}

/** Its machine is taken back before it could end: it is told to end there while that host can still say that it has, so that it begins elsewhere at once. A gang does whole. */
const leave = (world: World, task: TaskState, saying: Saying): void => {
  const { goneAtMs, id } = world.hosts.get(task.current!.hostId)!
  const why = `the provider of ${id} takes that machine back at ${DateTime.formatIso(DateTime.makeUnsafe(goneAtMs!))}, before this must have ended; it begins again elsewhere, and this takes none of its attempts`
  const whole = gangOf(task.job) === undefined ? [task] : [...task.job.tasks.values()]
  for (const one of whole.sort(byAge)) if (stageOf(world, one) === "placed" && one.withdrawn === undefined) withdraw(one, "preempted", saying, { why })
}

export const withdraw = (task: TaskState, cause: PlacementWithdrawn["cause"], saying: Saying, whom: Pick<PlacementWithdrawn, "by" | "why"> = {}): void => {
  if (saying.withdrawn.has(task)) return
  saying.withdrawn.add(task)
  const { current, job } = task
  const { attempt, attemptId, fence, hostId } = current!
  const { fact: { workspace }, factId } = job.submitted!
  saying.say({ kind: "placement", scope: hostId }, {
    event: { _tag: "PlacementWithdrawn", jobId: job.id, workspace, hostId, ...taskField(task), attempt, attemptId, fence, cause, ...whom },
    partOf: factId,
    causedBy: cause === "cancelled" && job.cancelledBy !== undefined ? job.cancelledBy : factId
  })
}

const jobSettled = (job: JobState, outcome: Outcome, cause: string): JobSettled => {
  const { cancelled, failed, lost, succeeded } = job.tally
  return {
    _tag: "JobSettled",
    jobId: job.id,
    workspace: job.submitted!.fact.workspace,
    outcome,
    attempt: 0,
    cause,
    ...(arrayOf(job) === undefined ? {} : { tasks: { succeeded, failed, cancelled, lost, skipped: tasksOf(job) - job.next } })
  }
}

/** A task is over: of an array it is told by itself, of a plain job it is the job. */
const endTask = (task: TaskState, outcome: Outcome, cause: string, saying: Saying, word?: Word): void => {
  const { attempt, current, job } = task
  const ended = {
    jobId: job.id,
    workspace: job.submitted!.fact.workspace,
    outcome,
    attempt,
    cause,
    ...(current === undefined ? {} : { attemptId: current.attemptId, hostId: current.hostId }),
    ...(word === undefined ? {} : { endedBy: word.factId }),
    ...(word?.fact._tag === "AttemptExited" && word.fact.code !== undefined ? { exitCode: word.fact.code } : {})
  }
  const event: TaskSettled | JobSettled = arrayOf(job) === undefined ? { _tag: "JobSettled", ...ended } : { _tag: "TaskSettled", ...ended, task: task.number }
  if ((outcome === "failed" || outcome === "lost") && arrayOf(job)?.failuresMax !== undefined) saying.failing.add(job)
  saying.ofJob(job, event, word?.factId ?? (outcome === "cancelled" ? job.cancelledBy : undefined))
}

/**
 * The end of an attempt settles its task or, while attempts are left, has another follow. The first terminal
 * fact wins: what exits with 0 before its withdrawal took effect has succeeded.
 */
const afterEnd = (task: TaskState, word: Word, saying: Saying): void => {
  const { job, withdrawn } = task
  const { fact } = word
  if (fact._tag === "AttemptExited" && fact.cause === "exited" && fact.code === 0) return endTask(task, "succeeded", "exited with 0", saying, word)
  if (job.cancelledBy !== undefined) return endTask(task, "cancelled", "cancelled by request", saying, word)
  if (withdrawn === "revoked") return endTask(task, "refused", "its grant no longer held, and it was withdrawn", saying, word)
  if (withdrawn === "preempted") {
    return retry(task, { failedAttempt: task.attempt, cause: `it gave way to ${task.gaveWay ?? "other work"}${goesOn(task)}`, preempted: true, notBeforeMs: saying.round.atMs }, saying, word.factId)
  }
  const cause = withdrawn === "timed_out" ? "its time was up, and its host had not ended it" : endingText(fact, job.submitted!.fact.spec)
  if (triesOf(task) < job.submitted!.fact.spec.attemptsMax) {
    return retry(task, { failedAttempt: task.attempt, cause, notBeforeMs: saying.round.atMs + backOffMs(task) }, saying, word.factId)
  }
  endTask(task, fact._tag === "AttemptExited" && fact.cause === "agent_restarted" ? "lost" : "failed", cause, saying, word)
}

/** Of what gives way and leaves its files: that those are what its next attempt starts from. */
export const goesOn = ({ job }: TaskState): string => (job.submitted!.fact.spec.snapshotAtEnd === undefined ? "" : `; it goes on from the files that it leaves, and waits for them to be stored, ${keptWait} at most`)

/** How many of its attempts count: those that lost their host or gave way to other work do not. */
export const triesOf = ({ attempt, losses, preemptions }: TaskState): number => attempt - losses - preemptions

const backOffMs = (task: TaskState): number => Math.min(backOffMsMax, backOffMsMin * 2 ** (triesOf(task) - 1))

const retry = (task: TaskState, terms: Pick<JobRetried, "failedAttempt" | "cause" | "notBeforeMs" | "lost" | "preempted" | "gang">, saying: Saying, causedBy?: FactId): void =>
  saying.ofJob(task.job, { _tag: "JobRetried", jobId: task.job.id, workspace: task.job.submitted!.fact.workspace, ...taskField(task), ...terms }, causedBy)

/**
 * The attempt's host is lost. First it is told to end the attempt, should it come back; once that is in the
 * log, another attempt follows, and not before the lost one's lease is over: nobody runs it then.
 */
const afterLoss = (world: World, task: TaskState, saying: Saying): void => {
  const { current, job, withdrawn } = task
  const host = world.hosts.get(current!.hostId)!
  if (withdrawn === undefined) return withdraw(task, job.cancelledBy === undefined ? "host_lost" : "cancelled", saying)
  if (job.cancelledBy !== undefined) return endTask(task, "cancelled", "cancelled by request; its host was lost", saying)
  if (withdrawn === "revoked") return endTask(task, "refused", "its grant no longer held, and its host was lost", saying)
  const cause = lossInWords(host)
  const losses = lossesOf(world, task, host.id)
  if (losesTooOften(losses)) return endTask(task, "lost", `${cause}, the ${losses}th of its hosts`, saying)
  const { lastHeardAtMs, leaseEndedAtMs } = host.lost!
  const leaseMs = leaseEndedAtMs - lastHeardAtMs
  const keepMs = job.submitted!.fact.spec.onSilence.keepMs
  retry(task, { failedAttempt: task.attempt, cause, lost: true, notBeforeMs: lastHeardAtMs + Math.max(leaseMs, keepMs) + lossMarginMs }, saying)
}

/** What a round says of hosts: that they are lost, and that they are back. */
export const judgeHosts = (world: World, saying: Saying): void => {
  const fleet = { kind: "fleet", scope: "cell" } as const
  for (const { hostId, lastHeardAtMs, leaseEndedAtMs } of saying.round.silences ?? []) {
    const host = world.hosts.get(hostId)
    if (host?.joined === undefined || (host.lost !== undefined && !host.lost.returned)) continue
    if (host.leaving && host.holds.size === 0) continue
    const story = host.joined.factId
    saying.lost.add(host)
    saying.say(fleet, { event: { _tag: "HostDeclaredLost", hostId, lastHeardAtMs, leaseEndedAtMs }, partOf: story, causedBy: story })
  }
  for (const host of [...world.index.returning].sort((left, right) => (left.id < right.id ? -1 : 1))) {
    const { bootId, factId } = host.joined!
    saying.say(fleet, { event: { _tag: "HostReturned", hostId: host.id, bootId }, partOf: factId, causedBy: factId })
  }
}
