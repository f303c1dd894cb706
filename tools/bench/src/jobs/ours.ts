import { Journal, readable, type StoredCommit } from "@millrace/journal"
import { logLayer } from "@millrace/service"
import { type Stack, startStack } from "@millrace/dev/stack"
import { freePort } from "@millrace/infra-ports"
import { Context, Effect, Layer, Schedule, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { Agent, request } from "node:http"
import { fileURLToPath } from "node:url"
import { type Chain, measure, type Measured, type Rounds } from "./load.ts"

export interface Ours extends Measured {
  readonly factsPerJob: number
  readonly messagesPerJob: number
}

/** The whole cell, each service a process of its own, with a host whose runtime does nothing. */
export const ours = (folder: string, rounds: Rounds, say: (line: string) => void): Effect.Effect<Ours, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const stack = yield* startStack({ folder, freePorts: true })
    for (const name of ["gateway", "access", "scheduler", "host"]) yield* started(name, stack)
    const submitted = new Map<string, number>()
    const early = { start: new Set<string>(), end: new Set<string>() }
    const listeners = { start: [] as Array<(number: number) => void>, end: [] as Array<(number: number) => void> }
    const counted = { facts: 0, messages: 0 }
    // The start may be seen before the answer to the submission has come back: then it waits for its number.
    const tell = (what: "start" | "end", jobId: string): void => {
      const number = submitted.get(jobId)
      if (number === undefined) early[what].add(jobId)
      else for (const listener of listeners[what]) listener(number)
    }
    yield* hear(stack, (commit) => {
      counted.messages += 1
      for (const { event } of readable(commit).facts) {
        counted.facts += 1
        if (event._tag === "AttemptStarted") tell("start", event.jobId)
        if (event._tag === "JobSettled") tell("end", event.jobId)
      }
    })
    const post = poster(stack)
    const chain: Chain = {
      submit: async (number) => {
        const jobId = await post()
        submitted.set(jobId, number)
        for (const what of ["start", "end"] as const) if (early[what].delete(jobId)) setImmediate(() => tell(what, jobId))
      },
      onStart: (heard) => void listeners.start.push(heard),
      onEnd: (heard) => void listeners.end.push(heard)
    }
    const measured = yield* Effect.promise(() => measure(chain, rounds, say))
    const jobs = submitted.size
    return { ...measured, factsPerJob: Number((counted.facts / jobs).toFixed(2)), messagesPerJob: Number((counted.messages / jobs).toFixed(2)) }
  })

/** Reads the three streams that a job's facts lie in, as `millrace events` does. */
const hear = Effect.fnUntraced(function*(stack: Stack, heard: (commit: StoredCommit) => void) {
  const journal = Context.get(yield* Layer.build(logLayer("reader", { servers: stack.natsUrl, credentials: stack.credentials })), Journal)
  return yield* Effect.forEach(["GATEWAY", "SCHEDULER", "HOSTS"] as const, (stream) =>
    Effect.gen(function*() {
      const reader = yield* journal.read(stream, { after: yield* journal.head(stream) })
      yield* Effect.forkScoped(Effect.forever(Effect.map(reader.take, (commits) => commits.forEach(heard))))
    }), { discard: true })
})

const poster = ({ apiUrl, tokenFile }: Stack): () => Promise<string> => {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const { hostname, port } = new URL(apiUrl)
  const authorization = `Bearer ${readFileSync(tokenFile, "utf8").trim()}`
  const body = JSON.stringify({ runtime: "noop", trust: "own", resources: { cpuMilli: 1, memoryMib: 1 }, argv: [] })
  const headers = { authorization, "content-type": "application/json", "content-length": Buffer.byteLength(body) }
  return () =>
    new Promise((resolve, reject) => {
      const sent = request({ agent, hostname, port, path: "/v1/jobs", method: "POST", headers }, (answer) => {
        let text = ""
        answer.setEncoding("utf8")
        answer.on("data", (chunk: string) => void (text += chunk))
        answer.on("end", () => answer.statusCode === 200 ? resolve((JSON.parse(text) as { jobId: string }).jobId) : reject(new Error(`${answer.statusCode}: ${text}`)))
      })
      sent.on("error", reject)
      sent.end(body)
    })
}

/** A service as a process of its own, ready for work; it is ended with the scope. */
const started = Effect.fnUntraced(function*(name: string, { env }: Stack) {
  const port = yield* freePort
  const main = fileURLToPath(new URL(`../../../../services/${name}/src/main.ts`, import.meta.url))
  yield* Effect.acquireRelease(
    Effect.sync((): ChildProcess => spawn(process.execPath, [main], {
      // NODE_OPTIONS goes through, so that `NODE_OPTIONS=--cpu-prof` profiles every service.
      env: { PATH: process.env["PATH"], NODE_OPTIONS: process.env["NODE_OPTIONS"] ?? "", ...env, MILLRACE_AT_STOP: "end", MILLRACE_HEALTH_PORT: String(port), MILLRACE_LOG_LEVEL: "Warn" },
      stdio: ["ignore", "ignore", "inherit"]
    })),
    (child) => Effect.callback<void>((resume) => {
      if (child.exitCode !== null) return resume(Effect.void)
      child.once("exit", () => resume(Effect.void))
      child.kill("SIGTERM")
    })
  )
  yield* Effect.tryPromise(async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
    if (!answer.ok) throw new Error(`${name} is not ready: ${await answer.text()}`)
  }).pipe(Effect.retry({ times: 300, schedule: Schedule.spaced("100 millis") }))
})
