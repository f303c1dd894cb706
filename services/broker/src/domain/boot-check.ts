import type { Capabilities, LeaseRequested } from "@millrace/schemas"

/** An operating system, its agent and the vendor's own rounding take no more than half of what was bought. */
const shareMin = 0.5

/** What a host has, as far as it must cover what was bought. */
export interface Found {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly gpus: number
  /** The models of its GPUs, each once. */
  readonly models: ReadonlyArray<string>
}

export const foundIn = ({ gpus, resources }: typeof Capabilities.Type): Found => ({
  cpuMilli: resources.cpuMilli,
  memoryMib: resources.memoryMib,
  gpus: Math.max(resources.gpus, gpus.length),
  models: [...new Set(gpus.map(({ model }) => model))].sort()
})

/** What a machine lacks of what was bought, in words; undefined when it has it. */
export const shortfallOf = ({ gpuModel, resources }: Pick<LeaseRequested, "resources" | "gpuModel">, found: Found): string | undefined => {
  if (found.gpus < resources.gpus) return `${resources.gpus} GPUs were bought, ${found.gpus} are there`
  const others = gpuModel === undefined ? [] : found.models.filter((model) => !sameGpu(model, gpuModel))
  if (resources.gpus > 0 && others.length > 0) return `${gpuModel} was bought, ${others.join(", ")} is there`
  if (found.cpuMilli < resources.cpuMilli * shareMin) return `${resources.cpuMilli / 1000} cores were bought, ${found.cpuMilli / 1000} are there`
  if (found.memoryMib < resources.memoryMib * shareMin) return `${resources.memoryMib} MiB of memory were bought, ${found.memoryMib} are there`
  return undefined
}

/** `NVIDIA H100 80GB HBM3` and `H100 SXM5`: the word of letters and digits that names the chip is the same. A name without one says nothing. */
const sameGpu = (one: string, other: string): boolean => {
  const [left, right] = [chipsIn(one), chipsIn(other)]
  return left.length === 0 || right.length === 0 || left.some((word) => right.includes(word))
}

const chipsIn = (name: string): ReadonlyArray<string> =>
  name.toUpperCase().split(/[^A-Z0-9]+/u).filter((word) => /[A-Z]/u.test(word) && /[0-9]/u.test(word) && !/^([0-9]+G(I?B)?|SXM[0-9]+|HBM[0-9A-Z]+|PCI[A-Z0-9]+)$/u.test(word))
