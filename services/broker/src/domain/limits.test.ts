import { assert, describe, it } from "@effect/vitest"
import type { BrokerTookOver, LeaseRefused, MillFact } from "@millrace/schemas"
import { Desk, firstLease, granted, observed, offer, provider, tookOver, waits, wanted } from "../testing/desk.ts"
import { broker } from "./broker.ts"
import { quotasIn } from "./limits.ts"
import { faultsOf } from "./plan/check.ts"
import { chooseGreedily } from "./plan/choose.ts"
import { usualWeights } from "./plan/inputs.ts"
import { planInputsOf } from "./plan-inputs.ts"

type Limits = Omit<NonNullable<BrokerTookOver["limits"]>[number], "provider">

const small = offer("small", { price: 6n })
const h100 = offer("h100.8", { cores: 64, gpus: 8, gpuModel: "H100", price: 400n })
const eight = { gpus: 8, gpuModels: ["H100"] }
const limited = (limits: Limits, ...facts: ReadonlyArray<MillFact>): Desk => new Desk().hear(0, tookOver({ machinesMax: 100, limits: [{ provider, ...limits }] }), ...facts)

/** What a plan over the same state wants, by machine type and market. */
const planned = (desk: Desk, atMs = 1): Record<string, number> => {
  const inputs = planInputsOf(desk.state, atMs)
  const plan = chooseGreedily(inputs, usualWeights)
  assert.deepStrictEqual(faultsOf(inputs, plan, usualWeights.shareFloorGpus), [])
  return Object.fromEntries(plan.targets.map(({ column, wanted }) => [`${column.machineType} ${column.market}`, wanted]))
}

it("where work may be, by region and by law, binds a plan in both at once, and none is not any", () => {
  const offered = (...regions: ReadonlyArray<string>) => observed(offer("small", { price: 6n, regions }))
  const regionsOf = (desk: Desk) => Object.entries(planned(desk)).length === 0 ? [] : chooseGreedily(planInputsOf(desk.state, 1), usualWeights).targets.map(({ column }) => column.region)
  const only = (where: NonNullable<Parameters<typeof waits>[1]>["where"], ...regions: ReadonlyArray<string>) => regionsOf(new Desk().hear(0, tookOver(), offered(...regions), waits(1, where === undefined ? {} : { where })))
  assert.deepStrictEqual(only({ only: { residency: ["eu"] } }, "us-east-1"), [])
  assert.deepStrictEqual(only({ only: { residency: ["eu"] } }, "us-east-1", "eu-west-1"), ["eu-west-1"])
  assert.deepStrictEqual(only({ only: { regions: ["us-east-1"], residency: ["eu"] } }, "us-east-1", "eu-west-1"), [])
  assert.deepStrictEqual(only({ only: { regions: ["us-east-1", "eu-west-1"], residency: ["eu"] } }, "us-east-1", "eu-west-1"), ["eu-west-1"])
})

