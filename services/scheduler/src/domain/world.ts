import type {
  AttemptExited,
  AttemptId,
  AttemptRefused,
  Capabilities,
  FactId,
  HostId,
  JobId,
  JobSubmitted,
  MillFact,
  PlacementMade,
  Resources
} from "@millrace/schemas"

/** A fact with what surrounds it, as far as the scheduler minds. */
export interface Heard {
  readonly id: FactId
  readonly partOf: FactId
  readonly event: MillFact
  readonly sequence: number
}

/** What a host said last of an attempt: the word that ends it. */
export interface Word {
  readonly factId: FactId
  readonly fact: AttemptExited | AttemptRefused
}

export interface AttemptState {
  readonly placed: PlacementMade | undefined
  readonly placedBy: FactId | undefined
  readonly word: Word | undefined
  readonly withdrawn: boolean
}

/**
 * What is known of one job, kept apart by who said it: submission and cancel are the gateway's, words
 * are the hosts', the rest is our own. So facts of different streams may arrive in any order.
 */
export interface JobState {
  readonly id: JobId
  submitted: { readonly fact: JobSubmitted; readonly factId: FactId; readonly sequence: number } | undefined
  cancelledBy: FactId | undefined
  /** By attempt and host: what a host says of an attempt that was placed elsewhere is nothing to that attempt. */
  readonly attempts: Map<string, AttemptState>
  /** The number of the newest attempt that we placed. */
  attempt: number
  /** The newest attempt after which we said that another follows. */
  retriedAfter: number
  notBeforeMs: number
  deferred: boolean
  settled: boolean
  readonly lateNoted: Set<FactId>
}

export interface HostState {
  readonly id: HostId
  admitted: boolean
  dismissed: boolean
  joined: { readonly bootId: string; readonly capabilities: Capabilities } | undefined
  leaving: boolean
  readonly holds: Map<AttemptId, Resources>
  /** The sum of what it holds, kept as it changes. */
  used: Resources
}

/** Where a job stands, by what was said of it. */
export type Stage = "unheard" | "fresh" | "waiting" | "backing_off" | "placed" | "ended" | "over"

/** Everything the scheduler decides upon. The indexes are derived from the rest and never saved. */
export interface World {
  term: number
  readonly jobs: Map<JobId, JobState>
  readonly hosts: Map<HostId, HostState>
  /** Scopes that hold a fact which nobody here can read: `<kind>.<scope>`. */
  readonly frozen: Set<string>
  readonly index: Index
}

export interface Index {
  /** Hosts in the order of their ids: first fit must not depend on who joined first. */
  hosts: Array<HostState>
  readonly fresh: Set<JobState>
  readonly waiting: Map<string, Set<JobState>>
  readonly backingOff: Set<JobState>
  /** Jobs of which something is to be said: an end to settle, a cancel to carry out, a late word to note. */
  readonly toSay: Set<JobState>
}

export const emptyWorld = (): World => ({
  term: 0,
  jobs: new Map(),
  hosts: new Map(),
  frozen: new Set(),
  index: { hosts: [], fresh: new Set(), waiting: new Map(), backingOff: new Set(), toSay: new Set() }
})

/** The attempt that counts: the newest one that was placed. */
export const currentAttempt = (job: JobState): AttemptState | undefined => {
  for (const attempt of job.attempts.values()) if (attempt.placed?.attempt === job.attempt && job.attempt > 0) return attempt
  return undefined
}

/** Words of attempts that no longer matter, and were not noted yet; the oldest attempt's first. */
export const lateWords = (job: JobState): ReadonlyArray<Word> => {
  const late: Array<{ readonly attempt: number; readonly word: Word }> = []
  for (const { placed, word } of job.attempts.values()) {
    if (word === undefined || placed === undefined || job.lateNoted.has(word.factId)) continue
    if (placed.attempt < job.attempt && placed.attempt > job.retriedAfter) late.push({ attempt: placed.attempt, word })
  }
  return late.sort((left, right) => left.attempt - right.attempt).map(({ word }) => word)
}

