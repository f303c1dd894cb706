import type { Resources } from "@millrace/schemas"
import { type HostRoom, type Near, nearest, type Need } from "./nearest.ts"
import { fits, inWords } from "./resources.ts"
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
}

/** Looks at hosts as a submission would find them, one behind all that waits already. Pure. */
export const foresee = (need: Need, tasks: number, hosts: ReadonlyArray<HostRoom>): Foreseen => {
  const all = nearest(need, hosts, hosts.length)
  const now = all.filter((near) => near.fits)
  const roomNow = now.reduce((sum, { hostId }) => sum + timesIn(need.resources, hosts.find((host) => host.hostId === hostId)!), 0)
  const verdict = now.length > 0 ? "now" : all.some(({ fitsWhenEmpty, takesWork }) => fitsWhenEmpty && takesWork) ? "later" : "nowhere"
  return {
    verdict, roomNow, hostsNow: now.length, nearest: all.slice(0, 5),
    sentence: `${sentenceOf(verdict, need, all, { tasks, roomNow, hosts: hosts.length })}.`,
    changes: verdict === "now" && roomNow >= tasks ? [] : roomChanges({ need }, all.slice(0, 5))
  }
}

/** How many times some need fits into a host's free room. */
const timesIn = ({ cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }: Resources, { free, freeMilliMost }: HostRoom): number => {
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
