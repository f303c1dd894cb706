import type { Price, Resources } from "@millrace/schemas"

/** Anything that holds prices: a whole book, or the rates of a workspace at a moment. */
export interface Priced {
  readonly prices: ReadonlyArray<Price>
}

/** What work holds while its time is counted. Without a model, GPUs cost what the dearest model does. */
export interface Held extends Pick<Resources, "cpuMilli" | "memoryMib" | "gpus"> {
  readonly diskMib?: number
  /** A part of one device, beside whole ones. */
  readonly gpuMilli?: number
  readonly gpuModel?: string
}

/** One price applied: `amountPico` is `picoPerUnit` times `quantityMilli` thousandths of a unit for `billedMs`. */
export interface PriceLine {
  readonly sku: string
  readonly unit: Price["unit"]
  readonly picoPerUnit: bigint
  /** Thousandths of what is priced: cores, mebibytes, GPUs, or 1000 for time itself. */
  readonly quantityMilli: number
  /** Whole milliseconds after the price's minimum and steps. */
  readonly billedMs: number
  readonly amountPico: bigint
}

/**
 * What holding these resources for `ms` whole milliseconds costs, in pico-dollars. The same function prices
 * the promise before work begins (with the longest time it may take) and what was used.
 *
 * Each price is applied to the whole time once: raised to its minimum, then up to its next whole step, then
 * rounded up to the next pico-dollar. Time that was not used (0 ms) costs nothing. The result never falls
 * when `ms` or any resource grows, and is never negative where no price is. What no price names costs nothing.
 */
export const priceOf = (book: Priced, held: Held, ms: number): bigint => {
  let amount = 0n
  for (const price of appliedTo(book, held, ms)) amount += amountOf(price, quantityMilliOf(price, held), billedMsOf(price, ms))
  return amount
}

/** The same, price by price; what comes to nothing because none of it is held is left out. */
export const priceLines = (book: Priced, held: Held, ms: number): ReadonlyArray<PriceLine> =>
  appliedTo(book, held, ms).flatMap((price) => {
    const quantityMilli = quantityMilliOf(price, held)
    const billedMs = billedMsOf(price, ms)
    if (quantityMilli === 0) return []
    const { picoPerUnit, sku, unit } = price
    return [{ sku, unit, picoPerUnit, quantityMilli, billedMs, amountPico: amountOf(price, quantityMilli, billedMs) }]
  })

/** The SKU of a GPU model: `NVIDIA H100 80GB` is `gpu-nvidia-h100-80gb`. */
export const gpuSku = (model: string): string =>
  `gpu-${model.toLowerCase().replace(/[^a-z0-9]+/gu, "-").replace(/^-|-$/gu, "")}`

/** The prices by which time is billed: every one but those of GPUs, of which one applies. */
const appliedTo = ({ prices }: Priced, held: Held, ms: number): ReadonlyArray<Price> => {
  const timed = prices.filter(({ unit }) => unit === "second" || unit === "core_second" || unit === "mebibyte_second")
  if (held.gpus === 0 && (held.gpuMilli ?? 0) === 0) return timed
  const ofGpus = prices.filter(({ unit }) => unit === "gpu_second")
  const own = held.gpuModel === undefined ? undefined : gpuSku(held.gpuModel)
  const chosen = ofGpus.find(({ sku }) => sku === own) ?? dearest(ofGpus, held, ms)
  return chosen === undefined ? timed : [...timed, chosen]
}

const dearest = (prices: ReadonlyArray<Price>, held: Held, ms: number): Price | undefined => {
  const costs = prices.map((price) => ({ price, pico: amountOf(price, quantityMilliOf(price, held), billedMsOf(price, ms)) }))
  return costs.reduce<(typeof costs)[number] | undefined>((most, cost) => most === undefined || cost.pico > most.pico ? cost : most, undefined)?.price
}

const quantityMilliOf = ({ sku, unit }: Price, { cpuMilli, diskMib = 0, gpuMilli = 0, gpus, memoryMib }: Held): number => {
  switch (unit) {
    case "second":
      return 1000
    case "core_second":
      return cpuMilli
    case "mebibyte_second":
      return (sku === "disk" ? diskMib : memoryMib) * 1000
    case "gpu_second":
      return gpus * 1000 + gpuMilli
    case "mebibyte":
    case "piece":
      return 0
  }
}

const billedMsOf = ({ billedMsMin, billedStepMs }: Price, ms: number): number => {
  if (ms <= 0) return 0
  const atLeast = Math.max(ms, billedMsMin)
  return billedStepMs <= 1 ? atLeast : Math.ceil(atLeast / billedStepMs) * billedStepMs
}

/** Thousandths of a unit for thousandths of a second, so a million of them are one unit for one second. */
const amountOf = ({ picoPerUnit }: Price, quantityMilli: number, billedMs: number): bigint => {
  const millionths = picoPerUnit * BigInt(quantityMilli) * BigInt(billedMs)
  return (millionths + 999_999n) / 1_000_000n
}
