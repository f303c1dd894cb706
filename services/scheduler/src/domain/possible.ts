import {
  type BrokerTookOver, type GpuNamed, type GpuWish, isGpuOf, type JobSpec, missedBy, type Offer, type OffersListed, type OffersObserved, residencyOf, type Resources, type Stand, wishesInWords, wishMetBy, type WorkspaceName
} from "@millrace/schemas"
import { amountInWords, amountsOf, type Dimension, multiplied } from "./fair/amounts.ts"
import { QuotaLedger, type QuotaTree } from "./fair/tree.ts"
import { labelsOf } from "./fleet.ts"
import { domainsFor } from "./gangs.ts"
import { modelOf, nodeOf } from "./quotas.ts"
import { counted, fits, gpuMilliOf, inWords, largestMachine } from "./resources.ts"
import type { HostState, World } from "./world.ts"

/** A kind of machine, as far as size goes. */
export interface MachineKind {
  readonly resources: Resources
  readonly gpu: GpuNamed | undefined
}

/**
 * What a provider has ever offered, by what makes two offers one kind. `whole`: nothing of it is missing here.
 * `silent`: the broker buys from it, and it has not said yet what it offers.
 */
export interface Offered {
  readonly silent?: boolean
  readonly kinds: Map<string, MachineKind>
  whole: boolean
  /** Where it has ever offered any. Not known of what was learnt by an older program, nor of who has offered nothing anywhere yet. */
  regions?: ReadonlyArray<string>
  /** Whether any of it can be joined by a fast network. Not known of what was learnt by an older program. */
  fabric?: boolean
  /** Of a list that is said in parts: which one, and how many of it have been said. */
  listed?: { readonly digest: string; readonly rows: number }
}

/** So many kinds are kept of one provider; of one that offers more nobody can say what it does not have. */
const kindsMax = 2_048

/** Takes in what a provider offers. Kinds that it offered once stay: what is sold out today is there tomorrow. */
export const evolveOffers = (offers: World["offers"], { count, offers: { digest }, provider, rows }: OffersObserved): void => {
  const known = offeredBy(offers, provider)
  const before = known.listed?.digest === digest ? known.listed.rows : 0
  delete known.listed
  // A long list is cut to what can be had now: what is sold out is not named, and may be what somebody needs.
  if (rows === undefined || before + rows.length < count) known.whole = false
  learnKinds(known, rows ?? [])
}

/** Takes in a part of a long list, the last part of which `OffersObserved` holds. */
export const listOffers = (offers: World["offers"], { offers: { digest }, provider, rows }: OffersListed): void => {
  const known = offeredBy(offers, provider)
  known.listed = { digest, rows: (known.listed?.digest === digest ? known.listed.rows : 0) + rows.length }
  learnKinds(known, rows)
}

const offeredBy = (offers: World["offers"], provider: OffersObserved["provider"]): Offered => {
  const before = offers.get(provider)
  const known = before !== undefined && before.silent !== true ? before : { kinds: new Map<string, MachineKind>(), whole: true }
  offers.set(provider, known)
  return known
}

const learnKinds = (known: Offered, rows: ReadonlyArray<Offer>): void => {
  const regions = new Set([...known.regions ?? [], ...rows.flatMap(({ regions }) => regions)])
  if (regions.size > 0) known.regions = [...regions].sort()
  if (known.fabric !== undefined || known.kinds.size === 0) known.fabric = known.fabric === true || rows.some(({ fabric }) => fabric === true)
  for (const row of rows) {
    const kind = kindOf(row)
    const key = `${kind.resources.cpuMilli}/${kind.resources.memoryMib}/${kind.resources.diskMib}/${kind.resources.gpus}/${kind.gpu?.model ?? ""}/${kind.gpu?.memoryMib ?? ""}`
    if (known.kinds.size >= kindsMax && !known.kinds.has(key)) known.whole = false
    else known.kinds.set(key, kind)
  }
}

/** Takes in whom a broker buys from. What somebody who says nothing yet will offer is unknown as long as it is asked. */
export const evolveProviders = (offers: World["offers"], { providers }: BrokerTookOver): void => {
  for (const [provider, { silent }] of offers) if (silent === true) offers.delete(provider)
  for (const provider of providers ?? []) if (!offers.has(provider)) offers.set(provider, { kinds: new Map(), whole: false, silent: true })
}

const kindOf = ({ gpuMemoryMib, gpuModel, resources: { cpuMilli, diskMib, gpus, memoryMib } }: Offer): MachineKind => ({
  resources: { cpuMilli, memoryMib, diskMib, gpus },
  gpu: gpuModel === undefined ? undefined : { model: gpuModel, ...(gpuMemoryMib === undefined ? {} : { memoryMib: gpuMemoryMib }) }
})

