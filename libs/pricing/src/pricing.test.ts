import { PriceBook, WorkspaceName } from "@millrace/schemas"
import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import { digestOfBook, dollarsText, estimate, gpuSku, moneyText, noBooks, picoOf, priceLines, priceOf, publish, rateChanges, ratesAt } from "./index.ts"

type Price = PriceBook["prices"][number]

const price = (sku: string, unit: Price["unit"], picoPerUnit: bigint, billedMsMin = 0, billedStepMs = 1): Price =>
  ({ priceId: sku, sku, unit, picoPerUnit, billedMsMin, billedStepMs })

const listed = [price("cpu-core", "core_second", 13_100_000n), price("memory", "mebibyte_second", 2_168n), price("gpu-h100", "gpu_second", 1_097_000_000n), price("gpu-t4", "gpu_second", 164_000_000n)]

const book = (version: number, effectiveFromMs: number, more: Partial<PriceBook> = {}): PriceBook =>
  ({ book: "standard", version, side: "sell", currency: "USD", effectiveFromMs, prices: listed, ...more })

const aPrice = fc.record({
  priceId: fc.constant("p"),
  sku: fc.constantFrom("cpu-core", "memory", "disk", "gpu-h100", "gpu-t4", "time"),
  unit: fc.constantFrom("second" as const, "core_second" as const, "mebibyte_second" as const, "gpu_second" as const, "piece" as const),
  picoPerUnit: fc.bigInt({ min: 0n, max: 10n ** 13n }),
  billedMsMin: fc.constantFrom(0, 1, 500, 60_000),
  billedStepMs: fc.constantFrom(0, 1, 100, 1_000)
})
const aBook = fc.record({ prices: fc.array(aPrice, { maxLength: 6 }) })
const held = fc.record({ cpuMilli: fc.nat(64_000), memoryMib: fc.nat(100_000), diskMib: fc.nat(100_000), gpus: fc.nat(8) })
const time = fc.nat(86_400_000)
/** With minima and steps of one ms, and one price a GPU, time adds up but for the rounding of each price. */
const aPlainBook = fc.record({ prices: fc.uniqueArray(aPrice, { maxLength: 6, selector: ({ unit }) => unit }) })
  .map(({ prices }) => ({ prices: prices.map((one) => ({ ...one, billedMsMin: 0, billedStepMs: 1 })) }))

const holds = (property: fc.IProperty<any> | fc.IPropertyWithHooks<any>) => fc.assert(property as fc.IProperty<unknown>, { numRuns: 300 })

describe("the price of held resources", () => {
  it("is the table's, to the pico", () => {
    assert.strictEqual(priceOf({ prices: listed }, { cpuMilli: 1000, memoryMib: 256, gpus: 0 }, 1_234), 13_100_000n * 1_234n / 1_000n + (2_168n * 256n * 1_234n + 999n) / 1_000n)
    assert.strictEqual(priceOf({ prices: listed }, { cpuMilli: 0, memoryMib: 0, gpus: 1, gpuModel: "T4" }, 1), 164_000n)
    assert.strictEqual(priceOf({ prices: listed }, { cpuMilli: 0, memoryMib: 0, gpus: 1 }, 1), 1_097_000n)
    assert.strictEqual(priceOf({ prices: listed }, { cpuMilli: 0, memoryMib: 0, gpus: 0, gpuMilli: 250, gpuModel: "T4" }, 1), 41_000n)
    assert.strictEqual(priceOf({ prices: [price("cpu-core", "core_second", 1n)] }, { cpuMilli: 1, memoryMib: 0, gpus: 0 }, 1), 1n)
  })
  it("bears minima and whole steps once", () => {
    const stepped = { prices: [price("cpu-core", "core_second", 1_000n, 1_000, 300)] }
    const core = { cpuMilli: 1000, memoryMib: 0, gpus: 0 }
    assert.deepStrictEqual([0, 1, 1_000, 1_201, 1_500].map((ms) => priceOf(stepped, core, ms)), [0n, 1_200n, 1_200n, 1_500n, 1_500n])
  })
  it("is never negative and never falls with time or resources", () => {
    holds(fc.property(aBook, held, time, time, held, (prices, holding, ms, moreMs, more) => {
      const cost = priceOf(prices, holding, ms)
      const bigger = { cpuMilli: holding.cpuMilli + more.cpuMilli, memoryMib: holding.memoryMib + more.memoryMib, diskMib: holding.diskMib + more.diskMib, gpus: holding.gpus + more.gpus }
      assert.isTrue(cost >= 0n)
      assert.isTrue(priceOf(prices, holding, ms + moreMs) >= cost)
      assert.isTrue(priceOf(prices, bigger, ms) >= cost)
    }))
  })
  it("adds up over time within one pico a price", () => {
    holds(fc.property(aPlainBook, held, time, time, (prices, holding, first, second) => {
      const apart = priceOf(prices, holding, first) + priceOf(prices, holding, second)
      const together = priceOf(prices, holding, first + second)
      assert.isTrue(apart >= together && apart - together <= BigInt(prices.prices.length))
    }))
  })
  it("is the sum of its lines", () => {
    holds(fc.property(aBook, held, time, (prices, holding, ms) => {
      assert.strictEqual(priceLines(prices, holding, ms).reduce((sum, { amountPico }) => sum + amountPico, 0n), priceOf(prices, holding, ms))
    }))
  })
  it("of any GPU model is at most that of an unnamed one", () => {
    holds(fc.property(aBook, held, time, (prices, holding, ms) => {
      for (const gpuModel of ["H100", "T4", "X9"]) assert.isTrue(priceOf(prices, { ...holding, gpuModel }, ms) <= priceOf(prices, holding, ms))
    }))
  })
  it("names a model's SKU", () => assert.strictEqual(gpuSku("NVIDIA H100 80GB"), "gpu-nvidia-h100-80gb"))
})

