/**
 * Simulates seeds that `npm test` has no time for: longer runs with more hosts and jobs, on every core but one.
 *
 *   npm run soak -- --minutes 30        until half an hour is over
 *   npm run soak -- --seeds 100000      until so many seeds are through
 *   npm run soak -- --from 5001         beginning elsewhere than behind the seeds of npm test
 *
 * Prints how it goes every few seconds. A seed that breaks a law is shown with the command that brings it
 * back, and the rest go on; the exit status tells. At the end it says what never happened.
 */
import { Sometimes } from "@millrace/sim"
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads"
import { SeedFailed, tryOne } from "../../../tests/simulation/seeds.ts"
import { mustHappenIn } from "../../../tests/simulation/states.ts"

/** Longer than those of `npm test` in every direction. Every other seed is of a cell that is fought over. */
const worldOf = (seed: number) => seed % 2 === 0 ? { contested: true, minutes: 5, hosts: 5, jobs: 50 } : { minutes: 0.5, hosts: 5, jobs: 30 }
const optionsOf = (seed: number): string => Object.entries(worldOf(seed)).map(([name, value]) => value === true ? `--${name}` : `--${name} ${value}`).join(" ")
const progressMs = 5_000

interface Tried {
  readonly seed: number
  readonly virtualMs: number
  readonly counts: Readonly<Record<string, number>>
  readonly failure?: string
}

if (isMainThread) await soak()
else work(workerData as { readonly from: number; readonly step: number; readonly last: number })

function work({ from, last, step }: { readonly from: number; readonly step: number; readonly last: number }): void {
  for (let seed = from; seed <= last; seed += step) {
    const { sometimes, violations, virtualMs } = tryOne({ seed, ...worldOf(seed) })
    const failure = violations.length === 0 ? {} : { failure: `${new SeedFailed({ seed }, violations).message}\n(with ${optionsOf(seed)})` }
    parentPort?.postMessage({ seed, virtualMs, counts: sometimes.toJSON(), ...failure } satisfies Tried)
  }
}

async function soak(): Promise<void> {
  const { values } = parseArgs({ options: { minutes: { type: "string" }, seeds: { type: "string" }, from: { type: "string", default: "1001" } } })
  const from = wholeNumber("--from", values.from)
  const seeds = values.seeds === undefined ? Number.POSITIVE_INFINITY : wholeNumber("--seeds", values.seeds)
  const forMs = values.minutes === undefined ? (values.seeds === undefined ? 10 : Number.POSITIVE_INFINITY) * 60_000 : Number(values.minutes) * 60_000
  const last = Number.isFinite(seeds) ? from + seeds - 1 : Number.MAX_SAFE_INTEGER
  const startedAt = performance.now()
  const sometimes = new Sometimes()
  let tried = 0
  let failed = 0
  let virtualMs = 0
  const told = () => {
    const seconds = (performance.now() - startedAt) / 1_000
    return `${tried} seeds in ${seconds.toFixed(0)} s, ${(tried / seconds).toFixed(1)} seeds/s, ${(virtualMs / 1_000 / seconds).toFixed(0)} times real time, ${failed} failed`
  }
  const progress = setInterval(() => console.log(told()), progressMs)
  const workers = Math.max(1, availableParallelism() - 1)
  await Promise.all(Array.from({ length: workers }, (_, index) => new Promise<void>((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { from: from + index, step: workers, last } })
    const over = setTimeout(() => void worker.terminate(), Math.min(forMs, 2 ** 31 - 1))
    worker.on("message", ({ counts, failure, virtualMs: passedMs }: Tried) => {
      tried += 1
      virtualMs += passedMs
      sometimes.add(counts)
      if (failure === undefined) return
      failed += 1
      console.error(failure)
    })
    worker.on("error", reject)
    worker.on("exit", () => {
      clearTimeout(over)
      resolve()
    })
  })))
  clearInterval(progress)
  console.log(told())
  const missing = sometimes.missing([true, false].flatMap((contested) => mustHappenIn({ contested, seeds: tried })))
  if (missing.length > 0) console.log(`Never met: ${missing.join(", ")}`)
  process.exitCode = failed === 0 && tried > 0 ? 0 : 1
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} wants a whole number from 1, not ${text}`)
  return value
}
