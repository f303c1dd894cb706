import { Fleet, type Request, startMsOf, type Starts } from "@millrace/packing"
import { Effect } from "effect"
import type { Bench } from "../main.ts"
import { quantile } from "../figures.ts"
import { rowsOf, textOf } from "../packing/openb.ts"

const hostsCount = 16
const loadMs = 22_700
/** Share of the hosts' time that the runs alone take: the trace's time is compressed evenly until it is that. */
const loadFactor = 0.1

interface Call {
  readonly model: string
  readonly atMs: number
  readonly runMs: number
}

/** What a host has to do before anything new: until when, and which model it has then. */
interface Busy {
  untilMs: number
  model: string | undefined
}

type Pick = (call: Call, busy: ReadonlyArray<Busy>, atMs: number) => number

/**
 * How soon calls start on hosts that hold one model each, when every other model must be loaded first: by `choose` with
 * the estimated start (waiting and loading), beside the least loaded host and the one that holds the model.
 */
export const bench = ({ say, trace }: Bench) =>
  Effect.sync(() => {
    if (trace === undefined) throw new Error("say --trace FILE: a table with gmt_create, exec_time_seconds and checkpoint_model_version_id")
    const calls = callsOf(textOf(trace))
    say(`${calls.length} calls of ${new Set(calls.map(({ model }) => model)).size} models on ${hostsCount} hosts`)
    return {
      calls: calls.length,
      hosts: hostsCount,
      loadSeconds: loadMs / 1000,
      loadFactor,
      ours: startsOf(calls, byChoice()),
      leastLoaded: startsOf(calls, (_, busy, atMs) => leastOf(busy.map((one) => Math.max(0, one.untilMs - atMs)))),
      affinity: startsOf(calls, (call, busy, atMs) => leastOf(busy.map((one) => (busy.some(({ model }) => model === call.model) && one.model !== call.model ? Infinity : Math.max(0, one.untilMs - atMs)))))
    }
  })

const callsOf = (text: string): ReadonlyArray<Call> => {
  const usable = rowsOf(text).flatMap((row) => {
    const atMs = Date.parse(`${row["gmt_create"]!.replace(" ", "T")}Z`)
    const runMs = Number(row["exec_time_seconds"]) * 1000
    const model = row["checkpoint_model_version_id"]!
    return Number.isFinite(atMs) && Number.isFinite(runMs) && row["exec_time_seconds"] !== "" && model !== "" ? [{ model, atMs, runMs }] : []
  }).sort((left, right) => left.atMs - right.atMs)
  const firstMs = usable[0]?.atMs ?? 0
  const spanMs = (usable.at(-1)?.atMs ?? 0) - firstMs
  const compressed = usable.reduce((sum, { runMs }) => sum + runMs, 0) / (loadFactor * hostsCount * spanMs)
  return usable.map(({ atMs, model, runMs }) => ({ model, runMs, atMs: (atMs - firstMs) * compressed }))
}

/** Through the function that the scheduler places by, which is told when the call would start on each host. */
const byChoice = (): Pick => {
  const names = Array.from({ length: hostsCount }, (_, host) => `host-${String(host).padStart(2, "0")}`)
  const fleet = new Fleet()
  for (const id of names) fleet.addHost({ id, cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0, kinds: 0, open: true })
  const request: Request = { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0, kinds: 0 }
  return (call, busy, atMs) => {
    const at = new Map(names.map((name, host) => [name, startMsOf({ freeAtMs: busy[host]!.untilMs, loadMs: busy[host]!.model === call.model ? 0 : loadMs }, atMs)]))
    const starts: Starts = { usualMs: 0, at }
    return names.indexOf(fleet.choose(request, starts)!.host)
  }
}

const leastOf = (values: ReadonlyArray<number>): number => values.reduce((least, value, at) => (value < values[least]! ? at : least), 0)

const startsOf = (calls: ReadonlyArray<Call>, pick: Pick) => {
  const busy = Array.from({ length: hostsCount }, (): Busy => ({ untilMs: 0, model: undefined }))
  let warm = 0
  const beganMs = performance.now()
  const starts = calls.map((call) => {
    const host = busy[pick(call, busy, call.atMs)]!
    const resident = host.model === call.model
    if (resident) warm += 1
    const beginsMs = Math.max(call.atMs, host.untilMs) + (resident ? 0 : loadMs)
    host.untilMs = beginsMs + call.runMs
    host.model = call.model
    return (beginsMs - call.atMs) / 1000
  })
  const tookMs = performance.now() - beganMs
  return {
    startP50Seconds: Number(quantile(starts, 0.5).toFixed(1)),
    startP99Seconds: Number(quantile(starts, 0.99).toFixed(1)),
    startMeanSeconds: Number((starts.reduce((sum, start) => sum + start, 0) / starts.length).toFixed(1)),
    warmPercent: Number((100 * warm / calls.length).toFixed(1)),
    decisionsPerSecond: Math.round(calls.length / tookMs * 1000)
  }
}