describe("what a provider lets us have", () => {
  it("bounds what is asked for and what is planned, in machines, GPUs and cores, by names or beginnings of names", () => {
    for (const [limits, most] of [
      [{ quotas: [{ machinesMax: 3 }] }, 3],
      [{ quotas: [{ machineType: "h1*", gpusMax: 17 }] }, 2],
      [{ quotas: [{ gpuModel: "H100", region: "here", coresMax: 64 }] }, 1],
      [{ quotas: [{ market: "spot", machinesMax: 0 }, { machineType: "h2*", machinesMax: 0 }] }, 5]
    ] as const) {
      const desk = limited(limits, observed(h100), waits(5, eight))
      assert.deepStrictEqual(planned(desk), { "h100.8 on_demand": most }, JSON.stringify(limits))
      assert.strictEqual(wanted(desk.decide(1)).length, most, JSON.stringify(limits))
      assert.deepStrictEqual(desk.decide(2), [])
    }
  })

  it("is what it says itself, too", () => {
    const desk = new Desk().hear(0, tookOver(), { ...observed(small), quotas: [{ machinesMax: 2 }] }, waits(5))
    assert.strictEqual(wanted(desk.decide(1)).length, 2)
    assert.deepStrictEqual(quotasIn(desk.state, 1), [{ provider, machinesMax: 2 }])
  })

  it("is learnt from its refusals: as many as were there, one more when the refusal is over, and anything once that was had", () => {
    const desk = new Desk().hear(0, tookOver({ machinesMax: 20 }), observed(offer("small", { price: 6n })), waits(3))
    desk.decide(1)
    const [first, second, third] = [...desk.state.leases.keys()]
    desk.hear(2, granted(first!), granted(second!))
    const refusal: LeaseRefused = { _tag: "LeaseRefused", leaseId: third!, provider, reason: "quota", narrows: "type", detail: "too many", notBeforeMs: 1_000 }
    desk.hear(3, refusal)
    assert.deepInclude(quotasIn(desk.state, 4)[0], { provider, region: "here", machineType: "small", machinesMax: 2 })
    assert.deepInclude(quotasIn(desk.state, 1_000)[0], { machinesMax: 3 })
    desk.hear(4, waits(9))
    assert.deepStrictEqual(planned(desk, 5), { "small on_demand": 2 })
    assert.deepStrictEqual(desk.decide(5), [])
    assert.deepStrictEqual(wanted(desk.decide(1_001)), ["small@here"])
    const again = broker.load(structuredClone(broker.save(desk.state)) as never)
    assert.deepStrictEqual(quotasIn(again, 1_002), quotasIn(desk.state, 1_002))
    desk.hear(1_003, granted([...desk.state.leases.keys()].at(-1)!))
    assert.deepStrictEqual(quotasIn(desk.state, 1_004), [])
    assert.isAbove(wanted(desk.decide(1_005)).length, 3)
  })
})

describe("a provider's share", () => {
  it("is of all GPUs that wait or are open, and never less than a few machines", () => {
    const many = limited({ sharePermilleMax: 250 }, observed(h100), waits(16, eight))
    assert.strictEqual(wanted(many.decide(1)).length, 4)
    assert.deepStrictEqual(planned(limited({ sharePermilleMax: 250 }, observed(h100), waits(16, eight))), { "h100.8 on_demand": 4 })
    assert.strictEqual(wanted(limited({ sharePermilleMax: 1 }, observed(h100), waits(3, eight)).decide(1)).length, 2)
  })
})

describe("what is reserved", () => {
  const reserved = { reserved: [{ region: "here", machineType: "h100.8", machines: 2 }] }
  it("is taken first, as much of it as there is, and counts for no dollars", () => {
    const poor = tookOver({ machinesMax: 100, spendPicoPerHourMax: 1n, limits: [{ provider, ...reserved }] })
    const desk = new Desk().hear(0, poor, observed(h100), waits(3, eight))
    assert.deepStrictEqual(planned(desk), { "h100.8 reserved": 2 })
    const asked = desk.decide(1).flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact.column.market] : []))
    assert.deepStrictEqual(asked, ["reserved", "reserved"])
    assert.deepStrictEqual(desk.decide(2), [])
    const rich = limited(reserved, observed(h100), waits(3, eight))
    assert.deepStrictEqual(planned(rich), { "h100.8 on_demand": 1, "h100.8 reserved": 2 })
  })
  it("is there again when its machine has ended", () => {
    const desk = limited({ reserved: [{ region: "here", machineType: "small", machines: 1 }] }, observed(small), waits(1))
    desk.decide(1)
    const lease = firstLease(desk)
    desk.hear(1, waits(2))
    assert.deepStrictEqual(desk.decide(2).flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact.column.market] : [])), ["on_demand"])
    assert.strictEqual(desk.state.leases.get(lease)!.requested!.fact.column.market, "reserved")
    desk.hear(2, granted(lease), { _tag: "LeaseReleased", leaseId: lease, provider, cause: "asked" }, { _tag: "LeaseEnded", leaseId: lease, provider, confirmed: "terminated", endedAtMs: 3, costPico: 0n }, observed(small))
    assert.deepStrictEqual(desk.decide(4).flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact.column.market] : [])), ["reserved"])
  })
})