export const stageOf = (job: JobState): Stage => {
  if (job.settled) return "over"
  if (job.submitted === undefined) return "unheard"
  const current = currentAttempt(job)
  if (current !== undefined && job.attempt > job.retriedAfter) return current.word === undefined ? "placed" : "ended"
  if (job.notBeforeMs > 0) return "backing_off"
  return job.deferred ? "waiting" : "fresh"
}

/** Jobs of one shape fit, or do not fit, the same hosts. */
export const shapeOf = ({ spec: { resources: { cpuMilli, diskMib, gpus, memoryMib }, runtime, trust } }: JobSubmitted): string =>
  `${runtime}/${trust}/${cpuMilli}/${memoryMib}/${diskMib}/${gpus}`

/** Tells the world one fact. It cannot refuse: the fact has happened. Telling it again changes nothing. */
export const evolve = (world: World, { event, id, sequence }: Heard): World => {
  switch (event._tag) {
    case "JobSubmitted": {
      const job = jobOf(world, event.jobId)
      job.submitted ??= { fact: job.settled ? slim(event) : event, factId: id, sequence }
      return reindexed(world, job)
    }
    case "JobCancelRequested": {
      const job = jobOf(world, event.jobId)
      job.cancelledBy ??= id
      return reindexed(world, job)
    }
    case "PlacementMade": {
      const job = jobOf(world, event.jobId)
      const known = job.attempts.get(attemptOn(event))
      job.attempts.set(attemptOn(event), { placed: slim(event), placedBy: id, word: known?.word, withdrawn: known?.withdrawn ?? false })
      job.attempt = Math.max(job.attempt, event.attempt)
      job.notBeforeMs = 0
      if (known?.word === undefined) hold(hostOf(world, event.hostId), event.attemptId, event.spec.resources)
      return reindexed(world, job)
    }
    case "PlacementWithdrawn": {
      const job = jobOf(world, event.jobId)
      const known = job.attempts.get(attemptOn(event))
      if (known !== undefined) job.attempts.set(attemptOn(event), { ...known, withdrawn: true })
      return reindexed(world, job)
    }
    case "AttemptExited":
    case "AttemptRefused": {
      const job = jobOf(world, event.jobId)
      const known = job.attempts.get(attemptOn(event))
      if (known?.word === undefined) {
        job.attempts.set(attemptOn(event), {
          placed: known?.placed,
          placedBy: known?.placedBy,
          withdrawn: known?.withdrawn ?? false,
          word: { factId: id, fact: event }
        })
      }
      if (known?.placed !== undefined) letGo(hostOf(world, event.hostId), event.attemptId)
      return reindexed(world, job)
    }
    case "JobDeferred": {
      const job = jobOf(world, event.jobId)
      job.deferred = true
      job.notBeforeMs = 0
      return reindexed(world, job)
    }
    case "JobRetried": {
      const job = jobOf(world, event.jobId)
      job.retriedAfter = Math.max(job.retriedAfter, event.failedAttempt)
      job.notBeforeMs = event.notBeforeMs
      job.deferred = false
      return reindexed(world, job)
    }
    case "JobSettled":
    case "JobRefused": {
      const job = jobOf(world, event.jobId)
      job.settled = true
      if (job.submitted !== undefined) job.submitted = { ...job.submitted, fact: slim(job.submitted.fact) }
      return reindexed(world, job)
    }
    case "LateWordNoted": {
      const job = jobOf(world, event.jobId)
      job.lateNoted.add(event.said)
      return reindexed(world, job)
    }
    case "SchedulerTookOver":
      world.term = Math.max(world.term, event.term)
      return world
    case "HostAdmitted":
      hostOf(world, event.hostId).admitted = true
      return world
    case "HostDismissed":
      hostOf(world, event.hostId).dismissed = true
      return world
    case "HostJoined": {
      const host = hostOf(world, event.hostId)
      host.joined = { bootId: event.bootId, capabilities: event.capabilities }
      host.leaving = false
      return world
    }
    case "HostDraining":
    case "HostLeft":
      hostOf(world, event.hostId).leaving = true
      return world
    default:
      return world
  }
}

