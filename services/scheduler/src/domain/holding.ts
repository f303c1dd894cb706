import type { AttemptId, GangTerms, JobDeferred, Resources } from "@millrace/schemas"
import { Contest, type Wanting, type WantingWhole } from "./contest.ts"
import { type Amounts, amountsOf, multiplied } from "./fair/amounts.ts"
import type { QuotaLedger } from "./fair/tree.ts"
import { mayTake } from "./fleet.ts"
import { domainsFor, gangOf, holdWhole, membersOn } from "./gangs.ts"
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
export type Short = Pick<JobDeferred, "reason" | "arithmetic" | "unblockedBy" | "budget" | "dueAtMs"> & { readonly fair?: "room" | "quota" }

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
    this.#contest = new Contest(world, saying.round.atMs, {
      ends: (task) => saying.withdrawn.has(task) || this.#ending.has(task),
      ending: () => saying.withdrawn.size + this.#ending.size
    })
    for (const job of [...world.index.held].sort((left, right) => left.number - right.number)) {
      const free = job.heldOn.flatMap((id) => world.hosts.get(id) ?? []).filter((host) => mayTake(host) && !saying.lost.has(host) && !this.#heldBy.has(host))
      // What a part of a gang's hosts would take is nothing: it has others held for it instead.
      if (gangOf(job) !== undefined && free.length < job.heldOn.length) continue
      for (const host of free) this.#hold(job, host)
    }
  }

  /** The hosts on which nothing begins but for those who hold them. */
  get hosts(): Iterable<HostState> {
    return this.#heldBy.keys()
  }

  /** Whether anybody could give way to a job, as far as that is known without looking at what it would take. */
  mightAsk(job: JobState): boolean {
    return this.#contest.mightAsk(job)
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
    const entered = this.holds(job)
    for (const host of this.#heldFor.get(job) ?? []) this.#release(job, host)
    for (const [rank, amounts] of members.entries()) {
      if (!entered) this.#contest.entered(job, rank, amounts)
      this.#count(job, amounts, 1)
    }
  }

  /**
   * Has others give way to a job: on hosts that it holds already, should they not be ending yet, and on others. Gives
   * what it is to be told of that; or that all of it has its room on the way; or that nobody gives way.
   */
  make(head: JobState, { able, job, wants }: Waiting, short: Short): Short | "enough" | "nothing" {
    const lookedAtMs = this.#lookedAtMs(head)
    const gang = gangOf(job)
    if (gang !== undefined) return this.#makeWhole(job, gang, able, lookedAtMs, short)
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
      const made = this.#contest.makeRoom(this.#wanting(job, this.#unheld(able()), lookedAtMs), this.ledger)
      if (made === undefined) break
      for (const host of made.hosts) this.#hold(job, host)
      this.#end(made.victims)
      hosts.push(...made.hosts.map(({ id }) => id))
      victims.push(...made.victims)
    }
    if (hosts.length === 0) return before >= Math.min(heldMax, wants) ? "enough" : "nothing"
    return givingWay(short, hosts, victims)
  }

  /** The same for a gang: as many give way as all of it needs in one domain, or nobody does. */
  #makeWhole(job: JobState, gang: GangTerms, able: Waiting["able"], lookedAtMs: number, short: Short): Short | "enough" | "nothing" {
    const held = this.#heldFor.get(job) ?? []
    const room = (gone: (host: HostState) => Iterable<AttemptId>): number => held.reduce((sum, host) => sum + this.#membersOn(job, host, [...gone(host)]), 0)
    if (held.length > 0 && room(({ holds }) => holds.keys()) >= gang.members) {
      const made = room(() => []) >= gang.members ? undefined : this.#contest.makeWholeRoom(this.#wantingWhole(job, gang, held, lookedAtMs), this.ledger)
      if (made !== undefined) this.#end(made.victims)
      return "enough"
    }
    // They would not do any more if they were empty: a device of theirs was lost.
    for (const host of held) this.#release(job, host)
    const made = this.#contest.makeWholeRoom(this.#wantingWhole(job, gang, this.#unheld(able()), lookedAtMs), this.ledger)
    if (made === undefined) return held.length > 0 ? short : "nothing"
    for (const host of made.hosts) this.#hold(job, host)
    this.#end(made.victims)
    return givingWay(short, made.hosts.map(({ id }) => id), made.victims)
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

  /** Whether a job that has no room has waited so long that a host should be held for it. */
  isAged(job: JobState): boolean {
    return !this.holds(job) && sinceOf(job) + agedMs <= this.#lookedAtMs(job)
  }

  /**
   * Holds hosts for those at the head of their lines who have waited too long, and tells again whoever is due to be.
   * Of some it is known without a look that they have no room; what is short of all of them is asked once all is placed.
   */
  age(defer: (waiting: Waiting, short: Short) => void, alsoAged: ReadonlyArray<{ readonly waiting: Waiting; readonly short: Short }> = [], lacksRoom: (job: JobState) => boolean = () => true): void {
    const aged = [...this.#standing.filter(({ short, waiting: { job } }) => short.fair === "room" && this.isAged(job)), ...alsoAged]
      .sort((left, right) => sinceOf(left.waiting.job) - sinceOf(right.waiting.job) || left.waiting.job.number - right.waiting.job.number)
    const most = aged.length === 0 ? 0 : Math.max(1, Math.floor([...this.#world.hosts.values()].filter(mayTake).length / heldSharePerHosts))
    for (const { short, waiting } of aged) {
      if (this.#heldBy.size >= most) break
      if (!lacksRoom(waiting.job)) continue
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
    const free = this.#unheld(able())
    const gang = gangOf(job)
    if (gang !== undefined) return holdWhole(free, gang, (host) => this.#membersOn(job, host, [...host.holds.keys()]), emptyAtMs)
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
      const ripe = this.#contest.mightAsk(job) ? this.#ripeAtMs(job, this.#unheld(able()), atMs) : undefined
      ripeAtMs = ripe === undefined ? Number.POSITIVE_INFINITY : Math.max(ripe, atMs + lookEveryMs)
      this.#due.set(likeness, ripeAtMs)
    }
    const aged = (job.waitingSinceMs ?? atMs) + agedMs
    return Math.min(ripeAtMs, aged > atMs ? aged : atMs + agedMs)
  }

  #ripeAtMs(job: JobState, hosts: ReadonlyArray<HostState>, atMs: number): number | undefined {
    const gang = gangOf(job)
    return gang === undefined ? this.#contest.ripeAtMs(this.#wanting(job, hosts, atMs)) : this.#contest.ripeWholeAtMs(this.#wantingWhole(job, gang, hosts, atMs))
  }

  #unheld(hosts: ReadonlyArray<HostState>): ReadonlyArray<HostState> {
    return hosts.filter((host) => !this.#heldBy.has(host))
  }

  #wantingWhole(job: JobState, gang: GangTerms, hosts: ReadonlyArray<HostState>, lookedAtMs: number): WantingWhole {
    return { job, members: gang.members, amounts: amountsIn(job), lookedAtMs, domains: domainsFor(hosts, gang), roomFor: (host, gone) => this.#membersOn(job, host, gone) }
  }

  #membersOn(job: JobState, host: HostState, gone: ReadonlyArray<AttemptId>): number {
    return membersOn(this.#world.index.fleet, host, resourcesIn(job), new Set([...this.#endingOn(host), ...gone]))
  }

  #wanting(job: JobState, hosts: ReadonlyArray<HostState>, lookedAtMs: number): Wanting {
    return { job, task: job.next, amounts: amountsIn(job), hosts, lookedAtMs, fits: (host, gone) => this.#fitsOn(job, host, gone) }
  }

  #fitsOn(job: JobState, host: HostState, gone: ReadonlyArray<AttemptId>): boolean {
    const free = this.#world.index.fleet.freeWithout(host, new Set([...this.#endingOn(host), ...gone]))
    return fits(resourcesIn(job), free) && (resourcesIn(job).gpuMilli ?? 0) <= free.largestMilli
  }

  /** What on a host was told to end, or is about to be. */
  #endingOn(host: HostState): ReadonlyArray<AttemptId> {
    return [...host.holds].flatMap(([attemptId, { task }]) => (task !== undefined && isEnding(task, this.#saying, this.#ending) ? [attemptId] : []))
  }

  /** From here on the host takes nothing else, and what will be placed there counts as if it ran: of a gang all of it, from its first host on. */
  #hold(job: JobState, host: HostState): void {
    this.#heldBy.set(host, job)
    const held = this.#heldFor.get(job) ?? []
    this.#heldFor.set(job, [...held, host])
    this.#world.index.fleet.shut(host)
    const gang = gangOf(job)
    if (gang === undefined) this.#contest.entered(job, job.next + held.length, amountsIn(job))
    else if (held.length === 0) for (let rank = 0; rank < gang.members; rank += 1) this.#contest.entered(job, rank, amountsIn(job))
    if (gang === undefined || held.length === 0) this.#count(job, keptFor(job), 1)
  }

  #release(job: JobState, host: HostState): void {
    this.#heldBy.delete(host)
    const left = this.#heldFor.get(job)!.filter((one) => one !== host)
    this.#heldFor.set(job, left)
    // Others have what is left of it from the next round on: within a round room only becomes less.
    if (gangOf(job) === undefined || left.length === 0) this.#count(job, keptFor(job), -1)
  }

  #count(job: JobState, amounts: Amounts, by: 1 | -1): void {
    const node = nodeOf(job.submitted!.fact.workspace)
    const [move, back] = by === 1 ? [this.ledger.take, this.ledger.giveBack] : [this.ledger.giveBack, this.ledger.take]
    move.call(this.ledger, node, amounts)
    this.#undo.push(() => back.call(this.ledger, node, amounts))
  }

  #end(victims: ReadonlyArray<TaskState>): void {
    for (const task of victims) this.#ending.add(task)
  }
}

const isEnding = (task: TaskState, saying: Saying, ending: ReadonlySet<TaskState>): boolean =>
  task.withdrawn !== undefined || saying.withdrawn.has(task) || ending.has(task)

const resourcesIn = ({ submitted }: JobState): Resources => submitted!.fact.spec.resources

const amountsIn = (job: JobState): Amounts => amountsOf(resourcesIn(job))

/** What is kept of its workspace's quota for each host that a job holds; for a gang, whatever it holds, what all of it takes. */
const keptFor = (job: JobState): Amounts => multiplied(amountsIn(job), gangOf(job)?.members ?? 1)

/** What a job is told of those who make room for it. */
const givingWay = (short: Short, hosts: ReadonlyArray<string>, victims: ReadonlyArray<TaskState>): Short => {
  const whom = victims.length === 0 ? "what ends there already" : `${victims.length} less urgent or borrowed`
  return { ...short, arithmetic: `${short.arithmetic}; on ${hosts.join(", ")} ${whom} ${victims.length === 1 ? "gives" : "give"} way to it` }
}

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