/**
 * Why a job could never run, and what would be possible; undefined while it might: no machine that is here or could be
 * rented would do, by size, kind, place or what it runs; or its workspace's quota would not hold it if all others were
 * idle. Where nothing is for rent, or not all of it is known, somebody may still bring such a machine: then only what
 * no machine in the world has is refused.
 */
export const neverFits = (world: World, spec: JobSpec, workspace: WorkspaceName): string | undefined => {
  const need = onOneMachine(spec)
  if (!fits(need, largestMachine)) return `it needs ${inWords(need)}${spec.gang?.topology === "host" ? ` on one host, for all ${spec.gang.members} members` : ""}, and no machine has more than ${inWords(largestMachine)}; ask for less`
  return neverDue(world, spec, workspace) ?? nowhere(world, spec, need)
}

/** The room that one machine must have: for a gang on one host that of all its members. */
const onOneMachine = ({ gang, resources: { cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib } }: JobSpec): Resources => {
  const members = gang?.topology === "host" ? gang.members : 1
  const devices = gpuMilli > 0 ? Math.ceil(members / Math.floor(1000 / gpuMilli)) : gpus * members
  return { cpuMilli: cpuMilli * members, memoryMib: memoryMib * members, diskMib: diskMib * members, gpus: devices }
}

const idle = new WeakMap<QuotaTree, QuotaLedger>()

/** What a workspace would not have of its quota and of what others lend, if nothing ran anywhere. */
const neverDue = (world: World, { gang, gpu, resources }: JobSpec, workspace: WorkspaceName): string | undefined => {
  const { tree } = world.index.ledger
  const node = nodeOf(workspace)
  const limited = [...tree.limitedFor(node)]
  if (limited.length === 0) return undefined
  const ledger = idle.get(tree) ?? new QuotaLedger(tree)
  idle.set(tree, ledger)
  const together = gang?.members ?? 1
  const over = ledger.over(node, multiplied(amountsOf(resources), together))
  const remedy = "ask for less, or for a larger quota"
  if (over !== undefined) return `its quota never gives it that much: ${node} needs ${amountInWords(over.dimension, over.needs)}${together > 1 ? ` for all ${together} members` : ""} and can have at most ${amountInWords(over.dimension, over.available)}, borrowed or its own; ${remedy}`
  const milli = gpuMilliOf(resources)
  const full = (wish: GpuWish): Dimension | undefined => limited.find((dimension) => {
    const model = modelOf(dimension)
    return model !== undefined && wish.model !== undefined && isGpuOf({ model: wish.model }, { model }) && ledger.available(node, dimension) < milli
  })
  const [first] = gpu ?? []
  if (milli === 0 || first === undefined || !gpu!.every((wish) => full(wish) !== undefined)) return undefined
  return `its quota never gives it that much: ${node} can have at most ${amountInWords(full(first)!, ledger.available(node, full(first)!))}; ${remedy}, or name another GPU too`
}

/** Why no machine would do, where all is known of what is for rent. */
const nowhere = (world: World, spec: JobSpec, need: Resources): string | undefined => {
  const { gang, gpu, where: { only = {} } = {} } = spec
  if (world.offers.size === 0) return undefined
  const sellers = [...world.offers].filter(([provider]) => only.providers === undefined || only.providers.includes(provider))
  if (sellers.some(([, { regions, whole }]) => !whole || (regions === undefined && (only.regions ?? only.residency) !== undefined))) return undefined
  const large = ({ gpu: has, resources }: MachineKind): boolean =>
    fits({ ...need, diskMib: 0 }, resources) && (need.gpus === 0 || (has === undefined ? gpu === undefined : wishMetBy(has, gpu) >= 0))
  const { isolation: rungs, ...places } = only
  const sold = rungs === undefined || rungs.some((rung) => soldRungs.includes(rung)) ? sellers.filter(([provider, { regions = [] }]) =>
    places.regions === undefined && places.residency === undefined || regions.some((region) => missedBy({ provider, region }, places).length === 0)) : []
  const joins = sold.filter(([, { fabric }]) => gang?.topology !== "fabric" || fabric !== false)
  for (const [, { kinds }] of joins) for (const kind of kinds.values()) if (large(kind)) return undefined
  const standing: Array<HostState> = []
  for (const host of hostsOf(world)) {
    const { capabilities: { labels, runtimes, trusts } } = host.joined!
    // An agent that is too old for it can be replaced by a newer one.
    if (!runtimes.includes(spec.runtime) || !trusts.includes(spec.trust)) continue
    const { isolation, provider, region, residency } = labelsOf(labels, host.rented) as Stand
    if (missedBy({ isolation, provider, region, residency }, only).length > 0) continue
    standing.push(host)
    if (gang?.topology !== "fabric" && large(kindAt(host))) return undefined
  }
  if (gang?.topology === "fabric" && domainsFor(standing, gang).some((hosts) => hosts.reduce((sum, host) => sum + (large(kindAt(host)) ? timesIn(spec.resources, kindAt(host).resources) : 0), 0) >= gang.members)) return undefined
  return inPlace(world, spec, need, joins.flatMap(([, { kinds }]) => [...kinds.values()]), standing)
}

