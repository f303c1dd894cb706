import { type BrokerTookOver, type GpuNamed, type JobSpec, type Offer, type OffersListed, type OffersObserved, type Resources, wishesInWords, wishMetBy } from "@millrace/schemas"
import { fits, inWords, largestMachine } from "./resources.ts"
import type { World } from "./world.ts"

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
 * Why no machine that is here or could be rented would ever be large enough, and what would be possible; undefined
 * while one might be. Where nothing is for rent, or not all of it is known, somebody may still bring such a machine:
 * then only what no machine in the world has is refused.
 */
export const neverFits = (world: World, { gpu, resources }: JobSpec): string | undefined => {
  const gpus = (resources.gpuMilli ?? 0) > 0 ? 1 : resources.gpus
  if (!fits(resources, largestMachine)) return `it needs ${inWords(resources)}, and no machine has more than ${inWords(largestMachine)}; ask for less`
  const offers = [...world.offers.values()]
  if (offers.length === 0 || offers.some(({ whole }) => !whole)) return undefined
  const would = (kind: MachineKind): boolean =>
    fits({ ...resources, gpus, diskMib: 0 }, kind.resources) && (gpus === 0 || (kind.gpu === undefined ? gpu === undefined : wishMetBy(kind.gpu, gpu) >= 0))
  // Nearly all work fits the first few that are looked at: each job that is new asks this, over all hosts.
  for (const kind of kindsIn(world)) if (would(kind)) return undefined
  const kinds = [...kindsIn(world)]
  if (kinds.length === 0) return undefined
  const wanted = `${inWords(resources)}${gpu === undefined || gpus === 0 ? "" : ` of ${wishesInWords(gpu)}`}`
  return `no machine that is here or for rent has ${wanted}; ${possibleOf(kinds, gpus)}`
}

/** What is for rent, and every host that has ever joined: one that is lost or drained may be back. */
const kindsIn = function*(world: World): Generator<MachineKind> {
  for (const { kinds } of world.offers.values()) yield* kinds.values()
  for (const { dismissed, joined } of world.hosts.values()) {
    if (!dismissed && joined !== undefined) yield { resources: joined.capabilities.resources, gpu: joined.capabilities.gpus[0] }
  }
}

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
  return `one machine has at most ${most("cpuMilli") / 1000} cores, and one at most ${most("memoryMib")} MiB${gpus > 0 ? ", and none has GPUs" : ""}`
}
