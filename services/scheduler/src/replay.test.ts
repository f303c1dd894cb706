import { assert, describe, it } from "@effect/vitest"
import { Checkpoints, foldCommit, hashOf, Journal, layerMemory, runDecider, type StreamDecider, verify } from "@millrace/journal"
import { deriveId } from "@millrace/decider"
import { type Cut, type FactId, type MillFact, Principal, type StreamName, type Subject } from "@millrace/schemas"
import { readUpTo } from "@millrace/journal/testing"
import { Cause, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { World } from "./domain/world.ts"
import { scheduler } from "./domain/scheduler.ts"
import { comparable } from "./service.ts"
import { admitted, cancelled, exited, host, joined, needs, submitted, subjectOf } from "./testing/cell.ts"

const say = (event: MillFact) => Effect.gen(function*() {
  const journal = yield* Journal
  const subject: Subject = subjectOf(event)
  const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
  const id = deriveId<FactId>("fct", 0, JSON.stringify(event), sequence)
  yield* journal.append({ subject, actor: Principal.make("user:ada"), happenedAtMs: 0, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence })
})

const running = (decider: StreamDecider<World>, checkpointEvery = 100_000) =>
  runDecider({
    decider,
    checkpointEvery,
    takeOver: { subject: { kind: "fleet", scope: "cell" }, fact: (world) => ({ _tag: "SchedulerTookOver", term: world.term + 1, scheduler: decider.actor, codeVersion: decider.codeVersion }) },
    finish: (commit) => ({ ...commit, facts: commit.facts.map((fact) => fact.event._tag === "PlacementMade" ? { ...fact, event: { ...fact.event, signature: "signed" } } : fact) as never })
  })

/** Lets the decider fold what was said and say what follows. */
const settle = TestClock.adjust("300 millis")

const placements = Effect.gen(function*() {
  const journal = yield* Journal
  const commits = yield* Effect.forEach(["a", "b"], (name) => journal.story({ kind: "placement", scope: host(name) }))
  return commits.flat().flatMap(({ facts }) => facts.flatMap(({ event }) => event._tag === "Success" && event.success._tag === "PlacementMade" ? [event.success] : []))
})

/** A day in a cell: two hosts, jobs that succeed, fail, wait, are tried again and cancelled. */
const day = Effect.gen(function*() {
  for (const name of ["a", "b"]) {
    yield* say(admitted(name))
    yield* say(joined(name, needs(2000, 1000)))
  }
  for (let index = 0; index < 12; index += 1) {
    yield* say(submitted(`j${index}`, { in: index % 2 === 0 ? "acme" : "other", attemptsMax: 1 + (index % 2) }))
    if (index % 3 === 0) yield* settle
  }
  yield* say(cancelled("j1", "other"))
  const over = new Set<string>()
  for (let turn = 0; turn < 12; turn += 1) {
    yield* settle
    for (const made of yield* placements) {
      if (over.has(made.attemptId)) continue
      over.add(made.attemptId)
      yield* say(exited(made, { code: over.size % 3 === 0 ? 1 : 0 }))
    }
  }
  yield* settle
})

const inCell = Layer.merge(layerMemory, Checkpoints.layerMemory)

const headOf = (stream: StreamName) => Journal.use((journal) => journal.head(stream))

/** The state that the log leads to, up to where somebody had seen it. */
const foldedUpTo = (saw: Cut) => Effect.gen(function*() {
  const journal = yield* Journal
  let world = scheduler.initial()
  for (const stream of [...scheduler.hears, scheduler.writes]) {
    const commits = yield* readUpTo(journal, stream, 0)
    for (const commit of commits) if (commit.place.sequence <= (saw[stream] ?? 0)) world = foldCommit(scheduler, world, commit)
  }
  return world
})

describe("a replay of the scheduler's decisions", () => {
  it.effect("finds that each follows from what it had seen", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(running(scheduler))
      yield* day
      yield* Fiber.interrupt(fiber)
      const verdict = yield* verify(scheduler, { comparable })
      assert.deepStrictEqual(verdict.mismatches, [])
      assert.isAbove(verdict.decisions, 10)
      assert.isAbove(verdict.facts, 20)
      assert.strictEqual(verdict.commits, yield* headOf("SCHEDULER"))
    }).pipe(Effect.provide(inCell)))

  it.effect("finds it over a restart too, from a checkpoint and under another term", () =>
    Effect.gen(function*() {
      const first = yield* Effect.forkChild(running(scheduler, 1))
      yield* day
      yield* Fiber.interrupt(first)
      const kept = yield* Checkpoints.use((checkpoints) => checkpoints.load("scheduler"))
      assert.isAbove(kept?.saw["GATEWAY"] ?? 0, 0, "no checkpoint was written")
      assert.strictEqual(hashOf(scheduler.save(scheduler.load(kept!.state as never))), hashOf(scheduler.save(yield* foldedUpTo(kept!.saw))), "a rebuild comes to another state")
      const second = yield* Effect.forkChild(running(scheduler))
      yield* say(submitted("next"))
      yield* settle
      yield* Fiber.interrupt(second)
      const verdict = yield* verify(scheduler, { comparable })
      assert.deepStrictEqual(verdict.mismatches, [])
      assert.strictEqual((yield* placements).at(-1)?.attempt, 1)
    }).pipe(Effect.provide(inCell)))

  it.effect("finds a decision that came from somewhere else", () =>
    Effect.gen(function*() {
      let rounds = 0
      const moody: StreamDecider<World> = {
        ...scheduler,
        decide: (world, round) => {
          rounds += 1
          return scheduler.decide(world, rounds % 5 === 0 ? { ...round, atMs: round.atMs + 1 } : round)
        }
      }
      const fiber = yield* Effect.forkChild(running(moody))
      yield* day
      yield* Fiber.interrupt(fiber)
      const { mismatches } = yield* verify(scheduler, { comparable })
      assert.isNotEmpty(mismatches)
      assert.strictEqual(mismatches[0]?.stream, "SCHEDULER")
      assert.notDeepEqual(mismatches[0]?.logged, mismatches[0]?.replayed)
    }).pipe(Effect.provide(inCell)))

  it.effect("and a scheduler that was overtaken says nothing more", () =>
    Effect.gen(function*() {
      const first = yield* Effect.forkChild(running(scheduler))
      yield* say(admitted("a"))
      yield* say(joined("a"))
      yield* settle
      const second = yield* Effect.forkChild(running(scheduler))
      yield* settle
      yield* say(submitted("j1"))
      yield* settle
      const end = yield* Fiber.await(first)
      assert.isTrue(Exit.isFailure(end) && Cause.pretty(end.cause).includes("Overtaken"))
      yield* Fiber.interrupt(second)
      assert.lengthOf(yield* placements, 1)
      assert.deepStrictEqual((yield* verify(scheduler, { comparable })).mismatches, [])
    }).pipe(Effect.provide(inCell)))
})
