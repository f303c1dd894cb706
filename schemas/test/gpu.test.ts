import { assert, describe, it } from "@effect/vitest"
import { isGpuOf, missedBy, residencyOf, wishMetBy } from "../src/index.ts"

const a100 = { model: "NVIDIA A100-SXM4-80GB", memoryMib: 81_920 }
const h100 = { model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 }

describe("a kind of GPU", () => {
  it("is met by the words of its model, and by its memory in any of its spellings", () => {
    for (const model of ["A100", "a100", "A100-80GB", "A100 80G", "NVIDIA A100"]) assert.isTrue(isGpuOf(a100, { model }), model)
    for (const model of ["A10", "A100-40GB", "H100", "A100-PCIE"]) assert.isFalse(isGpuOf(a100, { model }), model)
    assert.isTrue(isGpuOf({ model: "H100", memoryMib: 81_559 }, { model: "H100-80GB" }))
  })

  it("is met by enough memory, where drivers count a little less than was sold", () => {
    assert.isTrue(isGpuOf(h100, { memoryMibMin: 80 * 1024 }))
    assert.isTrue(isGpuOf({ model: "A100-40GB" }, { memoryMibMin: 40 * 1024 }))
    assert.isFalse(isGpuOf({ model: "Tesla T4", memoryMib: 15_360 }, { memoryMibMin: 40 * 1024 }))
    assert.isFalse(isGpuOf({ model: "T4" }, { memoryMibMin: 1024 }))
  })

  it("has a place in the order of wishes", () => {
    const wishes = [{ model: "H100" }, { model: "A100-80GB" }, { memoryMibMin: 40 * 1024 }]
    assert.deepStrictEqual([h100, a100, { model: "L40S", memoryMib: 46_068 }, { model: "T4", memoryMib: 15_360 }].map((gpu) => wishMetBy(gpu, wishes)), [0, 1, 2, -1])
    assert.strictEqual(wishMetBy(a100, undefined), 0)
  })
})

describe("a place", () => {
  it("lies under the law that its region's name says", () => {
    const known = ["us-east-1", "europe-west4", "eu-central-1", "eu-west-2", "europe-west2", "westeurope", "uksouth", "us-tx-3", "FIN-01", "ap-south-1", "eastus", "moon-1"]
    assert.deepStrictEqual(known.map(residencyOf), ["us", "eu", "eu", "uk", "uk", "eu", "uk", "us", "eu", "in", "us", undefined])
  })

  it("misses what it does not say of itself", () => {
    assert.deepStrictEqual(missedBy({ region: "us-east-1", provider: "aws" }, { residency: ["eu"], providers: ["aws"] }), ["residency eu"])
    assert.deepStrictEqual(missedBy({}, { regions: ["a", "b"] }), ["region a or b"])
    assert.deepStrictEqual(missedBy({ residency: "eu" }, { residency: ["eu"] }), [])
  })
})
