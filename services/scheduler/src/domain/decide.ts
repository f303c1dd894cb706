import { deriveId } from "@millrace/decider"
import type { Round, Said, SaidFact } from "@millrace/journal"
import {
  type AttemptId,
  type FactId,
  type HostId,
  type JobRetried,
  type JobSettled,
  type MillFact,
  type PlacementMade,
  type Resources,
  type Subject,
  subjectText,
  type WarrantId,
  type WorkspaceName
} from "@millrace/schemas"
import { currentAttempt, type HostState, type JobState, lateWords, minus, noResources, plus, shapeOf, stageOf, type Word, type World } from "./world.ts"

/** A warrant outlives the longest run by this much, so that an end can still be told under it. */
const warrantSlackMs = 600_000
const backOffMsMin = 200
const backOffMsMax = 60_000
/** One commit must stay well under the server's limit of 1 MiB. */
const commitBytesMax = 256 * 1024
const commitFactsMax = 256

/**
 * What follows from the world now: ends are settled, cancels carried out, then what waits longest is
 * placed on the first host that fits. Pure; the same world and round say the same, in the same order.
 */
export const decide = (world: World, round: Round): ReadonlyArray<Said> => {
  const saying = new Saying()
  settle(world, round, saying)
  place(world, round, saying)
  return saying.commits()
}

/** When time alone would let a job go on. One whose scope is frozen waits for somebody, not for a time. */
export const dueAtMs = (world: World): number | undefined => {
  let due: number | undefined
  for (const job of world.index.backingOff) {
    if (!isFrozen(world, job)) due = due === undefined ? job.notBeforeMs : Math.min(due, job.notBeforeMs)
  }
  return due
}

/** Facts by subject, in the order of saying, cut into commits that the log takes. */
class Saying {
  readonly #bySubject = new Map<string, { readonly subject: Subject; readonly facts: Array<SaidFact> }>()

  say(subject: Subject, fact: SaidFact): void {
    const key = subjectText(subject)
    const told = this.#bySubject.get(key) ?? { subject, facts: [] }
    told.facts.push(fact)
    this.#bySubject.set(key, told)
  }

  commits(): ReadonlyArray<Said> {
    const commits: Array<Said> = []
    for (const { facts, subject } of this.#bySubject.values()) {
      let batch: Array<SaidFact> = []
      let bytes = 0
      for (const fact of facts) {
        const size = sizeOf(fact.event)
        if (batch.length > 0 && (bytes + size > commitBytesMax || batch.length >= commitFactsMax)) {
          commits.push({ subject, facts: batch as unknown as Said["facts"] })
          batch = []
          bytes = 0
        }
        batch.push(fact)
        bytes += size
      }
      commits.push({ subject, facts: batch as unknown as Said["facts"] })
    }
    return commits
  }
}

/** An upper estimate of a fact's bytes: only a sealed program is ever large. */
const sizeOf = (event: MillFact): number =>
  1024 + (event._tag === "PlacementMade" ? event.spec.program?.sealed.length ?? 0 : 0)

const about = (workspace: WorkspaceName): Subject => ({ kind: "schedule", scope: workspace })

const settle = (world: World, round: Round, saying: Saying): void => {
  for (const job of inOrder(world.index.toSay)) {
    if (isFrozen(world, job)) continue
    const { fact, factId } = job.submitted!
    const say = (event: MillFact, causedBy: FactId) => saying.say(about(fact.workspace), { event, partOf: factId, causedBy })
    for (const word of lateWords(job)) say(lateWordNoted(job, word), word.factId)
    const current = currentAttempt(job)
    const stage = stageOf(job)
    if (stage === "ended" && current?.word !== undefined) say(afterEnd(job, current.word, round), current.word.factId)
    else if (job.cancelledBy !== undefined && stage === "placed" && current?.placed !== undefined) {
      const { attempt, attemptId, fence, hostId, jobId, workspace } = current.placed
      saying.say({ kind: "placement", scope: hostId }, {
        event: { _tag: "PlacementWithdrawn", jobId, workspace, hostId, attempt, attemptId, fence, cause: "cancelled" },
        partOf: factId,
        causedBy: job.cancelledBy
      })
    } else if (job.cancelledBy !== undefined && stage !== "over" && stage !== "placed") {
      say(settled(job, "cancelled", "cancelled before it was placed"), job.cancelledBy)
    }
  }
}

