import type { Link } from "@millrace/authority"
import type { Choice, Request } from "@millrace/packing"
import { type BudgetShare, type Constraints, type GangTerms, wishesInWords } from "@millrace/schemas"
import { dialectOf, requestOf } from "./ask.ts"
import { amountsOf, noAmounts, sum } from "./fair/amounts.ts"
import type { OverQuota } from "./fair/tree.ts"
import { networkOf } from "./gang-network.ts"
import { addressOf, chooseWhole, gangOf, noRoomForAll } from "./gangs.ts"
import { gateOf } from "./gates.ts"
import { Holding, type Short, type Waiting } from "./holding.ts"
import { inLines, type Line, serve, type Went } from "./line.ts"
import { isAhead, linksFor, narrowest, overLimit, permission } from "./permits.ts"
import { gpuModelOf, nextAttemptId, placed } from "./placement-made.ts"
import { neverFits } from "./possible.ts"
import { Purse } from "./purse.ts"
import { nodeOf, overInWords, takenBy } from "./quotas.ts"
import { classOfJob, likenessOf } from "./reindex.ts"
import { gpuMilliOf, inWords } from "./resources.ts"
import type { Saying } from "./saying.ts"
import { deny, exceed, oldestFirst, refuse } from "./settle.ts"
import { soonerElsewhere, startsOf } from "./starts.ts"
import { mayBegin, tasksOf } from "./tasks.ts"
import { type HostState, isFrozen, type JobState, newTask, type TaskState, type World } from "./world.ts"

/** So many of those that wait alike are told that it is for something else now. */
const toldAgainMax = 64
/** So many that wait alike may have others give way to them at the same time. */
const togetherMax = 16

/** One round places no more: what it says goes out, hosts are answered and what was heard is taken in before the next. */
const placementsMax = 1_000

type Going = Generator<void, Short | undefined, void>

/** Places what waits and what is new or due, in the order in which it is served, and says why the rest waits. */
export const place = (world: World, saying: Saying): void => {
  const { fleet } = world.index
  const before = fleet.begin()
  const placing = new Placing(world, saying)
  try {
    for (const host of saying.lost) fleet.shut(host)
    placing.serve()
  } finally {
    placing.end()
    fleet.giveBack(before)
  }
}

class Placing {
  readonly #world: World
  readonly #saying: Saying
  readonly #purse: Purse
  /** Why jobs of a likeness cannot be placed any more in this round. What is short only becomes shorter. */
  readonly #short = new Map<string, Short>()
  readonly #whyNoRoom = new Map<string, Short>()
  readonly #limits = new Map<string | undefined, Constraints>()
  readonly #told = new Set<JobState>()
  /** Tasks that this round placed, and how many it began of each job. */
  readonly #placed = new Set<TaskState | JobState>()
  readonly #begun = new Map<JobState, number>()
  #left = placementsMax
  readonly #holding: Holding

  constructor(world: World, saying: Saying) {
    this.#world = world
    this.#saying = saying
    this.#purse = new Purse(world, saying.round.atMs)
    this.#holding = new Holding(world, saying)
  }

  /** What this round took is taken by the facts that it said, and not by it. */
  end(): void {
    this.#holding.giveBack()
  }

