import { findTool, natsServerRefusal } from "@millrace/bootstrap"
import { Effect } from "effect"
import { execFile, spawn, type ChildProcess } from "node:child_process"
import { existsSync, readdirSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { holdsServer, isAlive, stopByPid } from "./holder.ts"
import { NatsUnavailable } from "./nats-unavailable.ts"

const VERSION_MS_MAX = 10_000
const START_MS_MAX = 30_000
const START_POLL_MS = 10
const OUTPUT_CHARS_MAX = 16_384

/** The nats-server to run: the one named here or in the environment, else the one the bootstrap found. Old ones are refused. */
export const findServer = Effect.fnUntraced(function*(storeDir: string, named?: string) {
  const path = yield* Effect.try({
    try: () => named ?? (process.env["MILLRACE_NATS_SERVER"] || findTool("natsServer").path),
    catch: (cause) => new NatsUnavailable({ reason: "not_found", storeDir, detail: cause instanceof Error ? cause.message : String(cause) })
  })
  const printed = yield* Effect.callback<string, NatsUnavailable>((resume) => {
    execFile(path, ["--version"], { timeout: VERSION_MS_MAX }, (error, stdout) =>
      resume(error === null ? Effect.succeed(stdout) : Effect.fail(new NatsUnavailable({ reason: "not_found", storeDir, detail: error.message }))))
  })
  const refusal = natsServerRefusal(printed)
  if (refusal !== undefined) return yield* new NatsUnavailable({ reason: "too_old", storeDir, detail: refusal })
  return path
})

/** One run of nats-server, from its start until it has ended. */
export interface Run {
  readonly pid: number
  /** Why it ended; resolves never before it has. */
  readonly ended: Promise<string>
  readonly stop: Effect.Effect<void>
}

/**
 * Starts the program and waits until it accepts clients, within 30 s. Fails with what it printed when it
 * ends before that.
 */
export const launch = Effect.fnUntraced(function*(program: string, storeDir: string, port: number) {
  sweepPortsFiles(storeDir)
  const child = spawn(program, ["-c", join(storeDir, "nats-server.conf")], { cwd: storeDir, stdio: ["ignore", "pipe", "pipe"] })
  const printed = collect(child)
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message))
    child.once("exit", (code, signal) => resolve(signal === null ? `it ended with status ${code}` : `it was ended by ${signal}`))
  })
  const pid = child.pid
  if (pid === undefined) return yield* new NatsUnavailable({ reason: "would_not_start", storeDir, detail: yield* Effect.promise(() => ended) })
  holdsServer(storeDir, pid)
  const run: Run = { pid, ended, stop: Effect.andThen(stopByPid(pid), Effect.asVoid(Effect.promise(() => ended))) }
  const ready = yield* Effect.onError(accepts(storeDir, pid, port), () => run.stop)
  if (ready) return run
  yield* run.stop
  return yield* new NatsUnavailable({ reason: "would_not_start", storeDir, detail: printed() || (yield* Effect.promise(() => ended)) })
})

/** Whether the server came to accept clients, rather than end or take too long. */
const accepts = Effect.fnUntraced(function*(storeDir: string, pid: number, port: number) {
  for (let waited = 0; waited < START_MS_MAX; waited += START_POLL_MS) {
    if (!isAlive(pid)) return false
    // Only the server itself writes this file, so whoever answers on the port is not a stranger.
    if (readdirSync(storeDir).some((name) => name.endsWith(`_${pid}.ports`)) && (yield* greets(port))) return true
    yield* Effect.promise(() => new Promise((wake) => setTimeout(wake, START_POLL_MS)))
  }
  return false
})

/** Whether a NATS server greets on this port: it speaks first, and begins with INFO. */
const greets = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect({ port, host: "127.0.0.1", timeout: 1_000 })
    const answer = (greeted: boolean) => {
      socket.destroy()
      resume(Effect.succeed(greeted))
    }
    socket.once("data", (bytes) => answer(bytes.toString("latin1").startsWith("INFO ")))
    socket.once("error", () => answer(false))
    socket.once("timeout", () => answer(false))
    return Effect.sync(() => socket.destroy())
  })

/** What the program says outside its log file: complaints about its configuration. */
const collect = (child: ChildProcess) => {
  let text = ""
  const hear = (chunk: string) => {
    text = (text + chunk).slice(-OUTPUT_CHARS_MAX)
  }
  child.stdout?.setEncoding("utf8").on("data", hear)
  child.stderr?.setEncoding("utf8").on("data", hear)
  return () => text.trim().split("\n").slice(-3).join(" | ")
}

const sweepPortsFiles = (storeDir: string) => {
  if (!existsSync(storeDir)) return
  for (const name of readdirSync(storeDir)) if (name.endsWith(".ports")) rmSync(join(storeDir, name), { force: true })
}
