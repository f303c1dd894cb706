import type { DemandClass } from "@millrace/schemas"
import { askedKind, nameOf } from "./gpu-name.ts"
import type { Buffer } from "./inputs.ts"

type Class = typeof DemandClass.Type

/** By how much the demand for one kind of GPU grew within one provisioning time, over and over: what is needed to know its p99. */
export interface Growth {
  /** GPUs that waited, at moments within the last provisioning time, oldest first. */
  readonly recent: ReadonlyArray<{ readonly atMs: number; readonly gpus: number }>
  /** The largest growth of each past window, oldest first. */
  readonly windows: ReadonlyArray<number>
  readonly windowFromMs: number
  readonly largest: number
}

/** Demand by kind of GPU, as it grew. */
export type Growths = ReadonlyMap<string, Growth>

/** So many windows are remembered: of 200 the 99th percentile is the third largest. */
const windowsMax = 200
/** So many moments within one window: a storm of changes is thinned to its last ones. */
const recentMax = 64
/** A kind that nobody has asked for over so many windows is forgotten. */
const kindsMax = 100

/**
 * What is remembered after one more word of the scheduler. A window is one provisioning time long; its growth is the most by which demand rose within
 * a provisioning time that ended in it. Pure: the same facts give the same memory.
 */
export const growthAfter = (before: Growths, classes: ReadonlyArray<Class>, atMs: number, provisioningMs: number): Growths => {
  const now = new Map<string, number>()
  for (const { gpuModels: [model], gpus, waiting } of classes) {
    if (model === undefined || gpus === 0) continue
    const kind = nameOf(askedKind(model))
    now.set(kind, (now.get(kind) ?? 0) + gpus * waiting)
  }
  const kinds = [...new Set([...before.keys(), ...now.keys()])].sort().slice(0, kindsMax)
  return new Map(kinds.map((kind) => [kind, grown(before.get(kind), now.get(kind) ?? 0, atMs, Math.max(1, provisioningMs))] as const)
    .filter(([, { largest, recent, windows }]) => largest > 0 || windows.some((growth) => growth > 0) || recent.some(({ gpus }) => gpus > 0)))
}

const grown = (before: Growth | undefined, gpus: number, atMs: number, provisioningMs: number): Growth => {
  // Before the first word there was no demand.
  const known: Growth = before ?? { recent: [{ atMs, gpus: 0 }], windows: [], windowFromMs: atMs, largest: 0 }
  const ended = Math.max(0, Math.floor((atMs - known.windowFromMs) / provisioningMs))
  const quiet = new Array<number>(Math.min(windowsMax, Math.max(0, ended - 1))).fill(0)
  const windows = ended === 0 ? known.windows : [...known.windows, known.largest, ...quiet].slice(-windowsMax)
  // The last word before the window still says what demand was when the window began.
  const from = known.recent.findLastIndex((word) => word.atMs <= atMs - provisioningMs)
  const recent = known.recent.slice(Math.max(0, from))
  const growth = Math.max(0, gpus - Math.min(...recent.map((word) => word.gpus)))
  return {
    recent: [...recent, { atMs, gpus }].slice(-recentMax),
    windows,
    windowFromMs: known.windowFromMs + ended * provisioningMs,
    largest: Math.max(ended === 0 ? known.largest : 0, growth)
  }
}

/**
 * What to have in hand: for each kind as many GPUs as demand rose by, within one provisioning time, in all but one of a hundred windows. Until there
 * are `windowsMin` windows nobody knows, and nothing is kept: a buffer costs money for as long as it is there.
 */
export const buffersOf = (growths: Growths, gpusMax: number, windowsMin = 20): ReadonlyArray<Buffer> =>
  [...growths].flatMap(([gpuModel, { largest, windows }]): ReadonlyArray<Buffer> => {
    if (windows.length < windowsMin) return []
    const sorted = [...windows, largest].sort((a, b) => a - b)
    const gpus = Math.min(gpusMax, sorted[Math.min(sorted.length - 1, Math.ceil(0.99 * sorted.length) - 1)]!)
    return gpus > 0 ? [{ gpuModel, gpus }] : []
  })
