import { assert, type Vitest } from "@effect/vitest"
import { GrantId, type Principal } from "@millrace/schemas"
import { Effect, Result } from "effect"
import { type Commit, readable } from "../commit.ts"
import type { JournalShape } from "../journal.ts"
import { LogUnderTest } from "./journal-promises.ts"
import { readUpTo } from "./reading.ts"
import { commitOn, storyOf } from "./sample-facts.ts"

/** What a journal promises to whoever writes. */
export const appending = (it: Vitest.MethodsNonLive<LogUnderTest>): void => {
  it.effect("an append is stored where it says, and the story has it", () =>
    Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const first = yield* journal.append(commitOn("kept", 1), { last: "subject", sequence: 0 })
      const second = yield* journal.append(commitOn("kept", 2, { facts: 3 }), { last: "subject", sequence: first.sequence })
      const story = yield* journal.story(storyOf("kept"))
      assert.deepStrictEqual(story.map(({ place }) => place.sequence), [first.sequence, second.sequence])
      assert.deepStrictEqual(story.map(({ place }) => place.prev), [0, first.sequence])
      assert.deepStrictEqual(story[1]?.facts.map(({ id }) => id), commitOn("kept", 2, { facts: 3 }).facts.map(({ id }) => id))
      assert.strictEqual((yield* journal.last(storyOf("kept")))?.place.sequence, second.sequence)
      assert.isAtLeast(yield* journal.head("GATEWAY"), second.sequence)
      assert.strictEqual(first.epoch, journal.epoch)
    }))

  it.effect("everything a commit says about itself is read back", () =>
    Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const plain = commitOn("whole", 1)
      const [fact] = plain.facts
      const commit = {
        ...plain,
        decided: { saw: { GATEWAY: 7, HOSTS: 3 }, decidedAtMs: 1_700_000_000_001, ordinal: 2, of: 5 },
        trace: { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate: "mill=1" },
        facts: [{ ...fact, causedBy: fact.id, grant: GrantId.make("grt_01K9ZZZZZZZZZZZZZZZZZZZZZZ"), mustUnderstand: true }]
      } satisfies Commit
      const { sequence } = yield* journal.append(commit, { last: "subject", sequence: 0 })
      const found = yield* journal.last(commit.subject)
      assert.deepStrictEqual(found?.decided, commit.decided)
      assert.deepStrictEqual(found?.trace, commit.trace)
      assert.strictEqual(found?.actor, "user:ada" as Principal)
      assert.strictEqual(found?.mustUnderstand, true)
      assert.deepInclude(found?.place, { stream: "GATEWAY", sequence, prev: 0, epoch: journal.epoch })
      const { causedBy, grant, id, partOf } = found?.facts[0] ?? {}
      assert.deepStrictEqual({ id, causedBy, partOf, grant }, { id: fact.id, causedBy: fact.id, partOf: fact.partOf, grant: commit.facts[0]?.grant })
      assert.deepStrictEqual(found === undefined ? [] : readable(found).facts.map(({ event }) => event), [fact.event])
    }))

  it.effect("an expectation that does not hold is overtaken, names what was found, and stores nothing", () =>
    Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const first = yield* journal.append(commitOn("late", 1), { last: "subject", sequence: 0 })
      const error = yield* Effect.flip(journal.append(commitOn("late", 2), { last: "subject", sequence: 0 }))
      assert.strictEqual(error._tag, "Overtaken")
      assert.deepInclude(error, { expected: 0, actual: first.sequence })
      assert.lengthOf(yield* journal.story(storyOf("late")), 1)
    }))

  it.effect("an append that is told again is the same append: not stored twice, and told where it lies", () =>
    Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const first = yield* journal.append(commitOn("again", 1), { last: "subject", sequence: 0 })
      yield* journal.append(commitOn("again", 2), { last: "subject", sequence: first.sequence })
      assert.deepStrictEqual(yield* journal.append(commitOn("again", 1), { last: "subject", sequence: 0 }), first)
      assert.lengthOf(yield* journal.story(storyOf("again")), 2)
    }))

  it.effect("an append that begins with a fact already said, and has more behind it, is not that older append", () =>
    Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const short = commitOn("begins", 1)
      yield* journal.append(short, { last: "subject", sequence: 0 })
      const longer: Commit = { ...short, facts: [short.facts[0], ...commitOn("begins", 2).facts] }
      assert.strictEqual((yield* Effect.flip(journal.append(longer, { last: "subject", sequence: 0 })))._tag, "Overtaken")
      assert.lengthOf(yield* journal.story(storyOf("begins")), 1)
    }))

  it.effect("a subject that no stream holds is refused at once", () =>
    Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const error = yield* Effect.flip(journal.append({ ...commitOn("nowhere"), subject: { kind: "weather", scope: "tests" } }, { last: "subject", sequence: 0 }))
      assert.deepInclude(error, { _tag: "CommitRefused", reason: "not_configured" })
    }))

  it.effect("a line's predictions come true, in order, as far ahead as it is asked to run", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const after = yield* journal.head("ACCESS")
      const line = yield* journal.line("ACCESS", after)
      const sent = Array.from({ length: 1_500 }, (_, number) => line.send(onAccess("line", number)))
      const stored = yield* Effect.forEach(sent, ({ outcome }) => outcome)
      assert.deepStrictEqual(stored.map(({ sequence }) => sequence), sent.map(({ sequence }) => sequence))
      assert.strictEqual(line.last(), yield* journal.head("ACCESS"))
      const commits = (yield* readUpTo(journal, "ACCESS", after)).filter(({ facts }) => facts.length > 0)
      assert.deepStrictEqual(commits.map(({ facts }) => facts[0]?.id), Array.from({ length: 1_500 }, (_, number) => onAccess("line", number).facts[0].id))
    })))

  it.effect("what a line stores together lies together, on several subjects, between what was sent before and after it", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const line = yield* journal.line("ACCESS", yield* journal.head("ACCESS"))
      const words = (from: number, count: number) => Array.from({ length: count }, (_, at) => ({ ...onAccess("member", from + at), subject: { kind: "principal", scope: `member-${at % 3}` } })) as unknown as [Commit, ...Array<Commit>]
      // The first opens the line, so it goes with its fence; the others are under way with what stands alone.
      const groups = [words(0, 20), words(20, 1), words(21, 40), words(61, 1), words(62, 3)]
      const sent = groups.map((group) => ({ group, ...line.send(...group) }))
      for (const { group, outcome, sequence } of sent) {
        assert.strictEqual((yield* outcome).sequence, sequence)
        const found = yield* readUpTo(journal, "ACCESS", sequence - 1)
        assert.deepStrictEqual(found.slice(0, group.length).map(({ facts, place }) => [place.sequence, facts[0]?.id]), group.map(({ facts }, at) => [sequence + at, facts[0].id]))
      }
      assert.strictEqual(line.last(), yield* journal.head("ACCESS"))
    })))

  it.effect("of what a line was to store together nothing is stored when another came first", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open } = yield* LogUnderTest
      const [older, newer] = [yield* open, yield* open]
      const first = yield* older.line("ACCESS", yield* older.head("ACCESS"))
      yield* first.send(onAccess("whole", 0)).outcome
      const second = yield* newer.line("ACCESS", yield* newer.head("ACCESS"))
      yield* second.send(onAccess("other", 0)).outcome
      const lost = [onAccess("whole-a", 1), onAccess("whole-b", 2), onAccess("whole-c", 3)] as const
      assert.strictEqual((yield* Effect.flip(first.send(...lost).outcome))._tag, "Overtaken")
      const ids = (yield* readUpTo(newer, "ACCESS", 0)).flatMap(({ facts }) => facts.map(({ id }) => id))
      for (const { facts: [{ id }] } of lost) assert.notInclude(ids, id)
    })))

  it.effect("a line that was overtaken stores nothing more, and says so to everything that was sent on it", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open } = yield* LogUnderTest
      const [older, newer] = [yield* open, yield* open]
      const first = yield* older.line("ACCESS", yield* older.head("ACCESS"))
      yield* first.send(onAccess("older", 0)).outcome
      const second = yield* newer.line("ACCESS", yield* newer.head("ACCESS"))
      yield* second.send(onAccess("newer", 0)).outcome
      const sent = Array.from({ length: 50 }, (_, number) => first.send(onAccess("older", number + 1)))
      for (const { outcome } of sent) assert.strictEqual((yield* Effect.flip(outcome))._tag, "Overtaken")
      assert.strictEqual((yield* Effect.flip(first.send(onAccess("older", 99)).outcome))._tag, "Overtaken")
      const head = yield* newer.head("ACCESS")
      assert.strictEqual(second.last(), head)
      yield* second.send(onAccess("newer", 1)).outcome
      const scopes = (yield* readUpTo(newer, "ACCESS", 0)).filter(({ facts }) => facts.length > 0).map(({ facts }) => facts[0]?.id)
      assert.notInclude(scopes, onAccess("older", 1).facts[0].id)
    })))

  it.effect("of many appends at once each lies where it was told, and one that came late is alone in being refused", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const taken = yield* journal.append(commitOn("crowd-150", "first"), { last: "subject", sequence: 0 })
      const commits = Array.from({ length: 400 }, (_, number) => commitOn(`crowd-${number}`, number))
      const results = yield* Effect.forEach(commits, (commit) => Effect.result(journal.append(commit, { last: "subject", sequence: 0 })), { concurrency: "unbounded" })
      const found = new Map((yield* readUpTo(journal, "GATEWAY", taken.sequence)).map(({ facts, place }) => [place.sequence, facts[0]?.id]))
      for (const [number, result] of results.entries()) {
        if (number === 150) assert.deepInclude(Result.isFailure(result) ? result.failure : {}, { _tag: "Overtaken", expected: 0, actual: taken.sequence })
        else assert.strictEqual(found.get(Result.isSuccess(result) ? result.success.sequence : 0), commits[number]?.facts[0].id)
      }
      assert.strictEqual(found.size, 399, "something was stored twice, or was not")
    })), 60_000)

  it.effect("of many writers on the same stories each append follows the one before it, and none is lost", () =>
    Effect.scoped(Effect.gen(function*() {
      const { appends, open } = yield* LogUnderTest
      const journals = [yield* open, yield* open]
      const [one] = journals as [JournalShape, JournalShape]
      const after = yield* one.head("GATEWAY")
      const accepted = new Map<string, number>()
      let refused = 0
      const writer = (number: number) =>
        Effect.gen(function*() {
          const journal = journals[number % journals.length]!
          const story = `contended-${number % 20}`
          let last = 0
          for (let word = 0; accepted.size < appends; word += 1) {
            const commit = commitOn(story, `${number}-${word}`)
            const result = yield* Effect.result(journal.append(commit, { last: "subject", sequence: last }))
            if (result._tag === "Success") {
              last = result.success.sequence
              accepted.set(commit.facts[0].id, last)
            } else if (result.failure._tag === "Overtaken") {
              last = result.failure.actual
              refused += 1
            } else return yield* result.failure
          }
        })
      yield* Effect.all(Array.from({ length: 32 }, (_, number) => writer(number)), { concurrency: "unbounded", discard: true })

      const lastOf = new Map<string, number>()
      let found = 0
      for (const { facts, place, subject } of yield* readUpTo(one, "GATEWAY", after)) {
        const story = subject.story ?? ""
        if (accepted.get(facts[0]?.id ?? "") === place.sequence) found += 1
        assert.strictEqual(place.prev, lastOf.get(story) ?? 0, `an update of ${story} was lost before ${place.sequence}`)
        lastOf.set(story, place.sequence)
      }
      assert.strictEqual(found, accepted.size)
      assert.isAtLeast(accepted.size, appends)
      assert.isAbove(refused, 0, "nobody ever came second: nothing was contended")
    })), 120_000)
}

/** A commit in the stream of access, for lines: nobody else writes it in these tests. */
export const onAccess = (name: string, word: string | number) => ({
  ...commitOn(name, word),
  subject: { kind: "decision", scope: "access" }
})
