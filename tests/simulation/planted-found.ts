import { assert, describe, it } from "@effect/vitest"
import { type PlantedBug, plantedBugs, type PlantedBugName } from "./planted.ts"
import { firstSeedThatFinds } from "./seeds.ts"

/** Planted bugs must be found within this many seeds; the shyest of them shows within a hundred and fifty. */
const seedBudget = 250

/** A bug that shows late takes half a minute of one core: a machine that does much else beside is given time. */
const timeoutMs = 600_000

/** Each of these bugs is found, and by the law that is to catch it where one is named. */
export const plantedBugsAreFound = (which: (bug: PlantedBug) => boolean): void => {
  describe("a planted bug is found", () => {
    for (const [name, bug] of Object.entries(plantedBugs) as ReadonlyArray<readonly [PlantedBugName, PlantedBug]>) {
      if (!which(bug)) continue
      it(`${name}: ${bug.what}`, { timeout: timeoutMs }, () => {
        assert.isDefined(firstSeedThatFinds(name, seedBudget, bug.law), `no seed up to ${seedBudget} finds it: the simulation has become too weak`)
      })
    }
  })
}
