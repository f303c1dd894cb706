import { Checkpoints, foldCommit, Journal, type JournalShape, readable, runDecider, type StoredCommit, verify } from "@millrace/journal"
import { comparable, scheduler } from "@millrace/scheduler"
import type { PlacementMade, StreamName } from "@millrace/schemas"
import type { NatsConnection } from "@nats-io/transport-node"
import { Deferred, Effect, Fiber } from "effect"
import { rounded } from "../figures.ts"
import type { Log } from "./append.ts"
import { receive } from "./bare.ts"
import { admitted, commitOf, endOf, joined, needs, startOf, submitted } from "./facts.ts"
import { rateOf } from "./measured.ts"

const hostCount = 16
const submittingMax = 256
const dayMsMax = 240_000
const startMsMax = 120_000
const streams: ReadonlyArray<StreamName> = [...scheduler.hears, scheduler.writes]

const pace = (more: Partial<Parameters<typeof runDecider<ReturnType<typeof scheduler.initial>>>[0]> = {}) =>
  runDecider({
    decider: scheduler,
    takeOver: { subject: { kind: "fleet", scope: "cell" }, fact: (world) => ({ _tag: "SchedulerTookOver", term: world.term + 1, scheduler: scheduler.actor, codeVersion: scheduler.codeVersion }) },
    finish: (commit) => ({ ...commit, facts: commit.facts.map((fact) => fact.event._tag === "PlacementMade" ? { ...fact, event: { ...fact.event, signature: "A".repeat(86) } } : fact) as never }),
    checkpointEvery: Number.POSITIVE_INFINITY,
    ...more
  })

/**
 * A log as a cell writes it: the scheduler itself, on the real server, places jobs on hosts that begin and
 * end each at once. Then that log is read, folded, replayed with every decision made again, and started from.
 */
export const measureReplay = Effect.fnUntraced(function*({ connection, journal }: Log, jobs: number, folder: string) {
  const inLog = <A, E>(work: Effect.Effect<A, E, Journal | Checkpoints>) =>
    work.pipe(Effect.provideService(Journal, journal), Effect.provide(Checkpoints.layerFolder(folder)))
  yield* inLog(day(journal, jobs)).pipe(Effect.timeout(dayMsMax))
  const heads = yield* Effect.forEach(streams, (stream) => Effect.map(journal.head(stream), (head) => ({ stream, head })))
  const messages = heads.reduce((sum, { head }) => sum + head, 0)

  const bareRead = yield* rateOf(messages, readBare(connection, heads))
  let log: ReadonlyArray<StoredCommit> = []
  const read = yield* rateOf(messages, Effect.map(readAll(journal, heads), (commits) => {
    log = commits
  }))
  const facts = log.reduce((sum, commit) => sum + commit.facts.length, 0)
  const fold = yield* rateOf(facts, Effect.sync(() => log.reduce((world, commit) => foldCommit(scheduler, world, commit), scheduler.initial())))
  let mismatches = 0
  let decisions = 0
  const verified = yield* rateOf(facts, inLog(Effect.map(verify(scheduler, { comparable }), (verdict) => {
    mismatches = verdict.mismatches.length
    decisions = verdict.decisions
  })))
  const rebuildMs = yield* inLog(startMs)
  yield* inLog(leaveCheckpoint)
  const checkpointMs = yield* inLog(startMs)
  return {
    log: { jobs, facts, messages },
    bareReadMessages: bareRead,
    readMessages: read,
    foldFacts: fold,
    verifyFacts: verified,
    verifyDecisions: decisions,
    mismatches,
    start: { bareReadMs: rounded((messages / bareRead.perS) * 1000), rebuildMs: rounded(rebuildMs), checkpointMs: rounded(checkpointMs) }
  }
})

const readBare = (connection: NatsConnection, heads: ReadonlyArray<{ readonly stream: StreamName; readonly head: number }>) =>
  Effect.forEach(heads, ({ head, stream }) => receive(connection, stream, head), { discard: true })

const readAll = (journal: JournalShape, heads: ReadonlyArray<{ readonly stream: StreamName; readonly head: number }>) =>
  Effect.map(Effect.forEach(heads, ({ head, stream }) =>
    Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read(stream, { after: 0, batchMax: 1_000 })
      const commits: Array<StoredCommit> = []
      while (commits.length < head) commits.push(...(yield* reader.take))
      return commits
    }))), (all) => all.flat())

/** Every job is submitted, placed, begun, ended and settled. */
const day = Effect.fnUntraced(function*(journal: JournalShape, jobs: number) {
  const last = new Map<string, number>()
  const say = Effect.fnUntraced(function*(...events: Parameters<typeof commitOf>) {
    const commit = commitOf(...events)
    const subject = `${commit.subject.kind}.${commit.subject.scope}.${commit.subject.story ?? ""}`
    const { sequence } = yield* journal.append(commit, { last: "subject", sequence: last.get(subject) ?? 0 })
    last.set(subject, sequence)
  })
  for (let number = 0; number < hostCount; number += 1) {
    yield* say(admitted(`H${number}`))
    yield* say(joined(`H${number}`, needs(64_000, 64_000)))
  }
  const running = yield* Effect.forkChild(pace())
  const answering = yield* Effect.forkChild(Effect.scoped(Effect.gen(function*() {
    const reader = yield* journal.read("SCHEDULER", { after: 0, batchMax: 1_000 })
    let settled = 0
    while (settled < jobs) {
      const events = (yield* reader.take).flatMap((commit) => readable(commit).facts.map(({ event }) => event))
      const placed = Map.groupBy(events.filter((event): event is PlacementMade => event._tag === "PlacementMade"), ({ hostId }) => hostId)
      settled += events.filter(({ _tag }) => _tag === "JobSettled").length
      yield* Effect.forEach(placed.values(), ([first, ...rest]) =>
        Effect.andThen(say(startOf(first!), ...rest.map(startOf)), say(endOf(first!), ...rest.map(endOf))), { concurrency: hostCount, discard: true })
    }
  })))
  yield* Effect.forEach(Array.from({ length: jobs }, (_, number) => number), (number) => say(submitted(`J${number}`)), { concurrency: submittingMax, discard: true })
  yield* Effect.raceFirst(Fiber.join(answering), Fiber.join(running))
  yield* Effect.sleep(200)
  yield* Fiber.interrupt(running)
})

/** How long a scheduler takes until it has taken over and made its first round. */
const startMs = Effect.gen(function*() {
  const up = yield* Deferred.make<number>()
  const fromMs = performance.now()
  return yield* Effect.raceFirst(
    pace({ watch: () => void Deferred.doneUnsafe(up, Effect.succeed(performance.now() - fromMs)) }),
    Deferred.await(up)
  ).pipe(Effect.timeout(startMsMax))
})

const leaveCheckpoint = Effect.gen(function*() {
  const running = yield* Effect.forkChild(pace({ checkpointEvery: 1 }))
  const kept = Checkpoints.use((checkpoints) => checkpoints.load(scheduler.name))
  const until = Effect.repeat(Effect.andThen(Effect.sleep(50), kept), { until: (found) => found !== undefined })
  yield* Effect.raceFirst(until, Fiber.join(running)).pipe(Effect.timeout(startMsMax))
  yield* Fiber.interrupt(running)
})
