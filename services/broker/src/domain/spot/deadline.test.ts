import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Moment, nextPlace, outlookAfter, type Place, type Terms } from "./deadline.ts"

const terms: Terms = { workMs: 3_600_000, allowedMs: 4_320_000, restartMs: 120_000, lookEveryMs: 60_000 }
const moment = (more: Partial<Moment>): Moment =>
  ({ leftMs: terms.allowedMs, workLeftMs: terms.workMs, restartLeftMs: 0, place: { on: "nothing" }, open: [], outlook: [0.5, 0.5], ...more })

describe("work with a deadline", () => {
  it("takes the zone that had machines most often lately", () => {
    assert.deepStrictEqual(nextPlace(terms, moment({ open: [0, 1], outlook: [0.2, 0.9] })), { on: "spot", zone: 1 })
    assert.isAbove(outlookAfter(0.5, true, 195_000), 0.5)
    assert.isBelow(outlookAfter(0.5, false, 195_000), 0.5)
  })

  it("waits only while it has more time to spare than its share, and goes back to spot as soon as there is some", () => {
    assert.deepStrictEqual(nextPlace(terms, moment({ leftMs: terms.allowedMs + 1 })), { on: "nothing" })
    assert.deepStrictEqual(nextPlace(terms, moment({})), { on: "on_demand" })
    assert.deepStrictEqual(nextPlace(terms, moment({ place: { on: "on_demand" }, open: [0] })), { on: "spot", zone: 0 })
  })

  it("stays on spot while one more restart fits, and leaves it before none does", () => {
    const at = (spareMs: number) => nextPlace(terms, moment({ place: { on: "spot", zone: 0 }, open: [0], leftMs: terms.workMs + spareMs }))
    assert.deepStrictEqual([at(180_000).on, at(179_999).on], ["spot", "on_demand"])
  })

  it("never misses its deadline, however spot comes and goes", () => {
    fc.assert(fc.property(anyLooks, fc.integer({ min: 360_000, max: 2_000_000 }), (looks, spareMs) => {
      assert.isAtMost(endOf({ ...terms, allowedMs: terms.workMs + spareMs }, looks), terms.workMs + spareMs)
    }), { numRuns: 500 })
  })

  it("decides by nothing that has not happened yet", () => {
    fc.assert(fc.property(anyLooks, fc.nat({ max: 79 }), (looks, at) => {
      const changed = looks.map((look, when) => (when > at ? 3 - look : look))
      assert.deepStrictEqual(placesOf(terms, looks).slice(0, at + 1), placesOf(terms, changed).slice(0, at + 1))
    }), { numRuns: 300 })
  })
})

const anyLooks = fc.array(fc.nat({ max: 3 }), { minLength: 80, maxLength: 80 })

/** Which zones are open: none, the first, the second, both. */
const openIn = (look: number): ReadonlyArray<number> => [0, 1].filter((zone) => (look & (1 << zone)) !== 0)

const run = (its: Terms, looks: ReadonlyArray<number>): { readonly endedMs: number; readonly places: ReadonlyArray<Place> } => {
  let place: Place = { on: "nothing" }
  let workLeftMs = its.workMs
  let restartLeftMs = 0
  let sinceMs = 0
  const places: Array<Place> = []
  for (let look = 0; workLeftMs > 0; look += 1) {
    const open = openIn(looks[look % looks.length]!)
    if (place.on === "spot" && !open.includes(place.zone)) place = { on: "nothing" }
    const next = nextPlace(its, { leftMs: its.allowedMs - sinceMs, workLeftMs, restartLeftMs: place.on === "nothing" ? 0 : restartLeftMs, place, open, outlook: [0.4, 0.6] })
    if (JSON.stringify(next) !== JSON.stringify(place)) restartLeftMs = its.restartMs
    place = next
    places.push(place)
    const ranMs = place.on === "nothing" ? 0 : Math.min(its.lookEveryMs, restartLeftMs + workLeftMs)
    workLeftMs -= Math.max(0, ranMs - restartLeftMs)
    restartLeftMs = Math.max(0, restartLeftMs - ranMs)
    sinceMs += workLeftMs <= 0 ? ranMs : its.lookEveryMs
  }
  return { endedMs: sinceMs, places }
}

const endOf = (its: Terms, looks: ReadonlyArray<number>): number => run(its, looks).endedMs
const placesOf = (its: Terms, looks: ReadonlyArray<number>): ReadonlyArray<Place> => run(its, looks).places
