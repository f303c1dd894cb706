import { Checkpoints } from "@millrace/journal"
import { scheduler } from "@millrace/scheduler"
import { Effect } from "effect"
import { statSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { runInNewContext } from "node:vm"
import { deserialize, serialize, setFlagsFromString } from "node:v8"
import { Cell, type Lain } from "./many.ts"

/** One scheduler's memory in a process of its own: it fills a cell and writes its checkpoint, or starts from that. */
const [what = "fill", folder = "", hosts = "1000", jobs = "50000", tail = "5000"] = process.argv.slice(2)

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void
const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20)
const memory = () => {
  collect()
  const { arrayBuffers, heapUsed, rss } = process.memoryUsage()
  return { heapMib: mebibytes(heapUsed + arrayBuffers), residentMib: mebibytes(rss), residentMostMib: Math.round(process.resourceUsage().maxRSS / 1024) }
}
const timed = async <A>(work: () => A | Promise<A>): Promise<readonly [A, { readonly seconds: number; readonly cpuS: number }]> => {
  const [beganMs, used] = [performance.now(), process.cpuUsage()]
  const value = await work()
  const { user } = process.cpuUsage(used)
  return [value, { seconds: (performance.now() - beganMs) / 1000, cpuS: user / 1e6 }]
}
/** How long at most nothing else had its turn meanwhile. */
const stalled = async <A>(work: () => Promise<A>): Promise<readonly [A, number]> => {
  let [last, most] = [performance.now(), 0]
  const look = () => {
    const now = performance.now()
    most = Math.max(most, now - last)
    last = now
  }
  const timer = setInterval(look, 1)
  const value = await work()
  clearInterval(timer)
  look()
  return [value, most]
}
const checkpoints = <A>(use: (service: Checkpoints["Service"]) => Effect.Effect<A>): Promise<A> =>
  Effect.runPromise(Checkpoints.use(use).pipe(Effect.provide(Checkpoints.layerFolder(folder))))

const tailFile = join(folder, "tail")
const further = 1_000

const fill = async () => {
  const cell = new Cell()
  cell.hosts(Number(hosts))
  const [, placing] = await timed(async () => {
    for (let from = 0; from < Number(jobs); from += 50_000) {
      cell.jobs(from, Math.min(Number(jobs), from + 50_000))
      process.send?.({ running: cell.placed })
      await new Promise(setImmediate)
    }
  })
  const running = memory()
  const [[, stallMs], writing] = await timed(() => stalled(() => checkpoints(({ save }) =>
    save({ fold: scheduler.name, codeVersion: scheduler.codeVersion, epoch: 1, saw: { ...cell.saw }, state: (scheduler.saveLong ?? scheduler.save)(cell.world) }))))
  const { size } = statSync(join(folder, `${scheduler.name}.checkpoint`))
  cell.went()
  cell.tail = []
  cell.jobs(Number(jobs), Number(jobs) + Number(tail), true)
  writeFileSync(tailFile, serialize(cell.tail))
  cell.tail = undefined
  cell.went()
  const placed = cell.placed
  cell.jobs(Number(jobs) + Number(tail), Number(jobs) + Number(tail) + further, true)
  return { running: placed, placing, memory: running, checkpoint: { ...writing, stallMs, mib: mebibytes(size), bytesAJob: Math.round(size / Number(jobs)) }, afterwards: memory(), went: cell.went() }
}

const start = async () => {
  const [cell, loading] = await timed(async () => {
    const kept = await checkpoints(({ load }) => load(scheduler.name))
    if (kept === undefined) throw new Error(`no checkpoint in ${folder}`)
    return new Cell(scheduler.load(kept.state as never), kept.saw)
  })
  const facts = deserialize(readFileSync(tailFile)) as ReadonlyArray<Lain>
  const [, folding] = await timed(() => {
    for (const message of facts) cell.fold(message)
  })
  const begun = memory()
  cell.jobs(Number(jobs) + Number(tail), Number(jobs) + Number(tail) + further, true)
  return { loading, tail: { ...folding, commits: facts.length }, memory: begun, went: cell.went() }
}

const done = await (what === "fill" ? fill() : start())
process.send?.({ done }, () => process.exit(0))
