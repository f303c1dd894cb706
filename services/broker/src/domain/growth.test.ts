import { assert, describe, it } from "@effect/vitest"
import type { DemandClass } from "@millrace/schemas"
import { growthOf, type Growths, learnDemand } from "./growth.ts"

const minute = 60_000
const waits = (waiting: number, model = "H100"): ReadonlyArray<typeof DemandClass.Type> =>
  waiting === 0 ? [] : [{ cpuMilli: 0, memoryMib: 0, gpus: 2, gpuModels: [model], waiting, oldestSinceMs: 0 }]

/** What waited, said once a minute; a window is ten minutes long. */
const told = (counts: ReadonlyArray<number>): Growths => {
  const growths: Growths = new Map()
  for (const [at, count] of counts.entries()) learnDemand(growths, waits(count), at * minute)
  return growths
}

const grown = (growths: Growths, atMs: number, model = "H100"): number => growthOf(growths.get(model)!, atMs)

describe("what demand grows by within one provisioning time", () => {
  it("is what came to it, not what it is", () => {
    const steady = Array.from({ length: 1_200 }, (_, at) => 5 + at)
    assert.strictEqual(grown(told(steady), 1_200 * minute), 20)
    assert.strictEqual(grown(told(Array.from({ length: 1_100 }, () => 50)), 1_100 * minute), 0)
  })

  it("is what all but the worst hundredth of windows saw", () => {
    // One burst in a hundred windows is the worst of them; two are not.
    const bursts = (...at: ReadonlyArray<number>) => told(Array.from({ length: 1_200 }, (_, number) => at.includes(number) ? 31 : 1))
    assert.deepStrictEqual([grown(bursts(505), 1_200 * minute), grown(bursts(505, 805), 1_200 * minute)], [0, 60])
  })

  it("counts silence as windows in which nothing grew", () => {
    const busy = told(Array.from({ length: 60 }, (_, at) => (at % 4) * 100))
    assert.isAbove(grown(busy, 60 * minute), 0)
    assert.strictEqual(grown(busy, 100_000 * minute), 0)
  })

  it("does not take what is left out of a list that is cut for gone, and told again for grown", () => {
    const others = Array.from({ length: 63 }, (_, at) => ({ ...waits(1, "L4")[0]!, cpuMilli: at }))
    const growths: Growths = new Map()
    // Now the one kind is left out, now the other.
    for (let at = 0; at < 60; at += 1) learnDemand(growths, [...others, ...waits(5, at % 2 === 0 ? "H100" : "B200")], at * minute)
    assert.deepStrictEqual([grown(growths, 60 * minute), grown(growths, 60 * minute, "B200")], [10, 10])
    // The same kinds that truly come and go grow each time.
    const whole: Growths = new Map()
    for (let at = 0; at < 60; at += 1) learnDemand(whole, waits(5, at % 2 === 0 ? "H100" : "B200"), at * minute)
    assert.strictEqual(grown(whole, 60 * minute), 50)
  })

  it("tells kinds apart, and is nothing for one that no window has ended for", () => {
    const growths: Growths = new Map()
    learnDemand(growths, [...waits(3), ...waits(4, "B200")], 0)
    assert.deepStrictEqual([grown(growths, 0), grown(growths, 11 * minute), grown(growths, 11 * minute, "B200")], [0, 6, 8])
  })
})