describe("an estimate", () => {
  it("shows how it comes to its sum", () => {
    const { arithmetic, taskPico, totalPico } = estimate({ prices: listed }, { held: { cpuMilli: 500, memoryMib: 0, gpus: 1 }, runMsMax: 60_000, tasks: 3 })
    assert.strictEqual(totalPico, taskPico * 3n)
    assert.strictEqual(arithmetic, "3 tasks of 0.5 cpu-core for 60 s = $0.000393 + 1 gpu-h100 for 60 s = $0.06582 = $0.066213, together $0.198639")
  })
})

describe("price books", () => {
  const acme = WorkspaceName.make("acme")
  const globex = WorkspaceName.make("globex")
  const agreed = book(1, 150, { book: "acme", workspace: acme, prices: [price("cpu-core", "core_second", 1n)] })
  const books = [book(1, 0), book(2, 100), book(9, 0, { side: "buy" }), agreed].reduce(publish, noBooks)

  it("hold from a moment on, and agreed prices lie over those for everybody", () => {
    assert.deepStrictEqual([0, 99, 100, 200].map((atMs) => ratesAt(books, { workspace: acme, atMs })?.name), ["standard/1", "standard/1", "standard/2", "standard/2+acme/1"])
    assert.strictEqual(ratesAt(books, { workspace: globex, atMs: 200 })?.name, "standard/2")
    assert.strictEqual(ratesAt(books, { workspace: acme, atMs: 200 })?.prices.find(({ sku }) => sku === "cpu-core")?.picoPerUnit, 1n)
    assert.strictEqual(ratesAt(books, { workspace: acme, atMs: 200 })?.prices.length, listed.length)
    assert.isUndefined(ratesAt(noBooks, { workspace: acme, atMs: 200 }))
  })
  it("change at known moments", () => {
    assert.deepStrictEqual(rateChanges(books, { workspace: acme, fromMs: 0, toMs: 1_000 }), [100, 150])
    assert.deepStrictEqual(rateChanges(books, { workspace: globex, fromMs: 100, toMs: 1_000 }), [])
  })
  it("are the same in whatever order, and however often, they were published", () => {
    holds(fc.property(fc.array(fc.nat(3), { maxLength: 12 }), (order) => {
      const all = [book(1, 0), book(2, 100), book(9, 0, { side: "buy" }), agreed]
      assert.deepStrictEqual([...order.map((at) => all[at]!), ...all].reduce(publish, noBooks), books)
    }))
  })
  it("have a digest of what they say, however it is written down", () => {
    const { prices, ...rest } = book(1, 0)
    assert.strictEqual(digestOfBook({ prices, ...rest } as PriceBook), digestOfBook(book(1, 0)))
    assert.notStrictEqual(digestOfBook(book(1, 1)), digestOfBook(book(1, 0)))
    assert.match(digestOfBook(book(1, 0)), /^sha256:[0-9a-f]{64}$/u)
  })
})

describe("money", () => {
  it("is written for people and for machines", () => {
    assert.deepStrictEqual([123_000_000n, 0n, 5n, -4_200_000_000_000n, 1_204_000_000_000_000n, 1_999_999_500_000n].map(moneyText),
      ["$0.000123", "$0.00", "$0.000000000005", "-$4.20", "$1,204.00", "$2.00"])
    assert.deepStrictEqual([123_000_000n, 0n, 5n, -4_200_000_000_000n, 1_204_000_000_000_000n].map(dollarsText), ["0.000123", "0.00", "0.000000000005", "-4.20", "1204.00"])
  })
  it("is read back exactly", () => {
    holds(fc.property(fc.bigInt({ min: 0n, max: 10n ** 29n }), (pico) => assert.strictEqual(picoOf(dollarsText(pico)), pico)))
    assert.strictEqual(picoOf("$12.5"), 12_500_000_000_000n)
    for (const text of ["", "-1", "1e3", "1.0000000000001", "1,000", "x"]) assert.isUndefined(picoOf(text))
  })
})
