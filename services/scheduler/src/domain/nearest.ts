import type { Capabilities, Resources } from "@millrace/schemas"
import { fits, minus } from "./resources.ts"

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
  readonly capabilities: Pick<Capabilities, "resources" | "runtimes" | "trusts"> | undefined
  /** How much its agent understands; 1 unless it said so. */
  readonly dialect?: number
  readonly free: Resources
}

export interface Need {
  readonly resources: Resources
  readonly runtime: string
  readonly trust: string
  /** The least that an agent must understand. */
  readonly dialect?: number
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

const nearOf = ({ dialect: least = 1, resources, runtime, trust }: Need, { capabilities, dialect = 1, free, hostId, state, takesWork }: HostRoom): Near => {
  const lacks = [
    ...(capabilities!.runtimes.includes(runtime as never) ? [] : [`runtime ${runtime}`]),
    ...(capabilities!.trusts.includes(trust as never) ? [] : [`trust ${trust}`]),
    ...(dialect >= least ? [] : [`an agent of dialect ${least}`])
  ]
  const able = takesWork && lacks.length === 0
  return {
    hostId, state, takesWork, free, lacks,
    fits: able && fits(resources, free),
    fitsWhenEmpty: lacks.length === 0 && fits(resources, capabilities!.resources),
    short: shortOf(resources, free)
  }
}

const shortOf = (need: Resources, free: Resources): Resources => {
  const { cpuMilli, diskMib, gpus, memoryMib } = minus(need, free)
  return { cpuMilli: Math.max(0, cpuMilli), memoryMib: Math.max(0, memoryMib), diskMib: Math.max(0, diskMib), gpus: Math.max(0, gpus) }
}

/** What cannot be waited for is farther than what can: another kind of host, one too small, one that takes nothing, then room. */
const distanceOf = (need: Need, host: HostRoom): number => {
  const { fitsWhenEmpty, lacks, short } = nearOf(need, host)
  const parts = (["cpuMilli", "memoryMib", "diskMib", "gpus"] as const).map((unit) => (need.resources[unit] > 0 ? short[unit] / need.resources[unit] : 0))
  return 1_000 * lacks.length + (fitsWhenEmpty ? 0 : 100) + (host.takesWork ? 0 : 10) + parts.reduce((sum, part) => sum + part, 0)
}
