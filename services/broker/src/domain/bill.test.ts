import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { reconcile } from "./bill.ts"
import { costPico } from "./money.ts"

const price = 1_000_000_000n
const billing = { billedStepMs: 60_000, billedMsMin: 60_000 }
const ours = { leaseId: "lse_a", machine: "m1", sinceMs: 0, untilMs: 600_000, pricePicoPerSecond: price, billing }
const causes = (theirs: { readonly fromMs?: number; readonly untilMs?: number; readonly amountPico?: bigint }) => {
  const { fromMs = 0, untilMs = 600_000 } = theirs
  const [one] = reconcile([ours], [{ machine: "m1", fromMs, untilMs, amountPico: theirs.amountPico ?? costPico(price, billing, fromMs, untilMs) }])
  return one!.differences.map(({ cause, pico }) => [cause, pico])
}

describe("a provider's bill beside ours", () => {
  it("is the same, or differs by when they begin, when they end, the price, or parts of a cent", () => {
    assert.deepStrictEqual(causes({}), [])
    assert.deepStrictEqual(causes({ fromMs: 61_000 }), [["began", -60n * price]])
    assert.deepStrictEqual(causes({ untilMs: 700_000 }), [["ended", 120n * price]])
    assert.deepStrictEqual(causes({ amountPico: 600n * price * 2n }), [["price", 600n * price]])
    assert.deepStrictEqual(causes({ amountPico: 600n * price + 7n }), [["rounding", 7n]])
  })
  it("names machines that only one side knows", () => {
    const [mine, other] = reconcile([ours], [{ machine: "m2", fromMs: 0, untilMs: 1, amountPico: 5n }])
    assert.deepStrictEqual([mine!.differences[0]?.cause, other!.differences[0]?.cause], ["not_billed", "unknown_to_us"])
  })
  it("counts each of its lines once where it gives a machine the number of one that has ended", () => {
    const again = { ...ours, leaseId: "lse_b", sinceMs: 700_000, untilMs: 900_000 }
    const lines = [{ machine: "m1", fromMs: 700_000, untilMs: 940_000, amountPico: 240n * price }, { machine: "m1", fromMs: 0, untilMs: 600_000, amountPico: 600n * price }]
    assert.deepStrictEqual(reconcile([ours, again], lines).map(({ differences, leaseId, theirsPico }) => [leaseId, theirsPico, differences.length]), [["lse_a", 600n * price, 0], ["lse_b", 240n * price, 0]])
  })
  const Ms = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 10_000_000 })))
  it.prop("explains every part of every difference", [Ms, Ms, Ms, Ms, Ms], ([sinceMs, lasts, fromMs, theyLast, amount]) => {
    const [one] = reconcile([{ ...ours, sinceMs, untilMs: sinceMs + lasts }], [{ machine: "m1", fromMs, untilMs: fromMs + theyLast, amountPico: BigInt(amount) * 1_000_000n }])
    assert.strictEqual(one!.differences.reduce((sum, { pico }) => sum + pico, 0n), one!.theirsPico - one!.oursPico)
  })
})
