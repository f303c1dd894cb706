import { evolve as evolveAuthority, linksOf } from "@millrace/authority"
import type { FactId, GrantId, HostId, JobDeferred, JobId, JobRetried, JobSubmitted, LeaseId, MillFact, Outcome, PlacementMade, TaskSettled, WorkspaceName } from "@millrace/schemas"
import { requestOf } from "./ask.ts"
import { evolveDemand } from "./demand.ts"
import { noAmounts } from "./fair/amounts.ts"
import { lean, leanPlaced, own } from "./lean.ts"
import { asksNoMore, forgetOutcomes, isForgotten } from "./forgetting.ts"
import { wasTakenBack } from "./losses.ts"
import { evolveMoney, promise } from "./money.ts"
import { agedMs } from "./patience.ts"
import { answered, callUrgent, capacityOf, evolveQuotas, holds } from "./quotas.ts"
import { evolveOffers, evolveProviders, listOffers } from "./possible.ts"
import { everythingChanged, introduce, jobChanged, jobGone, taskChanged, taskGone } from "./reindex.ts"
import { gpuMilliOf } from "./resources.ts"
import { evolveSnapshots } from "./snapshots.ts"
import { residentChanged } from "./starts.ts"
import { devicesChanged } from "./suspicion.ts"
import { wordOn } from "./tasks.ts"
import { attemptOn, endedAs, type GivenUp, type Heard, type Held, type HostState, type JobState, type Machine, newJob, newTask, noWords, type Placed, type TaskState, type Word, type World } from "./world.ts"

/** What was given up and never heard of again is remembered this many times over, the newest. */
const givenUpMax = 10_000

/** Of so many attempts that gave way it is remembered that their work may have been kept: of most the last one's was. */
const gaveWayMax = 4

/** So many of a task's lost hosts are remembered, the newest. */
const lostOnMax = 16

/** Tells the world one fact. It cannot refuse: the fact has happened. Telling it again changes nothing. */
export const evolve = (world: World, heard: Heard): World => {
  const { ordinal, sequence, stream } = heard
  const before = world.heard.get(stream)
  if (before !== undefined && (sequence < before.sequence || (sequence === before.sequence && ordinal <= before.ordinal))) return world
  world.heard.set(stream, { sequence, ordinal })
  if (stream === "SCHEDULER") world.money.answeredAt = Math.max(world.money.answeredAt, heard.saw["METERING"] ?? 0)
  take(world, heard)
  forgetOutcomes(world)
  return world
}

/** What is said of work that only waits, and what concerns nobody who waits, stirs nothing: none gives way to another by it who did not before. */
const stirsNothing: ReadonlySet<MillFact["_tag"]> = new Set(["JobSubmitted", "DemandChanged", "OffersObserved", "OffersListed", "DecisionMade", "SchedulerTookOver", "BrokerTookOver", "ImageKnown"])
const stirs = (world: World, event: MillFact): boolean =>
  event._tag === "JobDeferred" ? (event.heldOn?.length ?? 0) > 0 || (world.jobs.get(event.jobId)?.heldOn.length ?? 0) > 0 : !stirsNothing.has(event._tag)