const lateWordNoted = (job: JobState, { fact, factId }: Word): MillFact => ({
  _tag: "LateWordNoted",
  jobId: job.id,
  workspace: fact.workspace,
  attempt: fact.attempt,
  word: fact._tag,
  said: factId
})

const settled = (job: JobState, outcome: JobSettled["outcome"], cause: string, word?: Word): JobSettled => ({
  _tag: "JobSettled",
  jobId: job.id,
  workspace: job.submitted!.fact.workspace,
  outcome,
  attempt: job.attempt,
  cause,
  ...(word === undefined ? {} : { attemptId: word.fact.attemptId, hostId: word.fact.hostId, endedBy: word.factId }),
  ...(word?.fact._tag === "AttemptExited" && word.fact.code !== undefined ? { exitCode: word.fact.code } : {})
})

/** The end of an attempt settles the job or, while attempts are left, has another follow. */
const afterEnd = (job: JobState, word: Word, round: Round): JobSettled | JobRetried => {
  const { fact } = word
  if (job.cancelledBy !== undefined) return settled(job, "cancelled", "cancelled by request", word)
  if (fact._tag === "AttemptExited" && fact.cause === "exited" && fact.code === 0) return settled(job, "succeeded", "exited with 0", word)
  const cause = fact._tag === "AttemptRefused"
    ? `the host refused it: ${fact.reason} (${fact.detail})`
    : fact.cause === "exited"
    ? `exited with ${fact.code ?? fact.signal ?? "no code"}`
    : fact.cause
  if (job.attempt < job.submitted!.fact.spec.attemptsMax) {
    return {
      _tag: "JobRetried",
      jobId: job.id,
      workspace: fact.workspace,
      failedAttempt: job.attempt,
      cause,
      notBeforeMs: round.atMs + Math.min(backOffMsMax, backOffMsMin * 2 ** (job.attempt - 1))
    }
  }
  return settled(job, fact._tag === "AttemptExited" && fact.cause === "agent_restarted" ? "lost" : "failed", cause, word)
}

const place = (world: World, round: Round, saying: Saying): void => {
  const room = new Room(world)
  const full = new Set<string>()
  const tryOne = (job: JobState): boolean => {
    const shape = shapeOf(job.submitted!.fact)
    if (full.has(shape)) return false
    const host = room.firstFor(job)
    if (host === undefined) {
      full.add(shape)
      return false
    }
    saying.say({ kind: "placement", scope: host.id }, placed(job, host, room.reasonFor(job, host), round))
    room.take(host, job)
    return true
  }
  for (const job of waitingThatMayFit(world, room, full)) {
    if (job.cancelledBy === undefined && !isFrozen(world, job)) tryOne(job)
  }
  const due = [...world.index.backingOff].filter(({ notBeforeMs }) => notBeforeMs <= round.atMs)
  for (const job of inOrder([...due, ...world.index.fresh])) {
    if (job.cancelledBy !== undefined || isFrozen(world, job) || tryOne(job)) continue
    const { fact, factId } = job.submitted!
    saying.say(about(fact.workspace), {
      partOf: factId,
      causedBy: factId,
      event: {
        _tag: "JobDeferred",
        jobId: job.id,
        workspace: fact.workspace,
        unblockedBy: "capacity",
        ...room.whyNot(job)
      }
    })
  }
}

/** What waited before this round, oldest first. A shape that fits nowhere is passed over whole. */
const waitingThatMayFit = (world: World, room: Room, full: Set<string>): ReadonlyArray<JobState> => {
  const hopeful: Array<JobState> = []
  for (const [shape, alike] of world.index.waiting) {
    const [any] = alike
    if (any !== undefined && room.firstFor(any) !== undefined) hopeful.push(...alike)
    else full.add(shape)
  }
  return inOrder(hopeful)
}

