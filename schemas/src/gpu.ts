import { Schema } from "effect"
import { Mebibytes } from "./quantities.ts"

/**
 * One kind of GPU that would do: of a model, with so much memory, or both; with neither, any. A model is
 * matched by the words of its name: `A100-80GB` is an `NVIDIA A100-SXM4-80GB`, and `A100` is both sizes.
 */
export const GpuWish = Schema.Struct({
  model: Schema.optionalKey(Schema.String.pipe(Schema.check(Schema.isPattern(/^(?=.*[A-Za-z0-9])[A-Za-z0-9 ._+-]{1,64}$/u)))),
  /** The least memory of one device. */
  memoryMibMin: Schema.optionalKey(Mebibytes)
})
export type GpuWish = typeof GpuWish.Type

/** A device, as its driver or a provider names it. */
export interface GpuNamed {
  readonly model: string
  /** Undefined where only the name is known. */
  readonly memoryMib?: number | undefined
}

/**
 * Whether a device is of a kind that would do. Every word of the wish must be one of the device's; a size
 * such as `80GB` may also be its memory, within a tenth, because drivers count what is left of it.
 */
export const isGpuOf = ({ memoryMib, model }: GpuNamed, wish: GpuWish): boolean => {
  const words = wordsOf(model)
  if (wish.memoryMibMin !== undefined && (memoryMib ?? gibOf(words) * 1024) < wish.memoryMibMin * 0.9) return false
  return wish.model === undefined || wordsOf(wish.model).every((word) => words.includes(word) || isSizeOf(word, memoryMib))
}

/** Which of the wishes a device meets: its place in their order, or -1. Without wishes any device is the first. */
export const wishMetBy = (gpu: GpuNamed, wishes: ReadonlyArray<GpuWish> | undefined): number =>
  wishes === undefined || wishes.length === 0 ? 0 : wishes.findIndex((wish) => isGpuOf(gpu, wish))

/** In words that people read: `H100, or A100-80GB, or any with 40 GiB`. */
export const wishesInWords = (wishes: ReadonlyArray<GpuWish>): string =>
  wishes.map(({ memoryMibMin, model }) => memoryMibMin === undefined ? model ?? "any" : `${model ?? "any"} with ${memoryMibMin / 1024} GiB`).join(", or ")

const wordsOf = (name: string): ReadonlyArray<string> => name.toUpperCase().split(/[^A-Z0-9]+/u).filter((word) => word !== "" && word !== "NVIDIA" && word !== "TESLA")

const sizePattern = /^([0-9]{1,4})G(?:I?B)?$/u

const gibOf = (words: ReadonlyArray<string>): number => Math.max(0, ...words.map((word) => Number(sizePattern.exec(word)?.[1] ?? 0)))

const isSizeOf = (word: string, memoryMib: number | undefined): boolean => {
  const gib = Number(sizePattern.exec(word)?.[1] ?? 0)
  return gib > 0 && memoryMib !== undefined && Math.abs(memoryMib - gib * 1024) <= gib * 102.4
}