const take = (world: World, heard: Heard): void => {
  const { event, id } = heard
  if (stirs(world, event)) world.index.standstill.stirs += 1
  switch (event._tag) {
    case "JobSubmitted":
      return submitted(world, event, heard)
    case "JobCancelRequested": {
      // Its submission lies before it in the same stream: once some are forgotten, one that is not known is one of those.
      const job = world.outcomes.forgottenAtMs === undefined ? jobOf(world, event.jobId) : world.jobs.get(event.jobId)
      if (job === undefined) return
      job.cancelledBy ??= id
      return everythingChanged(world, job)
    }
    case "PlacementMade":
      return placed(world, event, heard)
    case "PlacementWithdrawn": {
      const task = knownTask(world, event)
      if (task?.current?.attemptId !== event.attemptId) return
      task.withdrawn = event.cause
      task.gaveWay = event.by === undefined ? event.cause === "preempted" ? `the provider of ${event.hostId}, who takes that machine back` : undefined : `${event.by.jobId} of workspace ${event.by.workspace} (priority ${event.by.priority})`
      return taskChanged(world, task)
    }
    case "AttemptExited":
    case "AttemptRefused":
      return spoken(world, { factId: id, fact: event })
    case "JobDeferred": {
      const job = jobOf(world, event.jobId)
      if (job === undefined) return
      job.told = { reason: event.reason, atMs: heard.atMs, dueAtMs: event.dueAtMs ?? (isFair(event.reason) ? heard.atMs + agedMs : undefined) }
      job.heldOn = event.heldOn ?? []
      if (event.reason !== "after" && event.reason !== "snapshot") job.waitingSinceMs ??= heard.atMs
      for (const task of [...job.derived.backingOff]) taskChanged(world, task)
      return jobChanged(world, job)
    }
    case "JobRetried":
      return retried(world, event, heard)
    case "PriorityChanged": {
      answered(world, event)
      const job = jobOf(world, event.jobId)
      if (job === undefined) return
      job.priority = event.priority
      job.derived.likeness = undefined
      for (const task of job.tasks.values()) if (task.current !== undefined) callUrgent(world, task, event.priority)
      return jobChanged(world, job)
    }
    case "TaskSettled":
      return taskSettled(world, event, heard)
    case "JobSettled":
      return over(world, event, heard, event.outcome, event.endedBy === undefined ? heard.partOf : undefined)
    case "JobRefused":
      return over(world, event, heard, "refused", undefined)
    case "LateWordNoted": {
      const { attempt, jobId, task } = event
      for (const [key, givenUp] of world.givenUp) {
        if (givenUp.jobId === jobId && givenUp.attempt === attempt && givenUp.task === task) forgetGivenUp(world, key)
      }
      return
    }
    case "SchedulerTookOver":
      world.term = Math.max(world.term, event.term)
      return
    case "DemandChanged":
      world.demand = evolveDemand(world.demand, event, heard.atMs)
      return
    case "HostAdmitted":
    case "HostDismissed":
    case "HostJoined":
    case "HostDraining":
    case "HostLeft":
    case "HostDeclaredLost":
    case "HostReturned":
    case "GpuSuspected":
    case "GpuCleared":
    case "StateResident":
      return ofHost(world, event, heard)
    case "LeaseRequested": {
      const { column: { market, region, zone }, fabric, leaseId, provider } = event
      const joins = { ...(zone === undefined ? {} : { zone }), ...(fabric === true ? { fabric: `${provider}/${region}` } : {}) }
      return ofMachine(world, leaseId, { rented: { provider, region, ...joins, spot: market === "spot" } })
    }
    case "OffersListed":
      return listOffers(world.offers, event)
    case "OffersObserved":
      return evolveOffers(world.offers, event)
    case "BrokerTookOver":
      return evolveProviders(world.offers, event)
    case "LeaseRefused":
      world.machines.delete(event.leaseId)
      return
    case "MachineEnrolled":
      return ofMachine(world, event.leaseId, { hostId: event.hostId })
    case "ReclaimNoticed":
      return ofMachine(world, event.leaseId, { hostId: event.hostId, goesBack: true, goneAtMs: event.deadlineAtMs })
    case "MachineRetiring":
      return ofMachine(world, event.leaseId, { hostId: event.hostId, goesBack: true })
    case "LeaseReleased":
      return ofMachine(world, event.leaseId, { goesBack: true })
    case "LeaseEnded": {
      const before = world.machines.get(event.leaseId)
      ofMachine(world, event.leaseId, { goesBack: true, ...(before?.goneAtMs === undefined && wasTakenBack(event, before?.rented) ? { goneAtMs: event.endedAtMs } : {}) })
      return machineOver(world, event.leaseId)
    }
    case "ImageKnown":
      world.images.set(event.imageId, event.sizeBytes)
      return
    default: {
      if (event._tag === "BudgetOpened" || event._tag === "PriceBookPublished") world.index.standstill.forget()
      if (event._tag === "SliceRecalled") world.money.recalledAt = Math.max(world.money.recalledAt, heard.sequence)
      if (evolveMoney(world.money, event) || evolveQuotas(world, heard)) return
      const snapshot = evolveSnapshots(world, event, heard.atMs)
      if (snapshot !== undefined) return awake(world, snapshot)
      if (heard.stream === "ACCESS") ofAuthority(world, event)
    }
  }
}

