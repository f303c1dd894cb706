import { assert, describe, it } from "@effect/vitest"
import { Sometimes } from "@millrace/sim"
import { trySeeds } from "./seeds.ts"
import { mustHappenIn } from "./states.ts"

/** So many seeds make one test; contested ones take longer. */
const atOnceOf = (contested: boolean): number => contested ? 12 : 30

/** How many seeds a test tries: as many as `npm test` has time for, or as many as `SIM_SEEDS` says. */
export const seedsToTry = (usual: number): number => Number(process.env["SIM_SEEDS"] ?? usual)

/** Every law holds under each of these seeds, and together they meet every fault and every state. */
export const seedsHold = ({ contested = false, from, to }: { readonly from: number; readonly to: number; readonly contested?: boolean }): void => {
  const atOnce = atOnceOf(contested)
  describe(`seeds ${from} to ${to} of a ${contested ? "contested" : "plain"} cell`, () => {
    const sometimes = new Sometimes()
    for (let first = from; first <= to; first += atOnce) {
      const last = Math.min(to, first + atOnce - 1)
      it(`under seeds ${first} to ${last} every law holds: nothing acknowledged is lost, nothing runs twice or half, and every job ends`, { timeout: 120_000 }, () =>
        trySeeds({ from: first, to: last, contested, sometimes }))
    }
    it("they met every fault and every state worth meeting", () => {
      assert.deepStrictEqual(sometimes.missing(mustHappenIn({ contested, seeds: to - from + 1 })), [], "a run that never met these has shown nothing about them")
    })
  })
}
