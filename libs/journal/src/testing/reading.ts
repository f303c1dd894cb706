import { assert, type Vitest } from "@effect/vitest"
import { headers as names, type StreamName } from "@millrace/schemas"
import { Deferred, Effect, Fiber, Ref } from "effect"
import { type StoredCommit, readable } from "../commit.ts"
import type { JournalShape, JournalUnavailable } from "../journal.ts"
import { LogUnderTest } from "./journal-promises.ts"
import { commitOn, storyOf } from "./sample-facts.ts"

/** Everything of a stream behind a position, up to its head of now. */
export const readUpTo = (journal: JournalShape, stream: StreamName, after: number): Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable> =>
  Effect.scoped(Effect.gen(function*() {
    const head = yield* journal.head(stream)
    const commits: Array<StoredCommit> = []
    if (after >= head) return commits
    const reader = yield* journal.read(stream, { after })
    while ((commits.at(-1)?.place.sequence ?? after) < head) commits.push(...(yield* reader.take))
    return commits.filter(({ place }) => place.sequence <= head)
  }))

/** What a journal promises to whoever reads and reacts. */
export const reading = (it: Vitest.MethodsNonLive<LogUnderTest>): void => {
  it.effect("a reader gives what lies behind its position once, in order, and then what comes", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const stored: Array<number> = []
      for (let number = 0; number < 20; number += 1) stored.push((yield* journal.append(commitOn(`read-${number}`), { last: "subject", sequence: 0 })).sequence)
      const reader = yield* journal.read("GATEWAY", { after: stored[4]!, batchMax: 4 })
      assert.isEmpty((yield* reader.poll).filter(({ place }) => place.sequence <= stored[4]!))
      const again = yield* journal.read("GATEWAY", { after: stored[4]!, batchMax: 4 })
      const found: Array<number> = []
      while (found.length < 15) {
        const commits = yield* again.take
        assert.isAtMost(commits.length, 4)
        found.push(...commits.map(({ place }) => place.sequence))
      }
      assert.deepStrictEqual(found, stored.slice(5))
      const waiting = yield* Effect.forkChild(again.take, { startImmediately: true })
      const next = yield* journal.append(commitOn("read-next"), { last: "subject", sequence: 0 })
      assert.deepStrictEqual((yield* Fiber.join(waiting)).map(({ place }) => place.sequence), [next.sequence])
    })))

  it.effect("a reader with a filter gives the matching commits alone", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const after = yield* journal.head("GATEWAY")
      for (let number = 0; number < 6; number += 1) {
        yield* journal.append(commitOn(`filtered-${number}`, "once", { workspace: number % 2 === 0 ? "even" : "odd" }), { last: "subject", sequence: 0 })
      }
      const reader = yield* journal.read("GATEWAY", { after, filter: "mill.job.odd.*" })
      const found: Array<string | undefined> = []
      while (found.length < 3) found.push(...(yield* reader.take).map(({ subject }) => subject.story))
      assert.deepStrictEqual(found, [1, 3, 5].map((number) => storyOf(`filtered-${number}`).story))
    })))

  it.effect("bytes that nobody can read are handed over as an unreadable fact, and reading goes on", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open, put } = yield* LogUnderTest
      const journal = yield* open
      const after = yield* journal.head("METERING")
      const subject = { kind: "aside", scope: "metering" }
      yield* put("METERING", subject, { headers: [], body: Buffer.from("\u0007not msgpack") })
      yield* put("METERING", subject, { headers: [[names.fact, "FactSetAside/1,Never/7"], [names.id, "a,b"]], body: Buffer.from([0xc1]) })
      yield* put("METERING", subject, { headers: [[names.dictionary, "9999"], [names.fact, "FactSetAside/1"]], body: Buffer.from([0x90]) })
      yield* put("METERING", subject, { headers: [], body: new Uint8Array(0) })
      const commits = yield* readUpTo(journal, "METERING", after)
      assert.lengthOf(commits, 4)
      assert.deepStrictEqual(commits.map((commit) => readable(commit).unreadable.map(({ name }) => name)), [["?"], ["FactSetAside", "Never"], ["FactSetAside"], ["?"]])
      assert.isEmpty(commits.flatMap((commit) => readable(commit).facts))
    })))

  it.effect("a reactor that fails is told the commit again, and the others too", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const heard = yield* Ref.make<ReadonlyArray<string>>([])
      const done = yield* Deferred.make<void>()
      for (const name of ["a", "b", "c"]) yield* journal.append(commitOn(`fail-${name}`, "once", { workspace: "failing" }), { last: "subject", sequence: 0 })
      yield* Effect.forkScoped(journal.react({ stream: "GATEWAY", durable: "test-fails", filter: "mill.job.failing.*" }, (commit) =>
        Effect.gen(function*() {
          const all = yield* Ref.updateAndGet(heard, (before) => [...before, commit.subject.story ?? ""])
          if (all.filter((story) => story === commit.subject.story).length === 1 && commit.subject.story === storyOf("fail-b").story) return yield* Effect.fail("not this time")
          if (new Set(all).size === 3 && all.length === 4) yield* Deferred.succeed(done, undefined)
        })))
      yield* Deferred.await(done)
      const count = (name: string) => Effect.map(Ref.get(heard), (all) => all.filter((story) => story === storyOf(name).story).length)
      assert.deepStrictEqual([yield* count("fail-a"), yield* count("fail-b"), yield* count("fail-c")], [1, 2, 1])
    })))

  it.effect("a reactor that dies before its acknowledgement hears the commit again; what it acknowledged it does not", () =>
    Effect.scoped(Effect.gen(function*() {
      const { open } = yield* LogUnderTest
      const journal = yield* open
      for (const name of ["a", "b"]) yield* journal.append(commitOn(`dies-${name}`, "once", { workspace: "dying" }), { last: "subject", sequence: 0 })
      const options = { stream: "GATEWAY", durable: "test-dies", filter: "mill.job.dying.*", ackWaitMs: 400 } as const
      const reached = yield* Deferred.make<void>()
      const first = yield* Effect.forkChild(journal.react(options, ({ subject }) =>
        subject.story === storyOf("dies-a").story ? Effect.void : Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(first)
      const again = yield* Deferred.make<string>()
      const other = yield* open
      yield* Effect.forkScoped(other.react(options, ({ subject }) => Deferred.succeed(again, subject.story ?? "")))
      assert.strictEqual(yield* Deferred.await(again), storyOf("dies-b").story)
    })))

  it.effect("a reactor that begins at a moment hears nothing older, goes on where it stood, and when it was forgotten begins anew", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = yield* Effect.flatten(LogUnderTest.useSync(({ open }) => open))
      const tell = (name: string) => journal.append(commitOn(`since-${name}`, "once", { workspace: "since" }), { last: "subject", sequence: 0 })
      yield* tell("a")
      const subject = { kind: "job", scope: "since", story: storyOf("since-b").story! }
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
      yield* tell("b")
      const sinceMs = (yield* journal.story(subject))[0]!.place.storedAtMs
      const hear = Effect.fnUntraced(function*(until: string, sinceMs: number) {
        const heard: Array<string> = []
        const done = yield* Deferred.make<void>()
        const reacting = yield* Effect.forkChild(journal.react({ stream: "GATEWAY", durable: "test-since", filter: "mill.job.since.*", sinceMs }, ({ subject: { story = "" } }) =>
          Effect.asVoid(Effect.suspend(() => {
            heard.push(story)
            return story === storyOf(until).story ? Deferred.succeed(done, undefined) : Effect.void
          }))))
        yield* Deferred.await(done)
        // The acknowledgement is on its way when the reactor has returned.
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
        yield* Fiber.interrupt(reacting)
        return heard
      })
      assert.deepStrictEqual(yield* hear("since-b", sinceMs), [storyOf("since-b").story!])
      yield* tell("c")
      assert.deepStrictEqual(yield* hear("since-c", 0), [storyOf("since-c").story!])
      yield* journal.forget("GATEWAY", "test-since")
      yield* journal.forget("GATEWAY", "test-since")
      assert.deepStrictEqual(yield* hear("since-c", sinceMs), [storyOf("since-b").story!, storyOf("since-c").story!])
    })))
}