/** Waits that others could end by giving way, or time by holding a host. Those that were told by an older program had no moment to be looked at again. */
const isFair = (reason: JobDeferred["reason"]): boolean => reason === "no_host" || reason === "no_room" || reason === "quota"

const submitted = (world: World, fact: JobSubmitted, { id, sequence }: Heard): void => {
  // Learnt from each submission, also of one that is over by now: so the gateway's order alone says what is typical.
  world.index.fleet.mix.learn(requestOf(fact.spec), fact.spec.gang?.members ?? fact.spec.array?.tasks ?? 1)
  const job = jobOf(world, fact.jobId)
  if (job === undefined || job.submitted !== undefined) return
  job.submitted = { fact: lean(fact, job.id), factId: own(id) }
  job.number = sequence
  introduce(world, job)
  everythingChanged(world, job)
}

const placed = (world: World, fact: PlacementMade, { atMs, sequence }: Heard): void => {
  promise(world.money, fact)
  const { attempt, attemptId, fence, gang, gpuModel, gpus = [], hostId, spec: { array, priority, resources }, warrant: { grantPath }, workspace } = fact
  const job = jobOf(world, fact.jobId)
  if (job === undefined) return
  const task = taskOf(job, fact.task ?? 0)
  if (job.next === 0) for (const grant of grantPath) world.uses.set(grant, (world.uses.get(grant) ?? 0) + (gang?.members ?? array?.tasks ?? 1))
  job.next = Math.max(job.next, task.number + 1)
  job.waitingSinceMs = undefined
  // Whichever host it went to, one of those that it held is not needed any more.
  if (job.heldOn.length > 0) job.heldOn = job.heldOn.includes(hostId) ? job.heldOn.filter((held) => held !== hostId) : job.heldOn.slice(0, -1)
  task.current = leanPlaced({
    workspace, attempt, attemptId: own(attemptId), hostId: hostOf(world, hostId).id, fence, resources, gpus, gpuModel, urgency: job.priority ?? priority, grantPath, sequence, atMs
  })
  task.withdrawn = undefined
  task.gaveWay = undefined
  task.attempt = attempt
  task.notBeforeMs = 0
  if (wordOn(task) === undefined) {
    hold(world, task.current, task)
    running(world, task, task.current, 1)
  }
  taskChanged(world, task)
}

const spoken = (world: World, word: Word): void => {
  const { fact: { attempt, jobId, task: number }, factId } = word
  const key = attemptOn(word.fact)
  const givenUp = world.givenUp.get(key)
  if (givenUp !== undefined && givenUp.word === undefined) {
    givenUp.word = { factId, name: word.fact._tag }
    world.index.late.add(givenUp)
    letGo(world, givenUp)
    return
  }
  if (!world.jobs.has(jobId) && isForgotten(world, word.fact.attemptId)) return
  const job = jobOf(world, jobId)
  if (job === undefined || isOver(job, number ?? 0)) return
  const task = taskOf(job, number ?? 0)
  if (attempt <= task.retriedAfter || task.words.has(key)) return
  tellWord(task, key, word)
  if (task.current !== undefined && attemptOn(task.current) === key) {
    letGo(world, task.current)
    running(world, task, task.current, -1)
  }
  taskChanged(world, task)
}

const tellWord = (task: TaskState, key: string, word: Word): void => {
  task.words = new Map(task.words).set(key, word)
}

const forgetWord = (task: TaskState, key: string): void => {
  const words = new Map(task.words)
  words.delete(key)
  task.words = words.size === 0 ? noWords : words
}

