import { assert, describe, it } from "@effect/vitest"
import { calm, factsIn } from "@millrace/sim"
import { breaches } from "./laws.ts"
import { plantedBugsAreFound } from "./planted-found.ts"
import { SeedFailed, tryOne } from "./seeds.ts"
import { simulate } from "./world.ts"

describe("a cell that is fought over", () => {
  it("without faults keeps every law, and leaves the scheduler that is well alone", () => {
    for (const seed of [1, 2, 3]) {
      const { violations } = tryOne({ seed, contested: true, faults: calm })
      if (violations.length > 0) throw new SeedFailed({ seed, contested: true }, violations)
    }
  })

  for (const [how, what] of [["crash", "dies"], ["pause", "stands still"]] as const) {
    it(`a standby speaks within two seconds when the scheduler that decides ${what}, and that one says nothing more`, () => {
      const tookMs: Array<number> = []
      for (let seed = 1; seed <= 6; seed += 1) {
        const run = simulate({ seed, contested: true, minutes: 1, faults: calm, strike: { afterMs: 15_000 + 3_700 * seed, how } })
        assert.deepStrictEqual(breaches(run), [], `seed ${seed}`)
        const spoke = factsIn(run.history, "SCHEDULER", "SchedulerTookOver").find(({ commit: { place } }) => place.storedAtMs >= run.struckAtMs!)
        assert.isDefined(spoke, `seed ${seed}: nobody took over`)
        assert.isNotEmpty(factsIn(run.history, "SCHEDULER", "PlacementMade").filter(({ commit: { place } }) => place.storedAtMs < run.struckAtMs!), "the cell was empty")
        tookMs.push(spoke!.commit.place.storedAtMs - run.struckAtMs!)
      }
      assert.isAtMost(Math.max(...tookMs), 2_000, tookMs.join(", "))
    })
  }
})

plantedBugsAreFound(({ plants }) => plants.contested === true)
