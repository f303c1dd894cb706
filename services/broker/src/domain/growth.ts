import type { DemandClass } from "@millrace/schemas"

/** How fast what waits for one kind of GPU has grown, in GPUs a window. */
export interface Growth {
  /** What waited when that was last said. */
  readonly level: number
  readonly windowAtMs: number
  /** Grown since the window began. */
  readonly grown: number
  /** Of windows that are over, the newest last. */
  readonly past: ReadonlyArray<number>
}

/** By the name of the model; work that takes any GPU counts under a name of its own. */
export type Growths = Map<string, Growth>

/** About as long as it takes until a machine of eight GPUs is there: what grows meanwhile must be met by what is ready. */
const windowMs = 600_000
const windowsMax = 100
const kindsMax = 64
/** A list of so many kinds of work may be cut: of what it leaves out nothing is known, and of what it tells a part. */
const toldMax = 64
export const anyGpu = "any"

type Class = typeof DemandClass.Type

const modelOf = ({ gpu, gpuModels }: Class): string => gpu?.[0]?.model ?? gpuModels[0] ?? anyGpu

/** Closes the windows that are over by then; those in which nothing was said have grown by nothing. */
const upTo = (growth: Growth, atMs: number): Growth => {
  const over = Math.floor((atMs - growth.windowAtMs) / windowMs)
  if (over <= 0) return growth
  const past = [...growth.past, growth.grown, ...Array.from({ length: Math.min(over - 1, windowsMax) }, () => 0)].slice(-windowsMax)
  return { level: growth.level, windowAtMs: growth.windowAtMs + over * windowMs, grown: 0, past }
}

/** What waits has been said anew: what is more than before has grown. */
export const learnDemand = (growths: Growths, classes: ReadonlyArray<Class>, atMs: number): void => {
  const levels = new Map<string, number>()
  for (const one of classes) if (one.gpus > 0) levels.set(modelOf(one), (levels.get(modelOf(one)) ?? 0) + one.gpus * one.waiting)
  for (const model of new Set([...growths.keys(), ...levels.keys()])) {
    const before = growths.get(model)
    if (before === undefined && growths.size >= kindsMax) continue
    const now = upTo(before ?? { level: 0, windowAtMs: atMs, grown: 0, past: [] }, atMs)
    const told = levels.get(model) ?? 0
    const level = classes.length < toldMax ? told : Math.max(told, now.level)
    growths.set(model, { ...now, level, grown: now.grown + Math.max(0, level - now.level) })
  }
}

/** By how much it has grown in all but the worst hundredth of windows, in GPUs (nearest rank). */
export const growthOf = (growth: Growth, atMs: number): number => {
  const past = [...upTo(growth, atMs).past].sort((a, b) => a - b)
  return past[Math.max(0, Math.ceil(past.length * 0.99) - 1)] ?? 0
}
