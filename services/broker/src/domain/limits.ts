import type { Column, LeaseRefused, Offer, ProviderName, RentalQuota } from "@millrace/schemas"
import { blockNameOf } from "./blocks.ts"
import type { Lease } from "./lease.ts"
import { askedKind, gpuKind, satisfies } from "./plan/gpu-name.ts"
import type { Quota, Share } from "./plan/inputs.ts"
import type { State } from "./state.ts"

/** What a provider's refusal has shown of what it lets us have: so many machines were there when it said that more are too many. */
export interface LearntQuota {
  readonly provider: ProviderName
  readonly quota: RentalQuota
  readonly machines: number
  readonly atMs: number
}

/** What a refusal showed a day ago says nothing of today. */
const learntMsMax = 86_400_000
const learntMax = 512
/** A provider may have so many GPUs, whatever its share: a share of little is nothing. */
export const shareFloorGpus = 16

/** A machine, wished for or there, as a quota sees it. */
export interface Counted {
  readonly provider: ProviderName
  readonly column: Pick<Column, "region" | "machineType" | "market">
  readonly gpus: number
  readonly cpuMilli: number
  readonly gpuModel?: string | undefined
  readonly gpuMemoryMib?: number | undefined
}

/** Whether a name of a type is meant: `p5*` means all that begin so. */
export const namesType = (wanted: string, machineType: string): boolean => (wanted.endsWith("*") ? machineType.startsWith(wanted.slice(0, -1)) : machineType === wanted)

/** Whether a quota of a provider counts a machine. */
export const counts = (provider: ProviderName, { gpuModel, machineType, market, region }: RentalQuota, one: Counted): boolean =>
  one.provider === provider &&
  (region === undefined || one.column.region === region) &&
  (machineType === undefined || namesType(machineType, one.column.machineType)) &&
  (market === undefined || one.column.market === market) &&
  (gpuModel === undefined || (one.gpuModel !== undefined && satisfies(gpuKind(one.gpuModel, one.gpuMemoryMib === undefined ? undefined : one.gpuMemoryMib / 1024), askedKind(gpuModel))))

/** A lease as quotas count it; nothing for a machine that we never asked for. */
export const countedOf = ({ provider, requested }: Lease): Counted | undefined => {
  if (requested === undefined) return undefined
  const { column, gpuModel, resources } = requested.fact
  return { provider, column, gpus: resources.gpus, cpuMilli: resources.cpuMilli, gpuModel }
}

/** Leases whose machine, as far as anybody knows, its provider counts. */
const there = (state: State): ReadonlyArray<Counted> =>
  [...state.leases.values()].flatMap((lease) => (lease.granted === undefined ? [] : countedOf(lease) ?? []))

/** Everything that is asked for or there. */
export const openCounted = (state: State): ReadonlyArray<Counted> => [...state.leases.values()].flatMap((lease) => countedOf(lease) ?? [])

/** A provider has said that more of something are too many: as many as are there are its quota, as far as is known. */
export const learnQuota = (state: State, { narrows, provider, reason }: Pick<LeaseRefused, "narrows" | "provider" | "reason">, column: Column, atMs: number): void => {
  if (reason !== "quota") return
  const { machineType, market, region } = column
  const quota: RentalQuota = narrows === "provider" ? {} : narrows === "region" ? { region } : narrows === "market" || narrows === "offer" ? { region, machineType, market } : { region, machineType }
  const machines = there(state).filter((one) => counts(provider, quota, one)).length
  for (const [name, { atMs: since }] of state.quotas) if (atMs - since > learntMsMax) state.quotas.delete(name)
  const name = blockNameOf(provider, column, { narrows })
  if (state.quotas.size < learntMax || state.quotas.has(name)) state.quotas.set(name, { provider, quota, machines, atMs })
}

/** A machine has been handed over: where that makes more than a quota was believed to be, it is another now, and unknown. */
export const unlearnQuotas = (state: State, lease: Lease): void => {
  const counted = countedOf(lease)
  if (counted === undefined || state.quotas.size === 0) return
  const machines = there(state)
  for (const [name, { machines: most, provider, quota }] of state.quotas) {
    if (counts(provider, quota, counted) && machines.filter((one) => counts(provider, quota, one)).length > most) state.quotas.delete(name)
  }
}

