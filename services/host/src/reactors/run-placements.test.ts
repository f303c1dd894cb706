import { assert, describe, it } from "@effect/vitest"
import type { MillFact, PlacementMade } from "@millrace/schemas"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Site } from "../testing/agent.ts"
import { factId, placement } from "../testing/placement.ts"

const withdrawn = ({ attempt, attemptId, fence, hostId, jobId, workspace }: PlacementMade): MillFact => ({
  _tag: "PlacementWithdrawn", attempt, attemptId, fence, hostId, jobId, workspace, cause: "cancelled"
})

const revoked = ({ attempt, attemptId, hostId, jobId, warrant, workspace }: PlacementMade): MillFact => ({
  _tag: "WarrantRevoked", warrantId: warrant.warrantId, attempt, attemptId, hostId, jobId, workspace, because: factId("revoked")
})

const brief = (event: MillFact): string => {
  switch (event._tag) {
    case "AttemptExited":
      return `exited: ${event.cause} ${event.code ?? event.signal ?? ""}`.trim()
    case "AttemptRefused":
      return `refused: ${event.reason}`
    case "PhaseEntered":
      return event.phase
    case "ArtefactKept":
      return `kept: ${event.name}, ${event.blob.sizeBytes} bytes, ${event.droppedBytes} dropped`
    default:
      return event._tag
  }
}

const told = (site: Site) => Effect.map(site.said, (facts) => facts.map(({ event }) => brief(event)))

const hello = { code: 0, output: [{ name: "stdout", bytes: Buffer.from("hello"), droppedBytes: 3 }] }

