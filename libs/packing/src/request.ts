import { type GpuWish, isGpuOf } from "@millrace/schemas"
import { type HostClass, wholeMilli } from "./host.ts"

/** A device by the words of its model, by its memory, or by both; with neither, any. */
export type ModelAsk = GpuWish

/** What one task asks for. */
export interface Request {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly diskMib: number
  /** Whole devices of one host. */
  readonly gpus: number
  /** 1 to 999: so much of one device, and then no whole ones. */
  readonly gpuMilli?: number | undefined
  /** Fallbacks in their order: hosts of a later one are looked at only where none of an earlier has room. Any device, if absent. */
  readonly models?: ReadonlyArray<ModelAsk> | undefined
  /** Alternatives without an order: any of them is as good as another. Any device, if absent. */
  readonly oneOfModels?: ReadonlyArray<string> | undefined
  /** No device of these, whatever else is said of models. */
  readonly butModels?: ReadonlyArray<ModelAsk> | undefined
  readonly kinds: number
  readonly where?: ReadonlyArray<Where> | undefined
}

/** A label that must have one of some values; or should, and then `weight` is the points lost where it has not. */
export interface Where {
  readonly label: string
  readonly anyOf: ReadonlyArray<string>
  readonly weight?: number | undefined
}

/** The room that a request needs, apart from where. */
export interface Size {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly diskMib: number
  readonly devices: number
  /** Of each device. */
  readonly deviceMilli: number
}

/** Throws a RangeError for what no host could mean: less than nothing, halves of units, whole devices and a part of one. */
export const sizeOf = ({ cpuMilli, diskMib, gpuMilli, gpus, memoryMib }: Request): Size => {
  for (const amount of [cpuMilli, memoryMib, diskMib, gpus]) if (!Number.isSafeInteger(amount) || amount < 0) throw new RangeError(`a request asks for ${amount}: amounts are whole and not negative`)
  if (gpuMilli === undefined) return { cpuMilli, memoryMib, diskMib, devices: gpus, deviceMilli: gpus === 0 ? 0 : wholeMilli }
  if (!Number.isSafeInteger(gpuMilli) || gpuMilli < 1 || gpuMilli >= wholeMilli || gpus > 0) throw new RangeError(`a request asks for ${gpus} devices and ${gpuMilli} thousandths of one: it is either whole ones, or 1 to ${wholeMilli - 1} thousandths`)
  return { cpuMilli, memoryMib, diskMib, devices: 1, deviceMilli: gpuMilli }
}

/** Sizes of one key fit the same hosts and cost the same there. Disk has no part in the cost, but in the fit. */
export const keyOfSize = ({ cpuMilli, deviceMilli, devices, diskMib, memoryMib }: Size): string => `${cpuMilli}/${memoryMib}/${diskMib}/${devices}x${deviceMilli}`

/** Keys of requests that were seen, for as long as somebody has them: a request says the same for ever. */
const termsSeen = new WeakMap<Request, string>()

/** Requests of one key go to the same classes of hosts. */
export const keyOfTerms = (request: Request): string => {
  let key = termsSeen.get(request)
  if (key === undefined) {
    key = termsInWords(request)
    termsSeen.set(request, key)
  }
  return key
}

const termsInWords = ({ butModels, gpuMilli, gpus, kinds, models, oneOfModels, where }: Request): string => {
  const ofModels = gpus > 0 || gpuMilli !== undefined
  const anyModel = !ofModels || (models === undefined && oneOfModels === undefined && butModels === undefined)
  return anyModel && where === undefined ? String(kinds) : JSON.stringify([kinds, ofModels ? models ?? null : null, ofModels ? oneOfModels ?? null : null, where ?? null, ...(ofModels && butModels !== undefined ? [butModels] : [])])
}

const isOf = (ask: ModelAsk, { gpuMemoryMib, gpuModel = "" }: HostClass): boolean =>
  isGpuOf({ model: gpuModel, memoryMib: gpuMemoryMib === 0 ? undefined : gpuMemoryMib }, ask)

const holds = ({ anyOf, label }: Where, { labels }: HostClass): boolean => {
  const value = labels[label]
  return value !== undefined && anyOf.includes(value)
}

/** Which of the request's fallbacks a class of hosts is; -1 where the request may not go there at all. */
export const rankOf = (request: Request, host: HostClass): number => {
  if ((request.kinds & host.kinds) !== request.kinds) return -1
  if (request.where?.some((where) => where.weight === undefined && !holds(where, host))) return -1
  if (request.gpus === 0 && request.gpuMilli === undefined) return 0
  if (request.oneOfModels !== undefined && (host.gpuModel === undefined || !request.oneOfModels.includes(host.gpuModel))) return -1
  if (request.butModels?.some((ask) => isOf(ask, host))) return -1
  return request.models === undefined ? 0 : request.models.findIndex((ask) => isOf(ask, host))
}

/** The labels that a request would rather have had, on hosts of a class. */
export const unmetAt = (request: Request, host: HostClass): ReadonlyArray<Where> =>
  (request.where ?? []).filter((where) => where.weight !== undefined && !holds(where, host))