/** The rungs that a machine for rent has: a whole one can have ids of its own for each sandbox, of a container nothing is known before it is there. */
const soldRungs = ["gvisor-userns", "gvisor", "none"]

/** How many members of this size a machine has room for when it is empty. */
const timesIn = ({ cpuMilli, gpuMilli = 0, gpus, memoryMib }: Resources, has: Resources): number => {
  const pairs = [[cpuMilli, has.cpuMilli], [memoryMib, has.memoryMib], [gpus, has.gpus]] as const
  const times = pairs.flatMap(([need, free]) => (need > 0 ? [Math.floor(free / need)] : []))
  return Math.min(...times, gpuMilli > 0 ? has.gpus * Math.floor(1000 / gpuMilli) : Number.MAX_SAFE_INTEGER)
}

/** Says what is missing, and what there is instead. */
const inPlace = (world: World, { gang, gpu, resources, runtime, trust, where: { only = {} } = {} }: JobSpec, need: Resources, sold: ReadonlyArray<MachineKind>, standing: ReadonlyArray<HostState>): string | undefined => {
  const wanted = `${inWords({ ...resources, gpus: need.gpus === 0 ? 0 : gang?.topology === "host" ? need.gpus : resources.gpus })}${gpu === undefined || need.gpus === 0 ? "" : ` of ${wishesInWords(gpu)}`}`
  const kinds = [...sold, ...standing.map(kindAt)]
  const together = gang === undefined || gang.topology === "anywhere" ? "" : `, for all ${gang.members} members on one ${gang.topology}`
  if (kinds.length > 0) return `no machine that is here or for rent has ${wanted}${together}; ${possibleOf(kinds, need.gpus)}`
  const everywhere = placesIn(world)
  const asked = ([["regions", "region"], ["providers", "provider"], ["residency", "residency"], ["isolation", "isolation"]] as const)
    .flatMap(([list, what]) => (only[list] === undefined ? [] : [{ what, text: `${what} ${only[list].join(" or ")}`, there: everywhere[list] }]))
  if (asked.length === 0) return everywhere.any ? `no machine that is here or for rent runs ${runtime} work with trust ${trust}${together}; bring one that does` : undefined
  return `no machine that is here or for rent stands where it may run (${asked.map(({ text }) => text).join(", ")}) and runs ${runtime} work with trust ${trust}; there is ${asked.map(({ there, what }) => `${what} ${there.length === 0 ? "none" : there.slice(0, namedMax).join(", ")}`).join("; ")}`
}

/** All places at which there are machines or where some are sold. */
const placesIn = (world: World) => {
  const stands = [
    ...[...hostsOf(world)].map((host) => labelsOf(host.joined!.capabilities.labels, host.rented) as Stand),
    ...[...world.offers].flatMap(([provider, { regions = [] }]): ReadonlyArray<Stand> => regions.length === 0 ? [{ provider }] : regions.map((region) => ({ provider, region, residency: residencyOf(region) })))
  ]
  const names = (of: (stand: Stand) => string | undefined) => [...new Set(stands.flatMap((stand) => of(stand) ?? []))].sort()
  return { any: stands.length > 0, regions: names(({ region }) => region), providers: names(({ provider }) => provider), residency: names(({ residency }) => residency), isolation: names(({ isolation }) => isolation) }
}

/** Every host that has ever joined: one that is lost or drained may be back. */
const hostsOf = function*(world: World): Generator<HostState> {
  for (const host of world.hosts.values()) if (!host.dismissed && host.joined !== undefined) yield host
}

const kindAt = ({ joined }: HostState): MachineKind => ({ resources: joined!.capabilities.resources, gpu: joined!.capabilities.gpus[0] })

const namedMax = 6

/** The most there is: of each kind of GPU where GPUs are wanted, and of cores and memory on one machine. */
const possibleOf = (kinds: ReadonlyArray<MachineKind>, gpus: number): string => {
  if (gpus > 0) {
    const most = new Map<string, number>()
    for (const { gpu, resources } of kinds) if (gpu !== undefined) most.set(gpu.model, Math.max(most.get(gpu.model) ?? 0, resources.gpus))
    const named = [...most].sort(([left, many], [right, more]) => more - many || (left < right ? -1 : 1)).slice(0, namedMax)
    if (named.length > 0) return `one machine has at most ${named.map(([model, count]) => `${count} ${model}`).join(", ")}`
  }
  const most = (unit: "cpuMilli" | "memoryMib") => Math.max(...kinds.map(({ resources }) => resources[unit]))
  return `one machine has at most ${counted(most("cpuMilli") / 1000, "core")}, and one at most ${most("memoryMib")} MiB${gpus > 0 ? ", and none has GPUs" : ""}`
}
