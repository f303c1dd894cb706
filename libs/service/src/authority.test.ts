import { resourceOf } from "@millrace/authority"
import { deriveId } from "@millrace/decider"
import { type Commit, Journal, memoryJournal, MemoryLog, Pulse, pulsesInMemory } from "@millrace/journal"
import type { FactId, MillFact, Principal, WorkspaceName } from "@millrace/schemas"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Authority } from "./authority.ts"

const acme = "acme" as WorkspaceName
const ada = "user:ada" as Principal
const asked = { principal: ada, workspace: acme, action: "job.submit", resource: resourceOf(acme) } as const
const bound: MillFact = { _tag: "RoleBound", workspace: acme, principal: ada, role: "owner", boundBy: ada }
const unbound: MillFact = { _tag: "RoleUnbound", workspace: acme, principal: ada, role: "owner", unboundBy: ada }

const subject = { kind: "principal", scope: acme }
const told = (log: MemoryLog, event: MillFact) => {
  const id = deriveId<FactId>("fct", 1, event._tag, log.head("ACCESS"))
  const commit: Commit = { subject, actor: ada, happenedAtMs: 1, facts: [{ id, partOf: id, event }] }
  log.append(commit, { last: "stream", sequence: log.head("ACCESS") }, 1)
}

/** A view that hears pulses, and whoever beats them. */
const listening = Effect.gen(function*() {
  const log = new MemoryLog()
  const pulses = yield* pulsesInMemory
  told(log, bound)
  const authority = yield* Layer.build(Authority.layer).pipe(
    Effect.flatMap((context) => Effect.provide(Authority, context)),
    Effect.provideService(Journal, memoryJournal(log)),
    Effect.provideService(Pulse, pulses("gateway"))
  )
  const settled = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })
  yield* settled
  const beat = (headSeq: number) => Effect.andThen(pulses("access").beat({ headSeq, atMs: 0 }), settled)
  return { log, authority, beat, settled }
})

describe("a view of authority", () => {
  it.effect("is as old as the last beat whose head it had reached", () => Effect.gen(function*() {
    const { authority, beat } = yield* listening
    yield* TestClock.adjust(1_000)
    assert.strictEqual(yield* authority.ageMs, 1_000)
    yield* beat(1)
    assert.strictEqual(yield* authority.ageMs, 0)
    yield* TestClock.adjust(500)
    // A head that it has not reached makes it no younger.
    yield* beat(2)
    assert.strictEqual(yield* authority.ageMs, 500)
  }))

  it.effect("grows younger when it reaches a head that it was told of before", () => Effect.gen(function*() {
    const { authority, beat, log, settled } = yield* listening
    yield* TestClock.adjust(700)
    yield* beat(2)
    yield* TestClock.adjust(300)
    told(log, { ...bound, principal: "user:bob" as Principal })
    yield* settled
    assert.strictEqual(yield* authority.ageMs, 300)
    assert.deepStrictEqual(authority.cut(), { ACCESS: 2 })
  }))

  it.effect("allows nothing past its bound while the log is silent, and says so", () => Effect.gen(function*() {
    const log = new MemoryLog()
    told(log, bound)
    const reachable = { yes: true }
    const journal = memoryJournal(log)
    const authority = yield* Layer.build(Authority.layer).pipe(
      Effect.flatMap((context) => Effect.provide(Authority, context)),
      Effect.provideService(Journal, { ...journal, head: (stream) => reachable.yes ? journal.head(stream) : Effect.never }),
      Effect.provideService(Pulse, (yield* pulsesInMemory)("gateway"))
    )
    assert.strictEqual((yield* authority.decide(asked, 1_000)).decision.verdict, "allow")
    reachable.yes = false
    yield* TestClock.adjust(1_001)
    const decided = yield* Effect.forkChild(authority.decide(asked, 1_000))
    yield* TestClock.adjust(2_000)
    const { decision, viewAgeMs } = yield* Fiber.join(decided)
    assert.deepInclude(decision, { verdict: "deny", rule: "stale-view", reason: "stale_view" })
    assert.isAbove(viewAgeMs, 1_000)
  }))

  it.effect("takes in what access has just said before it says no, and what was taken away at once", () => Effect.gen(function*() {
    const { authority, log } = yield* listening
    const bob = { ...asked, principal: "user:bob" as Principal }
    assert.strictEqual((yield* authority.decide(bob)).decision.verdict, "deny")
    told(log, { ...bound, principal: bob.principal } as MillFact)
    assert.strictEqual((yield* authority.decide(bob)).decision.verdict, "allow")
    told(log, { ...unbound, principal: bob.principal } as MillFact)
    assert.strictEqual(yield* authority.catchUp(1_000), true)
    assert.strictEqual((yield* authority.decide(bob)).decision.verdict, "deny")
  }))

  it.effect("stops where a fact of access cannot be read, rather than to overlook what it took away", () => Effect.gen(function*() {
    const { authority, beat, log, settled } = yield* listening
    log.put("ACCESS", "mill.principal.acme", { headers: [["Mill-Id", deriveId("fct", 1, "odd")], ["Mill-Fact", "RoleUnbound/1"], ["Mill-Actor", ada]], body: new Uint8Array([0xc1]) }, 2)
    told(log, { ...bound, principal: "user:bob" as Principal })
    yield* settled
    yield* TestClock.adjust(1_000)
    yield* beat(3)
    assert.deepStrictEqual(authority.cut(), { ACCESS: 1 })
    assert.strictEqual(yield* authority.ageMs, 1_000)
  }))
})
