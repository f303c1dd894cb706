import { type DemandClass, type Offer, type ProviderName, residencyOf } from "@millrace/schemas"
import { blockNames } from "./blocks.ts"
import { inOrder } from "./bounds.ts"
import { chanceOf } from "./chances.ts"
import { choicesIn, columnsOf } from "./choosing.ts"
import { anyGpu, growthOf } from "./growth.ts"
import { isPaidFor, quotasIn, rowsIn, sharesIn, stockLeft } from "./limits.ts"
import { hostOf, shortOf } from "./hosts.ts"
import { type Lease, priceOf, stageOf } from "./lease.ts"
import type { Buyable, PlanInputs, WorkClass } from "./plan/inputs.ts"
import { steered } from "./spot/steering.ts"
import type { State } from "./state.ts"
import { asksAtOnce } from "./suspensions.ts"

/** Nobody says how many machines of a column there are: so many are believed in where asking has always worked. */
const stockMost = 64

/** How many more of a column could be had, as far as is known: fewer the more often asking fails, none while it is blocked. */
const stockOf = (state: State, provider: ProviderName, offer: Offer, column: Buyable["column"], atMs: number): number => {
  if (state.suspended.has(provider) || state.unauthorised.has(provider)) return 0
  if (Object.values(blockNames(provider, column)).some((name) => (state.blocked.get(name) ?? 0) > atMs)) return 0
  if (column.offer !== undefined) return 1
  const told = stockLeft(state, provider, column, offer)
  if (told !== undefined && isPaidFor(column)) return Math.min(told, asksAtOnce(state, provider))
  const { permille } = chanceOf(state.chances, provider, column, atMs)
  return Math.min(told ?? stockMost, asksAtOnce(state, provider), Math.max(1, Math.trunc((stockMost * permille) / 1000)))
}

const gpuNames = ({ gpu = [], gpuModels }: Class): ReadonlyArray<string> =>
  gpu.length === 0 ? gpuModels : gpu.map(({ memoryMibMin, model }) => [model, memoryMibMin === undefined ? undefined : `${Math.trunc(memoryMibMin / 1024)}GB`].filter((part) => part !== undefined).join("-"))

type Class = typeof DemandClass.Type

/** A class's name in a plan: what it asks for, in short. */
const nameOfClass = ({ cpuMilli, gpuMilli, gpus, memoryMib }: Class, names: ReadonlyArray<string>, at: number): string =>
  `${at}: ${cpuMilli / 1000} cores, ${memoryMib} MiB${gpus > 0 ? `, ${gpus} GPUs` : gpuMilli === undefined ? "" : `, ${gpuMilli}/1000 GPU`}${names.length === 0 ? "" : ` of ${names.join(" or ")}`}`

type Only = NonNullable<NonNullable<Class["where"]>["only"]>

/** No region is called so. */
const nowhere = ["(nowhere)"]

/** The regions that work may be in, by name and by law both. Where some are named and none of them does it is none, and not any. */
const regionsFor = ({ regions = [], residency = [] }: Only = {}, residencies: ReadonlyMap<string, ReadonlyArray<string>>): ReadonlyArray<string> => {
  if (residency.length === 0) return regions
  const lawful = residency.flatMap((law) => residencies.get(law) ?? [])
  const both = regions.length === 0 ? lawful : regions.filter((region) => lawful.includes(region))
  return both.length === 0 ? nowhere : both
}

const workOf = (one: Class, at: number, residencies: ReadonlyMap<string, ReadonlyArray<string>>): WorkClass => {
  const names = gpuNames(one)
  const { only } = one.where ?? {}
  return {
    id: nameOfClass(one, names, at),
    units: one.waiting,
    needs: { cpuMilli: one.cpuMilli, memoryMib: one.memoryMib, diskMib: one.diskMib ?? 0, gpus: one.gpus, ...(one.gpuMilli === undefined ? {} : { gpuMilli: one.gpuMilli }) },
    gpuModels: names,
    gang: one.gang ?? one.together?.members ?? 0,
    ...(one.together === undefined ? {} : { near: one.together.on }),
    spot: one.where?.spot === "tolerated" || one.where?.spot === "rather",
    containers: one.own === true && (only?.isolation ?? ["none"]).includes("none"),
    regions: regionsFor(only, residencies),
    providers: only?.providers ?? [],
    weightPermille: 1000
  }
}