/** Another attempt is to follow. The words of those before it are spent; one that was lost may still say its own. */
const retried = (world: World, fact: JobRetried, heard: Heard): void => {
  const task = knownTask(world, fact)
  if (task === undefined) return
  if (fact.lost === true) {
    task.losses += 1
    if (task.current !== undefined) task.lostOn = [task.current.hostId, ...task.lostOn ?? []].slice(0, lostOnMax)
    giveUp(world, task, { ...fact, partOf: heard.partOf })
  }
  else if (task.current !== undefined) vacate(world, task, task.current)
  if (fact.preempted === true || fact.gang === true) task.preemptions += 1
  // One that failed by itself begins anew; one that lost its host, where the one before it had begun.
  if (fact.preempted === true && task.current !== undefined) task.gaveWayIn = [{ attempt: task.current.attempt, attemptId: task.current.attemptId }, ...task.gaveWayIn ?? []].slice(0, gaveWayMax)
  else if (fact.lost !== true) task.gaveWayIn = undefined
  task.job.heldOn = []
  task.retriedAfter = Math.max(task.retriedAfter, fact.failedAttempt)
  task.notBeforeMs = fact.notBeforeMs
  task.current = undefined
  task.withdrawn = undefined
  task.gaveWay = undefined
  for (const [key, word] of task.words) if (word.fact.attempt <= task.retriedAfter) forgetWord(task, key)
  taskChanged(world, task)
}

const taskSettled = (world: World, fact: TaskSettled, heard: Heard): void => {
  const task = knownTask(world, fact)
  if (task === undefined) return
  const { job } = task
  if (fact.endedBy === undefined) giveUp(world, task, { ...fact, partOf: heard.partOf })
  else if (task.current !== undefined) vacate(world, task, task.current)
  const outcome = fact.outcome === "refused" ? "cancelled" : fact.outcome
  job.tally = { ...job.tally, [outcome]: job.tally[outcome] + 1 }
  taskGone(world, task)
  job.tasks.delete(task.number)
  jobChanged(world, job)
}

/** The job is over: only its outcome is remembered, and whoever waited for it is looked at again. */
const over = (world: World, { jobId, workspace }: { readonly jobId: JobId; readonly workspace: WorkspaceName }, { atMs, saw }: Heard, outcome: Outcome, givesUp: FactId | undefined): void => {
  const job = jobOf(world, jobId)
  if (job === undefined) return
  for (const task of job.tasks.values()) {
    if (givesUp !== undefined) giveUp(world, task, { workspace, partOf: givesUp })
    else if (task.current !== undefined) vacate(world, task, task.current)
  }
  jobGone(world, job)
  world.jobs.delete(jobId)
  world.outcomes.add(job.id, endedAs(workspace, outcome), { atMs, sawGateway: saw["GATEWAY"] ?? 0 })
  asksNoMore(world, job)
  awake(world, jobId)
}

/** What an attempt took up is free again, if it was not before. */
const vacate = (world: World, task: TaskState, current: Placed): void => {
  if (wordOn(task) !== undefined) return
  letGo(world, current)
  running(world, task, current, -1)
}

const awake = (world: World, id: string): void => {
  for (const job of [...world.index.awaiting.get(id) ?? []]) {
    for (const task of [...job.derived.backingOff]) if (task.awaits === id) taskChanged(world, task)
    jobChanged(world, job)
  }
}

/** The attempt that counts is given up without its host's last word, unless that has come. Its room stays taken until then. */
const giveUp = (world: World, task: TaskState, { partOf, task: number, workspace }: { readonly workspace: WorkspaceName; readonly task?: number; readonly partOf: FactId }): void => {
  const { current, job } = task
  if (current === undefined) return
  const key = attemptOn(current)
  const word = task.words.get(key)
  const { attempt, attemptId, gpus, hostId, resources } = current
  if (word === undefined) {
    running(world, task, current, -1)
    const { holds: held } = hostOf(world, hostId)
    held.set(attemptId, { resources, gpus, task: undefined, taken: held.get(attemptId)?.taken })
  }
  const givenUp: GivenUp = {
    jobId: job.id, workspace, task: number, attempt, attemptId, hostId, resources, gpus, partOf,
    word: word === undefined ? undefined : { factId: word.factId, name: word.fact._tag }
  }
  world.givenUp.set(key, givenUp)
  if (word !== undefined) world.index.late.add(givenUp)
  for (const oldest of world.givenUp.keys()) {
    if (world.givenUp.size <= givenUpMax) break
    forgetGivenUp(world, oldest)
  }
}

