import { assert, describe, it } from "@effect/vitest"
import { type Cut, type FactId, HostDeclaredLost, HostId } from "@millrace/schemas"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints } from "./checkpoints.ts"
import type { StoredCommit } from "./commit.ts"
import { commitsOf, foldCommit, silencesIn } from "./deciding.ts"
import { Journal, type JournalShape } from "./journal.ts"
import { MemoryLog, memoryJournal } from "./memory.ts"
import { verify } from "./replay.ts"
import { runDecider, type RunOptions } from "./run-decider.ts"
import { seatAskEveryMs, seatInMemory } from "./seat.ts"
import { readUpTo } from "./testing/reading.ts"
import { commitOn, jobNamed } from "./testing/sample-facts.ts"
import { settleDecider, settling, type Settling } from "./testing/settle-decider.ts"

const decider = settleDecider("tested", ["GATEWAY"])

const run = (journal: JournalShape, more: Partial<RunOptions<Settling>> = {}) =>
  runDecider(settling("tested", ["GATEWAY"], more)).pipe(Effect.provideService(Journal, journal))

const ask = (journal: JournalShape, ...names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => journal.append(commitOn(name), { last: "subject", sequence: 0 }), { discard: true })

const jobsSettledIn = (commits: ReadonlyArray<StoredCommit>) =>
  commits.flatMap(({ facts }) => facts.flatMap(({ event }) => event._tag === "Success" && event.success._tag === "JobSettled" ? [event.success.jobId] : []))

const settled = (journal: JournalShape, ...names: ReadonlyArray<string>): Effect.Effect<void, unknown> =>
  Effect.flatMap(Effect.scoped(readUpTo(journal, "SCHEDULER", 0)), (commits) => {
    const jobs = jobsSettledIn(commits)
    return names.every((name) => jobs.includes(jobNamed(name))) ? Effect.void : Effect.andThen(Effect.yieldNow, settled(journal, ...names))
  })

/** The state that the log leads to, up to where somebody had seen it. */
const foldedTo = (journal: JournalShape, saw: Cut) => Effect.gen(function*() {
  let state = decider.initial()
  for (const stream of [decider.writes, ...decider.hears]) {
    for (const commit of yield* Effect.scoped(readUpTo(journal, stream, 0))) {
      if (commit.place.sequence <= (saw[stream] ?? 0)) state = foldCommit(decider, state, commit)
    }
  }
  return state
})

/** Another decider says something in the order of the one under test. */
const overtake = (log: MemoryLog, journal: JournalShape) =>
  journal.append({ ...commitOn("stranger"), subject: { kind: "fleet", scope: "cell" } }, { last: "stream", sequence: log.head("SCHEDULER") })

