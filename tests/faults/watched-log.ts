import { headsOf, Journal, readable, type StoredCommit } from "@millrace/journal"
import { type AttemptExited, type Decided, type FactId, type HostId, type JobId, type JobSettled, type MillFact, type StreamName, subjectText } from "@millrace/schemas"
import { Effect, Schedule, type Scope } from "effect"
import { within } from "./within.ts"

/** Where the facts of this test's services lie. */
export const streams = ["GATEWAY", "SCHEDULER", "HOSTS", "ACCESS", "METERING", "BROKER", "SNAPSHOTS"] as const satisfies ReadonlyArray<StreamName>

/** Streams whose commits all follow each other in one order; in the others each subject has its own. */
const ordered: ReadonlySet<StreamName> = new Set(["SCHEDULER", "ACCESS", "METERING", "BROKER", "SNAPSHOTS"])

type Named<Name extends MillFact["_tag"]> = Extract<MillFact, { readonly _tag: Name }>

/** A fact as the bystander heard it. */
export interface Heard<Fact extends MillFact = MillFact> {
  readonly stream: StreamName
  readonly sequence: number
  readonly storedAtMs: number
  readonly decided?: Decided
  readonly id: FactId
  readonly event: Fact
}

/** The log as a bystander reads it while everything runs, and what it finds wrong with it. */
export interface WatchedLog {
  /** What a log must never hold: an id twice, a broken chain, a second end of a job. */
  readonly broken: ReadonlyArray<string>
  readonly settled: (jobId: JobId) => ReadonlyArray<JobSettled>
  readonly facts: <Name extends MillFact["_tag"]>(name: Name) => ReadonlyArray<Named<Name>>
  /** Everything, each stream in its order. */
  readonly history: ReadonlyArray<Heard>
  readonly deferred: (jobId: JobId) => boolean
  readonly exits: (jobId: JobId) => ReadonlyArray<AttemptExited>
  readonly admitted: (hostId: HostId) => number
  /** Waits until the bystander has read everything that is stored by now. */
  readonly upToNow: Effect.Effect<void, never, Journal>
}

/** Reads the streams from their beginning, for as long as the scope lives. */
export const watchLog: Effect.Effect<WatchedLog, never, Journal | Scope.Scope> = Effect.gen(function*() {
  const journal = yield* Journal
  const broken: Array<string> = []
  const saidAt = new Map<string, string>()
  const byName = new Map<string, Array<MillFact>>()
  const history: Array<Heard> = []
  const settled = new Map<JobId, Array<JobSettled>>()
  const reached = new Map<string, number>()

  const heard = (stream: StreamName, before: (commit: StoredCommit) => number, commit: StoredCommit) => {
    const where = `${stream} ${commit.place.sequence}`
    const { facts, unreadable } = readable(commit)
    for (const { name } of unreadable) broken.push(`${where} holds a ${name} that cannot be read`)
    // An empty message is part of a fence, and expects nothing.
    if (commit.facts.length > 0 && commit.place.prev !== before(commit)) {
      broken.push(`${where} expected ${commit.place.prev} before it, and ${before(commit)} is there`)
    }
    for (const { event, id } of facts) {
      const earlier = saidAt.get(id)
      if (earlier !== undefined) broken.push(`${event._tag} ${id} at ${where} was said before at ${earlier}`)
      saidAt.set(id, where)
      const named = byName.get(event._tag)
      if (named === undefined) byName.set(event._tag, [event])
      else named.push(event)
      const { decided, place: { sequence, storedAtMs } } = commit
      history.push({ stream, sequence, storedAtMs, id, event, ...(decided === undefined ? {} : { decided }) })
      if (event._tag === "JobSettled") {
        const ends = settled.get(event.jobId) ?? []
        settled.set(event.jobId, [...ends, event])
        if (ends.length > 0) broken.push(`${event.jobId} is settled a second time at ${where}`)
      }
    }
  }

  const follow = Effect.fnUntraced(function*(stream: StreamName) {
    const lastOn = new Map<string, number>()
    const before = ({ place, subject }: StoredCommit) => ordered.has(stream) ? place.sequence - 1 : lastOn.get(subjectText(subject)) ?? 0
    yield* Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read(stream, { after: reached.get(stream) ?? 0 })
      while (true) {
        for (const commit of yield* reader.take) {
          heard(stream, before, commit)
          lastOn.set(subjectText(commit.subject), commit.place.sequence)
          reached.set(stream, commit.place.sequence)
        }
      }
    })).pipe(Effect.retry(Schedule.spaced("200 millis")))
  })

  for (const stream of streams) yield* Effect.forkScoped(follow(stream))
  const facts = <Name extends MillFact["_tag"]>(name: Name) => (byName.get(name) ?? []) as unknown as ReadonlyArray<Named<Name>>
  return {
    broken,
    facts,
    history,
    settled: (jobId) => settled.get(jobId) ?? [],
    deferred: (jobId) => facts("JobDeferred").some((fact) => fact.jobId === jobId),
    exits: (jobId) => facts("AttemptExited").filter((fact) => fact.jobId === jobId),
    admitted: (hostId) => facts("HostAdmitted").filter((fact) => fact.hostId === hostId).length,
    upToNow: Effect.gen(function*() {
      const heads = yield* Effect.orDie(headsOf(streams))
      yield* within(60_000, () => Object.entries(heads).every(([stream, head]) => (reached.get(stream) ?? 0) >= head), () =>
        `the log's reader stands at ${JSON.stringify(Object.fromEntries(reached))}, the log at ${JSON.stringify(heads)}`)
    })
  }
})
