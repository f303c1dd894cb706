import { Schema } from "effect"

const Dollars = Schema.String.check(Schema.isPattern(/^[0-9]{1,9}(\.[0-9]{1,6})?$/u))
const Some = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))

/** One type of machine, at the prices of a list that somebody read on a day. */
export const Priced = Schema.Struct({
  instanceType: Schema.NonEmptyString,
  vcpus: Some,
  memoryGib: Some,
  diskGib: Some,
  gpus: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
  gpuModel: Schema.optionalKey(Schema.NonEmptyString),
  gpuMemoryGib: Schema.optionalKey(Some),
  /** Its machines of one cluster can be joined by a fast network of their own. */
  fabric: Schema.Boolean,
  /** Dollars an hour for the whole machine, as the list writes them. */
  dollarsPerHour: Dollars,
  /** Absent: it is not sold so. */
  spotDollarsPerHour: Schema.optionalKey(Dollars),
  /** Where the price was read, and when. */
  source: Schema.NonEmptyString
})
export type Priced = typeof Priced.Type

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