describe("a host carries out its placements", () => {
  it.effect("a placement is started and told; its end and its output are told together", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a"), { argv: ["greet", "ada"], env: { TONE: "warm" }, labels: {} })
      yield* site.hear(made)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted"])
      assert.deepStrictEqual(site.work.programs.get(made.attemptId), { argv: ["greet", "ada"], env: { TONE: "warm" }, labels: {} })
      site.work.end(made, hello)
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "kept: stdout, 5 bytes, 3 dropped", "exited: exited 0"])
      assert.strictEqual(site.blobs.size, 1)
      assert.isTrue(site.allHandled)
    }))

  it.effect("a log that is silent while the agent starts is asked again, however long that takes", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      site.unanswered = 3
      yield* site.start
      yield* TestClock.adjust("5 seconds")
      yield* site.hear(yield* site.signed(placement("a", { spec: { runtime: "noop" } })))
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "exited: exited 0"])
    }))

  it.effect("work that is over when it has begun is told in one breath", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      yield* site.hear(yield* site.signed(placement("a", { spec: { runtime: "noop" } })))
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "exited: exited 0"])
    }))

  it.effect("the same placement delivered again starts nothing and tells nothing, while it runs and when it is over", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      yield* site.hear(made)
      site.work.end(made, { code: 0, output: [] })
      yield* site.settle
      yield* site.hear(made)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "exited: exited 0"])
      assert.deepStrictEqual(site.work.started, [made.attemptId])
      assert.isTrue(site.allHandled)
    }))

  it.effect("a warrant that the cell did not sign, or that was altered since, is refused and nothing runs", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const [first, second] = [yield* site.signed(placement("a")), yield* site.signed(placement("b"))]
      yield* site.hear({ ...first, signature: second.signature })
      yield* site.hear({ ...second, warrant: { ...second.warrant, expiresAtMs: second.warrant.expiresAtMs + 1 } })
      assert.deepStrictEqual(yield* told(site), ["refused: warrant_invalid", "refused: warrant_invalid"])
      assert.deepStrictEqual(site.work.started, [])
    }))

  it.effect("a program that was sealed for another job is not opened for this one", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const [first, second] = [yield* site.signed(placement("a")), yield* site.signed(placement("b"))]
      yield* site.hear({ ...first, spec: second.spec })
      assert.deepStrictEqual(yield* told(site), ["refused: program_unreadable"])
      assert.deepStrictEqual(site.work.started, [])
    }))

  it.effect("what is withdrawn while it runs is stopped, and told as withdrawn once", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      yield* site.hear(withdrawn(made))
      yield* site.hear(withdrawn(made))
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "stopping", "exited: withdrawn SIGTERM"])
      assert.deepStrictEqual(site.work.stopped, [made.attemptId])
    }))

  it.effect("what is withdrawn before it was heard of is never begun, over a restart too", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(withdrawn(made))
      yield* site.kill
      yield* site.start
      yield* site.hear(made)
      yield* site.hear(made)
      assert.deepStrictEqual(yield* told(site), ["exited: withdrawn"])
      assert.deepStrictEqual(site.work.started, [])
    }))

  it.effect("what has run for as long as it may is stopped, and told as timed out", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a", { spec: { runMsMax: 200 } }))
      yield* site.hear(made)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted"])
      yield* TestClock.adjust("199 millis")
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted"])
      yield* TestClock.adjust("1 millis")
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "stopping", "exited: timed_out SIGTERM"])
    }))

  it.effect("what does not run in time is told as that, and nothing of it stays", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      site.work.startMs = 300
      const [late, soon] = [yield* site.signed(placement("a", { spec: { startMsMax: 200 } })), yield* site.signed(placement("b", { sequence: 2, spec: { startMsMax: 400 } }))]
      yield* site.hear(late)
      yield* TestClock.adjust("199 millis")
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), [])
      yield* TestClock.adjust("1 millis")
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), ["exited: start_timed_out"])
      assert.deepStrictEqual([site.work.started, site.work.orphansEnded], [[], [late.attemptId]])
      yield* site.hear(soon)
      yield* TestClock.adjust("300 millis")
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), ["exited: start_timed_out", "AttemptStarted"])
    }))

  it.effect("what does nothing for as long as it may is stopped and told as idle; a word, work of the processor, or what it says to its gang gives it its time anew", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      yield* site.hear(yield* site.signed(placement("a", { spec: { idleMsMax: 1_000 } })))
      const after = (ms: number) => Effect.andThen(TestClock.adjust(ms), site.settle)
      yield* after(900)
      site.work.doings = { saidBytes: 1, cpuMs: 0, gangBytes: 0, agoMs: 0 }
      yield* after(900)
      site.work.doings = { saidBytes: 1, cpuMs: 101, gangBytes: 0, agoMs: 0 }
      yield* after(900)
      site.work.doings = { saidBytes: 1, cpuMs: 101, gangBytes: 1, agoMs: 0 }
      yield* after(900)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted"])
      site.work.doings = { saidBytes: 1, cpuMs: 201, gangBytes: 1, agoMs: 400 }
      yield* after(549)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted"], "what it did in the last 400 ms nobody has seen")
      site.work.doings = { saidBytes: 1, cpuMs: 201, gangBytes: 1, agoMs: 0 }
      yield* after(1)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "stopping", "exited: idle_timed_out SIGTERM"])
    }))

  for (const [limit, terms] of [["run", { runMsMax: 2_000 }], ["do nothing", { idleMsMax: 2_000 }]] as const) {
    it.effect(`what ended by itself has done so, though what it left takes longer to keep than it might ${limit}`, () =>
      Effect.gen(function*() {
        const site = yield* Site.make
        yield* site.start
        const made = yield* site.signed(placement("a", { spec: terms }))
        yield* site.hear(made)
        yield* TestClock.adjust("500 millis")
        yield* site.settle
        site.work.keepingMs = 10_000
        site.work.end(made, { code: 0, byItself: true, output: [] })
        for (let second = 0; second < 30; second += 1) yield* Effect.andThen(TestClock.adjust("1 second"), site.settle)
        assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "exited: exited 0"])
      }))
  }

  it.effect("work outlives an agent that falls: the next one takes it up, begins nothing, and tells its end once", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      yield* site.kill
      yield* site.start
      yield* site.kill
      site.work.end(made, hello)
      yield* site.start
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "kept: stdout, 5 bytes, 3 dropped", "exited: exited 0"])
      assert.deepStrictEqual([site.work.started, site.work.orphansEnded], [[made.attemptId], []])
    }))

  it.effect("what ran when its machine went down has its end told by the next agent, and what may be left of it is ended", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a"))
      yield* site.hear(made)
      yield* site.kill
      site.work.lose()
      yield* site.start
      yield* site.kill
      yield* site.start
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "exited: agent_restarted"])
      assert.include(site.work.orphansEnded, made.attemptId)
      assert.deepStrictEqual(site.work.started, [made.attemptId])
    }))

  it.effect("what it takes up has no more time than it had: it is told as timed out when its own time is over", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const made = yield* site.signed(placement("a", { spec: { runMsMax: 500 } }))
      yield* site.hear(made)
      yield* TestClock.adjust("400 millis")
      yield* site.kill
      yield* site.start
      yield* TestClock.adjust("100 millis")
      yield* site.settle
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "stopping", "exited: timed_out SIGTERM"])
    }))

  it.effect("what its warrant no longer covers is stopped while it runs, and never begun if that is heard first", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const [runs, late] = [yield* site.signed(placement("a")), yield* site.signed(placement("b"))]
      yield* site.hear(runs)
      yield* site.hear(revoked(runs))
      yield* site.hear(revoked(late))
      yield* site.hear(late)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "stopping", "exited: withdrawn SIGTERM", "exited: withdrawn"])
      assert.deepStrictEqual(site.work.started, [runs.attemptId])
    }))

  it.effect("two tasks of one job have a fence each: the older one of the second task is not too old", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const [first, second] = [placement("a", { sequence: 9 }), placement("a", { attempt: 2, sequence: 4 })]
      yield* site.hear(yield* site.signed({ ...first, task: 0 }))
      yield* site.hear(yield* site.signed({ ...second, task: 1, warrant: { ...second.warrant, attempt: 2 } }), "second")
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "AttemptStarted"])
    }))

  it.effect("a refusal that was said and not noted stands, though by now there would be room", () =>
    Effect.gen(function*() {
      const site = yield* Site.make
      yield* site.start
      const all = { resources: { cpuMilli: 4000, memoryMib: 4000, diskMib: 0, gpus: 0 } }
      const [first, second] = [yield* site.signed(placement("a", { spec: all })), yield* site.signed(placement("b", { spec: all }))]
      yield* site.hear(first)
      // Its append is the first place, the answer to it the second: said, and not noted.
      site.fallAt(2)
      yield* site.hear(second)
      assert.isTrue(site.fallen)
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "refused: no_room"])
      yield* site.kill
      site.kept.attempts.delete(first.attemptId)
      yield* site.start
      assert.deepStrictEqual(yield* told(site), ["AttemptStarted", "refused: no_room"])
      assert.deepStrictEqual(site.work.started, [first.attemptId])
      assert.isTrue(site.allHandled)
    }))
})