  serve(): void {
    const { agenda, fresh, waiting } = this.#world.index
    const jobs = new Set(fresh)
    const { answeredAt, recalledAt } = this.#world.money
    const forMoney = recalledAt > answeredAt ? this.#forMoney() : undefined
    if (forMoney !== undefined) jobs.add(forMoney)
    for (const one of agenda.by(this.#saying.round.atMs)) if ("job" in one && one.job.derived.backingOff.has(one)) jobs.add(one.job)
    const lines = [
      ...[...waiting.values()].map(({ items }): Line<Going> => ({ jobs: items, at: 0, fresh: false, going: undefined })),
      ...inLines(jobs).map((alike): Line<Going> => ({ jobs: alike, at: 0, fresh: true, going: undefined }))
    ]
    serve(this.#world, this.#holding.ledger, lines, (line) => (this.#left > 0 ? this.#step(line) : "stop"))
    this.#holding.age(({ job }, short) => void (this.#told.has(job) || this.#defer(job, short)))
  }

  /** Places one more piece of a line, or goes on to its next job. Of those that wait, a likeness of which one does not fit is passed over whole. */
  #step(line: Line<Going>): Went {
    const job = line.jobs[line.at]!
    if (line.going === undefined) {
      const passed = isFrozen(this.#world, job) || this.#saying.done.has(job) || (line.fresh && (this.#told.has(job) || job.cancelledBy !== undefined || isAhead(this.#world, job)))
      if (passed) return next(line)
      const gated = line.fresh ? this.#gate(job) : this.#holding.holds(job) ? undefined : this.#shortOf(job)
      line.going = gated === undefined ? this.#all(job) : shortAtOnce(gated)
    }
    const step = line.going.next()
    if (step.done !== true) return "took"
    line.going = undefined
    if (step.value === undefined) return next(line)
    this.#wait(line, step.value)
    // Each that is new is told so itself.
    return line.fresh ? next(line) : "ends"
  }

  /** Who heads a line that does not fit may have others give way to it, and so may the next few; all of them are told what is short. */
  #wait({ at, fresh, jobs }: Line<Going>, short: Short): void {
    const head = jobs[at]!
    if (short.fair !== undefined) {
      for (const job of jobs.slice(at, at + togetherMax)) {
        if (isFrozen(this.#world, job) || this.#saying.done.has(job)) continue
        const made = this.#holding.make(head, this.#waitingOf(job), short)
        // First it is said what is held and for whom, then who makes room there: whoever dies between finds what to do.
        if (made !== "nothing" && made !== "enough") this.#defer(job, made)
        this.#holding.withdraw(job)
        if (made === "nothing") break
      }
    }
    if (!fresh) {
      this.#holding.stands(this.#waitingOf(head), short)
      return this.#tellAgain(jobs.slice(at, at + toldAgainMax), short)
    }
    if (!this.#saying.done.has(head) && !this.#told.has(head)) this.#defer(head, short)
  }

  /**
   * Whoever lends money or rents machines hears of what waits by what it is told. When another thing is short than
   * what they were told, the first of a likeness are told so: they would wait for what nobody knows of.
   */
  #tellAgain(jobs: ReadonlyArray<JobState>, short: Short): void {
    for (const job of jobs) {
      if (job.told === undefined || this.#told.has(job) || kindOfShort(job.told.reason) === kindOfShort(short.reason) || isFrozen(this.#world, job) || this.#saying.done.has(job)) continue
      this.#defer(job, short)
    }
  }

  #waitingOf(job: JobState): Waiting {
    const again = [...job.derived.waiting, ...job.derived.backingOff].filter((task) => !this.#placed.has(task)).length
    if (gangOf(job) !== undefined) return { job, wants: 1, able: () => this.#ableFor(job) }
    return { job, wants: mayBegin(job) - (this.#begun.get(job) ?? 0) + again, able: () => this.#ableFor(job) }
  }

  /** The hosts that would take it if they were empty. */
  #ableFor(job: JobState): ReadonlyArray<HostState> {
    return this.#world.index.fleet.able(this.#requestOf(job, linksFor(this.#world, job), this.#dialectOf(job, this.#purse.shareFor(job) !== undefined)))
  }

  /** Agents of the first dialect cannot write down a placement that money stands behind, and so never begin it. */
  #dialectOf(job: JobState, paid: boolean): number {
    return Math.max(dialectOf(job.submitted!.fact.spec), paid ? 2 : 1)
  }

  /** The job that waits longest for money, to answer that some was called back. */
  #forMoney(): JobState | undefined {
    const waiting = [...this.#world.index.waiting.values()].flatMap(({ items }) =>
      items.find((job) => job.told?.reason === "budget" && !isFrozen(this.#world, job)) ?? [])
    return oldestFirst(waiting)[0]
  }

  #defer(job: JobState, { fair, ...short }: Short): void {
    this.#told.add(job)
    const held = fair === undefined ? {} : this.#holding.told(this.#waitingOf(job))
    this.#saying.ofJob(job, { _tag: "JobDeferred", jobId: job.id, workspace: job.submitted!.fact.workspace, ...short, ...held })
  }

  /** What must come first; and what never comes is told at once. */
  #gate(job: JobState): Short | undefined {
    if (job.next > 0) return undefined
    const { fact: { spec, workspace } } = job.submitted!
    const never = neverFits(this.#world, spec)
    if (never !== undefined) {
      this.#saying.ofJob(job, { _tag: "JobRefused", jobId: job.id, workspace, reason: "never_fits", remedy: never })
      return undefined
    }
    const gate = gateOf(this.#world, job)
    if (gate._tag === "Shut") return gate.why
    if (gate._tag === "Never") this.#saying.ofJob(job, { _tag: "JobRefused", jobId: job.id, workspace, ...gate.why })
    return undefined
  }

  /** Places all of a job that may begin or be tried again now, in the order of tasks. Gives what is short, if not all of it went. */
  *#all(job: JobState): Going {
    if (this.#saying.done.has(job)) return undefined
    const decision = permission(this.#world, job, this.#saying.round.atMs)
    if (decision?.verdict === "deny") {
      deny(this.#world, job, decision, this.#saying)
      return undefined
    }
    const gate = job.submitted!.fact.spec.startFrom === undefined ? undefined : gateOf(this.#world, job)
    if (gate?._tag === "Never") {
      refuse(this.#world, job, gate.why, this.#saying)
      this.#saying.done.add(job)
      return undefined
    }
    const gang = gangOf(job)
    if (gang !== undefined) {
      const short = this.#whole(job, gang)
      if (short === undefined && this.#placed.has(job)) yield
      return short
    }
    const again = [...job.derived.waiting, ...[...job.derived.backingOff].filter(({ awaits, notBeforeMs }) => awaits === undefined && notBeforeMs <= this.#saying.round.atMs)]
    for (const task of again.sort((left, right) => left.number - right.number)) {
      if (this.#placed.has(task)) continue
      if (this.#saying.done.has(job)) return undefined
      const short = this.#one(job, task)
      if (short === "later") return undefined
      if (short !== undefined || this.#saying.done.has(job)) return short
      this.#placed.add(task)
      yield
    }
    if (this.#saying.failing.has(job)) return undefined
    // Counted anew each time: the job may stand in another line too.
    while (mayBegin(job) > (this.#begun.get(job) ?? 0) && !this.#saying.done.has(job)) {
      const begun = this.#begun.get(job) ?? 0
      const short = this.#one(job, newTask(job, job.next + begun))
      if (short === "later") return undefined
      if (short !== undefined || this.#saying.done.has(job)) return short
      this.#begun.set(job, begun + 1)
      yield
    }
    return undefined
  }

  /** Places all members of a gang, or none. While some of them run or are about to end, none is placed. */
  #whole(job: JobState, gang: GangTerms): Short | undefined {
    const tasks = Array.from({ length: gang.members }, (_, rank) => job.tasks.get(rank) ?? newTask(job, rank))
    if (this.#placed.has(job) || tasks.some(({ awaits, current, notBeforeMs }) => current !== undefined || awaits !== undefined || notBeforeMs > this.#saying.round.atMs)) return undefined
    const known = this.#holding.holds(job) ? undefined : this.#shortOf(job)
    if (known !== undefined) return known
    const links = linksFor(this.#world, job)
    const back = this.#purse.mark()
    const shares = this.#sharesFor(job, links, gang.members)
    if (!Array.isArray(shares)) {
      back()
      return shares as Short | undefined
    }
    const { resources } = job.submitted!.fact.spec
    const node = nodeOf(job.submitted!.fact.workspace)
    const { ledger } = this.#holding
    const { fleet } = this.#world.index
    const able = this.#ableFor(job)
    const all = new Map([...amountsOf(resources)].map(([dimension, amount]) => [dimension, amount * gang.members]))
    const beyond = this.#holding.within(job, () => ledger.over(node, all))
    const before = fleet.begin()
    const found = beyond === undefined ? this.#holding.within(job, () => chooseWhole(fleet, this.#ableFor(job), gang, this.#requestOf(job, links, this.#dialectOf(job, shares[0] !== undefined)))) : undefined
    const taken = (found ?? []).map(({ devices, on }) => takenBy(ledger.tree, { resources, gpuModel: devices.length === 0 ? undefined : gpuModelOf(on) }))
    const beyondModel = this.#holding.within(job, () => ledger.over(node, taken.reduce(sum, noAmounts)))
    if (beyondModel !== undefined) {
      back()
      fleet.giveBack(before)
      return this.#remember(job, overQuota(beyondModel))
    }
    if (found === undefined) {
      back()
      return this.#remember(job, beyond !== undefined ? overQuota(beyond) : { reason: "no_room", unblockedBy: "capacity", arithmetic: noRoomForAll(gang, fleet, able, resources), fair: "room" })
    }
    const addresses = found.map(({ on }) => addressOf(on))
    const network = networkOf(job.submitted!.fact.spec, found.map(({ on }) => on), nextAttemptId(job, tasks[0]!, this.#saying.round.atMs))
    this.#saying.sayWhole(found.map(({ devices, on: host }, rank) => [
      { kind: "placement", scope: host.id },
      placed(this.#world, this.#saying.round, {
        job, task: tasks[rank]!, host, devices, links, share: shares[rank], gang: { rank, members: gang.members, addresses, ...network },
        reason: `with all ${gang.members} members of its gang${gang.topology === "anywhere" ? "" : ` on one ${gang.topology}`}: ${inWords(resources)} each`
      })
    ]))
    this.#holding.placedWhole(job, taken)
    this.#placed.add(job)
    this.#left = Math.max(0, this.#left - gang.members)
    return undefined
  }

  /** What stands behind each of a gang's members; what is short for one is short for all. Nothing where the job may not have it at all. */
  #sharesFor(job: JobState, links: ReadonlyArray<Link>, members: number): ReadonlyArray<BudgetShare | undefined> | Short | undefined {
    const shares: Array<BudgetShare | undefined> = []
    while (shares.length < members) {
      const share = this.#purse.shareFor(job)
      if (share !== undefined && "reason" in share) return this.#remember(job, share)
      const first = job.next === 0 && shares.length === 0
      const over = overLimit(job, links, share?.amountPico ?? 0n, this.#purse, first)
      if (over?._tag === "Never") {
        exceed(this.#world, job, over.decision, this.#saying)
        return undefined
      }
      if (over?._tag === "Waits") return this.#remember(job, { reason: over.reason, unblockedBy: over.reason === "budget" ? "budget" : "quota", arithmetic: `${over.arithmetic}; its ${members} members begin together` })
      this.#purse.take(links, share, first ? tasksOf(job) : 0)
      shares.push(share)
    }
    return shares
  }

  #one(job: JobState, task: TaskState): Short | "later" | undefined {
    const known = this.#holding.holds(job) ? undefined : this.#shortOf(job)
    if (known !== undefined) return known
    const share = this.#purse.shareFor(job)
    if (share !== undefined && "reason" in share) return this.#remember(job, share)
    const links = linksFor(this.#world, job)
    const first = job.next === 0 && !this.#begun.has(job)
    const over = overLimit(job, links, share?.amountPico ?? 0n, this.#purse, first)
    if (over?._tag === "Never") {
      exceed(this.#world, job, over.decision, this.#saying)
      return undefined
    }
    if (over?._tag === "Waits") return this.#remember(job, { reason: over.reason, unblockedBy: over.reason === "budget" ? "budget" : "quota", arithmetic: over.arithmetic })
    const { resources } = job.submitted!.fact.spec
    const dialect = this.#dialectOf(job, share !== undefined)
    const node = nodeOf(job.submitted!.fact.workspace)
    const { ledger } = this.#holding
    const beyond = this.#holding.within(job, () => ledger.over(node, amountsOf(resources)))
    if (beyond !== undefined) return this.#remember(job, overQuota(beyond))
    // What found no room in this round finds none any more, whoever else wants the same: many that wait cost no look each.
    const full = this.#holding.holds(job) ? undefined : this.#whyNoRoom.get(shapeOf(job, dialect))
    if (full !== undefined) return this.#remember(job, { ...full, fair: "room" })
    const { fleet } = this.#world.index
    const choice = this.#holding.within(job, () => fleet.choose(this.#requestOf(job, links, dialect), startsOf(this.#world, job)))
    if (choice === undefined) return this.#remember(job, { ...this.#noRoom(job, links, dialect), fair: "room" })
    const { devices, on: host } = choice
    if (choice.reason.startMs > 0 && this.#waitsForState(job, this.#requestOf(job, links, dialect), choice.reason.startMs)) return "later"
    const amounts = takenBy(ledger.tree, { resources, gpuModel: devices.length === 0 ? undefined : gpuModelOf(host) })
    const overModel = this.#holding.within(job, () => ledger.over(node, amounts))
    if (overModel !== undefined) return this.#remember(job, overQuota(overModel))
    const reason = reasonOf(job, choice, inWords(fleet.free(host)))
    this.#saying.say({ kind: "placement", scope: host.id }, placed(this.#world, this.#saying.round, { job, task, host, devices, links, share, reason }))
    fleet.take(choice)
    this.#holding.placed(job, task.number, host, amounts)
    this.#purse.take(links, share, first ? tasksOf(job) : 0)
    this.#left -= 1
    return undefined
  }

  /**
   * Whether a job begins sooner where what it reads is ready, though others run there: then it is told so, once, and
   * looked at again when it no longer is. One of those that are alike at a time; the others go round it.
   */
  #waitsForState(job: JobState, request: Request, loadingMs: number): boolean {
    const { atMs } = this.#saying.round
    if ((this.#world.index.waiting.get(likenessOf(job))?.items[0] ?? job) !== job || this.#begun.has(job)) return false
    const held = new Set(this.#holding.hosts)
    const sooner = soonerElsewhere(this.#world, job, request, loadingMs, atMs, (host) => !held.has(host) && !this.#saying.lost.has(host))
    if (sooner === undefined) return false
    if (job.told?.reason !== "backing_off" || (job.told.dueAtMs ?? 0) <= atMs) {
      const { host, startMs, untilMs } = sooner
      this.#defer(job, { reason: "backing_off", unblockedBy: "time", dueAtMs: untilMs, arithmetic: `what it reads is ready on ${host.id}, where there is room soon: it begins there within ${startMs} ms, and elsewhere only after loading for ${loadingMs} ms` })
    }
    return true
  }

  /** What a job asks of a host, within what its grant allows. */
  #requestOf(job: JobState, links: ReadonlyArray<Link>, dialect: number) {
    const { grant, spec } = job.submitted!.fact
    const limits = this.#limits.get(grant) ?? narrowest(links)
    this.#limits.set(grant, limits)
    return requestOf(spec, { dialect, limits })
  }

  #shortOf(job: JobState): Short | undefined {
    return this.#short.get(likenessOf(job))
  }

  #remember(job: JobState, short: Short): Short {
    this.#short.set(likenessOf(job), short)
    return short
  }

  #noRoom(job: JobState, links: ReadonlyArray<Link>, dialect: number): Short {
    const { spec: { resources, runtime, trust } } = job.submitted!.fact
    const key = shapeOf(job, dialect)
    const known = this.#whyNoRoom.get(key)
    if (known !== undefined) return known
    const { fleet } = this.#world.index
    // Those that would do, whatever their size.
    const able = fleet.able({ ...this.#requestOf(job, links, dialect), cpuMilli: 0, memoryMib: 0, diskMib: 0 })
    const why: Short = able.length === 0
      ? { reason: "no_host", unblockedBy: "capacity", arithmetic: `no host runs ${runtime} work with trust ${trust}${termsInWords(job)}${dialect > 1 ? ` and understands dialect ${dialect}` : ""}, of ${fleet.size} known` }
      : { reason: "no_room", unblockedBy: "capacity", arithmetic: `needs ${inWords(resources)}; the roomiest of ${able.length} hosts has ${inWords(roomiest(able.map((host) => fleet.free(host))))} free` }
    this.#whyNoRoom.set(key, why)
    return why
  }
}

/** What makes two jobs want the same of hosts. */
const shapeOf = (job: JobState, dialect: number): string => {
  const { grant, spec: { runtime, trust } } = job.submitted!.fact
  return `${runtime}/${trust}/${dialect}/${grant ?? ""}/${classOfJob(job)}`
}

/** What a job wants of a host beside its kind of work, in words. */
const termsInWords = (job: JobState): string => {
  const { gpu, resources, where } = job.submitted!.fact.spec
  const gpus = gpuMilliOf(resources)
  const parts = [
    ...(gpus === 0 ? [] : [`${gpus / 1000} GPUs${gpu === undefined ? "" : ` of ${wishesInWords(gpu)}`}`]),
    ...([["region", where?.only?.regions], ["provider", where?.only?.providers], ["residency", where?.only?.residency]] as const)
      .flatMap(([what, names]) => (names === undefined ? [] : [`${what} ${names.join(" or ")}`]))
  ]
  return parts.length === 0 ? "" : ` and offers ${parts.join(", ")}`
}

/** Why this host, in words. */
const reasonOf = (job: JobState, { reason: { fallback, fitting, fragmentation, startMs, unmet } }: Choice, free: string): string => {
  const { gpu, resources } = job.submitted!.fact.spec
  return [
    `${fitting === 1 ? "the only host with room" : `the best of ${fitting} hosts with room`}: ${inWords(resources)} of ${free} free`,
    ...(fragmentation > 0 ? [`later work loses ${fragmentation / 100} GPUs by it`] : []),
    ...(fallback > 0 && gpu !== undefined ? [`its choice ${fallback + 1} of ${gpu.length} kinds of GPU`] : []),
    ...(startMs > 0 ? [`ready in about ${startMs} ms`] : []),
    ...(unmet.length === 0 ? [] : [`not as wished: ${unmet.join(", ")}`])
  ].join("; ")
}

/** Machines can be rented for both of the first: what is between them changes nobody's mind. */
const kindOfShort = (reason: Short["reason"]): Short["reason"] => (reason === "no_host" ? "no_room" : reason)

const roomiest = (free: ReadonlyArray<ReturnType<World["index"]["fleet"]["free"]>>) =>
  free.reduce((most, other) => other.gpus > most.gpus ? other : other.gpus < most.gpus ? most : other.cpuMilli > most.cpuMilli || (other.cpuMilli === most.cpuMilli && other.memoryMib > most.memoryMib) ? other : most)

const shortAtOnce = function*(short: Short): Going {
  return short
}

const next = <G>(line: Line<G>): "next" | "ends" => {
  line.at += 1
  return line.at < line.jobs.length ? "next" : "ends"
}

const overQuota = (over: OverQuota): Short => ({ reason: "quota", unblockedBy: "quota", arithmetic: overInWords(over), fair: "quota" })
