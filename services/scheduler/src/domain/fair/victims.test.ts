import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { cheapestSet, costOf, costOfAll } from "./victims.ts"

const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 12 })))
const Held = Schema.Array(Schema.Struct({ cost: few, size: few })).pipe(Schema.check(Schema.isMaxLength(14)))
const candidates = (held: typeof Held.Type) => held.map(({ cost, size }, at) => ({ id: String(at).padStart(2, "0"), cost: BigInt(cost), size }))
type Sized = ReturnType<typeof candidates>[number]
const freed = (gone: ReadonlyArray<Sized>): number => gone.reduce((sum, { size }) => sum + size, 0)

describe("the cheapest victims", () => {
  it("time since the work was last kept counts, by GPUs; a core counts a sixteenth of one", () => {
    assert.strictEqual(costOf({ keptAtMs: 1_000, nowMs: 3_000, gpuMilli: 8_000, cpuMilli: 64_000 }), 2_000n * 128_000n)
    assert.strictEqual(costOf({ keptAtMs: 1_000, nowMs: 3_000, gpuMilli: 0, cpuMilli: 16_000 }), costOf({ keptAtMs: 1_000, nowMs: 3_000, gpuMilli: 1_000, cpuMilli: 1 }))
  })

  it.prop("there are victims exactly where the end of all would be enough, and none of them could be spared", [Held, few], ([held, need]) => {
    const all = candidates(held)
    const enough = (gone: ReadonlyArray<Sized>) => freed(gone) >= need
    const victims = cheapestSet(all, enough)
    assert.strictEqual(victims === undefined, !enough(all))
    for (const spared of victims ?? []) assert.isFalse(enough(victims!.filter((one) => one !== spared)), `${spared.id} need not have ended`)
  }, { arbitrary: { runs: 500 } })

  it.prop("of few no other set is cheaper", [Held, few], ([held, need]) => {
    const all = candidates(held).slice(0, 9)
    const enough = (gone: ReadonlyArray<Sized>) => freed(gone) >= need
    const victims = cheapestSet(all, enough)
    if (victims === undefined) return
    for (let which = 0; which < 2 ** all.length; which += 1) {
      const other = all.filter((_, at) => (which >> at) % 2 === 1)
      if (enough(other)) assert.isTrue(costOfAll(victims) <= costOfAll(other))
    }
  }, { arbitrary: { runs: 200 } })

  it.prop("the order in which they are named does not matter", [Held, few], ([held, need]) => {
    const all = candidates(held)
    const enough = (gone: ReadonlyArray<Sized>) => freed(gone) >= need
    assert.deepStrictEqual(cheapestSet([...all].reverse(), enough), cheapestSet(all, enough))
  }, { arbitrary: { runs: 200 } })
})
