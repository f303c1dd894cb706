import type { Link } from "@millrace/authority"
import type { Request } from "@millrace/packing"
import type { Constraints, GangTerms } from "@millrace/schemas"
import { dialectOf, requestOf } from "./ask.ts"
import { canonical } from "./demand.ts"
import { type Amounts, noAmounts, sum } from "./fair/amounts.ts"
import type { OverQuota } from "./fair/tree.ts"
import { networkOf } from "./gang-network.ts"
import { addressOf, chooseWhole, gangOf, type Member, noRoomForAll } from "./gangs.ts"
import { gateOf } from "./gates.ts"
import { gaugesOf } from "./gauges.ts"
import { Holding, type Short, type Waiting } from "./holding.ts"
import { inLines, type Line, serve, type Went } from "./line.ts"
import { type Backed, beyondQuota, Means } from "./means.ts"
import { isAhead, linksFor, narrowest, permission } from "./permits.ts"
import { gpuModelOf, nextAttemptId, placed } from "./placement-made.ts"
import { reasonOf, reasonOfMember, roomiest, termsInWords } from "./placing-words.ts"
import { neverFits } from "./possible.ts"
import { Purse } from "./purse.ts"
import { modelOf, nodeOf, priorityIn, takenBy } from "./quotas.ts"
import { classOfJob, likenessOf } from "./reindex.ts"
import { gpuMilliOf, inWords } from "./resources.ts"
import type { Saying } from "./saying.ts"
import { deny, exceed, oldestFirst, refuse } from "./settle.ts"
import { beginsAgainMs, goesWithout } from "./snapshots.ts"
import type { Counts, Still } from "./standstill.ts"
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

/** Which of the lines that wait are looked at: those that something may have helped, or every one. What is placed is the same. */
export type Looking = "few" | "every"

