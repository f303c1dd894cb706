import { assert, describe, it } from "vitest"
import { nextLookMs, type Quiet, quietAfter } from "./idle.ts"

const at = (sinceMs: number, saidBytes: number, cpuMs: number, askedBytes = 0, gangBytes = 0): Quiet => ({ sinceMs, doings: { saidBytes, cpuMs, askedBytes, gangBytes } })

describe("idleness", () => {
  it("ends with a word, with a byte over the socket or the gang's network, and with more than a tenth of a core over the idle time", () => {
    const before = at(0, 5, 100)
    assert.strictEqual(quietAfter(before, at(1_000, 5, 200), 1_000), before, "100 ms of 1,000")
    for (const busy of [at(900, 6, 100), at(900, 5, 201), at(900, 5, 100, 1), at(900, 5, 100, 0, 1)]) assert.strictEqual(quietAfter(before, busy, 1_000), busy)
  })

  it("is not begun by a process that ends and takes its time along", () => {
    const now = at(900, 5, 20)
    assert.strictEqual(quietAfter(at(0, 5, 100), now, 1_000), now)
  })

  it("sums up what is used little by little, so that slow work is not idle", () => {
    let quiet = at(0, 0, 0)
    for (let ms = 100; ms <= 1_000; ms += 100) quiet = quietAfter(quiet, at(ms, 0, ms * 0.25), 1_000)
    assert.strictEqual(quiet.sinceMs, 1_000)
  })

  it("begins when it is first looked at", () => assert.deepStrictEqual(quietAfter(undefined, at(7, 1, 1), 1_000), at(7, 1, 1)))

  it("is looked at in time, and not all the time", () => {
    assert.strictEqual(nextLookMs(at(0, 0, 0), 0, 1_000), 250)
    assert.strictEqual(nextLookMs(at(0, 0, 0), 900, 1_000), 100)
    assert.strictEqual(nextLookMs(at(0, 0, 0), 0, 3_600_000), 10_000)
    assert.strictEqual(nextLookMs(at(0, 0, 0), 2_000, 1_000), 100)
  })
})
