import { deriveId } from "@millrace/decider"
import { commitsOf, foldCommit, foreseen, type Round, type StoredCommit } from "@millrace/journal"
import {
  type AttemptExited,
  type AttemptRefused,
  type FactId,
  type GrantId,
  HostId,
  JobId,
  type JobSpec,
  kinds,
  type LeaseEnded,
  LeaseId,
  type LeaseReleased,
  type MachineEnrolled,
  type MillFact,
  nameOf,
  type PlacementMade,
  Principal,
  type ReclaimNoticed,
  type Resources,
  type StreamName,
  type Subject,
  WorkspaceName
} from "@millrace/schemas"
import { Result } from "effect"
import { decide } from "../domain/decide.ts"
import type { Looking } from "../domain/place.ts"
import { scheduler } from "../domain/scheduler.ts"

const tail = (prefix: string, name: string): string => `${prefix}_${name.toUpperCase().padStart(26, "0")}`

/** `host("a")` comes before `host("b")`. Names are of the ids' own letters: no I, L, O or U. */
export const host = (name: string): HostId => HostId.make(tail("hst", name))
export const job = (name: string): JobId => JobId.make(tail("job", name))
export const workspace = (name: string): WorkspaceName => WorkspaceName.make(name)

export const needs = (cpuMilli: number, memoryMib = 100): Resources => ({ cpuMilli, memoryMib, diskMib: 0, gpus: 0 })

export const admitted = (name: string): MillFact => ({
  _tag: "HostAdmitted",
  hostId: host(name),
  publicKey: `U${"A".repeat(55)}`,
  admittedBy: Principal.make("user:ada"),
  oneTimeKeyDigest: "sha256:0"
})

export const joined = (name: string, resources: Resources = needs(4000, 4000)): MillFact => ({
  _tag: "HostJoined",
  hostId: host(name),
  bootId: `boot-${name}`,
  agentVersion: "1",
  dialect: 2,
  capabilities: { resources, gpus: [], runtimes: ["noop", "process"], trusts: ["own"], labels: {} }
})

export const left = (name: string): MillFact => ({ _tag: "HostLeft", hostId: host(name), cause: "asked" })
const lease = (name: string): Pick<MachineEnrolled, "leaseId" | "provider"> => ({ leaseId: LeaseId.make(tail("lse", name)), provider: "sky" as MachineEnrolled["provider"] })

/** The lease named after a host is that host. */
export const enrolled = (name: string): MachineEnrolled => ({ _tag: "MachineEnrolled", ...lease(name), hostId: host(name) })
export const released = (name: string): LeaseReleased => ({ _tag: "LeaseReleased", ...lease(name), cause: "idle" })
export const reclaimed = (name: string): ReclaimNoticed => ({ _tag: "ReclaimNoticed", ...lease(name), deadlineAtMs: 120_000 })
export const leaseEnded = (name: string): LeaseEnded => ({ _tag: "LeaseEnded", ...lease(name), confirmed: "terminated", endedAtMs: 0, costPico: 0n as LeaseEnded["costPico"] })
export const dismissed = (name: string): MillFact => ({ _tag: "HostDismissed", hostId: host(name), publicKey: "", dismissedBy: Principal.make("user:ada"), cause: "asked" })

export const submitted = (
  name: string,
  { attemptsMax = 1, by = "user:ada", grant, in: where = "acme", resources = needs(1000), trust = "own", ...terms }: {
    readonly resources?: Resources
    readonly attemptsMax?: number
    readonly in?: string
    readonly trust?: "own" | "others"
    readonly by?: string
    readonly grant?: GrantId
  } & Partial<Pick<JobSpec, "runtime" | "array" | "after" | "dialect" | "gang" | "gpu" | "where" | "priority" | "queueMsMax" | "startMsMax" | "idleMsMax" | "runMsMax" | "startFrom" | "onSilence">> = {}
): MillFact => ({
  _tag: "JobSubmitted",
  jobId: job(name),
  workspace: workspace(where),
  submittedBy: Principal.make(by),
  ...(grant === undefined ? {} : { grant }),
  spec: { runtime: "process", trust, resources, program: { key: "acme/1", nonce: "bm9uY2U", sealed: "cHJvZ3JhbQ" }, attemptsMax, runMsMax: 60_000, onSilence: { keepMs: 0 }, ...terms },
  requestDigest: `sha256:${"0".repeat(64)}` as never,
  decision: { rule: "owner", view: {} }
})

export const cancelled = (name: string, where = "acme"): MillFact => ({
  _tag: "JobCancelRequested",
  jobId: job(name),
  workspace: workspace(where),
  requestedBy: Principal.make("user:ada"),
  decision: { rule: "owner", view: {} }
})

const which = ({ attempt, attemptId, fence, hostId, jobId, task, workspace }: PlacementMade) =>
  ({ attempt, attemptId, fence, hostId, jobId, workspace, ...(task === undefined ? {} : { task }) })

export const exited = (made: PlacementMade, end: Partial<Pick<AttemptExited, "code" | "cause">> = { code: 0 }): AttemptExited => ({
  _tag: "AttemptExited", ...which(made), bootId: "boot", hostMs: 1, cause: "exited", ...end
})

export const refused = (made: PlacementMade, reason: AttemptRefused["reason"] = "no_room"): AttemptRefused => ({
  _tag: "AttemptRefused", ...which(made), reason, detail: "as it says"
})

