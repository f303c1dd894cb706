import { readable, type StoredCommit } from "@millrace/journal"
import { type AttemptId, type HostId, type JobId, type Resources, subjectText } from "@millrace/schemas"
import { lawsOfGangs } from "./gangs.ts"
import { lawsOfGoing } from "./going.ts"
import { endsOf, factsIn, type History, sawOf, seenBy, taskOf, type WorkMark } from "./history.ts"
import { lawsOfMeans } from "./means.ts"
import { lawsOfShares } from "./shares.ts"
import { lawsOfTasks } from "./tasks.ts"

/** A promise that was broken, and where it can be seen. */
export interface Violation {
  readonly law: string
  readonly detail: string
}

/** A law: everything in a history that breaks it, in words. None is what it should be. Pure. */
export type Checker = (history: History) => ReadonlyArray<string>

/** From an acknowledged submission on the job cannot be lost; and no job ends twice. */
const settledOnce: Checker = (history) => {
  const broken: Array<string> = []
  const settled = new Map<JobId, number>()
  for (const { event: { jobId } } of factsIn(history, "SCHEDULER", "JobSettled", "JobRefused")) settled.set(jobId, (settled.get(jobId) ?? 0) + 1)
  for (const [jobId, times] of settled) if (times > 1) broken.push(`${jobId} was settled ${times} times`)
  const submitted = new Map<JobId, number>()
  for (const { event: { jobId } } of factsIn(history, "GATEWAY", "JobSubmitted")) submitted.set(jobId, (submitted.get(jobId) ?? 0) + 1)
  for (const [jobId, times] of submitted) {
    if (times > 1) broken.push(`${jobId} was submitted ${times} times`)
    if (!settled.has(jobId)) broken.push(`${jobId} lies in the log and was never settled`)
  }
  for (const jobId of history.acknowledged) if (!submitted.has(jobId)) broken.push(`${jobId} was acknowledged and is not in the log`)
  return broken
}

/** An acknowledged cancel is in the log, and no attempt is placed by whoever had seen it. */
const cancelsHold: Checker = (history) => {
  const broken: Array<string> = []
  const cancels = new Map<JobId, number>()
  for (const { commit, event: { jobId } } of factsIn(history, "GATEWAY", "JobCancelRequested")) cancels.set(jobId, commit.place.sequence)
  for (const jobId of history.cancelled) if (!cancels.has(jobId)) broken.push(`the cancel of ${jobId} was acknowledged and is not in the log`)
  for (const { commit, event: { attempt, jobId } } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    const cancelled = cancels.get(jobId)
    if (cancelled !== undefined && sawOf(commit, "GATEWAY") >= cancelled) broken.push(`attempt ${attempt} of ${jobId} was placed after its cancel was seen`)
  }
  return broken
}

/** The work of an attempt starts at most once, and only on the host that it was placed on. */
const startsOnce: Checker = (history) => {
  const broken: Array<string> = []
  const placed = new Map<AttemptId, HostId>()
  for (const { event: { attemptId, hostId } } of factsIn(history, "SCHEDULER", "PlacementMade")) placed.set(attemptId, hostId)
  const started = new Set<AttemptId>()
  for (const { attemptId, hostId, mark } of history.work) {
    if (mark !== "started") continue
    if (started.has(attemptId)) broken.push(`the work of ${attemptId} started twice`)
    started.add(attemptId)
    if (placed.get(attemptId) !== hostId) broken.push(`the work of ${attemptId} ran on ${hostId}, where nobody placed it`)
  }
  return broken
}

/**
 * Two attempts of one task never run at the same time, wherever they run: not even where the older one, whose end
 * nobody had seen, was free to go on and happened to stop before. What is free to go on, its keeper knows.
 */
const oneAtATime: Checker = (history) => {
  const broken: Array<string> = []
  const ends = endsOf(history)
  const seen = seenBy(history)
  const sawAtPlacement = new Map<AttemptId, number>()
  for (const { commit, event: { attemptId } } of factsIn(history, "SCHEDULER", "PlacementMade")) sawAtPlacement.set(attemptId, seen(commit))
  const running = new Map<string, AttemptId>()
  const last = new Map<string, WorkMark>()
  for (const work of history.work) {
    const { atMs, attemptId, mark } = work
    const task = taskOf(work)
    const now = running.get(task)
    if (mark === "stopped") {
      if (now === attemptId) running.delete(task)
      continue
    }
    const before = last.get(task)
    const unseen = before !== undefined && (ends.get(before.attemptId) ?? Number.POSITIVE_INFINITY) > (sawAtPlacement.get(attemptId) ?? 0)
    if (now !== undefined) broken.push(`${attemptId} of ${task} started while ${now} was running`)
    else if (unseen && (before.keptUntilMs ?? 0) > atMs) broken.push(`${attemptId} of ${task} started while ${before.attemptId} was free to run, ${before.keptUntilMs! - atMs} ms longer`)
    running.set(task, attemptId)
    last.set(task, work)
  }
  return broken
}

