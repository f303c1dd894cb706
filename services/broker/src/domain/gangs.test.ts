import { assert, describe, it } from "@effect/vitest"
import type { DemandClass, MillFact, Offer, ProviderName } from "@millrace/schemas"
import { Desk, observed, offer, tookOver, waits } from "../testing/desk.ts"
import { faultsOf } from "./plan/check.ts"
import { chooseGreedily } from "./plan/choose.ts"
import { usualWeights } from "./plan/inputs.ts"
import { planInputsOf } from "./plan-inputs.ts"

const gpu = (name: string, price: bigint, more: Partial<Offer> = {}) => offer(name, { cores: 64, gpus: 8, gpuModel: "H100", price }, more)
const gang = (on: "zone" | "provider" | "anywhere", members: number, more: Partial<typeof DemandClass.Type> = {}) =>
  waits(members, { gpus: 8, gpuModels: ["H100"], together: { members, on }, ...more })
const at = (provider: string, ...rows: ReadonlyArray<Offer>): MillFact => ({ ...observed(...rows), provider: provider as ProviderName })
const desk = (...facts: ReadonlyArray<MillFact>): Desk => new Desk().hear(0, tookOver({ machinesMax: 100 }), ...facts)
const bought = (facts: ReadonlyArray<MillFact>) =>
  facts.flatMap((fact) => (fact._tag === "LeaseRequested" ? [`${fact.provider} ${fact.column.zone ?? fact.column.region} ${fact.column.machineType}`] : [])).sort()
const planned = ({ state }: Desk): ReadonlyArray<string> => {
  const inputs = planInputsOf(state, 1)
  const plan = chooseGreedily(inputs, usualWeights)
  assert.deepStrictEqual(faultsOf(inputs, plan, usualWeights.shareFloorGpus), [])
  return plan.targets.map(({ column, wanted }) => `${wanted} ${column.zone ?? column.region} ${column.machineType}`)
}

describe("what begins together", () => {
  it("in one zone is bought in one that has a name, all of it, by the plan, too", () => {
    const cloud = desk(observed(gpu("unnamed", 10n), gpu("h100", 20n, { zone: "a", regions: ["here"], stock: 1 }), gpu("h100", 30n, { zone: "b", regions: ["here"], stock: 2 })), gang("zone", 2))
    assert.deepStrictEqual(planned(cloud), ["2 b h100"])
    assert.deepStrictEqual(bought(cloud.decide(1)), ["lambda b h100", "lambda b h100"])
    assert.deepStrictEqual(cloud.decide(2), [])
    const nowhere = desk(observed(gpu("unnamed", 10n), gpu("h100", 20n, { zone: "a", stock: 1 })), gang("zone", 2))
    assert.deepStrictEqual([planned(nowhere), nowhere.decide(1)], [[], []])
  })

  it("at one provider is bought there, of several kinds where no one kind is enough", () => {
    const one = (name: string, price: bigint) => gpu("h100", price, { offer: name })
    const market = desk(at("a", one("a1", 10n)), at("b", one("b1", 40n), one("b2", 20n), one("b3", 30n)), gang("provider", 2))
    assert.deepStrictEqual(market.decide(1).flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact.column.offer] : [])).sort(), ["b2", "b3"])
    assert.deepStrictEqual(market.decide(2), [])
  })

  it("anywhere is bought anywhere, and only as a whole", () => {
    const one = gpu("h100", 10n, { offer: "x" })
    assert.deepStrictEqual(bought(desk(at("a", one), at("b", one), gang("anywhere", 2)).decide(1)), ["a here h100", "b here h100"])
    assert.deepStrictEqual(desk(at("a", one), at("b", one), gang("anywhere", 3)).decide(1), [])
    assert.deepStrictEqual(desk(at("a", one), at("b", one), gang("provider", 2)).decide(1), [])
  })

  it("and was asked for in part, is asked for as far as it is not whole, in the same place", () => {
    const cloud = desk(observed(gpu("h100", 20n, { zone: "a", regions: ["here"] }), gpu("h100", 19n, { zone: "b", regions: ["here"] })), gang("zone", 3))
    const [first] = cloud.decide(1).filter(({ _tag }) => _tag === "LeaseRequested")
    assert.strictEqual(cloud.state.leases.size, 3)
    assert.strictEqual(first?._tag === "LeaseRequested" ? first.column.zone : "", "b")
    cloud.hear(2, { _tag: "LeaseRefused", leaseId: [...cloud.state.leases.keys()][0]!, provider: "lambda" as ProviderName, reason: "price_moved", narrows: "offer", detail: "" })
    assert.deepStrictEqual(bought(cloud.decide(3)), ["lambda b h100"])
    assert.deepStrictEqual(cloud.decide(4), [])
  })
})

describe("work without GPUs", () => {
  it("is bought no machine with GPUs, however cheap, unless nothing else is for sale", () => {
    const cheap = gpu("gpu", 1n)
    const both = desk(observed(cheap, offer("cpu", { cores: 4, price: 90n })), waits(3))
    assert.deepStrictEqual(planned(both), ["1 here cpu"])
    assert.deepStrictEqual(bought(both.decide(1)), ["lambda here cpu"])
    const alone = desk(observed(cheap), waits(3))
    assert.deepStrictEqual(planned(alone), ["1 here gpu"])
    assert.deepStrictEqual(bought(alone.decide(1)), ["lambda here gpu"])
  })
})
