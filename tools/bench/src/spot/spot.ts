import { outlookAfter, type Place, type SpotTerms } from "@millrace/broker/planning"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { gunzipSync } from "node:zlib"
import type { Bench } from "../main.ts"
import { greedy, ours, type Policy, uniformProgress } from "./policies.ts"

const hourMs = 3_600_000
const workMs = 48 * hourMs
const restartMs = 0.1 * hourMs
const spotShare = 1 / 3
const slacks = [1.1, 1.25, 1.5]
/** A job starts in each zone so often. */
const startEveryMs = 24 * hourMs

interface Zone {
  readonly name: string
  readonly open: ReadonlyArray<boolean>
}

interface Trace {
  readonly zones: ReadonlyArray<Zone>
  readonly lookEveryMs: number
}

/** Jobs with a deadline over a trace of which zones had spot machines: what they cost against on-demand, and how many came late. */
export const bench = ({ say, trace: file }: Bench): Effect.Effect<unknown, Error> =>
  Effect.try({ try: () => readTrace(file), catch: (error) => new Error(`the trace cannot be read: ${String(error)}. Name one with --trace FILE`) }).pipe(
    Effect.map((trace) => {
      say(`${trace.zones.length} zones, a look every ${trace.lookEveryMs / 1000} s`)
      return {
        job: "48 h of work, 0.1 h for each start, spot at a third of on-demand",
        zones: Object.fromEntries(trace.zones.map(({ name, open }) => [name, Number((open.filter(Boolean).length / open.length).toFixed(3))])),
        ...Object.fromEntries(slacks.map((slack) => [`slack ${slack}`, {
          greedy: measure(trace, slack, greedy, "one"),
          uniformProgress: measure(trace, slack, uniformProgress, "one"),
          oursInOneZone: measure(trace, slack, ours, "one"),
          ours: measure(trace, slack, ours, "all")
        }]))
      }
    })
  )

/** `{ zone: { gap_seconds, data: [0, 1, ...] } }`, as JSON, gzipped or not. Zones are looked at together, for as long as all of them were. */
const readTrace = (file: string | undefined): Trace => {
  if (file === undefined) throw new Error("no file is named")
  const bytes = readFileSync(file)
  const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString("utf8")
  const read = Object.entries(JSON.parse(text) as Record<string, { readonly gap_seconds?: number; readonly data?: ReadonlyArray<number> }>)
    .flatMap(([name, { data = [], gap_seconds = 0 }]) => (data.length > 0 && gap_seconds > 0 ? [{ name, gapMs: gap_seconds * 1000, open: data.map((value) => value > 0) }] : []))
  if (read.length === 0) throw new Error("it holds no zone with gap_seconds and data")
  const lookEveryMs = Math.min(...read.map(({ gapMs }) => gapMs))
  const looks = Math.min(...read.map(({ gapMs, open }) => Math.floor((open.length * gapMs) / lookEveryMs)))
  return {
    lookEveryMs,
    zones: read.map(({ gapMs, name, open }) => ({ name, open: Array.from({ length: looks }, (_, look) => open[Math.floor((look * lookEveryMs) / gapMs)]!) }))
  }
}

const measure = (trace: Trace, slack: number, policy: Policy, which: "one" | "all") => {
  const looks = trace.zones[0]!.open.length
  const terms: SpotTerms = { workMs, allowedMs: workMs * slack, restartMs, lookEveryMs: trace.lookEveryMs }
  const needed = Math.ceil(terms.allowedMs / trace.lookEveryMs) + 2
  const every = Math.max(1, Math.floor(startEveryMs / trace.lookEveryMs))
  const outlooks = outlooksOf(trace)
  const runs: Array<Run> = []
  trace.zones.forEach((_, home) => {
    const zones = which === "one" ? [home] : trace.zones.map((__, at) => (at + home) % trace.zones.length)
    for (let from = 0; from + needed < looks; from += every) runs.push(runJob(trace, terms, policy, zones, from, outlooks))
  })
  const costs = runs.map(({ cost }) => cost).sort((a, b) => a - b)
  const mean = costs.reduce((sum, cost) => sum + cost, 0) / Math.max(1, costs.length)
  return {
    costAgainstOnDemand: Number(mean.toFixed(4)),
    worst: Number((costs.at(-1) ?? 0).toFixed(4)),
    missed: runs.filter(({ late }) => late).length,
    jobs: runs.length,
    restarts: Number((runs.reduce((sum, { starts }) => sum + starts, 0) / Math.max(1, runs.length)).toFixed(1))
  }
}

/** How often each zone had machines, as known at each look: from that look and those before it. */
const outlooksOf = ({ lookEveryMs, zones }: Trace): ReadonlyArray<ReadonlyArray<number>> => {
  let now: ReadonlyArray<number> = zones.map(() => 0.5)
  return zones[0]!.open.map((_, look) => (now = zones.map(({ open }, zone) => outlookAfter(now[zone]!, open[look]!, lookEveryMs))))
}

interface Run {
  /** Against the same work on on-demand, without any restart. */
  readonly cost: number
  readonly late: boolean
  readonly starts: number
}

const runJob = ({ lookEveryMs, zones }: Trace, terms: SpotTerms, policy: Policy, mine: ReadonlyArray<number>, from: number, outlooks: ReadonlyArray<ReadonlyArray<number>>): Run => {
  const decide = policy(terms)
  let place: Place = { on: "nothing" }
  let workLeftMs = terms.workMs
  let restartLeftMs = 0
  let paidMs = 0
  let sinceMs = 0
  let starts = 0
  for (let look = from; workLeftMs > 0; look += 1) {
    // Past its deadline it runs on where it always can: what it then costs is told, and that it is late.
    const open = look < zones[0]!.open.length ? mine.filter((zone) => zones[zone]!.open[look]) : []
    if (place.on === "spot" && !open.includes(place.zone)) place = { on: "nothing" }
    const next = decide({ leftMs: terms.allowedMs - sinceMs, workLeftMs, restartLeftMs, place, open, outlook: outlooks[Math.min(look, outlooks.length - 1)]! })
    if (next.on === "spot" && !open.includes(next.zone)) throw new Error("a policy went where there is no machine")
    if (!isSame(place, next)) {
      place = next
      restartLeftMs = next.on === "nothing" ? 0 : terms.restartMs
      if (next.on !== "nothing") starts += 1
    }
    const ranMs = place.on === "nothing" ? 0 : Math.min(lookEveryMs, restartLeftMs + workLeftMs)
    const doneMs = Math.max(0, ranMs - restartLeftMs)
    restartLeftMs = Math.max(0, restartLeftMs - ranMs)
    workLeftMs -= doneMs
    paidMs += ranMs * (place.on === "spot" ? spotShare : 1)
    sinceMs += workLeftMs <= 0 ? ranMs : lookEveryMs
  }
  return { cost: paidMs / terms.workMs, late: sinceMs > terms.allowedMs, starts }
}

const isSame = (a: Place, b: Place): boolean => a.on === b.on && (a.on !== "spot" || (b.on === "spot" && a.zone === b.zone))
