import { endOf } from "@millrace/authority"
import type { JobSubmitted } from "@millrace/schemas"
import { canonical, classKeyOf, classOf, onOneMachine } from "./demand.ts"
import { gateOf } from "./gates.ts"
import { standing } from "./permits.ts"
import { once } from "./lean.ts"
import { Queue } from "./queue.ts"
import { leavesAtMs } from "./reclaim.ts"
import { awaitedOf, beginsAgainMs } from "./snapshots.ts"
import { isStopped, mayBegin, overdueMs, stageOf, tasksOf, waitsForPlace } from "./tasks.ts"
import { type JobState, noTasks, type TaskState, type World } from "./world.ts"

/** Two jobs that are alike here can be placed in each other's stead: same room, same money, same limits, as urgent. */
export const likenessOf = (job: JobState): string => job.derived.likeness ??= once(`${likenessBy(job.submitted!.fact)}/${job.priority ?? job.submitted!.fact.spec.priority ?? ""}`)

const likenessBy = ({ grant, spec: { dialect = 1, gang, gpu, resources: { cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }, runMsMax, runtime, trust, where }, workspace }: JobSubmitted): string =>
  `${runtime}/${trust}/${dialect}/${cpuMilli}/${memoryMib}/${diskMib}/${gpus}/${gpuMilli}/${runMsMax}/${workspace}/${grant ?? ""}${
    gpu === undefined && where === undefined && gang === undefined ? "" : `/${canonical([gpu, where, gang])}`}`

/** The class of its work, as demand is told by. */
export const classOfJob = (job: JobState): string => job.derived.class ??= once(classKeyOf(classOf(job.submitted!.fact.spec)))

/**
 * Puts a task, and with it its job, where its stage belongs. A function of what was said, so the order of
 * saying does not matter.
 */
export const taskChanged = (world: World, task: TaskState): void => {
  placeTask(world, task)
  jobChanged(world, task.job)
}

/** The same for a job of which something was said that concerns all of its tasks. */
export const everythingChanged = (world: World, job: JobState): void => {
  for (const task of job.tasks.values()) placeTask(world, task)
  jobChanged(world, job)
}

/** A task of which nothing will be said any more leaves every set that it is in. */
export const taskGone = (world: World, task: TaskState): void => {
  count(task, false, false)
  awaitFor(world, task, undefined)
  stands(task, false, false)
  world.index.toSay.delete(task)
  world.index.agenda.move(task, undefined)
}

export const jobGone = (world: World, job: JobState): void => {
  for (const task of job.tasks.values()) taskGone(world, task)
  const { agenda, awaiting, closing, fresh, held, shaken, underGrant } = world.index
  for (const set of [closing, fresh, held, shaken]) set.delete(job)
  for (const id of awaitedBy(job)) leave(awaiting, id, job)
  if (job.submitted?.fact.grant !== undefined) leave(underGrant, job.submitted.fact.grant, job)
  agenda.move(job, undefined)
  stand(world, job, undefined)
  demand(world, job, undefined, 0)
}

/** Whom a job waits for, by id. */
export const awaitedBy = ({ submitted }: JobState): ReadonlyArray<string> => {
  if (submitted === undefined) return []
  const { after, startFrom } = submitted.fact.spec
  return [...(after ?? []).map(({ jobId }) => jobId), ...(startFrom === undefined ? [] : [startFrom])]
}

/** Keeps the job's counts of tasks that are begun, and of those that nobody has told to end. */
const count = (task: TaskState, active: boolean, live: boolean): void => {
  const { derived } = task.job
  derived.active += Number(active) - Number(task.active)
  derived.live += Number(live) - Number(task.live)
  task.active = active
  task.live = live
}

/** Whether a task waits for a place or backs off. Of most jobs nothing does either. */
const stands = (task: TaskState, waits: boolean, backsOff: boolean): void => {
  const { derived } = task.job
  derived.waiting = among(derived.waiting, task, waits)
  derived.backingOff = among(derived.backingOff, task, backsOff)
}

const among = (tasks: ReadonlySet<TaskState>, task: TaskState, belongs: boolean): ReadonlySet<TaskState> => {
  if (tasks.has(task) === belongs) return tasks
  const mutable = tasks === noTasks ? new Set<TaskState>() : tasks as Set<TaskState>
  toggle(mutable, task, belongs)
  return mutable.size === 0 ? noTasks : mutable
}