/** Two jobs, one that runs for a while and says something, and one that is refused. True if the agent fell on the way. */
const dayWithAFallAt = Effect.fnUntraced(function*(site: Site, step: number) {
  const [runs, swift, breaks] = [
    yield* site.signed(placement("a")),
    yield* site.signed(placement("b", { spec: { runtime: "noop" } })),
    placement("c")
  ]
  yield* site.start
  site.fallAt(step)
  let fell = false
  const mend = Effect.gen(function*() {
    if (!site.fallen) return
    fell = true
    yield* site.kill
    yield* site.start
  })
  for (const made of [runs, swift, breaks]) {
    yield* site.hear(made)
    yield* mend
  }
  site.work.end(runs, hello)
  yield* site.settle
  yield* mend
  yield* site.kill
  return fell
})

describe("a host whose agent falls between any two effects", () => {
  it.effect("tells one end of each attempt, never twice, starts nothing twice, and leaves nothing unheard", () =>
    Effect.gen(function*() {
      const causes = new Set<string>()
      let step = 0
      for (let fell = true; fell;) {
        step += 1
        const site = yield* Site.make
        fell = yield* dayWithAFallAt(site, step)
        const facts = yield* site.said
        const where = `fell at ${step}: ${facts.map(({ event }) => brief(event)).join(", ")}`
        assert.strictEqual(new Set(facts.map(({ id }) => id)).size, facts.length, where)
        const byAttempt = Map.groupBy(facts, ({ event }) => (event as { attemptId: string }).attemptId)
        assert.strictEqual(byAttempt.size, 3, where)
        for (const [attempt, said] of byAttempt) {
          const ends = said.filter(({ event }) => event._tag === "AttemptExited" || event._tag === "AttemptRefused")
          assert.lengthOf(ends, 1, `${attempt} ${where}`)
          assert.strictEqual(said.at(-1), ends[0], where)
          if (ends[0]?.event._tag === "AttemptExited") {
            assert.strictEqual(said[0]?.event._tag, "AttemptStarted", where)
            causes.add(ends[0].event.cause)
          } else assert.lengthOf(said, 1, where)
        }
        assert.isAtMost(site.work.started.length, 1, where)
        assert.isTrue(site.allHandled, where)
        assert.isTrue([...site.kept.attempts.values()].every(({ state }) => state === "told"), where)
      }
      assert.isAbove(step, 15, "the agent touched the world in fewer places than it must")
      assert.deepStrictEqual([...causes].sort(), ["agent_restarted", "exited"])
    }))
})
