import type { Link } from "@millrace/authority"
import { deriveId } from "@millrace/decider"
import type { Round, SaidFact } from "@millrace/journal"
import type { Choice } from "@millrace/packing"
import { type AttemptId, type BudgetShare, type Constraints, type JobDeferred, type PlacementMade, type Warrant, type WarrantId, wishesInWords } from "@millrace/schemas"
import { dialectOf, requestOf } from "./ask.ts"
import { gateOf } from "./gates.ts"
import { Heap } from "./heap.ts"
import { isAhead, linksFor, narrowest, overLimit, permission } from "./permits.ts"
import { Purse } from "./purse.ts"
import { likenessOf } from "./reindex.ts"
import { fits, gpuMilliOf, inWords, largestMachine } from "./resources.ts"
import type { Saying } from "./saying.ts"
import { deny, exceed, oldestFirst, refuse, taskField } from "./settle.ts"
import { startsOf } from "./starts.ts"
import { arrayOf, mayBegin, tasksOf } from "./tasks.ts"
import { type HostState, isFrozen, type JobState, newTask, type TaskState, type World } from "./world.ts"

/** A warrant outlives the longest run by this much, so that an end can still be told under it. */
const warrantSlackMs = 600_000

/** So many of those that wait alike are told that it is for something else now. */
const toldAgainMax = 64

/** One round places no more: what it says goes out, hosts are answered and what was heard is taken in before the next. */
const placementsMax = 1_000

type Short = Pick<JobDeferred, "reason" | "arithmetic" | "unblockedBy" | "budget">

