import { startServer } from "@millrace/infra-nats"
import type { JournalShape } from "@millrace/journal"
import { connectNats, openJournal, provisionStreams } from "@millrace/journal/jetstream"
import type { HostJoined, JobSpec, MillFact, PlacementMade } from "@millrace/schemas"
import { Effect, References, Result, type Scope } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { fsyncMs, rounded } from "../figures.ts"
import { admitted, commitOf, gpuMachine, host, needs, submitted } from "../journal/facts.ts"
import type { Bench } from "../main.ts"
import { rateOf } from "../journal/measured.ts"

const usual = { hosts: 1_000, jobs: 100_000 }
const few = { hosts: 100, jobs: 5_000 }

/** Facts under way at once, as several gateways have them. */
const submittingMax = 512
const placedMsMax = 300_000
const pollMs = 20

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
/** A name of an id's own letters, which says its number. */
const nameOf = (letter: string, number: number): string => `${letter}${[15, 10, 5, 0].map((shift) => digits[(number >> shift) & 31]).join("")}`

/** What one job of several kinds asks for: most want cores, every tenth a part of a GPU, every hundredth a whole one. */
const needOf = (number: number): Partial<JobSpec> & { readonly resources: JobSpec["resources"] } => {
  const plain = needs(250 + (number % 4) * 125, 512)
  if (number % 100 === 99) return { resources: { ...plain, gpus: 1 }, dialect: 3 }
  return number % 10 === 9 ? { resources: { ...plain, gpuMilli: 200 }, dialect: 3 } : { resources: plain }
}

/**
 * One array of many tasks, and then as many single jobs, submitted to the real log and placed by the scheduler as it
 * runs, in a process of its own, each placement signed. Nothing ends meanwhile: all of it stands at the end.
 */
export const bench = ({ quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const { hosts, jobs } = quick ? few : usual
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const { url } = yield* startServer({ storeDir: join(folder, "facts") })
    yield* Effect.scoped(Effect.gen(function*() {
      const connection = yield* connectNats({ servers: url, name: "provisioner" })
      yield* provisionStreams({ connection, prefix: "$JS.API", patienceMs: 30_000 })
    }))
    const journal = yield* openJournal({ nats: { servers: url, name: "bench" } })
    say(`${hosts} hosts join`)
    const machines = Array.from({ length: hosts }, (_, number) => gpuMachine(nameOf("H", number), number))
    yield* append(journal, machines.map((_, number) => admitted(nameOf("H", number))), "subject in its order")
    yield* append(journal, machines)
    const seen = yield* watched(journal)
    const scheduler = yield* started(url, folder)
    while (!seen.decides()) yield* Effect.sleep(pollMs)
    say(`an array of ${jobs} tasks`)
    const array = yield* timed(append(journal, [submitted("ARRAY", { ...needOf(0), array: { tasks: jobs } })]), seen, jobs)
    say(`${jobs} single jobs`)
    const singles = yield* timed(append(journal, Array.from({ length: jobs }, (_, number) => submitted(nameOf("J", number), needOf(number)))), seen, 2 * jobs)
    const { cpuMs, residentMib } = yield* asked(scheduler)
    const commits = seen.commits()
    // The floor: such submissions, appended to the same server while nothing can be placed.
    const more = Math.ceil(jobs / 10)
    const bare = yield* rateOf(more, append(journal, Array.from({ length: more }, (_, number) => submitted(nameOf("B", number), { ...needOf(number), dialect: 200, in: "floor" }))))
    return {
      hosts,
      array,
      singles,
      allS: rounded(array.seconds + singles.seconds),
      placements: seen.made.length,
      placementsACommit: rounded(seen.made.length / commits),
      overCommitted: overCommitted(seen.made, machines),
      placedTwice: seen.made.length - new Set(seen.made.map(({ jobId, task }) => `${jobId} ${task ?? ""}`)).size,
      scheduler: { cpuS: rounded(cpuMs / 1000), residentMib },
      floor: { submissionsPerS: bare.perS },
      fsyncMs: fsyncMs(folder)
    }
  }).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))

