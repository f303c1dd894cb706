import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { within } from "../faults/within.ts"
import type { Release } from "./release.ts"

const readyMsMax = 60_000
const endMsMax = 30_000
const linesKept = 400

/** A service of some release as a process of its own. */
export interface Running {
  readonly pid: number
  /** Its last lines. */
  readonly said: ReadonlyArray<string>
  /** Waits until it answers `/readyz` with 200. */
  readonly ready: Effect.Effect<void>
  /** Ends it and waits until it has; with SIGKILL it may leave anything half done. */
  readonly stop: (signal?: NodeJS.Signals) => Effect.Effect<void>
}

export interface RunOptions {
  readonly release: Release
  readonly service: string
  readonly env: Readonly<Record<string, string>>
  /** Where the compiled programs are kept from one start to the next. */
  readonly folder: string
}

/** Starts a service, which ends with the scope at the latest. */
export const running = ({ env, folder, release, service }: RunOptions): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const said: Array<string> = []
    let health: string | undefined
    let over = false
    const child: ChildProcess = spawn(process.execPath, [release.main(service)], {
      env: { PATH: process.env["PATH"], ...env, NODE_COMPILE_CACHE: join(folder, "compiled"), MILLRACE_LOG_FORMAT: "json", MILLRACE_STOP_WITHIN: "5 seconds" },
      stdio: ["ignore", "ignore", "pipe"]
    })
    let rest = ""
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        health ??= /"message":"health is served".*"address":"([^"]+)"/u.exec(line)?.[1]
        said.push(line)
        if (said.length > linesKept) said.shift()
      }
    })
    child.once("exit", () => void (over = true))
    const told = () => `\n${said.slice(-40).join("\n")}`
    const stop = (signal: NodeJS.Signals = "SIGTERM") =>
      Effect.suspend(() => {
        if (over) return Effect.void
        child.kill(signal)
        return within(endMsMax, () => over, () => `${service} did not end; it said${told()}`)
      })
    yield* Effect.addFinalizer(() => stop("SIGKILL"))
    return {
      pid: child.pid ?? 0,
      said,
      ready: within(readyMsMax, () => {
        if (over) throw new Error(`${service} ended before it was ready; it said${told()}`)
        return answersReady(health)
      }, () => `${service} did not get ready; it said${told()}`),
      stop
    }
  })

const answersReady = async (address: string | undefined): Promise<boolean> =>
  address !== undefined && await fetch(`${address}/readyz`, { signal: AbortSignal.timeout(2_000) }).then(async (answer) => {
    await answer.arrayBuffer()
    return answer.ok
  }, () => false)