const kindOf = (event: MillFact) => kinds.find(({ facts }) => facts.some((fact) => nameOf(fact) === event._tag))!

export const subjectOf = (event: MillFact): Subject => {
  const { kind, ...rest } = kindOf(event)
  if ("only" in rest) return { kind, scope: rest.only }
  if (rest.scope === "provider") return { kind, scope: (event as { provider: string }).provider, story: (event as { leaseId: string }).leaseId }
  if ("story" in rest && (rest.story as string) !== "job") {
    return { kind, scope: (event as { workspace: string }).workspace, story: (event as unknown as Record<string, string>)[rest.story]! }
  }
  if (rest.scope === "host") return { kind, scope: (event as { hostId: string }).hostId }
  return { kind, scope: (event as { workspace: string }).workspace, ...("story" in rest ? { story: (event as { jobId: string }).jobId } : {}) }
}

const readIn = (commit: StoredCommit) => commit.facts.flatMap(({ event }) => Result.isSuccess(event) ? [event.success] : [])

/** A cell whose log is a list: it hears facts, has the scheduler decide, and keeps all that was said. */
export class Cell {
  /** Which of the lines that wait it looks at in a round. */
  readonly looking: Looking
  readonly decider: typeof scheduler
  world
  readonly log: Array<StoredCommit> = []
  readonly saw: Record<string, number> = {}

  constructor(looking: Looking = "few", decider = scheduler) {
    this.looking = looking
    this.decider = decider
    this.world = decider.initial()
  }

  /** Facts of other services, each in its own stream, in order. */
  hear(...events: ReadonlyArray<MillFact>): this {
    for (const event of events) this.hearOn(subjectOf(event), kindOf(event).stream, event)
    return this
  }

  /** A fact of another service that happened at a moment. */
  hearAt(atMs: number, event: MillFact): this {
    return this.hearOn(subjectOf(event), kindOf(event).stream, event, atMs)
  }

  /** A fact on a subject of the teller's choice. */
  hearOn(subject: Subject, stream: StreamName, event: MillFact, happenedAtMs = 0): this {
    const sequence = (this.saw[stream] ?? 0) + 1
    const id = deriveId<FactId>("fct", 0, stream, sequence)
    this.#fold(foreseen({ subject, actor: Principal.make("user:ada"), happenedAtMs, facts: [{ id, partOf: id, event }] }, stream, sequence, 1))
    return this
  }

  /** A fact that nobody here can read. */
  hearUnreadable(event: MillFact): this {
    const stream = kindOf(event).stream
    const sequence = (this.saw[stream] ?? 0) + 1
    const id = deriveId<FactId>("fct", 0, stream, sequence)
    const commit = foreseen({ subject: subjectOf(event), actor: Principal.make("user:ada"), happenedAtMs: 0, facts: [{ id, partOf: id, event }] }, stream, sequence, 1)
    this.#fold({ ...commit, facts: commit.facts.map((fact) => ({ ...fact, event: Result.fail({ reason: "another shape" } as never) })) })
    return this
  }

  roundAt(atMs: number, silences: Round["silences"] = []): Round {
    return { atMs, epoch: 1, saw: { ...this.saw }, silences }
  }

  /** Decides once, and says what was decided. */
  decide(atMs = 0, silences: Round["silences"] = []): ReadonlyArray<MillFact> {
    const round = this.roundAt(atMs, silences)
    const commits = commitsOf(this.decider, round, decide(this.world, round, this.looking))
    return commits.flatMap((commit) => {
      const stored = foreseen(commit, "SCHEDULER", (this.saw["SCHEDULER"] ?? 0) + 1, 1)
      this.#fold(stored)
      return readIn(stored)
    })
  }

  /** Decides until there is nothing more to say: what a round says may let the next one say more. */
  rest(atMs = 0, silences: Round["silences"] = []): ReadonlyArray<MillFact> {
    const said = [...this.decide(atMs, silences)]
    for (let rounds = 0; rounds < 10; rounds += 1) {
      const more = this.decide(atMs, silences)
      if (more.length === 0) return said
      said.push(...more)
    }
    throw new Error(`ten rounds at ${atMs} and no end: ${said.slice(-5).map(({ _tag }) => _tag).join(", ")}`)
  }

  /** Every fact of a name that was said, in order. */
  said<Tag extends MillFact["_tag"]>(tag: Tag): ReadonlyArray<Extract<MillFact, { _tag: Tag }>> {
    return this.log.flatMap(readIn).filter((event): event is Extract<MillFact, { _tag: Tag }> => event._tag === tag)
  }

  /** The newest placement of a job. */
  placed(name: string): PlacementMade {
    return this.said("PlacementMade").findLast(({ jobId }) => jobId === job(name))!
  }

  #fold(commit: StoredCommit): void {
    this.log.push(commit)
    this.saw[commit.place.stream] = commit.place.sequence
    this.world = foldCommit(this.decider, this.world, commit)
  }
}

/** What the listener says of a host that was heard last at a moment, with a lease of 15 s. */
export const silent = (name: string, lastHeardAtMs: number): Round["silences"][number] =>
  ({ hostId: host(name), lastHeardAtMs, leaseEndedAtMs: lastHeardAtMs + 15_000 })

export const given = (...past: ReadonlyArray<MillFact>): Cell => new Cell().hear(...past)