/** Without the sealed program: the largest part of a job by far, of which only its next placement is in need. */
const slim = <Fact extends JobSubmitted | PlacementMade>(fact: Fact): Fact => {
  const { program: _, ...spec } = fact.spec
  return { ...fact, spec }
}

const attemptOn = ({ attemptId, hostId }: { readonly attemptId: AttemptId; readonly hostId: HostId }): string => `${attemptId} ${hostId}`

const jobOf = (world: World, id: JobId): JobState => {
  const known = world.jobs.get(id)
  if (known !== undefined) return known
  const job: JobState = {
    id,
    submitted: undefined,
    cancelledBy: undefined,
    attempts: new Map(),
    attempt: 0,
    retriedAfter: 0,
    notBeforeMs: 0,
    deferred: false,
    settled: false,
    lateNoted: new Set()
  }
  world.jobs.set(id, job)
  return job
}

const hostOf = (world: World, id: HostId): HostState => {
  const known = world.hosts.get(id)
  if (known !== undefined) return known
  const host: HostState = { id, admitted: false, dismissed: false, joined: undefined, leaving: false, holds: new Map(), used: noResources }
  world.hosts.set(id, host)
  const { hosts } = world.index
  const at = hosts.findIndex((other) => other.id > id)
  hosts.splice(at < 0 ? hosts.length : at, 0, host)
  return host
}

export const noResources: Resources = { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 }

export const plus = (left: Resources, right: Resources): Resources => ({
  cpuMilli: left.cpuMilli + right.cpuMilli,
  memoryMib: left.memoryMib + right.memoryMib,
  diskMib: left.diskMib + right.diskMib,
  gpus: left.gpus + right.gpus
})

export const minus = (left: Resources, right: Resources): Resources => ({
  cpuMilli: left.cpuMilli - right.cpuMilli,
  memoryMib: left.memoryMib - right.memoryMib,
  diskMib: left.diskMib - right.diskMib,
  gpus: left.gpus - right.gpus
})

const hold = (host: HostState, attempt: AttemptId, resources: Resources): void => {
  if (host.holds.has(attempt)) return
  host.holds.set(attempt, resources)
  host.used = plus(host.used, resources)
}

const letGo = (host: HostState, attempt: AttemptId): void => {
  const held = host.holds.get(attempt)
  if (held === undefined) return
  host.holds.delete(attempt)
  host.used = minus(host.used, held)
}

/** Puts a job where its stage belongs. A function of what was said, so the order of saying does not matter. */
export const reindexed = (world: World, job: JobState): World => {
  const { backingOff, fresh, toSay, waiting } = world.index
  const stage = stageOf(job)
  const shape = job.submitted === undefined ? undefined : shapeOf(job.submitted.fact)
  toggle(fresh, job, stage === "fresh")
  toggle(backingOff, job, stage === "backing_off")
  if (shape !== undefined) {
    const alike = waiting.get(shape) ?? new Set()
    toggle(alike, job, stage === "waiting")
    if (alike.size > 0) waiting.set(shape, alike)
    else waiting.delete(shape)
  }
  const cancels = job.cancelledBy !== undefined && stage !== "over" && stage !== "unheard" && !(stage === "placed" && currentAttempt(job)?.withdrawn === true)
  toggle(toSay, job, stage === "ended" || cancels || lateWords(job).length > 0)
  return world
}

const toggle = (set: Set<JobState>, job: JobState, belongs: boolean): void => {
  if (belongs) set.add(job)
  else set.delete(job)
}