const forgetGivenUp = (world: World, key: string): void => {
  const givenUp = world.givenUp.get(key)
  if (givenUp === undefined) return
  letGo(world, givenUp)
  world.index.late.delete(givenUp)
  world.givenUp.delete(key)
}

const isOver = (job: JobState, number: number): boolean => number < job.next && !job.tasks.has(number)

/** A job that is not over. Whoever speaks of it first makes it known. */
const jobOf = (world: World, id: JobId): JobState | undefined => {
  const known = world.jobs.get(id)
  if (known !== undefined || world.outcomes.has(id)) return known
  const job = newJob(own(id))
  world.jobs.set(job.id, job)
  return job
}

const taskOf = (job: JobState, number: number): TaskState => {
  const known = job.tasks.get(number)
  if (known !== undefined) return known
  const task = newTask(job, number)
  job.tasks.set(number, task)
  return task
}

const knownTask = (world: World, { jobId, task }: { readonly jobId: JobId; readonly task?: number }): TaskState | undefined =>
  world.jobs.get(jobId)?.tasks.get(task ?? 0)

const ofHost = (world: World, event: Extract<MillFact, { readonly hostId: HostId }>, { id, saw, sequence }: Heard): void => {
  const host = hostOf(world, event.hostId)
  switch (event._tag) {
    case "HostAdmitted":
      host.admitted = true
      break
    case "HostDismissed":
      host.dismissed = true
      break
    case "HostJoined":
      world.index.devices += event.capabilities.gpus.length - (host.joined?.capabilities.gpus.length ?? 0)
      host.joined = { bootId: event.bootId, capabilities: event.capabilities, dialect: event.dialect ?? 1, factId: id, sequence }
      host.leaving = false
      world.index.fleet.joined(host)
      devicesChanged(world)
      // What it holds ready it says anew.
      residentChanged(world, host, new Set(), host.loadBytesPerMs)
      break
    case "HostDraining":
    case "HostLeft":
      host.leaving = true
      break
    case "HostDeclaredLost": {
      const { lastHeardAtMs, leaseEndedAtMs } = event
      host.lost = { sequence, sawHosts: saw["HOSTS"] ?? 0, lastHeardAtMs, leaseEndedAtMs, returned: false }
      for (const { task } of [...host.holds.values()]) if (task !== undefined) taskChanged(world, task)
      break
    }
    case "HostReturned":
      if (host.lost !== undefined) host.lost.returned = true
      break
    case "GpuSuspected":
      if (!host.suspected.has(event.gpu)) host.suspected.set(event.gpu, sequence)
      world.index.suspecting.add(host)
      return devicesChanged(world)
    case "GpuCleared":
      host.suspected.delete(event.gpu)
      return devicesChanged(world)
    case "StateResident":
      return residentChanged(world, host, new Set<string>([...event.snapshots, ...event.images, ...event.blobs]), event.loadBytesPerMs)
  }
  hostChanged(world, host)
}

/** What a lease says may come before it is known which host it is: one that goes back stays so. */
const ofMachine = (world: World, leaseId: LeaseId, said: { readonly [Field in keyof Machine]?: Machine[Field] | undefined }): void => {
  const before = world.machines.get(leaseId)
  const machine: Machine = {
    hostId: before?.hostId ?? said.hostId,
    goesBack: said.goesBack === true || before?.goesBack === true,
    ...(said.goneAtMs === undefined && before?.goneAtMs === undefined ? {} : { goneAtMs: said.goneAtMs ?? before?.goneAtMs }),
    rented: before?.rented ?? said.rented
  }
  world.machines.set(leaseId, machine)
  if (machine.hostId === undefined) return
  const host = hostOf(world, machine.hostId)
  host.takenBack ||= machine.goesBack
  if (machine.goneAtMs !== undefined && host.goneAtMs !== machine.goneAtMs) {
    host.goneAtMs = machine.goneAtMs
    for (const { task } of [...host.holds.values()]) if (task !== undefined) taskChanged(world, task)
  }
  host.rented = machine.rented ?? host.rented
  hostChanged(world, host)
}

