import { assert, describe, it } from "@effect/vitest"
import type { Digest, MillFact, Target } from "@millrace/schemas"
import { inParts } from "../reactors/in-parts.ts"
import { Desk, observed, offer, provider, tookOver } from "../testing/desk.ts"
import { broker } from "./broker.ts"

const digest = (name: string) => `sha256:${name.repeat(64)}` as Digest
const inputs = (name: string) => ({ digest: digest(name), sizeBytes: 1 })
const target = (machineType: string): Target => ({ provider, column: { region: "here", machineType, market: "on_demand" }, wanted: 1, running: 0, reason: "" })
const prepared = (name: string, ...types: ReadonlyArray<string>): MillFact => ({ _tag: "PlanPrepared", inputs: inputs(name), targets: types.map(target) })
const chosen = (name: string, ...types: ReadonlyArray<string>): MillFact =>
  ({ _tag: "PlanChosen", method: "greedy", inputs: inputs(name), targets: types.map(target), unmet: 0, costPicoPerHour: 1n, tookMs: 1 })
const wantedIn = ({ state }: Desk): ReadonlyArray<string> => [...state.plan?.wanted.keys() ?? []].map((name) => name.split("/")[2]!)
const listed = (name: string, ...types: ReadonlyArray<string>): MillFact => ({ _tag: "OffersListed", provider, offers: inputs(name), rows: types.map((type) => offer(type)) })
const offeredIn = ({ state }: Desk): ReadonlyArray<string> => (state.markets.get(provider)?.rows ?? []).map(({ machineType }) => machineType)

describe("what is too long for one fact", () => {
  it("is cut, and nothing of it is lost", () => {
    assert.deepStrictEqual(inParts([1, 2, 3, 4, 5], 2), { before: [[1, 2], [3, 4]], last: [5] })
    assert.deepStrictEqual([inParts([], 2), inParts([1, 2], 2)], [{ before: [], last: [] }, { before: [], last: [1, 2] }])
  })

  it("as a plan counts for nothing until its end is said, and then as a whole", () => {
    const desk = new Desk().hear(0, tookOver(), chosen("a", "old"), prepared("b", "x", "y"))
    assert.deepStrictEqual(wantedIn(desk), ["old"])
    desk.hear(1, prepared("b", "z"))
    const again = broker.load(structuredClone(broker.save(desk.state)) as never)
    assert.deepStrictEqual(broker.save(again), broker.save(desk.state))
    assert.deepStrictEqual(wantedIn(desk.hear(2, chosen("b", "w"))), ["x", "y", "z", "w"])
    assert.deepStrictEqual(wantedIn(desk.hear(3, prepared("c", "never"), chosen("d", "other"))), ["other"])
    assert.deepStrictEqual(wantedIn(desk.hear(4, prepared("e", "half"), tookOver({ term: 2 }), chosen("e", "rest"))), ["rest"])
  })

  it("as a list of offers, too", () => {
    const desk = new Desk().hear(0, tookOver(), listed("b", "x"), listed("b", "y"))
    assert.deepStrictEqual(offeredIn(desk), [])
    desk.hear(1, { ...observed(offer("z")), offers: inputs("b") })
    assert.deepStrictEqual(offeredIn(desk), ["x", "y", "z"])
    desk.hear(2, listed("c", "x"), { ...observed(offer("only")), offers: inputs("d") })
    assert.deepStrictEqual(offeredIn(desk), ["only"])
  })
})
