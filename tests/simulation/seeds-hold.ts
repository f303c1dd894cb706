import { assert, describe, it } from "@effect/vitest"
import { Sometimes } from "@millrace/sim"
import { trySeeds } from "./seeds.ts"
import { mustHappen } from "./states.ts"

const atOnce = 50

/** Every law holds under each of these seeds, and together they meet every fault and every state. */
export const seedsHold = ({ from, to }: { readonly from: number; readonly to: number }): void => {
  describe(`seeds ${from} to ${to}`, () => {
    const sometimes = new Sometimes()
    for (let first = from; first <= to; first += atOnce) {
      const last = Math.min(to, first + atOnce - 1)
      it(`under seeds ${first} to ${last} nothing acknowledged is lost, nothing runs twice, and every job ends`, { timeout: 120_000 }, () =>
        trySeeds({ from: first, to: last, sometimes }))
    }
    it("they met every fault and every state worth meeting", () => {
      assert.deepStrictEqual(sometimes.missing(mustHappen), [], "a run that never met these has shown nothing about them")
    })
  })
}
