import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Site } from "../testing/agent.ts"
import { placement } from "../testing/placement.ts"

const ends = (site: Site) => Effect.map(site.said, (facts) => facts.flatMap(({ event }) =>
  event._tag === "AttemptExited" ? [event.cause] : event._tag === "AttemptRefused" ? [event.reason] : []))

const ofItself = (site: Site) => Effect.map(site.saidOfItself, (facts) => facts.map(({ event }) => event._tag))

const lasting = (ms: number) => ({ spec: { onSilence: { keepMs: ms } } })

/** Time passes a little at a time, as beats do. */
const pass = (site: Site, ms: number) => Effect.gen(function*() {
  for (let passed = 0; passed < ms; passed += 500) {
    yield* TestClock.adjust(Math.min(500, ms - passed))
    yield* site.settle
  }
})

describe("a host holds its lease", () => {
  it.effect("nothing is begun before the scheduler has answered a beat, and then what waited is", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      site.answer = undefined
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      yield* pass(site, 5_000)
      assert.deepStrictEqual(site.work.started, [])
      site.answer = { term: 1, leaseMs: 15_000, lost: false }
      yield* pass(site, 1_000)
      assert.deepStrictEqual(site.work.started, [made.attemptId])
    }))

  it.effect("nothing is begun once its lease is over, whatever the log still brings", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      site.answer = undefined
      yield* pass(site, 15_000)
      yield* site.hear(yield* site.signed(placement("a")))
      yield* pass(site, 5_000)
      assert.deepStrictEqual(site.work.started, [])
    }))

  it.effect("work may go on for as long as its job says, counted from when the answered beat was sent, and no less than the lease", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const [short, long] = [yield* site.signed(placement("a", lasting(0))), yield* site.signed(placement("b", lasting(60_000)))]
      yield* site.hear(short)
      yield* site.hear(long)
      const left = () => [short, long].map(({ attemptId }) => site.work.deadlines.get(attemptId))
      assert.deepStrictEqual(left(), [15_000, 60_000])
      yield* pass(site, 3_000)
      assert.deepStrictEqual(left(), [18_000, 63_000])
      site.answer = undefined
      yield* pass(site, 10_000)
      assert.deepStrictEqual(left(), [18_000, 63_000])
    }))

  it.effect("a scheduler that was replaced extends nothing", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      site.answer = { term: 4, leaseMs: 15_000, lost: false }
      yield* site.start
      const made = yield* site.signed(placement("a", lasting(0)))
      yield* site.hear(made)
      site.answer = { term: 3, leaseMs: 15_000, lost: true, voidBelow: { epoch: 9, sequence: 9 } }
      yield* pass(site, 12_000)
      assert.strictEqual(site.work.deadlines.get(made.attemptId), 15_000)
      assert.deepStrictEqual(yield* ends(site), [])
      site.answer = { term: 5, leaseMs: 15_000, lost: false }
      yield* pass(site, 3_000)
      assert.isAbove(site.work.deadlines.get(made.attemptId)!, 25_000)
    }))

  it.effect("a host that was declared lost ends what is void, tells so, says once that it is here, and begins nothing of before", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const [before, after] = [yield* site.signed(placement("a", { sequence: 5 })), yield* site.signed(placement("b", { sequence: 8 }))]
      yield* site.hear(before)
      yield* site.hear(after)
      site.answer = { term: 1, leaseMs: 15_000, lost: true, voidBelow: { epoch: 1, sequence: 7 } }
      yield* pass(site, 10_000)
      assert.deepStrictEqual(yield* ends(site), ["lease_ended"])
      assert.deepStrictEqual(site.work.stopped, [before.attemptId])
      assert.deepStrictEqual(yield* ofItself(site), ["HostJoined", "HostJoined"])
      yield* site.hear(yield* site.signed(placement("c", { sequence: 6 })))
      assert.deepStrictEqual(yield* ends(site), ["lease_ended", "fence_old"])
      // It stays void when the host has been taken up again, and is lost once more by another word alone.
      site.answer = { ...site.answer, lost: false }
      yield* pass(site, 4_000)
      site.answer = { ...site.answer, lost: true, voidBelow: { epoch: 1, sequence: 20 } }
      yield* pass(site, 4_000)
      assert.deepStrictEqual(yield* ofItself(site), ["HostJoined", "HostJoined", "HostJoined"])
    }))

  it.effect("an agent that is stopped with nothing running says that the host has left, and with work says nothing and leaves it", () =>
    Effect.gen(function*() {
      const idle = yield* Site.make
      yield* idle.start
      assert.isTrue(yield* idle.stop)
      assert.deepStrictEqual(yield* ofItself(idle), ["HostJoined", "HostLeft"])
      const busy = yield* Site.make
      yield* busy.start
      const made = yield* busy.signed(placement("a"))
      yield* busy.hear(made)
      assert.isTrue(yield* busy.stop)
      assert.deepStrictEqual([yield* ofItself(busy), busy.work.stopped], [["HostJoined"], []])
      yield* busy.start
      busy.work.end(made, { code: 0, output: [] })
      yield* busy.settle
      assert.deepStrictEqual(yield* ends(busy), ["exited"])
    }))

  it.effect("one that is to end its work at a stop ends it and tells so before it leaves", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      site.atStop = "end"
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      assert.isTrue(yield* site.stop)
      assert.deepStrictEqual(yield* ends(site), ["agent_restarted"])
      assert.deepStrictEqual([yield* ofItself(site), site.work.stopped], [["HostJoined", "HostLeft"], [made.attemptId]])
    }))

  it.effect("one that is to drain says so, takes nothing new, and leaves when its work has ended", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      site.atStop = "drain"
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      assert.isFalse(yield* site.stop)
      assert.deepStrictEqual(yield* ofItself(site), ["HostJoined", "HostDraining"])
      yield* site.hear(yield* site.signed(placement("b")))
      site.work.end(made, { code: 0, output: [] })
      yield* site.settle
      assert.deepStrictEqual(yield* ofItself(site), ["HostJoined", "HostDraining", "HostLeft"])
      assert.deepStrictEqual([yield* ends(site), site.work.started], [["exited"], [made.attemptId]])
    }))
})
