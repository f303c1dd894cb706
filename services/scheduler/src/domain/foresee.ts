import type { Constraints, GangTerms, Resources } from "@millrace/schemas"
import { amountsOf, multiplied } from "./fair/amounts.ts"
import { QuotaLedger } from "./fair/tree.ts"
import { type HostRoom, type Near, nearest, type Need } from "./nearest.ts"
import { overInWords } from "./quotas.ts"
import { counted, fits, gpuMilliOf, inWords } from "./resources.ts"
import { roomChanges, shortInWords } from "./why.ts"

/** What would become of work if it were submitted now: it goes at once, it waits, or no host here could ever run it. */
export interface Foreseen {
  readonly verdict: "now" | "later" | "nowhere"
  readonly sentence: string
  /** How many tasks have room now, and on how many hosts. */
  readonly roomNow: number
  readonly hostsNow: number
  readonly nearest: ReadonlyArray<Near>
  readonly changes: ReadonlyArray<string>
  /** What else keeps it from being placed, whatever room there is. */
  readonly limits: ReadonlyArray<Limit>
}

/** A quota or a grant that does not let work begin: for now, or ever. */
export interface Limit {
  readonly kind: "quota" | "grant"
  readonly never: boolean
  readonly sentence: string
}

/** What is planned: one piece, an array of them, or a gang. */
export interface Planned {
  readonly tasks: number
  readonly gang?: Pick<GangTerms, "members" | "topology"> | undefined
}

/** What a workspace's quota says to work that begins now, the members of a gang together; nothing where it lets it. */
export const quotaLimit = (ledger: QuotaLedger, node: string, resources: Resources, members: number): ReadonlyArray<Limit> => {
  const amounts = multiplied(amountsOf(resources), members)
  const over = ledger.over(node, amounts)
  if (over === undefined) return []
  const never = new QuotaLedger(ledger.tree).over(node, amounts) !== undefined
  return [{ kind: "quota", never, sentence: `${overInWords(over)}${never ? "; it would not have that much if all others were idle" : ""}` }]
}

/** What a grant never lets begin together: what runs under it already is counted when work is placed. */
export const grantLimits = ({ concurrencyMax, gpusMax }: Constraints, resources: Resources, members: number): ReadonlyArray<Limit> => {
  const gpus = gpuMilliOf(resources) * members / 1000
  return [
    ...(concurrencyMax === undefined || concurrencyMax >= members ? [] : [{ kind: "grant", never: true, sentence: `its grant allows ${concurrencyMax} at once, and its ${members} members begin together` } as const]),
    ...(gpusMax === undefined || gpusMax >= gpus ? [] : [{ kind: "grant", never: true, sentence: `its grant allows ${counted(gpusMax, "GPU")} at once, and this needs ${gpus}` } as const])
  ]
}

/** Looks at hosts as a submission would find them, one behind all that waits already. Pure. */
export const foresee = (need: Need, { gang, tasks }: Planned, hosts: ReadonlyArray<HostRoom>, limits: ReadonlyArray<Limit> = []): Foreseen => {
  const room = gang === undefined ? ofPieces(need, tasks, hosts) : ofGang(need, gang, hosts)
  const verdict = limits.some(({ never }) => never) ? "nowhere" : room.verdict === "now" && limits.length > 0 ? "later" : room.verdict
  if (verdict === room.verdict && limits.length === 0) return { ...room, limits }
  const what = verdict === "nowhere" && room.verdict !== "nowhere" ? "It would be refused" : "It would wait"
  return { ...room, verdict, limits, sentence: room.verdict === "now" ? `${what}: ${limits[0]!.sentence}.` : `${room.sentence.slice(0, -1)}; and ${limits[0]!.sentence}.` }
}

const idsOf = (hosts: ReadonlyArray<HostRoom>): ReadonlyMap<string, HostRoom> => new Map(hosts.map((host) => [host.hostId, host]))