interface Seen {
  readonly made: ReadonlyArray<PlacementMade>
  readonly commits: () => number
  /** Whether a scheduler has taken over. */
  readonly decides: () => boolean
}

/** Hears everything that is placed from now on. */
const watched = Effect.fnUntraced(function*(journal: JournalShape): Effect.fn.Return<Seen, unknown, Scope.Scope> {
  const made: Array<PlacementMade> = []
  let commits = 0
  let decides = false
  const reader = yield* journal.read("SCHEDULER", { after: 0, batchMax: 1_000 })
  yield* Effect.forkScoped(Effect.forever(Effect.map(reader.take, (heard) => {
    for (const { facts } of heard) {
      const placed = facts.flatMap(({ event }) => (Result.isSuccess(event) && event.success._tag === "PlacementMade" ? [event.success] : []))
      made.push(...placed)
      decides ||= facts.some(({ name }) => name === "SchedulerTookOver")
      if (placed.length > 0) commits += 1
    }
  })))
  return { made, commits: () => commits, decides: () => decides }
})

/** Facts of others, each in a commit of its own; those of one subject one after the other. */
const append = (journal: JournalShape, events: ReadonlyArray<MillFact>, order: "each its own subject" | "subject in its order" = "each its own subject"): Effect.Effect<void, unknown> =>
  Effect.forEach(events, (event, index) => journal.append(commitOf(event), { last: "subject", sequence: order === "each its own subject" ? 0 : index }), {
    concurrency: order === "each its own subject" ? submittingMax : 1, discard: true
  })

/** From before the first submission until the last placement was heard. */
const timed = Effect.fnUntraced(function*(submit: Effect.Effect<void, unknown>, { made }: Seen, placements: number) {
  const before = made.length
  const beganMs = performance.now()
  yield* submit
  const submittedMs = performance.now() - beganMs
  while (made.length < placements && performance.now() - beganMs < placedMsMax) yield* Effect.sleep(pollMs)
  const seconds = (performance.now() - beganMs) / 1000
  return { seconds: rounded(seconds), submittedS: rounded(submittedMs / 1000), placed: made.length - before, perS: Math.round((made.length - before) / seconds) }
})

const started = (url: string, folder: string): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => fork(fileURLToPath(new URL("./scheduler-process.ts", import.meta.url)), [url, folder], { stdio: ["ignore", "ignore", "inherit", "ipc"] })),
    (child) => Effect.callback<void>((resume) => {
      if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
      child.once("exit", () => resume(Effect.void))
      child.kill("SIGKILL")
    })
  )

const asked = (child: ChildProcess): Effect.Effect<{ readonly cpuMs: number; readonly residentMib: number }> =>
  Effect.callback((resume) => {
    child.once("message", (answer) => resume(Effect.succeed(answer as { readonly cpuMs: number; readonly residentMib: number })))
    child.send("how are you")
  })

/** Hosts that hold more than they have, in any dimension or on any device. */
const overCommitted = (made: ReadonlyArray<PlacementMade>, machines: ReadonlyArray<HostJoined>): number => {
  const has = new Map(machines.map(({ capabilities, hostId }) => [hostId, capabilities.resources]))
  const held = new Map(machines.map((_, number) => [host(nameOf("H", number)), { cpuMilli: 0, memoryMib: 0, devices: new Map<number, number>() }]))
  const over = new Set<string>()
  for (const { gpus = [], hostId, spec: { resources } } of made) {
    const here = held.get(hostId)!
    here.cpuMilli += resources.cpuMilli
    here.memoryMib += resources.memoryMib
    for (const gpu of gpus) here.devices.set(gpu, (here.devices.get(gpu) ?? 0) + (resources.gpuMilli ?? 1_000))
    const all = has.get(hostId)!
    if (here.cpuMilli > all.cpuMilli || here.memoryMib > all.memoryMib || [...here.devices].some(([gpu, milli]) => gpu >= all.gpus || milli > 1_000)) over.add(hostId)
  }
  return over.size
}
