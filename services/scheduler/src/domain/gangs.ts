import type { Choice, Request } from "@millrace/packing"
import type { AttemptId, GangTerms, Resources } from "@millrace/schemas"
import { type Domain, domainsBy, soonestWhole, tightestFirst } from "./fair/gang.ts"
import { type Fleet, labelsOf } from "./fleet.ts"
import type { HostState, JobState } from "./world.ts"

/** A job of several members that run at the same time or not at all. */
export const gangOf = (job: JobState): GangTerms | undefined => job.submitted?.fact.spec.gang

/** Where one member goes, and on which devices. */
export interface Member {
  readonly on: HostState
  readonly devices: ReadonlyArray<number>
}

/** How many members fit on a host without some of what it holds. */
export const membersOn = (fleet: Fleet, host: HostState, need: Resources, gone: Iterable<AttemptId>): number => times(need, fleet.freeWithout(host, gone))

/** Hosts by what the members of a gang must share. */
export const domainsFor = (hosts: ReadonlyArray<HostState>, { topology }: GangTerms): ReadonlyArray<ReadonlyArray<HostState>> => domainsOf(hosts, topology).map(({ hosts }) => hosts)

/** How many of a need's size fit into some room; parts of devices as if each device were cut evenly. */
const times = ({ cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }: Pick<Request, "cpuMilli" | "memoryMib" | "diskMib" | "gpus" | "gpuMilli">, free: Resources): number => {
  const per = (need: number, has: number): number => (need === 0 ? Number.MAX_SAFE_INTEGER : Math.max(0, Math.floor(has / need)))
  const byDevices = gpuMilli > 0 ? Math.max(0, free.gpus) * Math.floor(1000 / gpuMilli) : per(gpus, free.gpus)
  return Math.min(per(cpuMilli, free.cpuMilli), per(memoryMib, free.memoryMib), per(diskMib, free.diskMib), byDevices)
}

const everywhere = "anywhere"

/** Hosts by what a gang's members must share. A host that does not say on which fabric or in which zone it is, is on none. */
const domainsOf = (hosts: ReadonlyArray<HostState>, topology: GangTerms["topology"]): ReadonlyArray<Domain<HostState>> =>
  domainsBy(hosts, (host) => (topology === "anywhere" ? everywhere : topology === "host" ? host.id : labelsOf(host.joined?.capabilities.labels ?? {}, host.rented)[topology]))

/**
 * Where a whole gang goes: all of its members in one domain, the tightest that has room, or nowhere. What is chosen is
 * taken from the fleet; of a gang that does not fit whole nothing is.
 */
export const chooseWhole = (fleet: Fleet, able: ReadonlyArray<HostState>, { members, topology }: GangTerms, request: Request): ReadonlyArray<Member> | undefined => {
  for (const { hosts, name } of tightestFirst(domainsOf(able, topology), members, (host) => times(request, fleet.free(host)))) {
    const before = fleet.begin()
    const found = topology === "host" ? onOneHost(fleet, hosts[0]!, request, members) : spread(fleet, topology === "anywhere" ? request : within(request, topology, name), members)
    if (found !== undefined) return found
    fleet.giveBack(before)
  }
  return undefined
}

const within = (request: Request, label: string, name: string): Request => ({ ...request, where: [...request.where ?? [], { label, anyOf: [name] }] })

const spread = (fleet: Fleet, request: Request, members: number): ReadonlyArray<Member> | undefined => oneAfterAnother(fleet, members, () => fleet.choose(request))

const oneAfterAnother = (fleet: Fleet, members: number, choose: () => (Choice & Member) | undefined): ReadonlyArray<Member> | undefined => {
  const found: Array<Member> = []
  while (found.length < members) {
    const choice = choose()
    if (choice === undefined) return undefined
    fleet.take(choice)
    found.push(choice)
  }
  return found
}

/** Members of one host are chosen as one piece of work, and share its devices out in their order; those that want parts of devices one after another. */
const onOneHost = (fleet: Fleet, host: HostState, request: Request, members: number): ReadonlyArray<Member> | undefined => {
  if ((request.gpuMilli ?? 0) > 0) return oneAfterAnother(fleet, members, () => fleet.chooseOn(host, request))
  const whole = { ...request, cpuMilli: request.cpuMilli * members, memoryMib: request.memoryMib * members, diskMib: request.diskMib * members, gpus: request.gpus * members }
  const choice = fleet.choose(whole)
  if (choice === undefined) return undefined
  fleet.take(choice)
  return Array.from({ length: members }, (_, rank) => ({ on: choice.on, devices: choice.devices.slice(rank * request.gpus, (rank + 1) * request.gpus) }))
}

/** The hosts to hold for a gang that has waited too long. */
export const holdWhole = (able: ReadonlyArray<HostState>, { members, topology }: GangTerms, roomWhenEmpty: (host: HostState) => number, emptyAtMs: (host: HostState) => number): ReadonlyArray<HostState> | undefined =>
  soonestWhole(domainsOf(able, topology), members, roomWhenEmpty, emptyAtMs)

/** Where a member is found by the others: the address that its host says of itself, else the host's id. */
export const addressOf = (host: HostState): string => host.joined?.capabilities.labels["address"] ?? host.id

/** Why a gang has no place, in words. */
export const noRoomForAll = ({ members, network, topology }: GangTerms, fleet: Fleet, able: ReadonlyArray<HostState>, need: Resources): string => {
  const domains = domainsOf(able, topology).map(({ hosts }) => hosts.reduce((sum, host) => sum + times(need, fleet.free(host)), 0))
  return `its ${members} members begin together${topology === "anywhere" ? "" : ` on one ${topology}`}${network === "private" ? " in a network of their own" : ""}; ${
    able.length === 0 ? `no host takes one of them${network === "private" ? " and can make such a network" : ""}`
    : domains.length === 0 ? `no host that would take one of them says which ${topology} it is on` : `the roomiest of ${domains.length} has room for ${Math.min(members - 1, Math.max(...domains))} now`}`
}
