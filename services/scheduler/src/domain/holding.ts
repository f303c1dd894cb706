import type { AttemptId, JobDeferred, Resources } from "@millrace/schemas"
import { Contest, type Wanting } from "./contest.ts"
import { type Amounts, amountsOf, noAmounts } from "./fair/amounts.ts"
import type { QuotaLedger } from "./fair/tree.ts"
import { mayTake } from "./fleet.ts"
import { gangOf, holdWhole } from "./gangs.ts"
import { nodeOf, priorityIn } from "./quotas.ts"
import { likenessOf } from "./reindex.ts"
import { fits } from "./resources.ts"
import { agedMs } from "./patience.ts"
import type { Saying } from "./saying.ts"
import { withdraw } from "./settle.ts"
import type { HostState, JobState, TaskState, World } from "./world.ts"

/** One in so many hosts may be held for those who have waited too long. */
const heldSharePerHosts = 10
/** A wait for those who are spared is looked at no more often than this. */
const lookEveryMs = 5_000
/** So many hosts are held for one job at a time. */
const heldMax = 16

/** Why a job waits for room or for its workspace's quota. */
export type Short = Pick<JobDeferred, "reason" | "arithmetic" | "unblockedBy" | "budget"> & { readonly fair?: "room" | "quota" }

/** A job that waits, what is left of it to place, and where it could run. */
export interface Waiting {
  readonly job: JobState
  readonly wants: number
  readonly able: () => ReadonlyArray<HostState>
}

/** Hosts that are held for those who wait, and those who make room for them: in one round, which leaves the world as it was. */
export class Holding {
  readonly ledger: QuotaLedger
  readonly #world: World
  readonly #saying: Saying
  readonly #contest: Contest
  readonly #heldBy = new Map<HostState, JobState>()
  readonly #heldFor = new Map<JobState, Array<HostState>>()
  readonly #undo: Array<() => void> = []
  /** Those who make room, said or about to be. */
  readonly #ending = new Set<TaskState>()
  readonly #due = new Map<string, number>()
  readonly #standing: Array<{ readonly waiting: Waiting; readonly short: Short }> = []

