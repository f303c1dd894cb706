import { assert, describe, it } from "@effect/vitest"
import { type PlantedBug, plantedBugs, type PlantedBugName } from "./planted.ts"
import { regressions } from "./regressions.ts"
import { firstSeedThatFinds, SeedFailed, tryOne } from "./seeds.ts"
import { simulate } from "./world.ts"
import { calm } from "@millrace/sim"

/** Planted bugs must be found within this many seeds; the shyest of them shows within a hundred and fifty. */
const seedBudget = 250

describe("a simulated cell", () => {
  it("one seed makes one history, byte for byte", () => {
    for (const seed of [1, 2, 3]) {
      const bytes = () => {
        const { history: { streams, work }, virtualMs } = simulate({ seed })
        return JSON.stringify([...streams, work, virtualMs], (_, held: unknown) => typeof held === "bigint" ? String(held) : held)
      }
      const first = bytes()
      assert.strictEqual(bytes(), first)
    }
  })

  it("two seeds make two histories", () => {
    const work = (seed: number) => JSON.stringify(simulate({ seed }).history.work)
    assert.notStrictEqual(work(1), work(2))
  })

  it("without faults every job ends well: nothing is refused, doubled or started anew", () => {
    const { sometimes, violations } = tryOne({ seed: 1, faults: calm })
    assert.deepStrictEqual(violations, [])
    assert.strictEqual(sometimes.count("host_restarted") + sometimes.count("gateway_restarted") + sometimes.count("lost_request"), 0)
  })

  for (const { seed, was } of regressions) {
    it(`seed ${seed} stays mended: ${was}`, () => {
      const { violations } = tryOne({ seed })
      if (violations.length > 0) throw new SeedFailed({ seed }, violations)
    })
  }
})

describe("a planted bug is found", () => {
  for (const [bug, { what, ...by }] of Object.entries(plantedBugs) as ReadonlyArray<readonly [PlantedBugName, PlantedBug]>) {
    it(`${bug}: ${what}`, { timeout: 120_000 }, () => {
      assert.isDefined(firstSeedThatFinds(bug, seedBudget, by.law), `no seed up to ${seedBudget} finds it: the simulation has become too weak`)
    })
  }
})
