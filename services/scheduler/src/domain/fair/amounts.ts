import type { Resources } from "@millrace/schemas"
import { counted } from "../resources.ts"

/** What is shared out: `cpuMilli`, `memoryMib`, `gpuMilli`, and of one model of GPU `gpuMilli/<model>`. */
export type Dimension = string

/** How much of each; what is not named is 0. Whole numbers. */
export type Amounts = ReadonlyMap<Dimension, number>

export const noAmounts: Amounts = new Map()

/** What work takes of what is shared out; GPUs also of the dimensions that name their model. Disk is a host's own matter. */
export const amountsOf = ({ cpuMilli, gpuMilli = 0, gpus, memoryMib }: Resources, ofModel: ReadonlyArray<Dimension> = []): Amounts => {
  const amounts = new Map<Dimension, number>()
  if (cpuMilli > 0) amounts.set("cpuMilli", cpuMilli)
  if (memoryMib > 0) amounts.set("memoryMib", memoryMib)
  const milli = gpus * 1000 + gpuMilli
  if (milli > 0) amounts.set("gpuMilli", milli)
  if (milli > 0) for (const dimension of ofModel) amounts.set(dimension, milli)
  return amounts
}

export const sum = (left: Amounts, right: Amounts): Amounts => shifted(left, right, 1)

export const difference = (left: Amounts, right: Amounts): Amounts => shifted(left, right, -1)

/** So many times as much of each. */
export const multiplied = (amounts: Amounts, by: number): Amounts => (by === 1 ? amounts : new Map([...amounts].map(([dimension, amount]) => [dimension, amount * by])))

const shifted = (left: Amounts, right: Amounts, by: 1 | -1): Amounts => {
  const result = new Map(left)
  for (const [dimension, amount] of right) shift(result, dimension, by * amount)
  return result
}

/** Changes one amount in place. One that comes to nothing is not named any more. */
export const shift = (amounts: Map<Dimension, number>, dimension: Dimension, by: number): void => {
  const now = (amounts.get(dimension) ?? 0) + by
  if (now === 0) amounts.delete(dimension)
  else amounts.set(dimension, now)
}

/** In words that people read: `4 cores`, `512 MiB`, `1.5 GPUs`, `2 H100`. */
export const amountInWords = (dimension: Dimension, amount: number): string => {
  if (dimension === "cpuMilli") return counted(amount / 1000, "core")
  if (dimension === "memoryMib") return `${amount} MiB`
  return dimension === "gpuMilli" ? counted(amount / 1000, "GPU") : `${amount / 1000} ${dimension.slice("gpuMilli/".length)}`
}