const placeTask = (world: World, task: TaskState): void => {
  const { job } = task
  const stage = stageOf(world, task)
  const begun = stage !== "unheard"
  const untold = stage === "placed" && task.withdrawn === undefined
  count(task, begun, untold || stage === "waiting" || stage === "backing_off")
  if (job.submitted === undefined) return
  stands(task, stage === "waiting", stage === "backing_off")
  const ends = job.cancelledBy !== undefined && (untold || stage === "backing_off" || stage === "waiting")
  toggle(world.index.toSay, task, stage === "ended" || stage === "lost" || ends)
  awaitFor(world, task, stage === "backing_off" ? awaitedOf(world, task) : undefined)
  const dueMs = stage === "backing_off"
    ? beginsAgainMs(world, task)
    : untold
    ? Math.min(task.current!.atMs + job.submitted.fact.spec.runMsMax + overdueMs, leavesAtMs(world, task) ?? Number.POSITIVE_INFINITY)
    : undefined
  world.index.agenda.move(task, dueMs)
}

export const jobChanged = (world: World, job: JobState): void => {
  if (job.submitted === undefined) return
  const { closing, fresh, shaken } = world.index
  const { fact } = job.submitted
  const { active, waiting } = job.derived
  const begins = mayBegin(job)
  const placeless = waitsForPlace(job)
  toggle(closing, job, active === 0 && (isStopped(job) || job.next >= tasksOf(job)))
  toggle(fresh, job, begins > 0 && (job.told === undefined || (!placeless && gateOf(world, job)._tag !== "Shut")))
  const waits = job.cancelledBy === undefined && placeless ? begins + waiting.size : 0
  stand(world, job, waits > 0 ? likenessOf(job) : undefined)
  toggle(world.index.held, job, waits > 0 && job.heldOn.length > 0)
  const wantsRoom = job.told?.reason === "no_host" || job.told?.reason === "no_room"
  const wanted = wantsRoom ? Math.ceil(waits / onOneMachine(fact.spec.gang)) : 0
  demand(world, job, wanted === 0 ? undefined : classOfJob(job), wanted)
  toggle(shaken, job, fact.grant !== undefined && !standing(world, job))
  world.index.agenda.move(job, dueOf(world, job))
}

/** When a job as a whole is due: its patience for a place ends, or its grant does. */
const dueOf = (world: World, job: JobState): number | undefined => {
  const { grant, spec: { queueMsMax } } = job.submitted!.fact
  const patience = queueMsMax !== undefined && job.waitingSinceMs !== undefined && job.next === 0 && job.cancelledBy === undefined
    ? job.waitingSinceMs + queueMsMax
    : undefined
  const exposed = job.derived.live > 0 || (job.derived.active === 0 && job.next < tasksOf(job))
  const end = grant !== undefined && exposed ? endOf(world.authority, grant) : undefined
  return patience === undefined ? end : end === undefined ? patience : Math.min(patience, end)
}

const stand = (world: World, job: JobState, key: string | undefined): void => {
  const { standstill, waiting } = world.index
  const before = job.derived.queue
  // Whoever looked at the line saw another job in it, or in another light.
  if (before !== undefined) standstill.changed(before)
  if (key !== undefined) standstill.changed(key)
  if (before === key) return
  if (before !== undefined) {
    const queue = waiting.get(before)!
    queue.remove(job)
    if (queue.items.length === 0) waiting.delete(before)
  }
  job.derived.queue = key
  if (key === undefined) return
  const queue = waiting.get(key) ?? new Queue<JobState>()
  queue.add(job)
  waiting.set(key, queue)
}

const demand = (world: World, job: JobState, key: string | undefined, waiting: number): void => {
  const { demand } = world.index
  const before = job.derived.demand
  if (before !== undefined) {
    const rest = demand.get(before.key)! - before.count
    if (rest > 0) demand.set(before.key, rest)
    else demand.delete(before.key)
  }
  job.derived.demand = key === undefined || waiting === 0 ? undefined : { key, count: waiting }
  if (key !== undefined && waiting > 0) demand.set(key, (demand.get(key) ?? 0) + waiting)
}

/** Makes a job known to what it waits for and to the grant that it names. */
export const introduce = (world: World, job: JobState): void => {
  for (const id of awaitedBy(job)) join(world.index.awaiting, id, job)
  if (job.submitted?.fact.grant !== undefined) join(world.index.underGrant, job.submitted.fact.grant, job)
}

/** What a task waits for before it begins again, and is woken by alone. */
const awaitFor = (world: World, task: TaskState, id: string | undefined): void => {
  if (task.awaits === id) return
  if (task.awaits !== undefined) leave(world.index.awaiting, task.awaits, task.job)
  task.awaits = id
  if (id !== undefined) join(world.index.awaiting, id, task.job)
}

const join = <K>(sets: Map<K, Set<JobState>>, key: K, job: JobState): void => {
  const set = sets.get(key) ?? new Set()
  sets.set(key, set.add(job))
}

const leave = <K>(sets: Map<K, Set<JobState>>, key: K, job: JobState): void => {
  const set = sets.get(key)
  set?.delete(job)
  if (set?.size === 0) sets.delete(key)
}

const toggle = <T>(set: Set<T>, item: T, belongs: boolean): void => {
  if (belongs) set.add(item)
  else set.delete(item)
}
