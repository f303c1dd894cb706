import { assert, describe, it } from "@effect/vitest"
import { isGpuOf, residencyOf } from "@millrace/schemas"
import { dollarsOf, labelOf, modelOf, picoPerSecondOfDollars, readLabel, regionOf } from "./vast-words.ts"

describe("Vast's words", () => {
  it("places are regions that a job can name, under their own law", () => {
    const places = ["Texas, US", "US", "São Paulo, BR", " South Korea,KR", "Sweden, SE", "", null, undefined, ", ,", "California, United States"]
    assert.deepStrictEqual(places.map(regionOf), ["us-texas", "us", "br-sao-paulo", "kr-south-korea", "se-sweden", "somewhere", "somewhere", "somewhere", "somewhere", "united-states-california"])
    for (const place of places) assert.match(regionOf(place), /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/u)
    assert.deepStrictEqual([residencyOf(regionOf("Texas, US")), residencyOf(regionOf("Sweden, SE"))], ["us", "eu"])
  })

  it("GPUs are named so that the same wish means them and what their drivers say", () => {
    for (const [theirs, driver, wish] of [
      ["RTX 4090", "NVIDIA GeForce RTX 4090", "RTX 4090"], ["H100 SXM", "NVIDIA H100 80GB HBM3", "H100"], ["RTX 6000Ada", "NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"],
      ["Tesla V100", "Tesla V100-SXM2-16GB", "V100"], ["Q RTX 8000", "Quadro RTX 8000", "RTX-8000"], ["RTX A6000", "NVIDIA RTX A6000", "A6000"]
    ] as const) for (const model of [modelOf(theirs)!, driver]) assert.isTrue(isGpuOf({ model }, { model: wish }), `${model} as ${wish}`)
    assert.isFalse(isGpuOf({ model: modelOf("RTX 6000Ada")! }, { model: "A6000" }))
    assert.isUndefined(modelOf(" "))
  })

  it("a label gives back what it was made of, and that of somebody else no more than a name", () => {
    for (const cell of ["test", "a cell", "50% of=it/ü"]) assert.deepStrictEqual(readLabel(labelOf({ token: "millrace-x", cell, sinceMs: 5 })), { token: "millrace-x", cell, sinceMs: 5 })
    assert.deepStrictEqual(readLabel("my training job"), { token: "my training job" })
    assert.deepStrictEqual(readLabel("t cell=%E0%A4%A since=1"), { token: "t", cell: "%E0%A4%A", sinceMs: 1 })
    assert.deepStrictEqual([readLabel(null), readLabel(undefined), readLabel("")], [{}, {}, {}])
  })

  it("a price is never rounded in our favour, and a bid never above what we would pay", () => {
    for (const dollars of [0.001, 0.4, 0.234567, 1.87, 53.52, 127.999999]) {
      const pico = picoPerSecondOfDollars(dollars)
      assert.isTrue(Number(pico) * 3600 >= dollars * 1e12 * 0.999_999_999)
      assert.isTrue(dollarsOf(pico) <= dollars + 1e-6 && dollarsOf(pico) >= dollars - 1e-6)
    }
    assert.strictEqual(dollarsOf(picoPerSecondOfDollars(0.4) - 1n) <= 0.4, true)
  })
})