/**
 * The next attempt is placed only after the cell's order has seen the end of the one before, or has given it up
 * with its host; attempts count up by one. That what was given up ran no more, only the machines can tell. A scheduler that took over knows by the older one's `JobRetried` what it has not heard itself.
 */
const endedBeforeNext: Checker = (history) => {
  const broken: Array<string> = []
  const ends = endsOf(history)
  const seen = seenBy(history)
  const before = new Map<string, { readonly attempt: number; readonly attemptId: AttemptId }>()
  const givenUp = new Set<string>()
  for (const { event } of factsIn(history, "SCHEDULER", "JobRetried")) if (event.lost === true) givenUp.add(`${taskOf(event)} ${event.failedAttempt}`)
  for (const { commit, event } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    const { attempt, attemptId } = event
    const task = taskOf(event)
    const last = before.get(task)
    if (attempt !== (last?.attempt ?? 0) + 1) broken.push(`attempt ${attempt} of ${task} follows ${last?.attempt ?? "nothing"}`)
    if (last !== undefined && !givenUp.has(`${task} ${last.attempt}`) && (ends.get(last.attemptId) ?? Number.POSITIVE_INFINITY) > seen(commit)) {
      broken.push(`attempt ${attempt} of ${task} was placed when nobody had seen the end of the one before`)
    }
    before.set(task, { attempt, attemptId })
  }
  return broken
}

const dimensions = ["cpuMilli", "memoryMib", "diskMib", "gpus"] as const

/** At no point of the scheduler's order does a host hold more than it has, in any dimension. */
const neverOvercommitted: Checker = (history) => {
  const broken: Array<string> = []
  const ends = endsOf(history)
  const seen = seenBy(history)
  const holds = new Map<HostId, Map<AttemptId, OnDevices>>()
  for (const { commit, event: { attemptId, gpus = [], hostId, spec: { resources } } } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    const held = holds.get(hostId) ?? new Map<AttemptId, OnDevices>()
    holds.set(hostId, held)
    for (const other of held.keys()) if ((ends.get(other) ?? Number.POSITIVE_INFINITY) <= seen(commit)) held.delete(other)
    held.set(attemptId, { ...resources, devices: gpus })
    const where = `${hostId} holds at SCHEDULER ${commit.place.sequence}`
    broken.push(...overIn([...held.values()], history.capacity.get(hostId), where), ...overOnDevices([...held.values()], where))
  }
  return broken
}

interface OnDevices extends Resources {
  readonly devices: ReadonlyArray<number>
}

/** No device gives more than the whole of itself, and each attempt has as many as it asks for. */
const overOnDevices = (held: ReadonlyArray<OnDevices>, where: string): ReadonlyArray<string> => {
  const given = new Map<number, number>()
  for (const { devices, gpuMilli = 0 } of held) for (const device of devices) given.set(device, (given.get(device) ?? 0) + (gpuMilli > 0 ? gpuMilli : 1000))
  const wanted = ({ gpuMilli = 0, gpus }: Resources) => gpuMilli > 0 ? 1 : gpus
  return [
    ...[...given].flatMap(([device, milli]) => (milli > 1000 ? [`${where}: ${milli} thousandths of device ${device}`] : [])),
    ...held.flatMap((one) => (new Set(one.devices).size === wanted(one) ? [] : [`${where}: devices ${one.devices.join(", ") || "none"}, where ${wanted(one)} were asked for`]))
  ]
}

/** At no moment does a machine run more than it has, in any dimension. */
const neverOverloaded: Checker = (history) => {
  const broken: Array<string> = []
  const devicesOf = new Map(factsIn(history, "SCHEDULER", "PlacementMade").map(({ event: { attemptId, gpus = [] } }) => [attemptId, gpus]))
  const running = new Map<HostId, Map<AttemptId, OnDevices>>()
  for (const { atMs, attemptId, hostId, mark, resources } of history.work) {
    const here = running.get(hostId) ?? new Map<AttemptId, OnDevices>()
    running.set(hostId, here)
    if (mark === "stopped") here.delete(attemptId)
    else {
      here.set(attemptId, { ...resources, devices: devicesOf.get(attemptId) ?? [] })
      const where = `${hostId} runs at ${atMs} ms`
      broken.push(...overIn([...here.values()], history.capacity.get(hostId), where), ...overOnDevices([...here.values()], where))
    }
  }
  return broken
}

const overIn = (held: ReadonlyArray<Resources>, has: Resources | undefined, where: string): ReadonlyArray<string> =>
  dimensions.flatMap((dimension) => {
    const sum = held.reduce((total, resources) => total + resources[dimension], 0)
    return sum > (has?.[dimension] ?? 0) ? [`${where}: ${sum} of ${has?.[dimension] ?? 0} ${dimension}`] : []
  })