/**
 * No more than these at once: what the operator has set, what providers say, and what their refusals have shown. Where a
 * refusal is over, one machine more than it showed may be tried.
 */
export const quotasIn = (state: State, atMs: number): ReadonlyArray<Quota> => [
  ...(state.bounds?.limits ?? []).flatMap(({ provider, quotas = [] }) => quotas.map((one) => ({ provider, ...one }))),
  ...byName(state.markets).flatMap(([provider, { quotas = [] }]) => quotas.map((one) => ({ provider, ...one }))),
  ...byName(state.quotas).flatMap(([name, { atMs: since, machines, provider, quota }]) =>
    atMs - since > learntMsMax ? [] : [{ provider, ...quota, machinesMax: machines + ((state.blocked.get(name) ?? 0) > atMs ? 0 : 1) }])
]

export const sharesIn = ({ bounds }: State): ReadonlyArray<Share> =>
  (bounds?.limits ?? []).flatMap(({ provider, sharePermilleMax }) => (sharePermilleMax === undefined ? [] : [{ provider, permilleMax: sharePermilleMax }]))

const byName = <Key extends string, V>(entries: ReadonlyMap<Key, V>): ReadonlyArray<readonly [Key, V]> => [...entries].sort(([a], [b]) => (a < b ? -1 : 1))

/**
 * What a provider offers, with what the operator has reserved there besides: of a type at its price on demand, as far as
 * that is known. What is reserved is paid for, and counts for nothing when it is chosen.
 */
export const rowsIn = (state: State, provider: ProviderName): ReadonlyArray<Offer> => {
  const rows = state.markets.get(provider)?.rows ?? []
  const reserved = state.bounds?.limits?.find((one) => one.provider === provider)?.reserved ?? []
  return reserved.length === 0 ? rows : [...rows, ...reserved.flatMap(({ machineType, machines, region, zone }): ReadonlyArray<Offer> => {
    const like = rows.filter((row) => row.machineType === machineType && row.market === "on_demand")
    const [row] = [...like.filter((one) => one.regions.includes(region) && (zone === undefined || one.zone === zone)), ...like]
    if (row === undefined || rows.some((one) => one.market === "reserved" && one.machineType === machineType && one.regions.includes(region) && one.zone === zone)) return []
    const { offer: _, stock: __, zone: ___, ...of } = row
    return [{ ...of, market: "reserved", regions: [region], ...(zone === undefined ? {} : { zone }), stock: Math.max(0, machines - openSince(state, provider, { region, machineType, market: "reserved", ...(zone === undefined ? {} : { zone }) }, 0, state.markets.get(provider)?.observedAtMs)) }]
  })]
}

const sameColumn = (one: Column, other: Column): boolean =>
  one.region === other.region && one.zone === other.zone && one.machineType === other.machineType && one.market === other.market && one.offer === other.offer

/** Open leases in a column that were asked for after one moment and not after another. */
const openSince = ({ leases }: State, provider: ProviderName, column: Column, afterMs: number, untilMs = Number.POSITIVE_INFINITY): number => {
  let open = 0
  for (const lease of leases.values()) {
    const { requested } = lease
    if (requested !== undefined && lease.provider === provider && requested.atMs > afterMs && requested.atMs <= untilMs && sameColumn(requested.fact.column, column)) open += 1
  }
  return open
}

/** How many more of a column there are by its provider's own word, less what has been asked for since. Undefined: nobody says. */
export const stockLeft = (state: State, provider: ProviderName, column: Column, { stock }: Offer): number | undefined =>
  stock === undefined ? undefined : Math.max(0, stock - openSince(state, provider, column, state.markets.get(provider)?.observedAtMs ?? 0))

/** Whether so much is paid for already, used or not: then it adds nothing to what is spent. */
export const isPaidFor = ({ market }: Pick<Column, "market">): boolean => market === "reserved"
