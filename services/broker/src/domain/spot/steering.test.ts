import { assert, describe, it } from "@effect/vitest"
import type { MillFact } from "@millrace/schemas"
import { Desk, firstLease, granted, observed, offer, provider, tookOver, waits } from "../../testing/desk.ts"
import { dueAfterMs } from "../decide.ts"
import { planInputsOf } from "../plan-inputs.ts"

const hour = 3_600_000
/** A start takes three minutes at most, by the desk's bounds: an hour of work, lost once and begun twice, takes two hours and seven minutes. */
const safeMs = 2 * hour + 2 * 180_000 + 60_000
const both = observed(offer("small", { price: 6n }), offer("small", { price: 2n }, { market: "spot" }))
const due = (deadlineAtMs: number, spot: "tolerated" | "never" = "tolerated"): MillFact => waits(1, { where: { spot }, deadlineAtMs, workLeftMs: hour })
const markets = (facts: ReadonlyArray<MillFact>) => facts.flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact.column.market] : []))
const desk = (...facts: ReadonlyArray<MillFact>): Desk => new Desk().hear(0, tookOver(), ...facts)

describe("work with a deadline that tolerates spot", () => {
  it("is bought spot while a loss in its last moment would leave time to begin again, and not after that", () => {
    assert.deepStrictEqual(markets(desk(both, due(safeMs + 1)).decide(1)), ["spot"])
    const late = desk(both, due(safeMs))
    assert.deepStrictEqual(markets(late.decide(1)), ["on_demand"])
    assert.deepStrictEqual(late.decide(2), [])
    assert.deepStrictEqual(planInputsOf(late.state, 1).classes.map(({ spot }) => spot), [false])
    assert.deepStrictEqual(planInputsOf(desk(both, due(safeMs + 1)).state, 1).classes.map(({ spot }) => spot), [true])
  })

  it("is bought on demand at once where there is no spot, and spot whatever the time where it has no deadline", () => {
    const none = observed(offer("small", { price: 6n }), offer("small", { price: 2n, regions: [] }, { market: "spot" }))
    assert.deepStrictEqual(markets(desk(none, due(100 * hour)).decide(1)), ["on_demand"])
    assert.deepStrictEqual(markets(desk(both, waits(1, { where: { spot: "tolerated" } })).decide(1)), ["spot"])
    assert.deepStrictEqual(markets(desk(both, due(100 * hour, "never")).decide(1)), ["on_demand"])
  })

  it("and whose spot machine does not come is bought another in time: the moment is waited for, and spot on its way does not count then", () => {
    const waiting = desk(both, due(safeMs + 50_000))
    assert.deepStrictEqual(markets(waiting.decide(1)), ["spot"])
    assert.strictEqual(dueAfterMs(waiting.state, 1), 50_001)
    assert.deepStrictEqual(markets(waiting.decide(50_000)), [])
    assert.deepStrictEqual(markets(waiting.decide(50_001)), ["on_demand"])
  })

  it("and has lost its spot machine keeps its deadline", () => {
    const lost = desk(both, due(safeMs + 1))
    lost.decide(1)
    const lease = firstLease(lost)
    lost.hear(2, granted(lease), waits(0))
    lost.hear(hour, { _tag: "LeaseReleased", leaseId: lease, provider, cause: "reclaimed" }, { _tag: "LeaseEnded", leaseId: lease, provider, confirmed: "reclaimed", endedAtMs: hour, costPico: 1n }, due(safeMs + 1))
    assert.deepStrictEqual(markets(lost.decide(hour + 1)), ["on_demand"])
    assert.isAtLeast(safeMs + 1 - (hour + 1), hour + 180_000)
  })
})
