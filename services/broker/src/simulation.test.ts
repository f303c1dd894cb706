import { assert, describe, it } from "@effect/vitest"
import { type Plants, runSeed } from "./testing/seeds.ts"

/** Demands that a broker with a bug is caught at it in one of so many seeds. */
const caught = (plants: Plants, at: RegExp, seeds: number, from = 0): void => {
  const faults = Array.from({ length: seeds }, (_, seed) => seed + from).values().flatMap((seed) => runSeed(String(seed), plants).faults)
  assert.isDefined(faults.find((fault) => at.test(fault)), `${seeds} seeds from ${from}, and not once ${at}`)
}

describe("the seeds catch", { timeout: 240_000 }, () => {
  it("a broker that looks too seldom", () => {
    caught({ sweepEveryMs: 3_600_000 }, /costs money, and nobody has found it within 60 s|still costs money/u, 80)
  })

  it("a broker that sends what another may send, too, by now", () => {
    caught({ sendsBlindly: true }, /bought twice/u, 300)
  })

  it("a broker that asks again at once where a token means nothing", () => {
    caught({ trustsTokens: true }, /bought twice/u, 300, 150)
  })

  it("a broker that lets the dead men of its machines end them", () => {
    caught({ forgetsDeadMen: true }, /was held, and its dead man has ended it/u, 300)
  })
})

describe("a seed", () => {
  it("brings the same run again", () => {
    assert.deepStrictEqual(runSeed("7"), runSeed("7"))
  })
})