/** Places what waits longest on the host that costs later work least, then what is new or due, and says why the rest waits. */
export const place = (world: World, saying: Saying): void => {
  const { fleet } = world.index
  const placing = new Placing(world, saying)
  const before = fleet.begin()
  try {
    for (const host of saying.lost) fleet.shut(host)
    placing.waiting()
    placing.freshAndDue()
  } finally {
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
  readonly #placed = new Set<TaskState>()
  readonly #begun = new Map<JobState, number>()
  #left = placementsMax

  constructor(world: World, saying: Saying) {
    this.#world = world
    this.#saying = saying
    this.#purse = new Purse(world, saying.round.atMs)
  }

  /** What waited before this round, oldest first. A likeness of which one does not fit is passed over whole. */
  waiting(): void {
    const lines = new Heap<{ readonly jobs: ReadonlyArray<JobState>; at: number }>(
      (left, right) => left.jobs[left.at]!.number < right.jobs[right.at]!.number,
      [...this.#world.index.waiting.values()].map(({ items }) => ({ jobs: items, at: 0 }))
    )
    for (let line = lines.pop(); line !== undefined && this.#left > 0; line = lines.pop()) {
      const job = line.jobs[line.at]!
      if (!isFrozen(this.#world, job) && !this.#saying.done.has(job)) {
        const short = this.#shortOf(job) ?? this.#all(job)
        if (short !== undefined) {
          this.#tellAgain(line.jobs.slice(line.at, line.at + toldAgainMax), short)
          continue
        }
      }
      line.at += 1
      if (line.at < line.jobs.length) lines.push(line)
    }
  }

  freshAndDue(): void {
    const { agenda, fresh } = this.#world.index
    const jobs = new Set(fresh)
    const { answeredAt, recalledAt } = this.#world.money
    const waiting = recalledAt > answeredAt ? this.#forMoney() : undefined
    if (waiting !== undefined) jobs.add(waiting)
    for (const one of agenda.by(this.#saying.round.atMs)) if ("job" in one && one.job.derived.backingOff.has(one)) jobs.add(one.job)
    for (const job of oldestFirst(jobs)) {
      if (this.#left === 0) return
      if (isFrozen(this.#world, job) || this.#saying.done.has(job) || job.cancelledBy !== undefined || isAhead(this.#world, job)) continue
      const short = this.#gate(job) ?? this.#all(job)
      if (short === undefined || this.#saying.done.has(job) || this.#told.has(job)) continue
      this.#defer(job, short)
    }
  }

  /**
   * Whoever lends money or rents machines hears of what waits by what it is told. When another thing is short than
   * what they were told, the first of a likeness are told so: they would wait for what nobody knows of.
   */
  #tellAgain(jobs: ReadonlyArray<JobState>, short: Short): void {
    for (const job of jobs) {
      if (job.told === undefined || kindOfShort(job.told.reason) === kindOfShort(short.reason) || isFrozen(this.#world, job) || this.#saying.done.has(job)) continue
      this.#told.add(job)
      this.#defer(job, short)
    }
  }

  /** The job that waits longest for money, to answer that some was called back. */
  #forMoney(): JobState | undefined {
    const waiting = [...this.#world.index.waiting.values()].flatMap(({ items }) =>
      items.find((job) => job.told?.reason === "budget" && !isFrozen(this.#world, job)) ?? [])
    return oldestFirst(waiting)[0]
  }

  #defer(job: JobState, short: Short): void {
    this.#saying.ofJob(job, { _tag: "JobDeferred", jobId: job.id, workspace: job.submitted!.fact.workspace, ...short })
  }

  /** What must come first; and what never comes is told at once. */
  #gate(job: JobState): Short | undefined {
    if (job.next > 0) return undefined
    const { fact: { spec: { resources }, workspace } } = job.submitted!
    if (!fits(resources, largestMachine)) {
      this.#saying.ofJob(job, {
        _tag: "JobRefused", jobId: job.id, workspace, reason: "never_fits",
        remedy: `it needs ${inWords(resources)}, and no machine has more than ${inWords(largestMachine)}; ask for less`
      })
      return undefined
    }
    const gate = gateOf(this.#world, job)
    if (gate._tag === "Shut") return gate.why
    if (gate._tag === "Never") this.#saying.ofJob(job, { _tag: "JobRefused", jobId: job.id, workspace, ...gate.why })
    return undefined
  }

  /** Places all of a job that may begin or be tried again now, in the order of tasks. Gives what is short, if not all of it went. */
  #all(job: JobState): Short | undefined {
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
    const again = [...job.derived.waiting, ...[...job.derived.backingOff].filter(({ notBeforeMs }) => notBeforeMs <= this.#saying.round.atMs)]
    for (const task of again.sort((left, right) => left.number - right.number)) {
      if (this.#placed.has(task)) continue
      if (this.#left === 0) return undefined
      const short = this.#one(job, task)
      if (short !== undefined || this.#saying.done.has(job)) return short
      this.#placed.add(task)
    }
    if (this.#saying.failing.has(job)) return undefined
    for (let left = mayBegin(job) - (this.#begun.get(job) ?? 0); left > 0 && this.#left > 0; left -= 1) {
      const begun = this.#begun.get(job) ?? 0
      const short = this.#one(job, newTask(job, job.next + begun))
      if (short !== undefined || this.#saying.done.has(job)) return short
      this.#begun.set(job, begun + 1)
    }
    return undefined
  }

  #one(job: JobState, task: TaskState): Short | undefined {
    const known = this.#shortOf(job)
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
    // Agents of the first dialect cannot write down a placement that money stands behind, and so never begin it.
    const asked = dialectOf(job.submitted!.fact.spec)
    const dialect = share === undefined ? asked : Math.max(asked, 2)
    const { fleet } = this.#world.index
    const choice = fleet.choose(this.#requestOf(job, links, dialect), startsOf(this.#world, job))
    if (choice === undefined) return this.#remember(job, this.#noRoom(job, links, dialect))
    const { devices, on: host } = choice
    const reason = reasonOf(job, choice, inWords(fleet.free(host)))
    this.#saying.say({ kind: "placement", scope: host.id }, placed(this.#world, this.#saying.round, { job, task, host, devices, links, share, reason }))
    fleet.take(choice)
    this.#purse.take(links, share, first ? tasksOf(job) : 0)
    this.#left -= 1
    return undefined
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
    const { grant, spec: { resources, runtime, trust } } = job.submitted!.fact
    const key = `${runtime}/${trust}/${dialect}/${grant ?? ""}/${job.derived.class ?? inWords(resources)}`
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

interface Terms {
  readonly job: JobState
  readonly task: TaskState
  readonly host: HostState
  /** The numbers of its devices. */
  readonly devices: ReadonlyArray<number>
  readonly links: ReadonlyArray<Link>
  readonly share: BudgetShare | undefined
  readonly reason: string
}

const placed = (world: World, round: Round, { devices, host, job, links, reason, share, task }: Terms): SaidFact => {
  const { fact, factId } = job.submitted!
  const { spec, workspace } = fact
  const attempt = task.attempt + 1
  const numbered = taskField(task)
  const fence = { epoch: round.epoch, sequence: round.saw["SCHEDULER"] ?? 0 }
  const kept = spec.startFrom === undefined ? undefined : world.snapshots.get(spec.startFrom)
  const which = arrayOf(job) === undefined ? [job.id, attempt] : [job.id, task.number, attempt]
  const attemptId = deriveId<AttemptId>("att", round.atMs, ...which)
  const made: PlacementMade = {
    _tag: "PlacementMade",
    jobId: job.id,
    workspace,
    hostId: host.id,
    ...numbered,
    attempt,
    attemptId,
    fence,
    spec,
    warrant: {
      warrantId: deriveId<WarrantId>("wrt", round.atMs, ...which, host.id),
      hostId: host.id,
      jobId: job.id,
      attempt,
      fence,
      resources: spec.resources,
      ...(devices.length === 0 ? {} : { gpus: devices }),
      grantPath: links.map(({ grantId }) => grantId),
      expiresAtMs: Math.min(Number.MAX_SAFE_INTEGER, round.atMs + spec.runMsMax + warrantSlackMs),
      view: { ACCESS: round.saw["ACCESS"] ?? 0 },
      ...spokenFor(job, links),
      ...(links.length === 0 ? {} : { attemptId, ...numbered })
    },
    signature: "",
    ...(spec.startFrom === undefined ? {} : { snapshot: spec.startFrom }),
    ...(spec.startFrom === undefined || kept?.stands !== "available" ? {} : { from: { snapshotId: spec.startFrom, blob: kept.blob } }),
    ...(share === undefined ? {} : { share }),
    ...(devices.length === 0 ? {} : { gpus: devices }),
    reason
  }
  return { event: made, partOf: factId, causedBy: factId, ...(fact.grant === undefined ? {} : { grant: fact.grant }) }
}

/** The program inside speaks as the holder of the grant that its job was submitted under, within the grant's limits. */
const spokenFor = (job: JobState, links: ReadonlyArray<Link>): Pick<Warrant, "workspace" | "holder" | "constraints"> => {
  const leaf = links.at(-1)
  return leaf === undefined ? {} : { workspace: job.submitted!.fact.workspace, holder: leaf.holder, constraints: narrowest(links) }
}
