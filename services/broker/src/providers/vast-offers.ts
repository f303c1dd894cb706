import type { Offer } from "@millrace/schemas"
import { type Ask, dollarsOf, machineTypeOf, modelOf, picoPerSecondOfDollars, regionOf } from "./vast-words.ts"

export type Market = "on_demand" | "spot"

/** We bid a little over the least that would win now: at exactly that, the next bid of anybody ends us. */
const bidPermille = 1_050
/** So many of one type and market are kept, and so many of all: the market has thousands, and a plan needs the best. */
const keptPerTypeMax = 3
const keptMax = 400

/** The vendor takes bids from a tenth of a cent to 128 dollars an hour. */
const bidMin = 0.001
const bidMax = 128

/** What an offer's storage costs, whether it runs or not. */
const storagePicoOf = ({ storage_total_cost }: Pick<Ask, "storage_total_cost">): bigint => picoPerSecondOfDollars(storage_total_cost ?? 0)

/** What the market asks, or what we would bid: always with the storage. */
const priceOf = (market: Market, ask: Ask): bigint =>
  market === "on_demand" ? picoPerSecondOfDollars(ask.dph_total) : picoPerSecondOfDollars(((ask.min_bid ?? 0) * bidPermille) / 1000) + storagePicoOf(ask)

/** The bid that makes a machine cost as much as we would pay, storage included: in dollars an hour. */
export const bidOf = (ask: Ask, picoPerSecondMax: bigint): number => Math.min(bidMax, dollarsOf(picoPerSecondMax - storagePicoOf(ask)))

/** Whether it cannot be had for so much: its price has moved since it was chosen. */
export const isDearer = (market: Market, ask: Ask, picoPerSecondMax: bigint): boolean =>
  market === "on_demand" ? priceOf(market, ask) > picoPerSecondMax : bidOf(ask, picoPerSecondMax) < Math.max(bidMin, ask.min_bid ?? 0)

/** Offers as rows. What has no price, or no room for our disk, is none. */
export const offersOf = (market: Market, asks: ReadonlyArray<Ask>, diskGb: number): ReadonlyArray<Offer> =>
  asks.flatMap((ask): ReadonlyArray<Offer> => {
    if ((market === "on_demand" ? ask.dph_total : ask.min_bid ?? 0) <= 0 || (ask.disk_space ?? 0) < diskGb) return []
    const cores = ask.cpu_cores_effective ?? ask.cpu_cores ?? 0
    // The memory is the host's; a part of its cores comes with as large a part of it.
    const share = ask.cpu_cores === undefined || ask.cpu_cores === null || ask.cpu_cores <= 0 ? 0 : Math.min(1, cores / ask.cpu_cores)
    const memoryMib = Math.floor((ask.cpu_ram ?? 0) * share)
    const gpuModel = ask.num_gpus > 0 ? modelOf(ask.gpu_name ?? "") : undefined
    if (cores < 1 || memoryMib < 1) return []
    return [{
      machineType: machineTypeOf(ask),
      market,
      resources: { cpuMilli: Math.floor(cores * 1000), memoryMib, diskMib: Math.floor((diskGb * 1e9) / 1_048_576), gpus: ask.num_gpus },
      ...(gpuModel === undefined ? {} : { gpuModel }),
      ...(ask.gpu_ram === undefined || ask.gpu_ram === null || ask.num_gpus === 0 ? {} : { gpuMemoryMib: Math.floor(ask.gpu_ram) }),
      pricePicoPerSecond: priceOf(market, ask),
      regions: [regionOf(ask.geolocation)],
      offer: String(ask.id),
      sells: ask.vms_enabled === true ? "machines" : "containers",
      reliabilityPermille: Math.floor((ask.reliability2 ?? 0) * 1000)
    }]
  })

/** What a second of a machine that stays up is worth paying for: of two at one price, the surer one. */
const worth = ({ pricePicoPerSecond, reliabilityPermille = 0 }: Offer): number => Number(pricePicoPerSecond) / Math.max(1, reliabilityPermille)

/**
 * The best few of each type and market, virtual machines and containers apart; where even those are too many, the
 * second best of each go before the best of any. Ties go by the offer's number.
 */
export const byWorth = (rows: ReadonlyArray<Offer>): ReadonlyArray<Offer> => {
  const seen = new Map<string, number>()
  const ranked = [...rows].sort((a, b) => worth(a) - worth(b) || Number(a.offer) - Number(b.offer)).map((row) => {
    const kind = `${row.machineType} ${row.market} ${row.sells}`
    const rank = seen.get(kind) ?? 0
    seen.set(kind, rank + 1)
    return { row, rank }
  })
  // Sorting keeps the order of equals: within a rank the best stay first.
  return ranked.filter(({ rank }) => rank < keptPerTypeMax).sort((a, b) => a.rank - b.rank).slice(0, keptMax).map(({ row }) => row)
}