describe("a decider that owns an order", () => {
  it.effect("ends when it is overtaken, however many of its appends are refused at once", () =>
    Effect.gen(function*() {
      const log = new MemoryLog()
      const journal = memoryJournal(log)
      yield* ask(journal, "first")
      const running = yield* Effect.forkChild(run(journal, { windowMax: 20 }))
      yield* settled(journal, "first")
      yield* overtake(log, journal)
      for (let number = 0; number < 100; number += 1) log.append(commitOn(`many-${number}`), { last: "subject", sequence: 0 }, 0)
      assert.strictEqual((yield* Effect.flip(Fiber.join(running)))._tag, "Overtaken")
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("stands by while another holds the seat, and takes over once that is not heard of any more", () =>
    Effect.gen(function*() {
      const log = new MemoryLog()
      const journal = memoryJournal(log)
      const { seat, silence } = yield* seatInMemory
      yield* ask(journal, "first")
      const leading = yield* Effect.forkChild(run(journal, { seat }))
      yield* settled(journal, "first")
      const head = log.head("SCHEDULER")
      const standing = yield* Effect.forkChild(run(journal, { seat }))
      yield* TestClock.adjust(seatAskEveryMs * 20)
      assert.strictEqual(log.head("SCHEDULER"), head)
      silence(true)
      yield* TestClock.adjust(seatAskEveryMs * 20)
      assert.isAbove(log.head("SCHEDULER"), head)
      yield* ask(journal, "second")
      yield* settled(journal, "second")
      assert.strictEqual((yield* Effect.flip(Fiber.join(leading)))._tag, "Overtaken")
      yield* Fiber.interrupt(standing)
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("finds the checkpoint there that a standby has written, and writes one itself when nobody does", () =>
    Effect.gen(function*() {
      const log = new MemoryLog()
      const journal = memoryJournal(log)
      const { seat } = yield* seatInMemory
      const shared = yield* Checkpoints
      const wrote = { leading: 0, standing: 0 }
      const counted = (who: keyof typeof wrote) =>
        Effect.provideService(Checkpoints, { ...shared, save: (checkpoint) => Effect.andThen(Effect.sync(() => void (wrote[who] += 1)), shared.save(checkpoint)) })
      const every = { checkpointEvery: 20, seat }
      const more = (from: number) => Effect.gen(function*() {
        for (let number = from; number < from + 40; number += 1) {
          yield* ask(journal, `job-${number}`)
          yield* settled(journal, `job-${number}`)
          yield* TestClock.adjust(seatAskEveryMs * 2)
        }
      })
      yield* ask(journal, "first")
      const leading = yield* Effect.forkChild(run(journal, every).pipe(counted("leading")))
      yield* settled(journal, "first")
      const standing = yield* Effect.forkChild(run(journal, every).pipe(counted("standing")))
      yield* more(0)
      assert.strictEqual(wrote.leading, 0)
      assert.isAbove(wrote.standing, 2)
      const kept = yield* shared.load("tested")
      assert.deepStrictEqual(decider.save(decider.load(kept!.state as never)), decider.save(yield* foldedTo(journal, kept!.saw)))
      yield* Fiber.interrupt(standing)
      yield* more(40)
      assert.isAbove(wrote.leading, 0)
      yield* Fiber.interrupt(leading)
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("leaves the checkpoint of another program where it is while it stands by", () =>
    Effect.gen(function*() {
      const log = new MemoryLog()
      const journal = memoryJournal(log)
      const { seat } = yield* seatInMemory
      const { load, save } = yield* Checkpoints
      yield* save({ fold: "tested", codeVersion: "another", epoch: journal.epoch, saw: {}, state: {} })
      yield* ask(journal, "first")
      const leading = yield* Effect.forkChild(run(journal, { seat }))
      yield* settled(journal, "first")
      const standing = yield* Effect.forkChild(run(journal, { seat, checkpointEvery: 1 }))
      yield* ask(journal, "second")
      yield* settled(journal, "second")
      yield* TestClock.adjust(seatAskEveryMs * 20)
      assert.strictEqual((yield* load("tested"))?.codeVersion, "another")
      yield* Effect.forEach([standing, leading], Fiber.interrupt)
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("takes over soon also when it is writing a checkpoint as the seat becomes free", () =>
    Effect.gen(function*() {
      const log = new MemoryLog()
      const journal = memoryJournal(log)
      const { seat, silence } = yield* seatInMemory
      const shared = yield* Checkpoints
      let begun = false
      const slow = Effect.provideService(Checkpoints, { ...shared, save: () => Effect.andThen(Effect.sync(() => void (begun = true)), Effect.never) })
      yield* ask(journal, "first")
      const leading = yield* Effect.forkChild(run(journal, { seat }))
      yield* settled(journal, "first")
      const head = log.head("SCHEDULER")
      const standing = yield* Effect.forkChild(run(journal, { seat, checkpointEvery: 2 }).pipe(slow))
      yield* TestClock.adjust(seatAskEveryMs * 20)
      assert.isTrue(begun)
      assert.strictEqual(log.head("SCHEDULER"), head)
      silence(true)
      yield* TestClock.adjust(seatAskEveryMs * 20)
      assert.isAbove(log.head("SCHEDULER"), head)
      yield* Effect.forEach([standing, leading], Fiber.interrupt)
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("is not taken for another that takes over from the same place in the same millisecond", () =>
    Effect.gen(function*() {
      const firstWordOfOne = Effect.gen(function*() {
        const log = new MemoryLog()
        const journal = memoryJournal(log)
        yield* ask(journal, "first")
        const running = yield* Effect.forkChild(run(journal))
        yield* settled(journal, "first")
        yield* Fiber.interrupt(running)
        return log.at("SCHEDULER", 1)!.facts[0]!
      })
      const [one, other] = [yield* firstWordOfOne, yield* firstWordOfOne]
      assert.strictEqual(one.name, other.name)
      assert.notStrictEqual(one.id, other.id)
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("never sees less than a decision before it saw, though the one before heard and fell while this one caught up", () =>
    Effect.gen(function*() {
      const log = new MemoryLog()
      const journal = memoryJournal(log)
      yield* ask(journal, "one", "two")
      let fallen = false
      // The one before hears a third job, decides on all three, and falls behind its first append.
      const speakAndFall = Effect.gen(function*() {
        if (fallen) return
        fallen = true
        yield* ask(journal, "three")
        let state = decider.initial()
        for (const commit of log.after("GATEWAY", 0, undefined, 3).commits) state = foldCommit(decider, state, commit)
        const round = { atMs: 0, epoch: 1, saw: { GATEWAY: 3 }, silences: [] }
        const [first] = commitsOf(decider, round, decider.decide(state, round))
        yield* Effect.orDie(journal.append(first!, { last: "stream", sequence: 0 }))
      })
      const catching: JournalShape = {
        ...journal,
        head: (stream) => stream === "SCHEDULER" ? Effect.andThen(Effect.orDie(speakAndFall), journal.head(stream)) : journal.head(stream)
      }
      const running = yield* Effect.forkChild(run(catching))
      yield* settled(journal, "one", "two", "three")
      yield* Fiber.interrupt(running)
      const { decisions, mismatches } = yield* verify(decider).pipe(Effect.provideService(Journal, journal))
      assert.deepStrictEqual([decisions, mismatches], [2, []])
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("writes checkpoints no more than a tenth of the time, however long one takes", () =>
    Effect.gen(function*() {
      const journal = memoryJournal(new MemoryLog())
      let saves = 0
      const slow = { newest: () => Effect.succeed(undefined), load: () => Effect.succeed(undefined), save: () => Effect.andThen(Effect.sync(() => void (saves += 1)), Effect.sleep("100 millis")) }
      const running = yield* Effect.forkChild(run(journal, { checkpointEvery: 1 }).pipe(Effect.provideService(Checkpoints, slow)))
      for (let moment = 0; moment < 100; moment += 1) {
        yield* ask(journal, `moment-${moment}`)
        for (let turn = 0; turn < 50; turn += 1) yield* Effect.yieldNow
        yield* TestClock.adjust("50 millis")
      }
      yield* Fiber.interrupt(running)
      assert.isAtLeast(saves, 3)
      assert.isAtMost(saves, 6)
    }))

  it.effect("reads everything again where its checkpoint has seen what this log does not hold", () =>
    Effect.gen(function*() {
      const journal = memoryJournal(new MemoryLog())
      yield* ask(journal, "begun-anew")
      const state = decider.save(decider.initial())
      yield* Checkpoints.use(({ save }) => save({ fold: "tested", codeVersion: "1", epoch: 1, saw: { GATEWAY: 9, SCHEDULER: 9 }, state }))
      const running = yield* Effect.forkChild(run(journal))
      yield* settled(journal, "begun-anew")
      yield* Fiber.interrupt(running)
    }).pipe(Effect.provide(Checkpoints.layerMemory)))

  it.effect("wakes when somebody has been silent for too long, says so once, and a replay finds the silence in what it said", () =>
    Effect.gen(function*() {
      const journal = memoryJournal(new MemoryLog())
      const hostId = HostId.make(`hst_${"7".repeat(26)}`)
      let lost = false
      let asked = 0
      const silence = { hostId, lastHeardAtMs: 1_000, leaseEndedAtMs: 16_000 }
      const running = yield* Effect.forkChild(runDecider({
        ...settling("tested", ["GATEWAY"]),
        decider: mourning,
        listening: {
          silences: (atMs) => {
            asked += 1
            return lost || atMs < silence.leaseEndedAtMs ? [] : [silence]
          },
          dueAtMs: () => lost ? undefined : silence.leaseEndedAtMs
        },
        watch: (state) => void (lost = state.settled.size > 0)
      }).pipe(Effect.provideService(Journal, journal)))
      yield* TestClock.adjust("15999 millis")
      assert.lengthOf(yield* declared(journal), 0)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* declared(journal), [silence])
      yield* TestClock.adjust("30 seconds")
      assert.lengthOf(yield* declared(journal), 1)
      assert.isBelow(asked, 10, "it spins while nobody is due")
      yield* Fiber.interrupt(running)
      const { decisions, mismatches } = yield* verify(mourning).pipe(Effect.provideService(Journal, journal))
      assert.deepStrictEqual([decisions, mismatches], [1, []])
    }).pipe(Effect.provide(Checkpoints.layerMemory)))
})

/** Declares whoever is silent lost, once each. */
const mourning: typeof decider = {
  ...decider,
  evolve: (state, { event }) => {
    if (event._tag === "HostDeclaredLost") state.settled.add(event.hostId as never)
    return state
  },
  decide: ({ settled }, { silences }) => silences.filter(({ hostId }) => !settled.has(hostId as never)).map((silence) => ({
    subject: { kind: "fleet", scope: "cell" },
    facts: [{ partOf: `fct_${"0".repeat(26)}` as FactId, event: HostDeclaredLost.make(silence) }]
  }))
}

const declared = (journal: JournalShape) =>
  Effect.map(Effect.scoped(readUpTo(journal, "SCHEDULER", 0)), silencesIn)
