import type { Constraints, DecisionMade } from "@millrace/schemas"

/**
 * What a request would use of what grants limit, in the units of `Constraints`. What is not named is not
 * checked: a gate names what it knows, and exact counts (uses, concurrency, spend) are known to the
 * scheduler alone.
 */
export interface Needs {
  readonly cpuMilli?: number
  readonly memoryMib?: number
  readonly diskMib?: number
  readonly gpus?: number
  readonly gpuModels?: ReadonlyArray<string>
  readonly providers?: ReadonlyArray<string>
  readonly regions?: ReadonlyArray<string>
  /** Where it would connect to, as `host:port`. */
  readonly egress?: ReadonlyArray<string>
  readonly secrets?: ReadonlyArray<string>
  readonly runMs?: number
  /** All that has been spent or promised under the grant, with this request. */
  readonly spendPico?: bigint
  /** How often the grant has been used, with this request. */
  readonly uses?: number
  /** How many would run at once, with this request. */
  readonly concurrency?: number
  /** How many links would follow the named grant. */
  readonly depth?: number
}

/** A limit that is too small, in words for whoever is refused. */
export interface Exceeded {
  readonly limit: string
  readonly needs: string
  readonly has: string
  readonly reason: DecisionMade["reason"]
}

const bounds = [
  ["cpuMilliMax", "cpuMilli", "constraint"],
  ["memoryMibMax", "memoryMib", "constraint"],
  ["diskMibMax", "diskMib", "constraint"],
  ["gpusMax", "gpus", "constraint"],
  ["runMsMax", "runMs", "constraint"],
  ["spendPicoMax", "spendPico", "budget"],
  ["usesMax", "uses", "uses"],
  ["concurrencyMax", "concurrency", "concurrency"]
] as const

const lists = ["gpuModels", "providers", "regions", "egress", "secrets"] as const

const listText = (values: ReadonlyArray<string>): string => (values.length === 0 ? "none" : values.join(", "))

/** The first limit that a request would exceed, or undefined when it fits. */
export const exceeded = (limits: Constraints, needs: Needs): Exceeded | undefined => {
  // Decided at every gate, for every link: indices, because iterators cost several times as much.
  for (let at = 0; at < bounds.length; at += 1) {
    const [limit, need, reason] = bounds[at]!
    const has = limits[limit]
    if (has === undefined) continue
    const wanted = needs[need]
    if (wanted !== undefined && wanted > has) return { limit, needs: String(wanted), has: String(has), reason }
  }
  for (let at = 0; at < lists.length; at += 1) {
    const limit = lists[at]!
    const wanted = needs[limit]
    if (wanted === undefined || wanted.length === 0) continue
    const has = limits[limit] as ReadonlyArray<string> | undefined
    const outside = has === undefined ? [] : wanted.filter((value) => !has.includes(value))
    if (outside.length > 0) return { limit, needs: listText(outside), has: listText(has!), reason: "constraint" }
  }
  return undefined
}

/** The first limit by which `child` allows more than `parent`, or undefined when it allows no more. */
export const widened = (child: Constraints, parent: Constraints): Omit<Exceeded, "reason"> | undefined => {
  for (const [limit] of bounds) {
    const has = parent[limit]
    const wanted = child[limit]
    if (has !== undefined && (wanted === undefined || wanted > has)) return { limit, needs: wanted === undefined ? "no limit" : String(wanted), has: String(has) }
  }
  for (const limit of lists) {
    const has = parent[limit] as ReadonlyArray<string> | undefined
    if (has === undefined) continue
    const wanted = child[limit] as ReadonlyArray<string> | undefined
    const outside = wanted?.filter((value) => !has.includes(value)) ?? ["no limit"]
    if (outside.length > 0) return { limit, needs: listText(outside), has: listText(has) }
  }
  return undefined
}

/** What two sets of limits leave together. Law: what fits the result fits both, and the other way round. */
export const narrowed = (one: Constraints, other: Constraints): Constraints => {
  const both: Record<string, unknown> = { ...one, ...other }
  for (const [limit] of bounds) {
    const [a, b] = [one[limit], other[limit]]
    if (a !== undefined && b !== undefined) both[limit] = a < b ? a : b
  }
  for (const limit of lists) {
    const [a, b] = [one[limit] as ReadonlyArray<string> | undefined, other[limit] as ReadonlyArray<string> | undefined]
    if (a !== undefined && b !== undefined) both[limit] = a.filter((value) => b.includes(value))
  }
  return both as Constraints
}
