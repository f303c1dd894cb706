import { assert, describe, it } from "@effect/vitest"
import { contradictionIn } from "./gpu-ask.ts"

const resources = { cpuMilli: 1, memoryMib: 1, diskMib: 0, gpus: 0 }

describe("what a request says of GPUs and places", () => {
  it("is taken when it can be meant", () => {
    assert.isUndefined(contradictionIn({ resources }))
    assert.isUndefined(contradictionIn({ resources: { ...resources, gpus: 8 }, gpu: [{ model: "H100" }], where: { only: { residency: ["eu"] }, rather: { regions: [] } } }))
    assert.isUndefined(contradictionIn({ resources: { ...resources, gpuMilli: 500 }, gpu: [{ memoryMibMin: 40_960 }] }))
  })

  it("is refused, naming the field, when it contradicts itself or no machine could meet it", () => {
    const where = (request: Parameters<typeof contradictionIn>[0]) => contradictionIn(request)?.where
    const apart = { resources, where: { only: { isolation: ["gvisor"] } } }
    assert.deepStrictEqual([where({ ...apart, runtime: "process" }), where({ ...apart, runtime: "sandbox" })], ["where.only.isolation", undefined])
    assert.isUndefined(where({ resources, runtime: "process", where: { only: { isolation: ["gvisor", "none"] } } }))
    assert.strictEqual(where({ resources: { ...resources, gpus: 1, gpuMilli: 500 } }), "resources.gpuMilli")
    assert.strictEqual(where({ resources: { ...resources, gpus: 17 } }), "resources.gpus")
    assert.strictEqual(where({ resources, gpu: [{ model: "H100" }] }), "gpu")
    assert.strictEqual(where({ resources: { ...resources, gpus: 1 }, gpu: [] }), "gpu")
    assert.strictEqual(where({ resources, array: { tasks: 2 }, gang: { members: 2, topology: "anywhere", onLoss: "end" } }), "gang")
    assert.strictEqual(where({ resources: { ...resources, gpuMilli: 500 }, gang: { members: 2, topology: "host", onLoss: "end" } }), "gang.topology")
    const apartFromAll = { resources, gang: { members: 2, topology: "anywhere", onLoss: "end", network: "private" } } as const
    assert.deepStrictEqual([where({ ...apartFromAll, runtime: "process" }), where({ ...apartFromAll, runtime: "sandbox" }), where(apartFromAll)], ["gang.network", undefined, undefined])
    assert.strictEqual(where({ resources, where: { only: { providers: [] } } }), "where.only.providers")
  })
})