/** The last word on a machine: its host takes nothing more, wherever it stood, and nobody asks for the machine again. */
const machineOver = (world: World, leaseId: LeaseId): void => {
  const { hostId } = world.machines.get(leaseId)!
  world.machines.delete(leaseId)
  if (hostId === undefined) return
  const host = hostOf(world, hostId)
  host.rented = undefined
  hostChanged(world, host)
}

export const hostChanged = (world: World, host: HostState): void => {
  const { joined, lost } = host
  if (lost !== undefined && !lost.returned && joined !== undefined && joined.sequence > lost.sawHosts) world.index.returning.add(host)
  else world.index.returning.delete(host)
  capacityOf(world, host)
  world.index.fleet.changed(host)
  world.index.standstill.freed(host)
}

/** Who may do what has changed: jobs under a grant that this touches are looked at again. */
const ofAuthority = (world: World, event: MillFact): void => {
  evolveAuthority(world.authority, event)
  for (const [named, jobs] of world.index.underGrant) {
    if (touches(world, event, named)) for (const job of [...jobs]) jobChanged(world, job)
  }
}

const touches = (world: World, event: MillFact, named: GrantId): boolean => {
  switch (event._tag) {
    case "RoleBound":
    case "RoleUnbound":
      return world.authority.grants.get(named)?.workspace === event.workspace
    case "GrantIssued":
    case "GrantDelegated":
    case "GrantSuspended":
    case "GrantResumed":
    case "GrantRevoked":
      return linksOf(world.authority, named)?.some(({ grantId }) => grantId === event.grantId) ?? false
    default:
      return false
  }
}

export const hostOf = (world: World, id: HostId): HostState => {
  const known = world.hosts.get(id)
  if (known !== undefined) return known
  const host: HostState = { id, admitted: false, dismissed: false, joined: undefined, leaving: false, takenBack: false, goneAtMs: undefined, lost: undefined, ...unsaidOf() }
  world.hosts.set(id, host)
  world.index.fleet.add(host)
  return host
}

/** A host of which nothing was said that a machine's broker or the host itself says in passing. */
export const unsaidOf = (): Pick<HostState, "rented" | "suspected" | "resident" | "loadBytesPerMs" | "holds" | "quarantined" | "counted"> =>
  ({ rented: undefined, suspected: new Map(), resident: new Set(), loadBytesPerMs: undefined, holds: new Map(), quarantined: new Set(), counted: noAmounts })

export const hold = (world: World, { attemptId, gpus, hostId, resources }: Pick<Placed, "attemptId" | "gpus" | "hostId" | "resources">, task: TaskState | undefined): void => {
  const host = hostOf(world, hostId)
  if (host.holds.has(attemptId)) return
  const held: Held = { resources, gpus, task, taken: undefined }
  host.holds.set(attemptId, held)
  world.index.fleet.hold(host, held)
}

export const letGo = (world: World, { attemptId, hostId }: Pick<Placed, "attemptId" | "hostId">): void => {
  const host = hostOf(world, hostId)
  const held = host.holds.get(attemptId)
  if (held === undefined) return
  host.holds.delete(attemptId)
  world.index.fleet.letGo(host, held)
  world.index.standstill.freed(host)
}

/** Counts an attempt that runs, as far as we know, with its GPUs under each grant of its path, and against what its workspace is due. */
export const running = (world: World, task: TaskState, placed: Placed, by: 1 | -1): void => {
  holds(world, task, placed, by)
  const gpuMilli = by * gpuMilliOf(placed.resources)
  for (const grant of placed.grantPath) {
    world.index.running.set(grant, (world.index.running.get(grant) ?? 0) + by)
    if (gpuMilli !== 0) world.index.runningGpuMilli.set(grant, (world.index.runningGpuMilli.get(grant) ?? 0) + gpuMilli)
  }
}
