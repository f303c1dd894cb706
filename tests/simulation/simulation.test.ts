import { assert, describe, it } from "@effect/vitest"
import { plantedBugsAreFound } from "./planted-found.ts"
import { regressions } from "./regressions.ts"
import { SeedFailed, tryOne } from "./seeds.ts"
import { simulate } from "./world.ts"
import { calm } from "@millrace/sim"

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

  for (const { was, ...run } of regressions) {
    it(`seed ${run.seed}${run.contested === true ? ", contested," : ""} stays mended: ${was}`, () => {
      const { violations } = tryOne(run)
      if (violations.length > 0) throw new SeedFailed(run, violations)
    })
  }
})

plantedBugsAreFound(({ plants }) => plants.contested !== true)
