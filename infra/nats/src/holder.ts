import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { NatsUnavailable } from "./nats-unavailable.ts"

/**
 * Who holds a store folder: the file `holder` names the process that started nats-server there and the
 * server itself, each by number and start time, because numbers are used again. A living holder is left
 * alone; a server whose holder is dead is an orphan and is stopped.
 */
interface Held {
  readonly holder: Known
  readonly server?: Known
}

interface Known {
  readonly pid: number
  readonly startedAt: string
}

/** Two ways to stop, from the kindest, and how long each is given. */
const STOPS = [
  { signal: "SIGTERM", waitMs: 10_000 },
  { signal: "SIGKILL", waitMs: 5_000 }
] as const
const STOP_POLL_MS = 10

const fileOf = (storeDir: string) => join(storeDir, "holder")

/** Takes the folder for this process for as long as the scope lives, once no other living one holds it. */
export const takeHold = Effect.fnUntraced(function*(storeDir: string) {
  const held = read(storeDir)
  if (held !== undefined && isSame(held.holder)) {
    return yield* new NatsUnavailable({ reason: "held_by_another", storeDir, detail: `process ${held.holder.pid} serves from it` })
  }
  if (held?.server !== undefined && isSame(held.server)) yield* stopByPid(held.server.pid)
  yield* Effect.acquireRelease(
    Effect.sync(() => write(storeDir, { holder: known(process.pid) })),
    () => Effect.sync(() => rmSync(fileOf(storeDir), { force: true }))
  )
})

/** Writes down which server runs here now, so that whoever comes after a kill can stop it. */
export const holdsServer = (storeDir: string, pid: number): void =>
  write(storeDir, { holder: known(process.pid), server: known(pid) })

/** Stops a process by its number, kindly first; ends when it is gone, within 15 s. */
export const stopByPid = Effect.fnUntraced(function*(pid: number) {
  for (const { signal, waitMs } of STOPS) {
    if (!send(pid, signal)) return
    // One that is frozen hears nothing until it goes on.
    send(pid, "SIGCONT")
    for (let waited = 0; waited < waitMs; waited += STOP_POLL_MS) {
      if (!isAlive(pid)) return
      yield* Effect.promise(() => new Promise((wake) => setTimeout(wake, STOP_POLL_MS)))
    }
  }
})

/** A zombie has ended: it only waits to be noticed by whoever started it. */
export const isAlive = (pid: number): boolean => send(pid, 0) && statOf(pid)?.[0] !== "Z"

/** Sends a signal; false when there is no such process. */
export const send = (pid: number, signal: NodeJS.Signals | 0): boolean => {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

const known = (pid: number): Known => ({ pid, startedAt: startOf(pid) })

const isSame = ({ pid, startedAt }: Known) => isAlive(pid) && startOf(pid) === startedAt

/** When a process started: field 22 of its stat where there is /proc, else as ps tells it. */
const startOf = (pid: number): string => {
  if (existsSync("/proc/self/stat")) return statOf(pid)?.[19] ?? ""
  try {
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8", timeout: 5_000 }).trim()
  } catch {
    return ""
  }
}

/** The fields of /proc/<pid>/stat from its state on; the name before may hold anything. */
const statOf = (pid: number): ReadonlyArray<string> | undefined => {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")
  } catch {
    return undefined
  }
}

const read = (storeDir: string): Held | undefined => {
  try {
    return JSON.parse(readFileSync(fileOf(storeDir), "utf8")) as Held
  } catch {
    // None, or one that was being written when its writer was killed: then no server had started yet.
    return undefined
  }
}

const write = (storeDir: string, held: Held) => {
  const beside = `${fileOf(storeDir)}.${process.pid}`
  writeFileSync(beside, JSON.stringify(held))
  renameSync(beside, fileOf(storeDir))
}
