import { headsOf, Journal, readable, type StoredCommit } from "@millrace/journal"
import { type AttemptExited, type HostId, type JobId, type JobSettled, type MillFact, type StreamName, subjectText } from "@millrace/schemas"
import { Effect, Schedule, type Scope } from "effect"
import { within } from "./within.ts"

/** Where the facts of this test's services lie. */
export const streams = ["GATEWAY", "SCHEDULER", "HOSTS", "ACCESS"] as const satisfies ReadonlyArray<StreamName>

/** The log as a bystander reads it while everything runs, and what it finds wrong with it. */
export interface WatchedLog {
  /** What a log must never hold: an id twice, a broken chain, a second end of a job. */
  readonly broken: ReadonlyArray<string>
  readonly settled: (jobId: JobId) => ReadonlyArray<JobSettled>
  readonly facts: (name: MillFact["_tag"]) => ReadonlyArray<MillFact>
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
  const settled = new Map<JobId, Array<JobSettled>>()
  const reached = new Map<string, number>()

  const heard = (stream: string, before: (commit: StoredCommit) => number, commit: StoredCommit) => {
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
      byName.set(event._tag, [...(byName.get(event._tag) ?? []), event])
      if (event._tag === "JobSettled") {
        const ends = settled.get(event.jobId) ?? []
        settled.set(event.jobId, [...ends, event])
        if (ends.length > 0) broken.push(`${event.jobId} is settled a second time at ${where}`)
      }
    }
  }

  const follow = Effect.fnUntraced(function*(stream: StreamName) {
    const lastOn = new Map<string, number>()
    // The scheduler's commits follow each other in one order, and so do access's; others follow their own subject.
    const before = ({ place, subject }: StoredCommit) => stream === "SCHEDULER" || stream === "ACCESS" ? place.sequence - 1 : lastOn.get(subjectText(subject)) ?? 0
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
  const facts = (name: MillFact["_tag"]) => byName.get(name) ?? []
  return {
    broken,
    facts,
    settled: (jobId) => settled.get(jobId) ?? [],
    deferred: (jobId) => facts("JobDeferred").some((fact) => "jobId" in fact && fact.jobId === jobId),
    exits: (jobId) => facts("AttemptExited").filter((fact): fact is AttemptExited => fact._tag === "AttemptExited" && fact.jobId === jobId),
    admitted: (hostId) => facts("HostAdmitted").filter((fact) => "hostId" in fact && fact.hostId === hostId).length,
    upToNow: Effect.gen(function*() {
      const heads = yield* Effect.orDie(headsOf(streams))
      yield* within(60_000, () => Object.entries(heads).every(([stream, head]) => (reached.get(stream) ?? 0) >= head), () =>
        `the log's reader stands at ${JSON.stringify(Object.fromEntries(reached))}, the log at ${JSON.stringify(heads)}`)
    })
  }
})