const buyableOf = (state: State, provider: ProviderName, offer: Offer, column: Buyable["column"], atMs: number): Buyable => ({
  provider,
  column,
  resources: offer.resources,
  ...(offer.gpuModel === undefined ? {} : { gpuModel: offer.gpuModel }),
  ...(offer.gpuMemoryMib === undefined ? {} : { gpuMemoryMib: offer.gpuMemoryMib }),
  pricePicoPerSecond: offer.pricePicoPerSecond,
  stock: stockOf(state, provider, offer, column, atMs),
  idle: 0,
  rooms: [],
  prepaid: isPaidFor(column),
  riskPermille: Math.trunc((1000 - chanceOf(state.chances, provider, column, atMs).permille) / 2) + Math.max(0, 1000 - (offer.reliabilityPermille ?? 1000)),
  fabric: offer.fabric === true,
  container: offer.sells === "containers"
})

/** Machines that are there or on their way, and stay. */
const ours = (lease: Lease): boolean => {
  const stage = stageOf(lease)
  return lease.requested !== undefined && (stage === "asked" || stage === "held") && lease.reclaim === undefined && lease.retiring === undefined
}

/** What is to be ready of each kind of GPU, beyond what waits. */
const buffersOf = (state: State, atMs: number): PlanInputs["buffers"] => {
  const permille = state.bounds?.bufferPermille ?? 0
  if (permille === 0) return []
  return [...state.growths].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([gpuModel, growth]) => {
    const gpus = Math.ceil((growthOf(growth, atMs) * permille) / 1000)
    return gpuModel === anyGpu || gpus === 0 ? [] : [{ gpuModel, gpus }]
  })
}

/** What a plan is made of: what waits, what is offered, what we have, and the bounds. Pure: the same state and moment give the same. */
export const planInputsOf = (state: State, atMs: number): PlanInputs => {
  const columns = new Map<string, Buyable>()
  for (const provider of [...state.markets.keys()].sort()) {
    for (const offer of rowsIn(state, provider)) for (const column of columnsOf(offer)) columns.set(blockNames(provider, column).offer, buyableOf(state, provider, offer, column, atMs))
  }
  for (const lease of inOrder(state)) {
    if (!ours(lease) || lease.requested === undefined || shortOf(state, lease) !== undefined) continue
    const { column, gpuModel, resources } = lease.requested.fact
    const name = blockNames(lease.provider, column).offer
    const before = columns.get(name) ?? { ...buyableOf(state, lease.provider, { machineType: column.machineType, market: column.market, resources, ...(gpuModel === undefined ? {} : { gpuModel }), pricePicoPerSecond: priceOf(lease), regions: [] }, column, atMs), stock: 0 }
    const busy = (hostOf(state, lease)?.running.size ?? 0) > 0
    columns.set(name, busy ? { ...before, rooms: [...before.rooms, nothingLeft] } : { ...before, idle: before.idle + 1 })
  }
  const residencies = new Map<string, Array<string>>()
  for (const { column: { region } } of columns.values()) {
    const law = residencyOf(region)
    if (law !== undefined) residencies.set(law, [...new Set([...(residencies.get(law) ?? []), region])])
  }
  const classes = steered(state, state.demand?.fact.classes ?? [], () => choicesIn(state, atMs, () => false), atMs).filter(({ waiting }) => waiting > 0).map((one, at) => workOf(one, at, residencies))
  return {
    classes: state.fruitless !== undefined && state.fruitless === state.demand?.factId ? [] : classes,
    columns: [...columns.values()],
    buffers: buffersOf(state, atMs),
    quotas: quotasIn(state, atMs),
    shares: sharesIn(state),
    ...(state.bounds === undefined ? {} : { machinesMax: state.bounds.machinesMax, spendPicoPerHourMax: state.bounds.spendPicoPerHourMax })
  }
}

/** Nothing is known of how much a machine's work takes: what waits does not fit beside it, or it would be there. */
const nothingLeft = { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 }
