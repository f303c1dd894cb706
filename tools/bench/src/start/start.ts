import { millraceHome } from "@millrace/bootstrap"
import { deriveId } from "@millrace/decider"
import { startStack } from "@millrace/dev/stack"
import { type Commit, Journal } from "@millrace/journal"
import type { FactId, JobId, JobSubmitted, MillFact, Principal } from "@millrace/schemas"
import { logLayer } from "@millrace/service"
import { Context, Effect, Layer, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { fsyncMs, quantile, rounded } from "../figures.ts"
import { submitted } from "../journal/facts.ts"
import type { Bench } from "../main.ts"

const usual = { jobs: 250_000, starts: 3 }
const few = { jobs: 5_000, starts: 3 }
/** Each job is asked for, waits, is cancelled and settled. */
const factsPerJob = 4
const jobsPerCommit = 100
const upMsMax = 120_000
const readMsMax = 900_000
const endMsMax = 60_000

/**
 * How long `npm start` takes until everything is up, on a log of a million facts that its tables know already, beside
 * the same on an empty log.
 */
export const bench = ({ quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const { jobs, starts } = quick ? few : usual
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    say("floor: an empty log")
    const empty = join(folder, "empty")
    yield* Effect.promise(() => up(empty).then(ended))
    const floor = yield* Effect.promise(() => startsOf(empty, starts))
    const full = join(folder, "full")
    say(`ours: ${jobs * factsPerJob} facts are written`)
    const heads = yield* Effect.scoped(filled(full, jobs))
    say("ours: tables and checkpoints catch up")
    const readMs = yield* Effect.promise(() => caughtUp(full, heads))
    say("ours: starts")
    const ours = yield* Effect.promise(() => startsOf(full, starts))
    return { facts: jobs * factsPerJob, floor: { startS: floor }, ours: { startS: ours, firstReadS: rounded(readMs / 1000) }, fsyncMs: fsyncMs(folder) }
  })

interface Up {
  readonly child: ChildProcess
  readonly apiUrl: string
  readonly tookMs: number
}

/** Runs the product as `npm start` does, until it has told where everything is. */
const up = (folder: string): Promise<Up> =>
  new Promise((resolve, reject) => {
    const beganMs = performance.now()
    const main = fileURLToPath(new URL("../../../dev/src/main.ts", import.meta.url))
    // As package.json's own line has it.
    const env = { ...process.env, NODE_COMPILE_CACHE: join(millraceHome(), "compiled") }
    const child = spawn(process.execPath, [main, "--free-ports", "--fast", "--folder", folder], { env, stdio: ["ignore", "pipe", "inherit"] })
    const limit = setTimeout(() => child.kill("SIGKILL"), upMsMax)
    let apiUrl = ""
    createInterface({ input: child.stdout! }).on("line", (line) => {
      apiUrl = /^ {2}API +(http\S+)/u.exec(line)?.[1] ?? apiUrl
      if (!line.startsWith("  token ")) return
      clearTimeout(limit)
      resolve({ child, apiUrl, tookMs: performance.now() - beganMs })
    })
    child.once("error", reject)
    child.once("exit", (code) => reject(new Error(`it ended with ${code} before it was up`)))
  })

const ended = ({ child }: Up): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null) return resolve()
    const limit = setTimeout(() => child.kill("SIGKILL"), endMsMax)
    child.once("exit", () => {
      clearTimeout(limit)
      resolve()
    })
    child.kill("SIGINT")
  })

const startsOf = async (folder: string, times: number): Promise<number> => {
  const tookMs: Array<number> = []
  for (let round = 0; round < times; round += 1) {
    const one = await up(folder)
    tookMs.push(one.tookMs)
    await ended(one)
  }
  return rounded(quantile(tookMs, 0.5) / 1000)
}

/** Waits until the tables of every service have read it all; how long that took, in ms. */
const caughtUp = async (folder: string, heads: Readonly<Record<string, number>>): Promise<number> => {
  const one = await up(folder)
  const beganMs = performance.now()
  const authorization = `Bearer ${readFileSync(join(folder, "keys", "token"), "utf8").trim()}`
  const after = Object.entries(heads).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")
  for (const path of ["/v1/jobs?limit=1", "/v1/scheduler?", "/v1/decisions?limit=1", "/v1/usage?by=job"]) {
    while (true) {
      const status = await fetch(`${one.apiUrl}${path}&after=${after}&waitMs=10000`, { headers: { authorization }, signal: AbortSignal.timeout(30_000) }).then(({ status }) => status, () => 0)
      if (status === 200) break
      if (performance.now() - beganMs > readMsMax) throw new Error(`${path} is still answered with ${status}`)
      await new Promise((wake) => setTimeout(wake, 250))
    }
  }
  const tookMs = performance.now() - beganMs
  await ended(one)
  return tookMs
}

/** Writes a past of jobs that waited and were cancelled; where the two streams then end. */
const filled = (folder: string, jobs: number): Effect.Effect<Readonly<Record<string, number>>, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const stack = yield* startStack({ folder, freePorts: true })
    const journalOf = (service: "gateway" | "scheduler") =>
      Effect.map(Layer.build(logLayer(service, { servers: stack.natsUrl, credentials: stack.credentials })), (context) => Context.get(context, Journal))
    const gateway = yield* journalOf("gateway")
    const scheduler = yield* journalOf("scheduler")
    const asked = yield* gateway.line("GATEWAY", yield* gateway.head("GATEWAY"))
    const said = yield* scheduler.line("SCHEDULER", yield* scheduler.head("SCHEDULER"))
    for (let from = 0; from < jobs; from += jobsPerCommit) {
      const these = Array.from({ length: Math.min(jobsPerCommit, jobs - from) }, (_, at) => jobOf(from + at))
      const outcomes = these.map((job) => asked.send(commitOf({ kind: "job", scope: job.workspace, story: job.jobId }, [job, cancelOf(job)])).outcome)
      outcomes.push(said.send(commitOf({ kind: "schedule", scope: these[0]!.workspace }, these.flatMap((job) => [waitOf(job), endOf(job)]))).outcome)
      yield* Effect.forEach(outcomes, (outcome) => outcome, { concurrency: "unbounded", discard: true })
    }
    return { GATEWAY: asked.last(), SCHEDULER: said.last() }
  })

const commitOf = (subject: Commit["subject"], events: ReadonlyArray<MillFact>): Commit => {
  const atMs = Date.now()
  const idOf = (event: MillFact) => deriveId<FactId>("fct", atMs, event._tag, (event as { readonly jobId: JobId }).jobId)
  return { subject, actor: "user:ada" as Principal, happenedAtMs: atMs, facts: events.map((event) => ({ id: idOf(event), partOf: idOf(event), event })) as unknown as Commit["facts"] }
}

const jobOf = (number: number): JobSubmitted => ({ ...(submitted("A") as JobSubmitted), jobId: deriveId<JobId>("job", 0, "past", number) })
const cancelOf = ({ decision, jobId, submittedBy, workspace }: JobSubmitted): MillFact => ({ _tag: "JobCancelRequested", jobId, workspace, requestedBy: submittedBy, decision })
const waitOf = ({ jobId, workspace }: JobSubmitted): MillFact =>
  ({ _tag: "JobDeferred", jobId, workspace, reason: "no_room", arithmetic: "needs 1 core, 1 MiB; the roomiest of 2 hosts has 0 cores free", unblockedBy: "capacity" })
const endOf = ({ jobId, workspace }: JobSubmitted): MillFact =>
  ({ _tag: "JobSettled", jobId, workspace, outcome: "cancelled", attempt: 0, cause: "cancelled before it was placed" })
