import { assert, describe, it } from "@effect/vitest"
import { bidOf, byWorth, isDearer, offersOf } from "./vast-offers.ts"
import type { Ask } from "./vast-words.ts"

const ask = (id: number, more: Partial<Ask> = {}): Ask =>
  ({ id, gpu_name: "RTX 4090", num_gpus: 1, gpu_ram: 24_576, cpu_cores: 64, cpu_cores_effective: 32, cpu_ram: 131_072, disk_space: 500, dph_total: 0.41, storage_total_cost: 0.01, min_bid: 0.2, reliability2: 0.99, geolocation: "Texas, US", vms_enabled: true, ...more })

describe("offers of the market", () => {
  it("have a part of their host's memory that is as large as that of its cores, and the disk that we ask for", () => {
    assert.deepStrictEqual(offersOf("on_demand", [ask(1)], 64)[0]?.resources, { cpuMilli: 32_000, memoryMib: 65_536, diskMib: 61_035, gpus: 1 })
  })

  it("without a price, without cores or with too little disk are none", () => {
    const none = [ask(1, { dph_total: 0 }), ask(2, { cpu_cores: 0, cpu_cores_effective: 0 }), ask(3, { cpu_cores: null }), ask(4, { disk_space: 10 }), ask(5, { disk_space: null })]
    assert.deepStrictEqual(offersOf("on_demand", none, 64), [])
    assert.deepStrictEqual(offersOf("spot", [ask(1, { min_bid: 0 }), ask(2, { min_bid: null })], 64), [])
  })

  it("cost what we would bid for them, a little over the least, and that is the bid", () => {
    const [row] = offersOf("spot", [ask(1)], 64)
    assert.approximately(Number(row!.pricePicoPerSecond) * 3600 / 1e12, 0.2 * 1.05 + 0.01, 1e-6)
    assert.approximately(bidOf(ask(1), row!.pricePicoPerSecond), 0.21, 2e-6)
    assert.isFalse(isDearer("spot", ask(1), row!.pricePicoPerSecond))
    assert.isTrue(isDearer("spot", ask(1, { min_bid: 0.22 }), row!.pricePicoPerSecond))
    assert.isTrue(isDearer("on_demand", ask(1, { dph_total: 0.42 }), offersOf("on_demand", [ask(1)], 64)[0]!.pricePicoPerSecond))
  })

  it("are kept by what a machine that stays up is worth: the surer of two at one price, three of a kind, machines and containers apart", () => {
    const rows = byWorth(offersOf("on_demand", [ask(1, { reliability2: 0.96 }), ask(2), ask(3, { dph_total: 0.4 }), ask(4, { dph_total: 0.9 }), ask(5, { vms_enabled: false })], 64))
    assert.deepStrictEqual(rows.map(({ offer, sells }) => `${offer} ${sells}`), ["3 machines", "5 containers", "2 machines", "1 machines"])
  })

  it("are so many at most, and none of a kind is dropped for the second of another", () => {
    const asks = Array.from({ length: 900 }, (_, at) => ask(at + 1, { num_gpus: 1 + (at % 390), dph_total: 0.1 + at / 1000 }))
    const kept = byWorth(offersOf("on_demand", asks, 64))
    assert.strictEqual(kept.length, 400)
    assert.strictEqual(new Set(kept.map(({ machineType }) => machineType)).size, 390)
  })
})
