import { Effect } from "effect"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { PostgresUnavailable } from "./postgres-unavailable.ts"
import { run } from "./program.ts"

/**
 * Who holds a data folder. The file `holder` names the process that started PostgreSQL there, and
 * PostgreSQL's own postmaster.pid names PostgreSQL. A living holder is left alone; a PostgreSQL whose
 * holder is dead is an orphan and is stopped.
 */

const LOOK_MS_MAX = 10_000

/** PostgreSQL's three ways to stop, from the kindest, and how long each is given. */
const STOPS = [
  { signal: "SIGINT", waitMs: 10_000 },
  { signal: "SIGQUIT", waitMs: 5_000 },
  { signal: "SIGKILL", waitMs: 5_000 }
] as const
const POLL_MS = 20
const HOLDER_MS_MAX = 2_000

interface Holder {
  readonly pid: number
  /** When that process started, so that a number used again is not taken for it. */
  readonly start: string
}

/** Takes the folder for this process, once no living process holds it and no orphan serves from it. */
export const takeHold = Effect.fnUntraced(function*(dataDir: string, data: string) {
  const file = join(dataDir, "holder")
  const holder = processIn(file)
  if (holder !== undefined && !(yield* endsSoon(holder))) {
    return yield* new PostgresUnavailable({ reason: "held_by_another", dataDir, detail: `process ${holder.pid} serves from it` })
  }
  yield* stopOrphan(data)
  yield* Effect.acquireRelease(
    Effect.sync(() => writeFileSync(file, `${process.pid} ${startOf(process.pid)}\n`)),
    () => Effect.sync(() => rmSync(file, { force: true }))
  )
})

/** A holder that is being killed this moment still counts as alive, so it is given a moment to go. */
const endsSoon = Effect.fnUntraced(function*(holder: Holder) {
  for (let waited = 0; isSame(holder); waited += POLL_MS) {
    if (holder.pid === process.pid || waited >= HOLDER_MS_MAX) return false
    yield* realTime(POLL_MS)
  }
  return true
})

/** Stops a PostgreSQL by its number, kindly first; ends when it is gone, within 20 s. */
export const stopByPid = Effect.fnUntraced(function*(pid: number) {
  for (const { signal, waitMs } of STOPS) {
    if (!send(pid, signal)) return
    for (let waited = 0; waited < waitMs; waited += POLL_MS) {
      yield* realTime(POLL_MS)
      if (!isAlive(pid)) return
    }
  }
})

const stopOrphan = Effect.fnUntraced(function*(data: string) {
  const pidFile = join(data, "postmaster.pid")
  if (!existsSync(pidFile)) return
  const [pid, folder] = readFileSync(pidFile, "utf8").split("\n")
  const number = Number(pid)
  if (folder !== data || !Number.isInteger(number) || number <= 1 || !isAlive(number)) return
  // The number may have gone to another program since; that one does not name the data folder.
  if ((yield* commandLine(number)).includes(data)) yield* stopByPid(number)
})

const commandLine = (pid: number) =>
  existsSync("/proc/self/cmdline")
    ? Effect.sync(() => textOf(`/proc/${pid}/cmdline`).replaceAll("\0", " "))
    : Effect.map(run("ps", ["-ww", "-o", "args=", "-p", String(pid)], { as: null, limitMs: LOOK_MS_MAX }), ({ output }) => output)

const processIn = (file: string): Holder | undefined => {
  const found = /^(\d+) (\d*)$/.exec(textOf(file).trim())
  return found === null ? undefined : { pid: Number(found[1]), start: found[2] ?? "" }
}

const isSame = ({ pid, start }: Holder) => isAlive(pid) && (start === "" || startOf(pid) === start)

/** When a process started, as the kernel counts it (field 22 of its stat); empty where it is not told. */
const startOf = (pid: number) => textOf(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ")[19] ?? ""

/** Whether a process runs. A zombie has ended: it only waits to be noticed by whoever started it. */
export const isAlive = (pid: number) => send(pid, 0) && textOf(`/proc/${pid}/stat`).split(") ").at(-1)?.startsWith("Z") !== true

const send = (pid: number, signal: NodeJS.Signals | 0) => {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** Waits in real time, whatever clock a test hands over: what is waited for is a real process. */
export const realTime = (ms: number) => Effect.promise(() => new Promise<void>((wake) => setTimeout(wake, ms)))

const textOf = (file: string) => {
  try {
    return readFileSync(file, "utf8")
  } catch {
    return ""
  }
}
