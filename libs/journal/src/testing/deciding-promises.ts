import { assert, type Vitest } from "@effect/vitest"
import { headers as names, type StreamName } from "@millrace/schemas"
import { Effect, Fiber } from "effect"
import { Checkpoints } from "../checkpoints.ts"
import { readable, type StoredCommit } from "../commit.ts"
import type { StreamDecider } from "../deciding.ts"
import { Journal, type JournalShape } from "../journal.ts"
import { verify } from "../replay.ts"
import { runDecider } from "../run-decider.ts"
import { LogUnderTest } from "./journal-promises.ts"
import { readUpTo } from "./reading.ts"
import { commitOn, jobNamed } from "./sample-facts.ts"
import { settleDecider, settling, type Settling } from "./settle-decider.ts"

/** What a journal promises to a decider that owns the order of a stream. */
export const deciding = (it: Vitest.MethodsNonLive<LogUnderTest>): void => {
  it.effect("a decider settles each job once; a second one takes over, and the first says nothing more", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open } = yield* LogUnderTest
      const journal = yield* open
      yield* ask(journal, "decided-1")
      const first = yield* Effect.forkChild(run(yield* open, "first"))
      yield* settled(journal, "decided-1")
      const second = yield* Effect.forkChild(run(yield* open, "second"))
      yield* tookOver(journal, 2)
      const head = yield* journal.head("SCHEDULER")
      yield* ask(journal, "decided-2")
      yield* settled(journal, "decided-2")
      assert.strictEqual((yield* Effect.flip(Fiber.join(first)))._tag, "Overtaken")
      yield* Fiber.interrupt(second)
      const behind = yield* readUpTo(journal, "SCHEDULER", head)
      assert.isTrue(behind.every(({ actor }) => actor === "service:scheduler"))
      yield* settledOnce(journal)
    })))

  it.effect("every decision follows from what it had seen: replayed from the log alone, it is the same", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const runner = yield* Effect.forkChild(run(journal, "second"))
      yield* Effect.forEach(Array.from({ length: 40 }, (_, number) => number), (number) => ask(journal, `replayed-${number}`), { concurrency: 8, discard: true })
      yield* settled(journal, ...Array.from({ length: 40 }, (_, number) => `replayed-${number}`))
      yield* Fiber.interrupt(runner)
      const last = (yield* readUpTo(journal, "SCHEDULER", 0)).findLast(({ decided }) => decided !== undefined)
      assert.isDefined(last)
      const verdict = yield* verify({ ...settleDecider("second", ["GATEWAY"]) }).pipe(Effect.provideService(Journal, journal))
      assert.isAbove(verdict.decisions, 0)
      // The decider's name is part of its ids: what the one named `first` said does not count as `second`'s.
      const said = new Set((yield* readUpTo(journal, "SCHEDULER", 0)).filter(({ decided, place }) => decided !== undefined && place.sequence >= (last?.place.sequence ?? 0)).map(({ place }) => place.sequence))
      assert.isFalse(verdict.mismatches.some(({ sequence }) => said.has(sequence)))
      // Code of another version would decide otherwise, and says so of nothing that was decided here.
      const newer = yield* verify({ ...settleDecider("another", ["GATEWAY"]), codeVersion: "2" }).pipe(Effect.provideService(Journal, journal))
      assert.deepStrictEqual([newer.decisions, newer.mismatches], [0, []])
      assert.isAtLeast(newer.byOtherCode, verdict.decisions)
    })))

  it.effect("a checkpoint and the tail come to the same state as reading from fact one", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open } = yield* LogUnderTest
      const journal = yield* open
      const seen: Array<ReturnType<StreamDecider<Settling>["save"]>> = []
      const { load, save } = settleDecider("kept", ["GATEWAY"])
      const watch = (state: Settling) => void seen.push(save(load(structuredClone(save(state)) as never)))
      const both = Effect.sync(() => ["checked-1", "checked-2"].every((name) => JSON.stringify(seen.at(-1) ?? "").includes(jobNamed(name))))
      yield* Effect.gen(function*() {
        const kept = yield* Checkpoints
        yield* ask(journal, "checked-1")
        const first = yield* Effect.forkChild(run(journal, "kept", { checkpointEvery: 1 }))
        yield* settled(journal, "checked-1")
        yield* until(Effect.map(kept.load("kept"), (found) => found !== undefined))
        yield* Fiber.interrupt(first)
        yield* ask(journal, "checked-2")
        const second = yield* Effect.forkChild(run(journal, "kept", { watch }))
        yield* settled(journal, "checked-2")
        yield* until(both)
        yield* Fiber.interrupt(second)
      }).pipe(Effect.provide(Checkpoints.layerMemory))
      const withCheckpoint = seen.at(-1)
      seen.length = 0
      const rebuilt = yield* Effect.forkChild(run(journal, "kept", { watch }))
      yield* until(both)
      yield* Fiber.interrupt(rebuilt)
      assert.deepStrictEqual(seen.at(-1), withCheckpoint)
    })))

  it.effect("a fact that cannot be read freezes its own scope; everywhere else decisions go on", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open, put } = yield* LogUnderTest
      const journal = yield* open
      const broken = commitOn("broken", "once", { workspace: "frozen" })
      yield* put("GATEWAY", broken.subject, { headers: [[names.fact, "JobCancelRequested/1"], [names.id, broken.facts[0].id]], body: Buffer.from([0x91, 0x81, 0xa1, 0x78, 0x01]) })
      yield* journal.append(commitOn("in-frozen", "once", { workspace: "frozen" }), { last: "subject", sequence: 0 })
      const runner = yield* Effect.forkChild(run(journal, "freezes"))
      yield* ask(journal, "elsewhere")
      yield* settled(journal, "elsewhere")
      yield* Fiber.interrupt(runner)
      assert.isFalse((yield* settledJobs(journal)).includes(jobNamed("in-frozen")))
    })))

  it.effect("a fact that must be understood and is not known makes a decider step down", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open, put } = yield* LogUnderTest
      const journal = yield* open
      yield* put("BROKER", { kind: "market", scope: "lambda" }, { headers: [[names.fact, "MarketClosedForever/1"], [names.id, "a"], [names.mustUnderstand, "1"]], body: Buffer.from([0x91, 0x80]) })
      const error = yield* Effect.flip(run(journal, "old", {}, ["BROKER"]))
      assert.deepInclude(error, { _tag: "MustStepDown", factName: "MarketClosedForever", stream: "BROKER" })
    })))
}

