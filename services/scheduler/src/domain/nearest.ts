import { type Capabilities, type Gpu, type GpuWish, missedBy, type Resources, unisolated, type Where, wishesInWords, wishMetBy } from "@millrace/schemas"
import { counted, fits, minus } from "./resources.ts"

/** How a host stands, in one word. */
export const hostStates = ["admitted", "joined", "draining", "left", "lost", "returned", "dismissed", "taken_back"] as const
export type HostStateName = (typeof hostStates)[number]

/** What is known of a host, by who said it. */
export interface Said {
  readonly admitted: boolean
  readonly dismissed: boolean
  readonly said: "joined" | "draining" | "left" | undefined
  readonly judged: "lost" | "returned" | undefined
  /** Its rented machine is being given back, or its provider takes it back. */
  readonly takenBack: boolean
}

/** The word that decides: what ends a host for good comes before what it says of itself. */
export const hostStateOf = ({ dismissed, judged, said, takenBack }: Said): HostStateName => {
  if (dismissed) return "dismissed"
  if (judged === "lost") return "lost"
  if (said === "left") return "left"
  if (takenBack) return "taken_back"
  if (said === "draining") return "draining"
  if (said === "joined") return judged === "returned" ? "returned" : "joined"
  return "admitted"
}

/** Whether new work may go there at all. */
export const takesWork = (known: Said): boolean => known.admitted && ["joined", "returned"].includes(hostStateOf(known))

/** A host as far as its room matters. */
export interface HostRoom {
  readonly hostId: string
  readonly state: HostStateName
  readonly takesWork: boolean
  readonly capabilities: (Pick<Capabilities, "resources" | "runtimes" | "trusts"> & { readonly gpus?: ReadonlyArray<typeof Gpu.Type> }) | undefined
  /** How much its agent understands; 1 unless it said so. */
  readonly dialect?: number
  readonly free: Resources
  /** Of the device of which most is free. */
  readonly freeMilliMost?: number
  /** Where it stands, and whether it can be taken back: as placing sees it. */
  readonly labels?: Readonly<Record<string, string>>
}

export interface Need {
  readonly resources: Resources
  readonly runtime: string
  readonly trust: string
  /** The least that an agent must understand. */
  readonly dialect?: number
  readonly gpu?: ReadonlyArray<GpuWish> | undefined
  readonly where?: Where | undefined
}

/** How near a host comes to taking some work. */
export interface Near {
  readonly hostId: string
  readonly state: HostStateName
  readonly takesWork: boolean
  /** It takes such work, and has the room now. */
  readonly fits: boolean
  /** It would have the room if nothing ran there. */
  readonly fitsWhenEmpty: boolean
  readonly free: Resources
  /** What is missing now; 0 where there is enough. */
  readonly short: Resources
  /** What the host does not offer at all. */
  readonly lacks: ReadonlyArray<string>
}

/** The hosts that come nearest to taking some work, the nearest first. Those that are gone are not named. */
export const nearest = (need: Need, hosts: ReadonlyArray<HostRoom>, most = 5): ReadonlyArray<Near> =>
  hosts
    .filter(({ capabilities, state }) => capabilities !== undefined && state !== "left" && state !== "dismissed")
    .map((host) => ({ near: nearOf(need, host), distance: distanceOf(need, host) }))
    .sort((left, right) => left.distance - right.distance || (left.near.hostId < right.near.hostId ? -1 : 1))
    .slice(0, most)
    .map(({ near }) => near)

const nearOf = (need: Need, { capabilities, dialect = 1, free, freeMilliMost, hostId, labels = {}, state, takesWork }: HostRoom): Near => {
  const { dialect: least = 1, resources, runtime, trust } = need
  const part = resources.gpuMilli ?? 0
  const lacks = [
    ...(capabilities!.runtimes.includes(runtime as never) ? [] : [`runtime ${runtime}`]),
    ...(capabilities!.trusts.includes(trust as never) ? [] : [`trust ${trust}`]),
    ...(dialect >= least ? [] : [`an agent of dialect ${least}`]),
    ...lacksGpus(need, capabilities!.gpus ?? []),
    ...missedBy({ ...labels, residency: labels["residency"], isolation: runtime === "sandbox" ? labels["isolation"] : unisolated }, need.where?.only ?? {}),
    ...((need.where?.spot ?? "never") === "never" && labels["spot"] === "yes" ? ["a machine that nobody takes back"] : [])
  ]
  const able = takesWork && lacks.length === 0
  return {
    hostId, state, takesWork, free, lacks,
    fits: able && fits(resources, free) && (part === 0 || part <= (freeMilliMost ?? free.gpus * 1000)),
    fitsWhenEmpty: lacks.length === 0 && fits(resources, capabilities!.resources),
    short: shortOf(resources, free, freeMilliMost)
  }
}

/** Which GPUs a host does not have at all, in words. */
const lacksGpus = ({ gpu, resources: { gpuMilli = 0, gpus } }: Need, has: ReadonlyArray<typeof Gpu.Type>): ReadonlyArray<string> => {
  const wanted = gpuMilli > 0 ? 1 : gpus
  if (gpu === undefined || wanted === 0) return []
  return has.filter((one) => wishMetBy(one, gpu) >= 0).length >= wanted ? [] : [`${counted(wanted, "GPU")} of ${wishesInWords(gpu)}`]
}

const shortOf = (need: Resources, free: Resources, freeMilliMost = free.gpus * 1000): Resources => {
  const { cpuMilli, diskMib, gpus, memoryMib } = minus(need, free)
  const part = Math.max(0, (need.gpuMilli ?? 0) - freeMilliMost)
  return {
    cpuMilli: Math.max(0, cpuMilli), memoryMib: Math.max(0, memoryMib), diskMib: Math.max(0, diskMib), gpus: Math.max(0, gpus),
    ...(part === 0 ? {} : { gpuMilli: part })
  }
}

/** What cannot be waited for is farther than what can: another kind of host, one too small, one that takes nothing, then room. */
const distanceOf = (need: Need, host: HostRoom): number => {
  const { fitsWhenEmpty, lacks, short } = nearOf(need, host)
  const parts = (["cpuMilli", "memoryMib", "diskMib", "gpus"] as const).map((unit) => (need.resources[unit] > 0 ? short[unit] / need.resources[unit] : 0))
  if ((need.resources.gpuMilli ?? 0) > 0) parts.push((short.gpuMilli ?? 0) / need.resources.gpuMilli!)
  return 1_000 * lacks.length + (fitsWhenEmpty ? 0 : 100) + (host.takesWork ? 0 : 10) + parts.reduce((sum, part) => sum + part, 0)
}
