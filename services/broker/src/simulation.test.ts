import { assert, describe, it } from "@effect/vitest"
import { type Plants, runSeed } from "./testing/seeds.ts"

/** The first fault that a broker with a bug shows, in so many seeds. */
const faultOf = (plants: Plants, seeds: number): string =>
  Array.from({ length: seeds }, (_, seed) => seed).values().map((seed) => runSeed(String(seed), plants).faults[0]).find((fault) => fault !== undefined) ?? "none"

describe("the seeds catch", { timeout: 240_000 }, () => {
  it("a broker that looks too seldom", () => {
    assert.match(faultOf({ sweepEveryMs: 3_600_000 }, 80), /costs money, and nobody has found it within 60 s|still costs money/u)
  })

  it("a broker that sends what another may send, too, by now", () => {
    assert.match(faultOf({ sendsBlindly: true }, 300), /bought twice/u)
  })

  it("a broker that asks again at once where a token means nothing", () => {
    assert.match(faultOf({ trustsTokens: true }, 300), /bought twice/u)
  })
})

describe("a seed", () => {
  it("brings the same run again", () => {
    assert.deepStrictEqual(runSeed("7"), runSeed("7"))
  })
})
