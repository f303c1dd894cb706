import { assert, describe, it } from "@effect/vitest"
import type { DemandClass } from "@millrace/schemas"
import { buffersOf, growthAfter, type Growths } from "./growth.ts"

const minute = 60_000
const waits = (waiting: number, model = "H100"): ReadonlyArray<typeof DemandClass.Type> =>
  waiting === 0 ? [] : [{ cpuMilli: 0, memoryMib: 0, gpus: 2, gpuModels: [model], waiting, oldestSinceMs: 0 }]

/** Demand once a minute, machines take three. */
const told = (counts: ReadonlyArray<number>): Growths =>
  counts.reduce<Growths>((growths, count, at) => growthAfter(growths, waits(count), at * minute, 3 * minute), new Map())

describe("what is kept in hand", () => {
  it("is what demand grew by within one provisioning time, not what it is", () => {
    // Two GPUs more each minute, over and over: six within three minutes.
    const slow = told(Array.from({ length: 120 }, (_, at) => at % 40))
    assert.deepStrictEqual(buffersOf(slow, 1_000), [{ gpuModel: "H100", gpus: 6 }])
    // Always much, never more: there is nothing to be ready for.
    assert.deepStrictEqual(buffersOf(told([50, ...Array.from({ length: 700 }, () => 50)]), 1_000), [])
  })

  it("is nothing until enough was seen, and never more than is allowed", () => {
    assert.deepStrictEqual(buffersOf(told([0, 100, 0, 100]), 1_000), [])
    assert.deepStrictEqual(buffersOf(told(Array.from({ length: 120 }, (_, at) => (at % 4) * 100)), 64), [{ gpuModel: "H100", gpus: 64 }])
  })

  it("counts silence as windows in which nothing grew, and in the end forgets", () => {
    const busy = told(Array.from({ length: 120 }, (_, at) => (at % 4) * 100))
    const later = growthAfter(busy, [], 100_000 * minute, 3 * minute)
    assert.deepStrictEqual(buffersOf(later, 1_000), [])
    assert.strictEqual(growthAfter(later, [], 200_000 * minute, 3 * minute).size, 0)
  })

  it("counts one card under one name, and what asks for no model under none", () => {
    const growths = growthAfter(growthAfter(new Map(), waits(1, "NVIDIA H100"), 0, minute), [{ ...waits(1)[0]!, gpuModels: [] }, ...waits(2, "h100")], minute, minute)
    assert.deepStrictEqual([...growths.keys()], ["H100"])
    assert.strictEqual(growths.get("H100")!.recent.at(-1)!.gpus, 4)
  })
})