  constructor(world: World, saying: Saying) {
    this.#world = world
    this.#saying = saying
    this.ledger = world.index.ledger
    this.#contest = new Contest(world, saying.round.atMs, (task) => saying.withdrawn.has(task) || this.#ending.has(task))
    for (const job of [...world.index.held].sort((left, right) => left.number - right.number)) {
      const free = job.heldOn.flatMap((id) => world.hosts.get(id) ?? []).filter((host) => mayTake(host) && !saying.lost.has(host) && !this.#heldBy.has(host))
      // What a part of a gang's hosts would take is nothing: it has others held for it instead.
      if (gangOf(job) !== undefined && free.length < job.heldOn.length) continue
      for (const host of free) this.#hold(job, host)
    }
  }

  /** Leaves the ledger as it was before the round. */
  giveBack(): void {
    for (const undo of this.#undo.reverse()) undo()
  }

  holds(job: JobState): boolean {
    return (this.#heldFor.get(job)?.length ?? 0) > 0
  }

  /** Asks something on behalf of a job: for it alone its hosts are open, and what is kept for it of its quota is free. */
  within<A>(job: JobState, ask: () => A): A {
    const held = this.#heldFor.get(job) ?? []
    if (held.length === 0) return ask()
    for (const host of held) this.#world.index.fleet.open(host)
    this.ledger.giveBack(nodeOf(job.submitted!.fact.workspace), keptFor(job))
    const answer = ask()
    this.ledger.take(nodeOf(job.submitted!.fact.workspace), keptFor(job))
    for (const host of held) this.#world.index.fleet.shut(host)
    return answer
  }

  /** A piece was placed: it counts, and one of the job's hosts is not held any more. */
  placed(job: JobState, task: number, host: HostState, amounts: Amounts): void {
    const held = this.#heldFor.get(job) ?? []
    const freed = held.includes(host) ? host : held.at(-1)
    if (freed !== undefined) this.#release(job, freed)
    else this.#contest.entered(job, task, amounts)
    this.#count(job, amounts, 1)
  }

  /** A gang was placed: all of it counts, and no host is held for it any more. */
  placedWhole(job: JobState, members: ReadonlyArray<Amounts>): void {
    for (const host of this.#heldFor.get(job) ?? []) this.#release(job, host)
    for (const [rank, amounts] of members.entries()) {
      this.#contest.entered(job, rank, amounts)
      this.#count(job, amounts, 1)
    }
  }

  /**
   * Has others give way to a job: on hosts that it holds already, should they not be ending yet, and on others. Gives
   * what it is to be told of that; or that all of it has its room on the way; or that nobody gives way.
   */
  make(head: JobState, { able, job, wants }: Waiting, short: Short): Short | "enough" | "nothing" {
    // Nobody gives way to a gang: it waits until enough has ended, and then for its turn to hold what it needs.
    if (gangOf(job) !== undefined) return "nothing"
    const lookedAtMs = this.#lookedAtMs(head)
    for (const host of this.#heldFor.get(job) ?? []) {
      if (this.#fitsOn(job, host, [])) continue
      const made = this.#contest.makeRoom(this.#wanting(job, [host], lookedAtMs), this.ledger)
      if (made !== undefined) this.#end(made.victims)
    }
    const before = this.#heldFor.get(job)?.length ?? 0
    if (!this.#contest.mightAsk(job)) return before >= Math.min(heldMax, wants) ? "enough" : "nothing"
    const hosts: Array<string> = []
    const victims: Array<TaskState> = []
    while ((this.#heldFor.get(job)?.length ?? 0) < Math.min(heldMax, wants)) {
      const made = this.#contest.makeRoom(this.#wanting(job, able().filter((host) => !this.#heldBy.has(host)), lookedAtMs), this.ledger)
      if (made === undefined) break
      this.#hold(job, made.host)
      this.#end(made.victims)
      hosts.push(made.host.id)
      victims.push(...made.victims)
    }
    if (hosts.length === 0) return before >= Math.min(heldMax, wants) ? "enough" : "nothing"
    const whom = victims.length === 0 ? "what ends there already" : `${victims.length} less urgent or borrowed`
    return { ...short, arithmetic: `${short.arithmetic}; on ${hosts.join(", ")} ${whom} ${victims.length === 1 ? "gives" : "give"} way to it` }
  }

  /** Tells those who make room for a job that they do, and by what right. */
  withdraw(job: JobState): void {
    const { fact: { workspace } } = job.submitted!
    const { own } = priorityIn(this.#world, job)
    for (const task of this.#ending) {
      if (this.#saying.withdrawn.has(task)) continue
      const to = task.current!.workspace === workspace ? "more urgent work of its workspace" : "work that goes before it"
      withdraw(task, "preempted", this.#saying, { by: { jobId: job.id, workspace, priority: own }, why: `it makes room for ${to}: ${job.id} of ${workspace}, priority ${own}; it begins again when there is room, and this takes none of its attempts` })
    }
  }

  /** What a job is told beside why it waits: the hosts that are held for it, and when it is looked at again. */
  told(waiting: Waiting): Pick<JobDeferred, "heldOn" | "dueAtMs"> {
    const { job, wants } = waiting
    const held = this.#heldFor.get(job) ?? []
    const dueAtMs = held.length >= Math.min(heldMax, wants) ? this.#saying.round.atMs + agedMs : this.#dueAtMs(waiting)
    return { dueAtMs, ...(held.length === 0 ? {} : { heldOn: held.map(({ id }) => id) }) }
  }

  /** The head of a line has no place. */
  stands(waiting: Waiting, short: Short): void {
    this.#standing.push({ waiting, short })
  }

  /** Holds hosts for those at the head of their lines who have waited too long, and tells again whoever is due to be. */
  age(defer: (waiting: Waiting, short: Short) => void): void {
    const aged = this.#standing
      .filter(({ short, waiting: { job } }) => short.fair === "room" && !this.holds(job) && sinceOf(job) + agedMs <= this.#lookedAtMs(job))
      .sort((left, right) => sinceOf(left.waiting.job) - sinceOf(right.waiting.job) || left.waiting.job.number - right.waiting.job.number)
    const most = aged.length === 0 ? 0 : Math.max(1, Math.floor([...this.#world.hosts.values()].filter(mayTake).length / heldSharePerHosts))
    for (const { short, waiting } of aged) {
      if (this.#heldBy.size >= most) break
      const hosts = this.#soonest(waiting)
      if (hosts === undefined) continue
      // Whoever needs more than is left waits until nothing else is held, and nobody behind it goes first.
      if (this.#heldBy.size > 0 && this.#heldBy.size + hosts.length > most) break
      for (const host of hosts) this.#hold(waiting.job, host)
      defer(waiting, { ...short, arithmetic: `${short.arithmetic}; it has waited long, and nothing else begins on ${hosts.map(({ id }) => id).join(", ")} until it is placed` })
    }
    for (const { short, waiting } of this.#standing) {
      const dueAtMs = waiting.job.told?.dueAtMs
      if (dueAtMs !== undefined && dueAtMs <= this.#saying.round.atMs) defer(waiting, short)
    }
  }

  /** The hosts on which everything has ended first, by the longest times of what runs there: one, or enough for a gang. */
  #soonest({ able, job }: Waiting): ReadonlyArray<HostState> | undefined {
    const free = able().filter((host) => !this.#heldBy.has(host))
    const gang = gangOf(job)
    if (gang !== undefined) return holdWhole(free, gang, resourcesIn(job), emptyAtMs)
    const host = soonest(free)
    return host === undefined ? undefined : [host]
  }

  /** What a job sees of time: between being told and being due only what was so when it was told. */
  #lookedAtMs({ told }: JobState): number {
    const { atMs } = this.#saying.round
    return told?.dueAtMs !== undefined && atMs < told.dueAtMs ? told.atMs : atMs
  }

  #dueAtMs({ able, job }: Waiting): number {
    const { atMs } = this.#saying.round
    const likeness = likenessOf(job)
    let ripeAtMs = this.#due.get(likeness)
    if (ripeAtMs === undefined) {
      const ripe = gangOf(job) !== undefined || !this.#contest.mightAsk(job) ? undefined : this.#contest.ripeAtMs(this.#wanting(job, able().filter((host) => !this.#heldBy.has(host)), atMs))
      ripeAtMs = ripe === undefined ? Number.POSITIVE_INFINITY : Math.max(ripe, atMs + lookEveryMs)
      this.#due.set(likeness, ripeAtMs)
    }
    const aged = (job.waitingSinceMs ?? atMs) + agedMs
    return Math.min(ripeAtMs, aged > atMs ? aged : atMs + agedMs)
  }

  #wanting(job: JobState, hosts: ReadonlyArray<HostState>, lookedAtMs: number): Wanting {
    return { job, task: job.next, amounts: amountsIn(job), hosts, lookedAtMs, fits: (host, gone) => this.#fitsOn(job, host, gone) }
  }

  #fitsOn(job: JobState, host: HostState, gone: ReadonlyArray<AttemptId>): boolean {
    const coming = [...host.holds].flatMap(([attemptId, { task }]) => (task !== undefined && isEnding(task, this.#saying, this.#ending) ? [attemptId] : []))
    const free = this.#world.index.fleet.freeWithout(host, new Set([...coming, ...gone]))
    return fits(resourcesIn(job), free) && (resourcesIn(job).gpuMilli ?? 0) <= free.largestMilli
  }

  #hold(job: JobState, host: HostState): void {
    this.#heldBy.set(host, job)
    const held = this.#heldFor.get(job) ?? []
    this.#heldFor.set(job, [...held, host])
    this.#world.index.fleet.shut(host)
    this.#count(job, keptFor(job), 1)
    if (gangOf(job) === undefined) this.#contest.entered(job, job.next + held.length, amountsIn(job))
  }

  #release(job: JobState, host: HostState): void {
    this.#heldBy.delete(host)
    this.#heldFor.set(job, this.#heldFor.get(job)!.filter((one) => one !== host))
    this.#world.index.fleet.open(host)
    this.#count(job, keptFor(job), -1)
  }

  #count(job: JobState, amounts: Amounts, by: 1 | -1): void {
    const node = nodeOf(job.submitted!.fact.workspace)
    const [move, back] = by === 1 ? [this.ledger.take, this.ledger.giveBack] : [this.ledger.giveBack, this.ledger.take]
    move.call(this.ledger, node, amounts)
    this.#undo.push(() => back.call(this.ledger, node, amounts))
  }

  #end(victims: ReadonlyArray<TaskState>): void {
    for (const task of victims) {
      this.#ending.add(task)
      this.#contest.yielded(task.current!.workspace)
    }
  }
}

const isEnding = (task: TaskState, saying: Saying, ending: ReadonlySet<TaskState>): boolean =>
  task.withdrawn !== undefined || saying.withdrawn.has(task) || ending.has(task)

const resourcesIn = ({ submitted }: JobState): Resources => submitted!.fact.spec.resources

const amountsIn = (job: JobState): Amounts => amountsOf(resourcesIn(job))

/** What is kept of its workspace's quota for each host that a job holds; a gang's is looked at when it is placed. */
const keptFor = (job: JobState): Amounts => (gangOf(job) === undefined ? amountsIn(job) : noAmounts)

const sinceOf = ({ told, waitingSinceMs }: JobState): number => waitingSinceMs ?? told?.atMs ?? 0

/** The host on which everything has ended first, by the longest times of what runs there; of equals the first by id. */
const soonest = (hosts: ReadonlyArray<HostState>): HostState | undefined => {
  let best: { readonly host: HostState; readonly endsAtMs: number } | undefined
  for (const host of hosts) {
    const endsAtMs = emptyAtMs(host)
    if (best === undefined || endsAtMs < best.endsAtMs) best = { host, endsAtMs }
  }
  return best?.host
}

const emptyAtMs = (host: HostState): number => [...host.holds.values()].reduce((latest, { task }) => Math.max(latest, endOf(task)), 0)

const endOf = (task: TaskState | undefined): number => {
  const runMsMax = task?.job.submitted?.fact.spec.runMsMax
  return task?.current === undefined || runMsMax === undefined ? Number.POSITIVE_INFINITY : task.current.atMs + runMsMax
}