const placed = (job: JobState, host: HostState, reason: string, round: Round): SaidFact => {
  const { fact, factId } = job.submitted!
  const attempt = job.attempt + 1
  const fence = { epoch: round.epoch, sequence: round.saw["SCHEDULER"] ?? 0 }
  const made: PlacementMade = {
    _tag: "PlacementMade",
    jobId: job.id,
    workspace: fact.workspace,
    hostId: host.id,
    attempt,
    attemptId: deriveId<AttemptId>("att", round.atMs, job.id, attempt),
    fence,
    spec: fact.spec,
    warrant: {
      warrantId: deriveId<WarrantId>("wrt", round.atMs, job.id, attempt, host.id),
      hostId: host.id,
      jobId: job.id,
      attempt,
      fence,
      resources: fact.spec.resources,
      grantPath: fact.grant === undefined ? [] : [fact.grant],
      expiresAtMs: round.atMs + fact.spec.runMsMax + warrantSlackMs,
      view: { ACCESS: round.saw["ACCESS"] ?? 0 }
    },
    signature: "",
    reason
  }
  return { event: made, partOf: factId, causedBy: factId, ...(fact.grant === undefined ? {} : { grant: fact.grant }) }
}

/** Free capacity while a round is being decided. The world is not touched. */
class Room {
  readonly #world: World
  readonly #taken = new Map<HostId, Resources>()

  constructor(world: World) {
    this.#world = world
  }

  firstFor(job: JobState): HostState | undefined {
    return this.#world.index.hosts.find((host) => this.#mayRun(host, job) && fits(job.submitted!.fact.spec.resources, this.free(host)))
  }

  take(host: HostState, job: JobState): void {
    this.#taken.set(host.id, plus(this.#taken.get(host.id) ?? noResources, job.submitted!.fact.spec.resources))
  }

  free(host: HostState): Resources {
    return minus(minus(host.joined!.capabilities.resources, host.used), this.#taken.get(host.id) ?? noResources)
  }

  reasonFor(job: JobState, host: HostState): string {
    return `the first host with room: ${text(job.submitted!.fact.spec.resources)} of ${text(this.free(host))} free`
  }

  whyNot(job: JobState): { readonly reason: "no_host" | "no_room"; readonly arithmetic: string } {
    const { resources, runtime, trust } = job.submitted!.fact.spec
    const able = this.#world.index.hosts.filter((host) => this.#mayRun(host, job))
    if (able.length === 0) {
      return { reason: "no_host", arithmetic: `no host runs ${runtime} work with trust ${trust}, of ${this.#world.index.hosts.length} known` }
    }
    const most = able.map((host) => this.free(host)).sort((a, b) => b.cpuMilli - a.cpuMilli || b.memoryMib - a.memoryMib)[0]!
    return { reason: "no_room", arithmetic: `needs ${text(resources)}; the roomiest of ${able.length} hosts has ${text(most)} free` }
  }

  #mayRun(host: HostState, job: JobState): boolean {
    const { runtime, trust } = job.submitted!.fact.spec
    return host.admitted && !host.dismissed && !host.leaving && host.joined !== undefined &&
      host.joined.capabilities.runtimes.includes(runtime) && host.joined.capabilities.trusts.includes(trust) &&
      !["host", "attempt", "placement"].some((kind) => this.#world.frozen.has(`${kind}.${host.id}`))
  }
}

const fits = (need: Resources, free: Resources): boolean =>
  need.cpuMilli <= free.cpuMilli && need.memoryMib <= free.memoryMib && need.diskMib <= free.diskMib && need.gpus <= free.gpus

const text = ({ cpuMilli, diskMib, gpus, memoryMib }: Resources): string =>
  [`${cpuMilli / 1000} cores`, `${memoryMib} MiB`, ...(diskMib > 0 ? [`${diskMib} MiB disk`] : []), ...(gpus > 0 ? [`${gpus} GPUs`] : [])].join(", ")

/** Oldest first, in the gateway's order. */
const inOrder = (jobs: Iterable<JobState>): ReadonlyArray<JobState> =>
  [...jobs].sort((left, right) => left.submitted!.sequence - right.submitted!.sequence)

const isFrozen = (world: World, job: JobState): boolean =>
  world.frozen.size > 0 && ["job", "schedule"].some((kind) => world.frozen.has(`${kind}.${job.submitted!.fact.workspace}`))