/** Places what waits and what is new or due, in the order in which it is served, and says why the rest waits. */
export const place = (world: World, saying: Saying, looking: Looking = "few"): void => {
  const { fleet } = world.index
  const before = fleet.begin()
  const placing = new Placing(world, saying, looking)
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
  readonly #looking: Looking
  /** Why jobs of a likeness cannot be placed, as long as nothing else is. */
  readonly #short = new Map<string, { readonly moves: number; readonly short: Short }>()
  /** What found no room in this round finds none any more: room only becomes less. */
  readonly #noRoom = new Set<string>()
  readonly #whyNoRoom = new Map<string, { readonly moves: number; readonly why: Why }>()
  /** How often something was placed or held: what was worked out before holds until then. */
  #moves = 0
  readonly #limits = new Map<string | undefined, Constraints>()
  readonly #told = new Set<JobState>()
  /** What is said once all is placed, so that every job hears the same of the room that is left. */
  readonly #telling: Array<() => void> = []
  /** Of lines of those that wait: which they are, and why they stood still until now. */
  readonly #known = new Map<Line<Going>, Known>()
  /** Lines the head of which has no place: it was told so, and whoever waits behind it. */
  readonly #blocked = new Set<Line<Going>>()
  /** Heads of lines that were passed over: nothing could have helped them but what has helped others. */
  readonly #passed: Array<{ readonly head: JobState; readonly fair: Short["fair"] }> = []
  /** Tasks that this round placed, and how many it began of each job. */
  readonly #placed = new Set<TaskState | JobState>()
  readonly #begun = new Map<JobState, number>()
  #left = placementsMax
  readonly #holding: Holding
  readonly #means: Means

  constructor(world: World, saying: Saying, looking: Looking) {
    this.#world = world
    this.#saying = saying
    this.#looking = looking
    this.#purse = new Purse(world, saying.round.atMs)
    this.#holding = new Holding(world, saying)
    this.#means = new Means(world, this.#purse, this.#holding, (job) => job.next === 0 && !this.#begun.has(job))
  }

  /** What this round took is taken by the facts that it said, and not by it. */
  end(): void {
    this.#holding.giveBack()
  }

  serve(): void {
    const { agenda, fresh } = this.#world.index
    const jobs = new Set(fresh)
    const { answeredAt, recalledAt } = this.#world.money
    const forMoney = recalledAt > answeredAt ? this.#forMoney() : undefined
    if (forMoney !== undefined) jobs.add(forMoney)
    for (const one of agenda.by(this.#saying.round.atMs)) if ("job" in one && one.job.derived.backingOff.has(one)) jobs.add(one.job)
    const lines = [
      ...this.#standing(),
      ...inLines(jobs).map((alike): Line<Going> => ({ jobs: alike, at: 0, fresh: true, going: undefined }))
    ]
    serve(this.#world, this.#holding.ledger, lines, (line) => (this.#left > 0 ? this.#step(line) : "stop"))
    this.#holding.age(
      ({ job }, short) => {
        this.#moves += 1
        if (!this.#told.has(job)) this.#defer(job, short)
      },
      this.#passed.flatMap(({ fair, head }) => (fair === "room" && this.#holding.isAged(head) ? [{ waiting: this.#waitingOf(head), short: this.#lacking(head) }] : [])),
      (job) => this.#means.shortOf(job) === undefined
    )
    for (const tell of this.#telling) tell()
  }

  /** The lines of those that wait, but for those of which it is known that nothing could be placed of them and nothing would be said. */
  #standing(): ReadonlyArray<Line<Going>> {
    const { fleet, held, standstill, waiting } = this.#world.index
    const { atMs } = this.#saying.round
    standstill.pricedBy(String(this.#world.money.books.filter(({ effectiveFromMs }) => effectiveFromMs <= atMs).length))
    standstill.shut(new Set([...this.#holding.hosts, ...this.#saying.lost]))
    standstill.wake(this.#counts, (head) => this.#holding.mightAsk(head))
    standstill.help(fleet)
    const holding = new Set([...held].map(({ derived }) => derived.queue))
    const lines: Array<Line<Going>> = []
    for (const [key, { items }] of waiting) {
      const head = items[0]!
      const due = head.told?.dueAtMs !== undefined && head.told.dueAtMs <= atMs
      const looks = this.#looking === "every" || due || this.#saying.done.has(head)
      if (!looks && standstill.of(key) === undefined && !holding.has(key)) this.#judge(key, items)
      const still = standstill.of(key)
      if (!looks && still !== undefined && still.helpers.length === 0) {
        this.#passed.push(still)
        continue
      }
      const line: Line<Going> = { jobs: items, at: 0, fresh: false, going: undefined }
      this.#known.set(line, { key, looks, still })
      lines.push(line)
    }
    return lines
  }

  /**
   * Looks at a line before anything is placed, and takes down that it stands still where that follows from what is
   * counted and from the room on each host alone. It does not where some of it may be said, or others may give way to it.
   */
  #judge(key: string, jobs: ReadonlyArray<JobState>): void {
    const { fleet, standstill } = this.#world.index
    const head = jobs[0]!
    const { grant, spec: { resources, startFrom }, workspace } = head.submitted!.fact
    if (this.#world.frozen.size > 0 || gangOf(head) !== undefined || standstill.unstirred(key) !== undefined) return
    if (permission(this.#world, head, this.#saying.round.atMs)?.verdict === "deny" || (startFrom !== undefined && gateOf(this.#world, head)._tag === "Never")) return
    const links = linksFor(this.#world, head)
    const short = this.#means.shortOf(head)
    if (short === "never" || ((short === undefined || short.fair !== undefined) && this.#holding.mightAsk(head))) return
    standstill.looks += 1
    const share = this.#purse.shareFor(head)
    const dialect = this.#dialectOf(head, share !== undefined)
    const request = this.#requestOf(head, links, dialect)
    if (short === undefined && (this.#means.fullModels(head, 1).length > 0 || fleet.hasRoom(request))) return
    const kind = short === undefined ? "no_room" : kindOfShort(short)
    if (jobs.slice(0, toldAgainMax).some(({ told }) => told === undefined || kindOfTold(told.reason) !== kind)) return
    const { outer, own } = priorityIn(this.#world, head)
    standstill.stands(key, {
      head,
      fair: short === undefined ? "room" : short.fair,
      peers: `${workspace} ${own} ${outer}`,
      gauges: gaugesOf(this.#world, head, links, share === undefined ? undefined : "reason" in share ? share.budget?.needsPico : share.amountPico),
      room: short === undefined ? { request, terms: `${dialect}/${grant ?? ""}/${termsOf(head)}/${resources.gpus}/${resources.gpuMilli ?? 0}` } : undefined
    }, this.#counts)
  }

  get #counts(): Counts {
    return { purse: this.#purse, ledger: this.#holding.ledger }
  }

  /** Whether it is still true of a line that it stands still: those that helped it have helped others by now. */
  #standsStill(line: Line<Going>): boolean {
    const known = this.#known.get(line)
    if (known === undefined || known.looks || line.at > 0) return false
    const { key, still } = known
    const { standstill } = this.#world.index
    if (still !== undefined) {
      const counts = this.#counts
      if (still.gauges.some(({ has, key: gauge, need }) => (need > has(counts)) !== still.over.has(gauge))) return false
      if (still.helpers.some((host) => this.#world.index.fleet.fits(host, still.room!.request))) return false
      this.#passed.push(still)
      return true
    }
    const unstirred = this.#saying.size > 0 ? undefined : standstill.unstirred(key)
    if (unstirred === undefined) return false
    this.#passed.push({ head: line.jobs[0]!, fair: unstirred.fair })
    return true
  }

  /** Places one more piece of a line, or goes on to its next job. Of those that wait, a likeness of which one does not fit is passed over whole. */
  #step(line: Line<Going>): Went {
    const job = line.jobs[line.at]!
    if (line.going === undefined) {
      const passed = isFrozen(this.#world, job) || this.#saying.done.has(job) || (line.fresh && (this.#told.has(job) || job.cancelledBy !== undefined || isAhead(this.#world, job)))
      if (passed) return next(line)
      if (this.#standsStill(line)) return "ends"
      if (!line.fresh) this.#world.index.standstill.looks += 1
      const gated = line.fresh ? this.#gate(job) : this.#holding.holds(job) ? undefined : this.#shortOf(job)
      line.going = gated === undefined ? this.#all(job) : shortAtOnce(gated)
    }
    const step = line.going.next()
    if (step.done !== true) return "took"
    line.going = undefined
    if (step.value === undefined) return next(line)
    if (this.#blocked.has(line)) return this.#toHolder(line)
    this.#wait(line, step.value)
    // Each that is new is told so itself.
    return line.fresh ? next(line) : this.#toHolder(line)
  }

  /** Of those behind one that has no place only who holds a host may have one: what is kept for it may be what the other lacks. */
  #toHolder(line: Line<Going>): Went {
    const { number } = line.jobs[line.at]!
    const holders = [...this.#world.index.held].filter((job) => job.derived.queue === line.jobs[line.at]!.derived.queue && job.number > number && this.#holding.holds(job))
    if (holders.length === 0) return "ends"
    this.#blocked.add(line)
    line.at = line.jobs.indexOf(oldestFirst(holders)[0]!)
    return "next"
  }

  /** Who heads a line that does not fit may have others give way to it, and so may the next few; all of them are told what is short. */
  #wait(line: Line<Going>, short: Short): void {
    const { at, fresh, jobs } = line
    const head = jobs[at]!
    const toTell = this.#telling.length
    if (short.fair !== undefined) {
      for (const job of jobs.slice(at, at + togetherMax)) {
        if (isFrozen(this.#world, job) || this.#saying.done.has(job)) continue
        const made = this.#holding.make(head, this.#waitingOf(job), short)
        // First it is said what is held and for whom, then who makes room there: whoever dies between finds what to do.
        if (made !== "nothing" && made !== "enough") this.#deferNow(job, made)
        this.#moves += 1
        this.#holding.withdraw(job)
        if (made === "nothing") break
      }
    }
    if (!fresh) {
      this.#holding.stands(this.#waitingOf(head), short)
      this.#tellAgain(jobs.slice(at, at + toldAgainMax), short)
      const known = this.#known.get(line)
      const quiet = this.#saying.size === 0 && this.#telling.length === toTell && !this.#holding.holds(head)
      if (known !== undefined && at === 0 && quiet) this.#world.index.standstill.stirredNothing(known.key, short.fair)
      return
    }
    if (!this.#saying.done.has(head) && !this.#told.has(head)) this.#defer(head, short)
  }

  /**
   * Whoever lends money or rents machines hears of what waits by what it is told. When another thing is short than
   * what they were told, the first of a likeness are told so: they would wait for what nobody knows of.
   */
  #tellAgain(jobs: ReadonlyArray<JobState>, short: Short): void {
    for (const job of jobs) {
      if (job.told === undefined || this.#told.has(job) || kindOfTold(job.told.reason) === kindOfShort(short) || isFrozen(this.#world, job) || this.#saying.done.has(job)) continue
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

  #defer(job: JobState, short: Short): void {
    this.#telling.push(this.#deferral(job, short))
  }

  /** Tells it before anything that follows from it: whoever dies between finds what to do. */
  #deferNow(job: JobState, short: Short): void {
    this.#deferral(job, short)()
  }

  #deferral(job: JobState, short: Short): () => void {
    this.#told.add(job)
    const held = short.fair === undefined ? {} : this.#holding.told(this.#waitingOf(job))
    return () => {
      const { fair: _, ...why } = short
      this.#saying.ofJob(job, { _tag: "JobDeferred", jobId: job.id, workspace: job.submitted!.fact.workspace, ...why, ...held })
    }
  }

  /** What must come first; and what never comes is told at once. */
  #gate(job: JobState): Short | undefined {
    if (job.next > 0) return undefined
    const { fact: { spec, workspace } } = job.submitted!
    const never = neverFits(this.#world, spec, workspace)
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
    const again = [...job.derived.waiting, ...[...job.derived.backingOff].filter((task) => beginsAgainMs(this.#world, task) <= this.#saying.round.atMs)]
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
    if (this.#placed.has(job) || tasks.some((task) => task.current !== undefined || beginsAgainMs(this.#world, task) > this.#saying.round.atMs)) return undefined
    const known = this.#holding.holds(job) ? undefined : this.#shortOf(job)
    if (known !== undefined) return known
    const links = linksFor(this.#world, job)
    const back = this.#purse.mark()
    const backed = this.#means.back(job, links, gang.members)
    if (backed._tag !== "Backed") {
      back()
      return this.#notBacked(job, backed)
    }
    const { shares } = backed
    const { fleet } = this.#world.index
    const { resources } = job.submitted!.fact.spec
    const beyond = this.#means.overQuota(job, gang.members)
    if (beyond !== undefined) {
      back()
      return this.#remember(job, beyondQuota(beyond))
    }
    const before = fleet.begin()
    const whole = this.#wholeWithin(job, gang, links, this.#dialectOf(job, shares[0] !== undefined))
    if ("short" in whole) {
      back()
      fleet.giveBack(before)
      return this.#remember(job, whole.short)
    }
    const { found, taken } = whole
    const addresses = found.map(({ on }) => addressOf(on))
    const network = networkOf(job.submitted!.fact.spec, found.map(({ on }) => on), nextAttemptId(job, tasks[0]!, this.#saying.round.atMs))
    this.#saying.sayWhole(found.map(({ devices, on: host }, rank) => [
      { kind: "placement", scope: host.id },
      placed(this.#world, this.#saying.round, {
        job, task: tasks[rank]!, host, devices, links, share: shares[rank], gang: { rank, members: gang.members, addresses, ...network },
        reason: reasonOfMember(gang, inWords(resources), goesWithout(this.#world, tasks[rank]!))
      })
    ]))
    this.#holding.placedWhole(job, taken)
    this.#purse.take(links, shares.at(-1), { begins: gang.members === 1 && job.next === 0 ? 1 : 0, gpuMilli: gpuMilliOf(resources) })
    this.#moves += 1
    this.#placed.add(job)
    this.#left = Math.max(0, this.#left - gang.members)
    return undefined
  }

  /**
   * Where all members go, and what they take of quotas. Where the model that they would have is more than their quota
   * gives, others that they would take are looked for.
   */
  #wholeWithin(job: JobState, gang: GangTerms, links: ReadonlyArray<Link>, dialect: number): { readonly found: ReadonlyArray<Member>; readonly taken: ReadonlyArray<Amounts> } | { readonly short: Short } {
    const { resources } = job.submitted!.fact.spec
    const { ledger } = this.#holding
    const { fleet } = this.#world.index
    const node = nodeOf(job.submitted!.fact.workspace)
    const full = new Set<string>()
    let over: OverQuota | undefined
    while (true) {
      const before = fleet.begin()
      const request = { ...this.#requestOf(job, links, dialect), ...butModels(full) }
      const found = this.#holding.within(job, () => chooseWhole(fleet, fleet.able(request), gang, request))
      if (found === undefined) return { short: over === undefined ? this.#lacking(job) : beyondQuota(over) }
      const taken = found.map(({ devices, on }) => takenBy(ledger.tree, { resources, gpuModel: devices.length === 0 ? undefined : gpuModelOf(on) }))
      over = this.#holding.within(job, () => ledger.over(node, taken.reduce(sum, noAmounts)))
      if (over === undefined) return { found, taken }
      fleet.giveBack(before)
      const model = modelOf(over.dimension)
      if (model === undefined || full.has(model)) return { short: beyondQuota(over) }
      full.add(model)
    }
  }

  #notBacked(job: JobState, backed: Exclude<Backed, { readonly _tag: "Backed" }>): Short | undefined {
    if (backed._tag === "Short") return this.#remember(job, backed.short)
    exceed(this.#world, job, backed.decision, this.#saying)
    return undefined
  }

  #one(job: JobState, task: TaskState): Short | "later" | undefined {
    const known = this.#holding.holds(job) ? undefined : this.#shortOf(job)
    if (known !== undefined) return known
    const links = linksFor(this.#world, job)
    const backed = this.#means.back(job, links, 1)
    if (backed._tag !== "Backed") return this.#notBacked(job, backed)
    const [share] = backed.shares
    const beyond = this.#means.overQuota(job, 1)
    if (beyond !== undefined) return this.#remember(job, beyondQuota(beyond))
    const { resources } = job.submitted!.fact.spec
    const dialect = this.#dialectOf(job, share !== undefined)
    const { fleet } = this.#world.index
    const { ledger } = this.#holding
    const full = this.#means.fullModels(job, 1)
    const shape = `${shapeOf(job, dialect)}${full.join()}`
    // What found no room in this round finds none any more, whoever else wants the same: many that wait cost no look each.
    const knows = !this.#holding.holds(job) && this.#noRoom.has(shape)
    const request = this.#requestOf(job, links, dialect)
    const choice = knows ? undefined : this.#holding.within(job, () => fleet.choose(full.length === 0 ? request : { ...request, ...butModels(full) }, startsOf(this.#world, job)))
    if (choice === undefined) {
      if (!this.#holding.holds(job)) this.#noRoom.add(shape)
      const overModel = full.length > 0 && this.#holding.within(job, () => fleet.hasRoom(request)) ? this.#means.overModel(job, new Set(full), 1) : undefined
      return this.#remember(job, overModel === undefined ? this.#lacking(job) : beyondQuota(overModel))
    }
    const { devices, on: host } = choice
    if (choice.reason.startMs > 0 && this.#waitsForState(job, request, choice.reason.startMs)) return "later"
    const amounts = takenBy(ledger.tree, { resources, gpuModel: devices.length === 0 ? undefined : gpuModelOf(host) })
    const reason = reasonOf(job, choice, inWords(fleet.free(host)), full, goesWithout(this.#world, task))
    const first = job.next === 0 && !this.#begun.has(job)
    this.#saying.say({ kind: "placement", scope: host.id }, placed(this.#world, this.#saying.round, { job, task, host, devices, links, share, reason }))
    fleet.take(choice)
    this.#holding.placed(job, task.number, host, amounts)
    this.#purse.take(links, share, { begins: first ? tasksOf(job) : 0, gpuMilli: gpuMilliOf(resources) })
    this.#left -= 1
    this.#moves += 1
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
    const known = this.#short.get(likenessOf(job))
    return known?.moves === this.#moves ? known.short : undefined
  }

  #remember(job: JobState, short: Short): Short {
    this.#short.set(likenessOf(job), { moves: this.#moves, short })
    return short
  }

  /** That a job has no room. Why is worked out when somebody is told. */
  #lacking(job: JobState): Short {
    const why = (): Why => this.#whyLacking(job)
    return {
      get reason() {
        return why().reason
      },
      unblockedBy: "capacity",
      get arithmetic() {
        return why().arithmetic
      },
      fair: "room"
    }
  }

  #whyLacking(job: JobState): Why {
    const { spec: { resources, runtime, trust } } = job.submitted!.fact
    const dialect = this.#dialectOf(job, this.#purse.shareFor(job) !== undefined)
    const gang = gangOf(job)
    const { fleet } = this.#world.index
    if (gang !== undefined) return { reason: "no_room", arithmetic: noRoomForAll(gang, fleet, this.#ableFor(job), resources) }
    const key = shapeOf(job, dialect)
    const known = this.#whyNoRoom.get(key)
    if (known?.moves === this.#moves) return known.why
    // Those that would do, whatever their size.
    const able = fleet.able({ ...this.#requestOf(job, linksFor(this.#world, job), dialect), cpuMilli: 0, memoryMib: 0, diskMib: 0 })
    const why: Why = able.length === 0
      ? { reason: "no_host", arithmetic: `no host runs ${runtime} work with trust ${trust}${termsInWords(job)}${dialect > 1 ? ` and understands dialect ${dialect}` : ""}, of ${fleet.size} known` }
      : { reason: "no_room", arithmetic: `needs ${inWords(resources)}; the roomiest of ${able.length} hosts has ${inWords(roomiest(able.map((host) => fleet.free(host))))} free` }
    this.#whyNoRoom.set(key, { moves: this.#moves, why })
    return why
  }
}

type Why = Pick<Short, "reason" | "arithmetic">

/** A line of those that wait: by which name it is known, whether it must be looked at, and why it stood still. */
interface Known {
  readonly key: string
  readonly looks: boolean
  readonly still: Still | undefined
}

/** What a job wants of hosts but for room. */
const termsOf = (job: JobState): string => {
  const { gpu, runtime, trust, where } = job.submitted!.fact.spec
  return gpu === undefined && where === undefined ? `${runtime}/${trust}` : `${runtime}/${trust}/${canonical([gpu, where])}`
}

const butModels = (full: Iterable<string>): Pick<Request, "butModels"> => {
  const butModels = [...full].map((model) => ({ model }))
  return butModels.length === 0 ? {} : { butModels }
}

/** What makes two jobs want the same of hosts. */
const shapeOf = (job: JobState, dialect: number): string => {
  const { grant, spec: { runtime, trust } } = job.submitted!.fact
  return `${runtime}/${trust}/${dialect}/${grant ?? ""}/${classOfJob(job)}`
}

/** Machines can be rented for both of the first: what is between them changes nobody's mind. */
const kindOfTold = (reason: Short["reason"]): Short["reason"] => (reason === "no_host" ? "no_room" : reason)
const kindOfShort = (short: Short): Short["reason"] => (short.fair === "room" ? "no_room" : short.reason)

const shortAtOnce = function*(short: Short): Going {
  return short
}

const next = <G>(line: Line<G>): "next" | "ends" => {
  line.at += 1
  return line.at < line.jobs.length ? "next" : "ends"
}
