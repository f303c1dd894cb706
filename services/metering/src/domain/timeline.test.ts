import { publish, noBooks, priceOf } from "@millrace/pricing"
import type { FactId } from "@millrace/schemas"
import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import { acme } from "../testing/cell.ts"
import { firstBook } from "./first-book.ts"
import { chargesOf, intervalsOf, type Mark, spendOf } from "./timeline.ts"

const mark = (what: Mark["what"], storedAtMs: number, hostMs?: number, bootId = "boot"): Mark =>
  ({ what, storedAtMs, factId: `fct_${what}` as FactId, ...(hostMs === undefined ? {} : { hostMs, bootId }) })
const core = { cpuMilli: 1000, memoryMib: 0, gpus: 0 }
const dear = { ...firstBook, version: 2, effectiveFromMs: 2_000, prices: firstBook.prices.map((price) => ({ ...price, picoPerUnit: price.picoPerUnit * 10n })) }
const books = publish(publish(noBooks, firstBook), dear)
const rowsOf = (intervals: ReturnType<typeof intervalsOf>) => intervals.map(({ fromMs, ms, phase }) => `${phase} ${fromMs}+${ms}`)

describe("an attempt's time", () => {
  it("lies in one phase after the other, by the host's own clock", () => {
    const marks = [mark("preparing", 1_010, 90), mark("started", 1_050, 100), mark("paused", 1_300, 350), mark("running", 1_400, 450), mark("exited", 1_500, 549)]
    assert.deepStrictEqual(rowsOf(intervalsOf({ placedAtMs: 1_000, marks })), ["preparing 1000+20", "running 1020+250", "paused 1270+100", "running 1370+99"])
  })
  it("is measured by stored times over a host's restart", () => {
    const marks = [mark("started", 1_100, 5), mark("exited", 1_900, 7, "another boot")]
    assert.deepStrictEqual(rowsOf(intervalsOf({ placedAtMs: 1_000, marks })), ["preparing 1000+100", "running 1100+800"])
  })
  it("is not what a host says that says more than there was", () => {
    const marks = [mark("started", 1_100, 0), mark("exited", 1_900, 86_400_000)]
    assert.deepStrictEqual(rowsOf(intervalsOf({ placedAtMs: 1_000, marks })), ["running 1000+1900"])
  })
  it("is all running where the start was told late", () => {
    const marks = [mark("started", 1_900, 0), mark("exited", 1_900, 900)]
    assert.deepStrictEqual(rowsOf(intervalsOf({ placedAtMs: 1_000, marks })), ["running 1000+900"])
  })
  it("is lost from its start to the end of its host's lease, and costs nothing", () => {
    const intervals = intervalsOf({ placedAtMs: 1_000, marks: [mark("started", 1_100, 0), mark("exited", 9_000, 500)], lostAtMs: 5_000 })
    assert.deepStrictEqual(rowsOf(intervals), ["preparing 1000+100", "lost 1100+3900"])
    assert.strictEqual(spendOf(chargesOf(intervals, { workspace: acme, held: core, sharePico: 10n ** 15n, books })), 0n)
  })
  it("has no gap, no overlap, and no more than the log saw pass but for the clocks' skew", () => {
    const anyMark = fc.record({ what: fc.constantFrom("preparing", "started", "running", "paused", "stopping", "exited") as fc.Arbitrary<Mark["what"]>, wait: fc.nat(5_000), hostMs: fc.nat(50_000), boot: fc.constantFrom("one", "two") })
    fc.assert(fc.property(fc.array(anyMark, { maxLength: 8 }), fc.option(fc.nat(20_000)), (given, lostAfter) => {
      let at = 1_000
      const marks = given.map(({ boot, hostMs, wait, what }) => mark(what, at += wait, hostMs, boot))
      const intervals = intervalsOf({ placedAtMs: 1_000, marks, ...(lostAfter === null ? {} : { lostAtMs: 1_000 + lostAfter }) })
      let next = 1_000
      for (const { fromMs, ms } of intervals) {
        assert.isTrue(Number.isInteger(ms) && ms > 0)
        assert.strictEqual(fromMs, next)
        next += ms
      }
      assert.isTrue(next - 1_000 <= (lostAfter === null ? at - 1_000 + 1_000 : lostAfter))
    }), { numRuns: 500 })
  })
})

describe("the price of an attempt's time", () => {
  const terms = { workspace: acme, held: core, sharePico: 10n ** 15n, books }
  it("is cut where prices change, and each part bears its own", () => {
    const charges = chargesOf(intervalsOf({ placedAtMs: 1_000, marks: [mark("started", 1_500, 0), mark("exited", 2_500, 1_000)] }), terms)
    assert.deepStrictEqual(charges.map(({ amountPico, ms, phase, rates }) => [phase, ms, rates, amountPico]), [
      ["preparing", 500, undefined, 0n],
      ["running", 500, "standard/1", 6_550_000n],
      ["running", 500, "standard/2", 65_500_000n]
    ])
  })
  it("is the price of the whole time when one book holds, however it is cut into phases", () => {
    fc.assert(fc.property(fc.array(fc.nat(700), { minLength: 1, maxLength: 6 }), fc.nat(64_000), fc.nat(4_000), (lengths, cpuMilli, memoryMib) => {
      let at = 0
      const marks = [mark("started", 100, 0), ...lengths.map((length, index) => mark(index === lengths.length - 1 ? "exited" : index % 2 === 0 ? "paused" : "running", 100 + (at += length), at))]
      const held = { cpuMilli, memoryMib, gpus: 0 }
      const charges = chargesOf(intervalsOf({ placedAtMs: 100, marks }), { ...terms, held, books: publish(noBooks, firstBook) })
      assert.strictEqual(spendOf(charges), priceOf(firstBook, held, at))
      for (const { amountPico } of charges) assert.isTrue(amountPico >= 0n)
      assert.strictEqual(spendOf(chargesOf(intervalsOf({ placedAtMs: 100, marks }), { ...terms, held, books: publish(noBooks, firstBook), cutsAtMs: [150, 333, 1_000, 150] })), spendOf(charges))
    }), { numRuns: 300 })
  })
  it("stops at the share", () => {
    const charges = chargesOf(intervalsOf({ placedAtMs: 0, marks: [mark("started", 0, 0), mark("paused", 500, 500), mark("exited", 1_000, 1_000)] }), { ...terms, sharePico: 7_000_000n })
    assert.deepStrictEqual(charges.map(({ amountPico }) => amountPico), [6_550_000n, 450_000n])
  })
})