/** Each commit lies directly behind what its writer expected. */
const chainsUnbroken: Checker = ({ streams }) => {
  const broken: Array<string> = []
  for (const [stream, commits] of streams) {
    const lastOn = new Map<string, number>()
    let last = 0
    for (const { facts, place: { prev, sequence }, subject } of commits) {
      const text = subjectText(subject)
      const before = stream === "SCHEDULER" || stream === "METERING" ? last : lastOn.get(text) ?? 0
      // An empty message is part of a fence: it expects nothing, and lies behind its commit by the batch's promise.
      if (facts.length > 0 && prev !== before) broken.push(`${stream} ${sequence} on ${text} expected ${prev} before it, and ${before} is there`)
      lastOn.set(text, sequence)
      last = sequence
    }
  }
  return broken
}

/** No fact is said twice. */
const saidOnce: Checker = ({ streams }) => {
  const broken: Array<string> = []
  const said = new Map<string, string>()
  for (const [stream, commits] of streams) {
    for (const { facts, place } of commits) {
      for (const { id, name } of facts) {
        const where = `${stream} ${place.sequence}`
        const before = said.get(id)
        if (before !== undefined) broken.push(`${name} ${id} at ${where} was said before at ${before}`)
        said.set(id, where)
      }
    }
  }
  return broken
}

/** A host says the start and the end of an attempt at most once, and of nothing that was not placed there. */
const hostsSpeakTrue: Checker = (history) => {
  const broken: Array<string> = []
  const placed = new Map<AttemptId, HostId>()
  for (const { event } of factsIn(history, "SCHEDULER", "PlacementMade")) placed.set(event.attemptId, event.hostId)
  const started = new Set<AttemptId>()
  const ended = new Set<AttemptId>()
  for (const { event } of factsIn(history, "HOSTS", "AttemptStarted", "AttemptExited", "AttemptRefused")) {
    const said = event._tag === "AttemptStarted" ? started : ended
    if (said.has(event.attemptId)) broken.push(`${event._tag} of ${event.attemptId} was said twice`)
    said.add(event.attemptId)
    if (placed.get(event.attemptId) !== event.hostId) broken.push(`${event._tag} of ${event.attemptId} came from ${event.hostId}, where nobody placed it`)
  }
  const stoppedAtMs = new Map<AttemptId, number>()
  for (const { atMs, attemptId, mark } of history.work) stoppedAtMs.set(attemptId, mark === "stopped" ? atMs : Number.POSITIVE_INFINITY)
  for (const { commit, event: { attemptId } } of factsIn(history, "HOSTS", "AttemptExited", "AttemptRefused")) {
    if ((stoppedAtMs.get(attemptId) ?? 0) > commit.place.storedAtMs) broken.push(`the end of ${attemptId} was told while its work was running`)
  }
  for (const attemptId of stoppedAtMs.keys()) if (!ended.has(attemptId) && history.gone?.has(placed.get(attemptId)!) !== true) broken.push(`the work of ${attemptId} ran, and its end was never told`)
  return broken
}

/** Everything in the log can be read. */
const allReadable: Checker = ({ streams }) => {
  const broken: Array<string> = []
  const look = (commit: StoredCommit) => {
    for (const { name, reason } of readable(commit).unreadable) broken.push(`${name} at ${commit.place.stream} ${commit.place.sequence}: ${reason.message}`)
  }
  for (const commits of streams.values()) for (const commit of commits) look(commit)
  return broken
}

/** Terms of schedulers count up by one. */
const termsCountUp: Checker = (history) =>
  [factsIn(history, "SCHEDULER", "SchedulerTookOver"), factsIn(history, "METERING", "MeteringTookOver")].flatMap((taken) =>
    taken.flatMap(({ event: { term } }, index) => term === index + 1 ? [] : [`term ${term} is the ${index + 1}th`]))

/** What must hold when a run is over, by name. Each looks at the history alone. */
export const checkers: Readonly<Record<string, Checker>> = {
  "every job in the log ends once, and none that was acknowledged is lost": settledOnce,
  "a cancel that was seen holds": cancelsHold,
  "the work of an attempt starts at most once, where it was placed": startsOnce,
  "two attempts of a task never run at once": oneAtATime,
  "no attempt is placed before the end of the one before it was seen": endedBeforeNext,
  "no host is over-committed in the scheduler's order": neverOvercommitted,
  "no machine runs more than it has": neverOverloaded,
  "each commit lies behind what its writer expected": chainsUnbroken,
  "no fact is said twice": saidOnce,
  "what hosts tell of attempts is true, and told once": hostsSpeakTrue,
  "everything in the log can be read": allReadable,
  "terms count up by one": termsCountUp,
  ...lawsOfTasks,
  ...lawsOfMeans,
  ...lawsOfGangs,
  ...lawsOfShares,
  ...lawsOfGoing
}

/** Everything that a history violates: none is what it should be. */
export const check = (history: History): ReadonlyArray<Violation> =>
  Object.entries(checkers).flatMap(([law, checker]) => checker(history).slice(0, 5).map((detail) => ({ law, detail })))

