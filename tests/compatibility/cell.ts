import { Journal } from "@millrace/journal"
import { logLayer } from "@millrace/service"
import type { JobId } from "@millrace/schemas"
import { Effect, Layer, type Scope } from "effect"
import { spawn } from "node:child_process"
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { watchLog } from "../faults/watched-log.ts"
import { within } from "../faults/within.ts"
import type { Release } from "./release.ts"

/** Servers that run, and what services and tests need to reach them. */
export interface Servers {
  readonly env: Readonly<Record<string, string>>
  readonly natsUrl: string
  readonly credentials: string
  readonly databaseUrl: string
  readonly tokenFile: string
}

const startMsMax = 60_000
const stateMsMax = 30_000

/** A folder for everything of a cell, gone with the scope; what its hosts' keepers still run is ended before. */
export const cellFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const path = mkdtempSync(join(tmpdir(), "millrace-compatibility-"))
    chmodSync(path, 0o755)
    return path
  }),
  (path) => Effect.sync(() => {
    for (const pid of keepersOf(path)) process.kill(pid, "SIGKILL")
    rmSync(path, { recursive: true, force: true, maxRetries: 5 })
  })
)

const keepersOf = (folder: string): ReadonlyArray<number> =>
  readdirSync("/proc").filter((name) => /^[0-9]+$/u.test(name)).map(Number).filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0")
      return words.some((word) => word.endsWith("keeper-main.ts")) && words.some((word) => word.startsWith(`${folder}/`))
    } catch {
      return false
    }
  })

/** The servers of a cell as an earlier release starts them, until the scope closes. */
export const serversOf = (release: Release, folder: string): Effect.Effect<Servers, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = spawn(process.execPath, [join(import.meta.dirname, "leave-cell.ts"), release.root, folder], { stdio: ["pipe", "pipe", "pipe"] })
    let told = ""
    let said = ""
    let over = false
    child.stdout.setEncoding("utf8").on("data", (text: string) => void (told += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => void (said += text))
    child.once("exit", () => void (over = true))
    yield* Effect.addFinalizer(() => {
      child.stdin.end()
      return within(startMsMax, () => over, () => `the servers did not end: ${said}`)
    })
    yield* within(startMsMax, () => {
      if (over) throw new Error(`the servers ended: ${said}`)
      return told.includes("\n")
    }, () => `the servers did not start: ${said}`)
    return JSON.parse(told) as Servers
  })

/** The log of a cell as a bystander reads it, with the door through which it does. */
export const bystander = ({ credentials, natsUrl }: Pick<Servers, "credentials" | "natsUrl">) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Layer.orDie(logLayer("reader", { servers: natsUrl, credentials })))
    return { log: yield* Effect.provide(watchLog, context), journal: yield* Effect.provide(Journal, context) }
  })

/** Asks a gateway, whichever release it is of. */
export const asking = ({ env, tokenFile }: Pick<Servers, "env" | "tokenFile">) => {
  const url = `http://127.0.0.1:${env["MILLRACE_API_PORT"]}`
  const ask = async (method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<any> => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${readFileSync(tokenFile, "utf8").trim()}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(12_000)
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path} is answered with ${answer.status}: ${text}`)
    return JSON.parse(text)
  }
  /** What a read answers, once its tables are there: another release may build them anew. */
  const shown = (path: string): Effect.Effect<any> => {
    let answer: any
    let said = ""
    const told = within(stateMsMax, async () => {
      answer = await ask("GET", path).catch((error: unknown) => void (said = String(error)))
      return answer !== undefined
    }, () => said)
    return Effect.map(told, () => answer)
  }
  const submit = (key: string, request: object): Effect.Effect<JobId> =>
    Effect.promise(async () => (await ask("POST", "/v1/jobs", request, { "idempotency-key": key }) as { readonly jobId: JobId }).jobId)
  /** Waits until jobs are shown in these states. */
  const states = (wanted: Readonly<Record<JobId, string>>): Effect.Effect<void> => {
    let seen: Record<string, string> = {}
    return within(stateMsMax, async () => {
      seen = Object.fromEntries(await Promise.all(Object.keys(wanted).map(async (jobId) => {
        const shown = await ask("GET", `/v1/jobs/${jobId}`).catch(() => ({ job: { state: "not shown" } })) as { readonly job: { readonly state: string } }
        return [jobId, shown.job.state] as const
      })))
      return Object.entries(wanted).every(([jobId, state]) => seen[jobId] === state)
    }, () => `wanted ${JSON.stringify(wanted)}, and the gateway shows ${JSON.stringify(seen)}`)
  }
  return { shown, states, submit }
}

/** A job whose program says one word and ends. */
export const saying = (word: string) => ({ runtime: "process", argv: ["/bin/sh", "-c", `echo ${word}`], resources: { cpuMilli: 100, memoryMib: 16, diskMib: 0, gpus: 0 } })
