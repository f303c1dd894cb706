import { Option } from "effect"
import { assert, describe, it } from "vitest"
import { gpusOf, placingOf, wishesOf } from "./placing-flags.ts"

describe("the flags of placing", () => {
  it("read whole GPUs and a part of one", () => {
    assert.deepStrictEqual(["0", "8", "0.25", "0.005"].map(gpusOf), [{ gpus: 0 }, { gpus: 8 }, { gpus: 0, gpuMilli: 250 }, { gpus: 0, gpuMilli: 5 }])
    for (const text of ["1.5", "-1", "", "one", "0.0001"]) assert.isUndefined(gpusOf(text), text)
  })

  it("read kinds of GPU in their order", () => {
    assert.deepStrictEqual(wishesOf("H100, A100-80GB, any >= 40 GB"), [{ model: "H100" }, { model: "A100-80GB" }, { memoryMibMin: 40_960 }])
    assert.deepStrictEqual(wishesOf("any"), [{}])
    assert.deepStrictEqual(wishesOf("L4>=24GiB,>=48GB"), [{ model: "L4", memoryMibMin: 24_576 }, { memoryMibMin: 49_152 }])
    for (const text of ["", "H100,", "any >=", "any >= much", "(H100)"]) assert.isUndefined(wishesOf(text), text)
  })

  it("write hard places and wishes apart", () => {
    const given = { gpus: { gpus: 1 }, gpu: Option.none(), region: ["eu-west-1", "eu-central-1"], provider: [], residency: ["eu"], isolation: [], rather: ["provider=aws", "region=eu-west-1"], spot: Option.some("tolerated" as const) }
    assert.deepStrictEqual(placingOf(given), {
      where: { only: { regions: ["eu-west-1", "eu-central-1"], residency: ["eu"] }, rather: { regions: ["eu-west-1"], providers: ["aws"] }, spot: "tolerated" }
    })
    assert.deepStrictEqual(placingOf({ ...given, region: [], residency: [], isolation: ["gvisor-userns"], rather: ["isolation=gvisor"], spot: Option.none() }), { where: { only: { isolation: ["gvisor-userns"] }, rather: { isolation: ["gvisor"] } } })
    assert.deepStrictEqual(placingOf({ ...given, rather: ["zone=a"] }), { unreadable: "zone=a" })
    assert.deepStrictEqual(placingOf({ ...given, region: [], residency: [], rather: [], spot: Option.none() }), {})
  })
})
