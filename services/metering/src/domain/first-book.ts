import type { PriceBook } from "@millrace/schemas"

/** Prices per second of use. None has a minimum, and every millisecond counts. */
const each = (sku: string, unit: PriceBook["prices"][number]["unit"], picoPerUnit: bigint): PriceBook["prices"][number] =>
  ({ priceId: `standard-1-${sku}`, sku, unit, picoPerUnit, billedMsMin: 0, billedStepMs: 1 })

/**
 * What things cost until somebody publishes another book: prices as public clouds for AI workloads listed them
 * in November 2026, per core, mebibyte and GPU, in pico-dollars a second. The memory price is $0.00000222 a
 * gibibyte, rounded up to the pico-dollar a mebibyte. Disk is not charged. It holds from the beginning of time, so
 * that nothing is ever used without a price.
 */
export const firstBook: PriceBook = {
  book: "standard",
  version: 1,
  side: "sell",
  currency: "USD",
  effectiveFromMs: 0,
  prices: [
    each("cpu-core", "core_second", 13_100_000n),
    each("memory", "mebibyte_second", 2_168n),
    each("gpu-h100", "gpu_second", 1_097_000_000n),
    each("gpu-a100-80gb", "gpu_second", 694_000_000n),
    each("gpu-a10g", "gpu_second", 306_000_000n),
    each("gpu-t4", "gpu_second", 164_000_000n)
  ]
}
