import { assert, describe, it } from "@effect/vitest"
import { type LeaseId, type MillFact, Principal } from "@millrace/schemas"
import { admitted, Desk, digestOf, firstLease, given, granted, joined, observed, offer, provider, tags, waits } from "../testing/desk.ts"
import { orphanLease } from "./sweep.ts"
import { reap } from "./reap.ts"

const ada = Principal.make("user:ada")
const stranger: MillFact = { _tag: "OrphanFound", leaseId: orphanLease(provider, "m9"), provider, machine: "m9", cell: "test", runningSinceMs: 0, costSoFarPico: 5n, sweeps: 1 }
const reaped = (desk: Desk, ...named: ReadonlyArray<LeaseId>) => {
  const { ending, given, unknown } = reap(desk.state, named, ada)
  return { given: given.map(({ event }) => event._tag), ending: ending.length, unknown: unknown.length }
}
const held = (): Desk => {
  const desk = given(observed(offer("small")), waits(1))
  desk.decide(1)
  desk.hear(2, granted(firstLease(desk)), admitted(digestOf(desk)), joined)
  desk.decide(3)
  return desk
}

describe("asking for an end", () => {
  it("of all that leaks ends what nobody accounts for at its first sight, and leaves what works alone", () => {
    const desk = held().hear(4, stranger)
    assert.deepStrictEqual(desk.decide(5), [])
    assert.deepStrictEqual(reaped(desk), { given: ["LeaseReleased"], ending: 0, unknown: 0 })
    desk.hear(6, ...reap(desk.state, [], ada).given.map(({ event }) => event))
    assert.deepStrictEqual(reaped(desk), { given: [], ending: 1, unknown: 0 })
    assert.deepInclude(desk.state.leases.get(orphanLease(provider, "m9"))!.released, { cause: "asked" })
  })
  it("of a named lease ends it whatever it does, by whom is said, and one that is not open is told as such", () => {
    const desk = held()
    const lease = firstLease(desk)
    const [first] = reap(desk.state, [lease], ada).given
    assert.deepInclude(first!.event, { _tag: "LeaseReleased", cause: "asked", askedBy: ada })
    assert.deepStrictEqual(reaped(desk, `lse_${"A".repeat(26)}` as LeaseId), { given: [], ending: 0, unknown: 1 })
    desk.hear(5, first!.event)
    assert.notInclude(tags(desk.decide(6)), "LeaseReleased idle")
    assert.deepStrictEqual(reaped(desk, lease), { given: [], ending: 1, unknown: 0 })
  })
  it("of one that has no answer yet gives it up", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    assert.deepStrictEqual(reaped(desk, firstLease(desk)), { given: ["LeaseWithdrawn"], ending: 0, unknown: 0 })
  })
})
