import { assert, describe, it } from "@effect/vitest"
import { Chance } from "./chance.ts"
import { faultNames, swarmOf } from "./faults.ts"

describe("chance", () => {
  it("one name draws one sequence, and a fork draws its own whatever was drawn before", () => {
    const draws = (chance: Chance) => Array.from({ length: 20 }, () => chance.next())
    assert.deepStrictEqual(draws(new Chance("seed 1")), draws(new Chance("seed 1")))
    assert.notDeepEqual(draws(new Chance("seed 1")), draws(new Chance("seed 2")))
    const used = new Chance("seed 1")
    draws(used)
    assert.deepStrictEqual(draws(used.fork("network")), draws(new Chance("seed 1").fork("network")))
  })

  it("its numbers fill the interval evenly enough to choose by", () => {
    const chance = new Chance("even")
    const tenths = Array.from({ length: 10 }, () => 0)
    for (let draw = 0; draw < 10_000; draw += 1) tenths[chance.between(0, 9)]! += 1
    for (const count of tenths) assert.isTrue(count > 850 && count < 1_150, `a tenth was drawn ${count} times`)
  })

  it("each swarm leaves some faults out, and over many seeds each fault is on and off", () => {
    const swarms = Array.from({ length: 100 }, (_, seed) => swarmOf(new Chance(`swarm ${seed}`)))
    for (const fault of faultNames) {
      assert.isTrue(swarms.some((swarm) => swarm[fault] === 0))
      assert.isTrue(swarms.some((swarm) => swarm[fault] > 0.5))
    }
  })
})