const run = (journal: JournalShape, name: string, more: Parameters<typeof settling>[2] = {}, hears: ReadonlyArray<StreamName> = ["GATEWAY"]) =>
  Effect.gen(function*() {
    const held = yield* Effect.serviceOption(Checkpoints)
    const running = runDecider(settling(name, hears, more)).pipe(Effect.provideService(Journal, journal))
    return yield* held._tag === "Some" ? running.pipe(Effect.provideService(Checkpoints, held.value)) : running.pipe(Effect.provide(Checkpoints.layerMemory))
  })

const ask = (journal: JournalShape, name: string) => journal.append(commitOn(name), { last: "subject", sequence: 0 })

const until = <E, R>(so: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(so, (holds) => (holds ? Effect.void : Effect.andThen(Effect.sleep("10 millis"), until(so))))

const factsOf = (commits: ReadonlyArray<StoredCommit>) => commits.flatMap((commit) => readable(commit).facts)

const settledJobs = (journal: JournalShape) =>
  Effect.map(readUpTo(journal, "SCHEDULER", 0), (commits) =>
    factsOf(commits).flatMap(({ event }) => (event._tag === "JobSettled" ? [event.jobId] : [])))

const settled = (journal: JournalShape, ...jobs: ReadonlyArray<string>) =>
  heard(journal, (commits) => {
    const over = new Set(factsOf(commits).flatMap(({ event }) => (event._tag === "JobSettled" ? [event.jobId] : [])))
    return jobs.every((name) => over.has(jobNamed(name)))
  })

const tookOver = (journal: JournalShape, times: number) =>
  heard(journal, (commits) => factsOf(commits).filter(({ event }) => event._tag === "SchedulerTookOver").length >= times)

/** Reads the scheduler's order from its beginning until what has been read so far holds something. */
const heard = (journal: JournalShape, so: (commits: ReadonlyArray<StoredCommit>) => boolean) =>
  Effect.scoped(Effect.gen(function*() {
    const reader = yield* journal.read("SCHEDULER", { after: 0 })
    const commits: Array<StoredCommit> = []
    while (!so(commits)) commits.push(...(yield* reader.take).filter(({ facts }) => facts.length > 0))
  }))

const settledOnce = (journal: JournalShape) =>
  Effect.map(settledJobs(journal), (jobs) => assert.strictEqual(new Set(jobs).size, jobs.length, "a job was settled twice"))
