/** One type of machine, at the prices of a list that somebody read on a day. */
export interface Priced {
  readonly instanceType: string
  readonly vcpus: number
  readonly memoryGib: number
  readonly diskGib: number
  readonly gpus: number
  readonly gpuModel?: string
  readonly gpuMemoryGib?: number
  /** Its machines of one cluster can be joined by a fast network of their own. */
  readonly fabric: boolean
  /** Dollars an hour for the whole machine, as the list writes them. */
  readonly dollarsPerHour: string
  readonly spotDollarsPerHour?: string
  /** Where the price was read, and when. */
  readonly source: string
}

const page = "https://www.coreweave.com/pricing, as transcribed on 2026-09-20"

/**
 * What CoreWeave sells by the single machine: it says no prices in any API. Sizes are those that Kubernetes'
 * cluster autoscaler holds for them (coreweave_instance_types.go, 2026). Types of the NVL72 kind are left out:
 * they are sold in racks of eighteen.
 */
export const priced: ReadonlyArray<Priced> = [
  {
    instanceType: "gd-8xh100ib-i128", vcpus: 128, memoryGib: 2_014, diskGib: 28_613, gpus: 8, gpuModel: "H100", gpuMemoryGib: 80, fabric: true,
    dollarsPerHour: "49.24", spotDollarsPerHour: "19.71", source: page
  },
  {
    instanceType: "b200-8x", vcpus: 128, memoryGib: 2_014, diskGib: 28_613, gpus: 8, gpuModel: "B200", gpuMemoryGib: 180, fabric: true,
    dollarsPerHour: "68.80", spotDollarsPerHour: "34.11", source: page
  }
]

/** Dollars an hour in pico-dollars a second, rounded up. */
export const picoPerSecondOf = (dollarsPerHour: string): bigint => {
  const [whole = "0", part = ""] = dollarsPerHour.split(".")
  const picoPerHour = BigInt(whole) * 1_000_000_000_000n + BigInt(part.slice(0, 12).padEnd(12, "0"))
  return (picoPerHour + 3_599n) / 3_600n
}