/** Members go together or not at all: to the domain that has most room for them. */
const ofGang = (need: Need, { members, topology }: NonNullable<Planned["gang"]>, hosts: ReadonlyArray<HostRoom>): Omit<Foreseen, "limits"> => {
  const all = nearest(need, hosts, hosts.length)
  const byId = idsOf(hosts)
  const domains = new Map<string, { now: number; empty: number; readonly hosts: Array<string> }>()
  for (const near of all) {
    const host = byId.get(near.hostId)!
    const name = topology === "anywhere" ? "" : topology === "host" ? host.hostId : host.labels?.[topology]
    if (name === undefined || near.lacks.length > 0 || !near.takesWork) continue
    const domain = domains.get(name) ?? { now: 0, empty: 0, hosts: [] }
    const now = near.fits ? timesIn(need.resources, host) : 0
    domain.now += now
    domain.empty += near.fitsWhenEmpty ? timesIn(need.resources, { ...host, free: host.capabilities!.resources, freeMilliMost: 0 }) : 0
    if (now > 0) domain.hosts.push(host.hostId)
    domains.set(name, domain)
  }
  const [best] = [...domains.values()].sort((left, right) => right.now - left.now || right.empty - left.empty)
  const most = [...domains.values()].reduce((largest, { empty }) => Math.max(largest, empty), 0)
  const verdict = best !== undefined && best.now >= members ? "now" : most >= members ? "later" : "nowhere"
  const together = `its ${members} members begin together${topology === "anywhere" ? "" : ` on one ${topology}`}`
  const room = domains.size === 0
    ? topology === "anywhere" || topology === "host" ? "no host that would take one of them is here" : `no host that would take one of them says which ${topology} it is on`
    : `${topology === "anywhere" ? "there is" : `the roomiest of ${domains.size} has`} room for ${Math.min(members, best!.now)} now`
  return {
    verdict, roomNow: Math.min(members, best?.now ?? 0), hostsNow: best?.hosts.length ?? 0, nearest: all.slice(0, 5),
    sentence: verdict === "now" ? `All ${members} members would be placed at once, unless others come before them: ${together}, and ${room}.`
      : verdict === "later" ? `It would wait: ${together}, and ${room}.`
      : `No hosts here could hold it: ${together}, and ${domains.size === 0 ? room : `the largest has room for ${most} even when empty`}.`,
    changes: verdict === "now" ? [] : roomChanges({ need }, all.slice(0, 5))
  }
}

const ofPieces = (need: Need, tasks: number, hosts: ReadonlyArray<HostRoom>): Omit<Foreseen, "limits"> => {
  const all = nearest(need, hosts, hosts.length)
  const byId = idsOf(hosts)
  const now = all.filter((near) => near.fits)
  const roomNow = now.reduce((sum, { hostId }) => sum + timesIn(need.resources, byId.get(hostId)!), 0)
  const verdict = now.length > 0 ? "now" : all.some(({ fitsWhenEmpty, takesWork }) => fitsWhenEmpty && takesWork) ? "later" : "nowhere"
  return {
    verdict, roomNow, hostsNow: now.length, nearest: all.slice(0, 5),
    sentence: `${sentenceOf(verdict, need, all, { tasks, roomNow, hosts: hosts.length })}.`,
    changes: verdict === "now" && roomNow >= tasks ? [] : roomChanges({ need }, all.slice(0, 5))
  }
}

/** How many times some need fits into a host's free room. */
const timesIn = ({ cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }: Resources, { free, freeMilliMost }: Pick<HostRoom, "free" | "freeMilliMost">): number => {
  const pairs = [[cpuMilli, free.cpuMilli], [memoryMib, free.memoryMib], [diskMib, free.diskMib], [gpus, free.gpus]] as const
  const times = pairs.flatMap(([need, has]) => (need > 0 ? [Math.floor(has / need)] : []))
  // Of devices that others have a part of only the roomiest is known: no more is promised than that and the free ones give.
  if (gpuMilli > 0) times.push(Math.max(free.gpus * Math.floor(1000 / gpuMilli), Math.floor((freeMilliMost ?? 0) / gpuMilli)))
  return times.length === 0 ? 1 : Math.max(0, Math.min(...times))
}

const sentenceOf = (verdict: Foreseen["verdict"], { resources }: Need, [first]: ReadonlyArray<Near>, { hosts, roomNow, tasks }: { readonly tasks: number; readonly roomNow: number; readonly hosts: number }): string => {
  if (verdict === "now") {
    const where = `${first!.hostId} has room for it now`
    return tasks === 1 ? `It would be placed at once, unless another comes before it: ${where}` : `${Math.min(tasks, roomNow)} of ${tasks} tasks would be placed at once, unless others come before them: ${where}`
  }
  if (first === undefined) return hosts === 0 ? "No host is here, so it would wait for one" : "No host that could run it is here, so it would wait for one"
  if (verdict === "later") return `It would wait: it needs ${inWords(resources)}, and the nearest host that could run it, ${first.hostId}, is short of ${shortInWords(first.short)}`
  if (first.lacks.length > 0) return `No host here would take it: the nearest, ${first.hostId}, lacks ${first.lacks.join(" and ")}`
  return fits(first.short, { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 }) || first.fitsWhenEmpty
    ? `It would wait: the nearest host, ${first.hostId}, takes no new work (${first.state})`
    : `No host here is large enough: it needs ${inWords(resources)}, and the nearest, ${first.hostId}, is short of ${shortInWords(first.short)} even when empty`
}
