import { spawn, type ChildProcess } from "node:child_process"
import { createWriteStream, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import type { Machine } from "./books.ts"

/** What runs on the sky's machines. */
export interface Power {
  readonly on: (machine: Machine) => void
  readonly off: (machine: Machine) => void
  /** What runs there falls dead, as when a power supply burns; the machine costs money on. Whether anything ran. */
  readonly crash: (id: string) => boolean
  readonly allOff: () => Promise<void>
}

/** Machines that cost money and run nothing: enough where nobody looks inside. */
export const dark: Power = { on: () => undefined, off: () => undefined, crash: () => false, allOff: () => Promise.resolve() }

interface CloudConfig {
  readonly write_files?: ReadonlyArray<{ readonly path?: string; readonly content?: string }>
}

/** User data as cloud-init takes it, as far as it is JSON: a cloud-config in another form boots a machine that runs nothing. */
const cloudConfigOf = (userData: string): CloudConfig | undefined => {
  if (!userData.startsWith("#cloud-config\n")) return undefined
  try {
    return JSON.parse(userData.slice(userData.indexOf("\n"))) as CloudConfig
  } catch {
    return undefined
  }
}

const signal = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It has ended by itself in this moment.
  }
}

/** The process that is the parent of a machine's work and outlives its agent, if it is still the one that wrote this. */
const keeperOf = (folder: string): number | undefined => {
  try {
    const { pid, start } = JSON.parse(readFileSync(join(folder, "keeper.json"), "utf8")) as { pid: number; start: string }
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] === start ? pid : undefined
  } catch {
    return undefined
  }
}

const stopMsMax = 5_000

/**
 * Each machine is a child process: the real host agent in a folder of its own, with the settings and the one-time
 * key that its user data writes to `/etc/millrace`. Turned off, it is killed with everything in its process group,
 * as a machine is that somebody ends.
 */
export const agents = ({ folder, bootMs = 0, settings = {} }: {
  readonly folder: string
  /** How long a machine takes until its agent starts. */
  readonly bootMs?: number
  /** Settings that win over those of the user data. */
  readonly settings?: Readonly<Record<string, string>>
}): Power => {
  const running = new Map<string, { child?: ChildProcess; timer?: NodeJS.Timeout }>()
  const main = join(dirname(createRequire(import.meta.url).resolve("@millrace/host")), "main.ts")

  const start = (machine: Machine): void => {
    const held = running.get(machine.id)
    const config = cloudConfigOf(machine.userData)
    if (held === undefined || config === undefined) return
    const home = join(folder, machine.id)
    mkdirSync(home, { recursive: true, mode: 0o700 })
    const file = (name: string): string => config.write_files?.find(({ path }) => path === `/etc/millrace/${name}`)?.content ?? ""
    const keyFile = join(home, "one-time-key")
    writeFileSync(keyFile, file("one-time-key"), { mode: 0o600 })
    const own = Object.fromEntries(file("host.env").split("\n").filter((line) => line.includes("=")).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]))
    const log = createWriteStream(join(home, "agent.log"))
    const child = spawn(process.execPath, [main], {
      cwd: home,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"] ?? "",
        // What was compiled once is kept: a pretended machine boots no slower than a process must.
        ...(process.env["NODE_COMPILE_CACHE"] === undefined ? {} : { NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] }),
        // All of them are this machine, and reach each other on it.
        MILLRACE_GANG_ADDRESS: "127.0.0.1",
        ...own,
        ...settings,
        MILLRACE_HOST_DIR: join(home, "host"),
        MILLRACE_ONE_TIME_KEY: keyFile,
        MILLRACE_HOST_CPU_MILLI: String(machine.ware.vcpus * 1000),
        MILLRACE_HOST_MEMORY_MIB: String(Math.floor(machine.ware.memoryGib * 1024 * 0.9))
      }
    })
    child.stdout?.pipe(log, { end: false })
    child.stderr?.pipe(log, { end: false })
    child.once("error", () => running.delete(machine.id))
    child.once("exit", () => log.end())
    held.child = child
  }

  const kill = (id: string, { child, timer }: { child?: ChildProcess; timer?: NodeJS.Timeout }): void => {
    if (timer !== undefined) clearTimeout(timer)
    if (child?.pid !== undefined && child.exitCode === null) signal(-child.pid)
    const keeper = keeperOf(join(folder, id, "host", "keeper"))
    if (keeper !== undefined) signal(keeper)
  }

  const off = (machine: Pick<Machine, "id">): void => {
    const held = running.get(machine.id)
    if (held !== undefined) kill(machine.id, held)
    running.delete(machine.id)
  }

  return {
    on: (machine) => {
      const held: { child?: ChildProcess; timer?: NodeJS.Timeout } = {}
      running.set(machine.id, held)
      held.timer = setTimeout(() => start(machine), bootMs)
    },
    off,
    crash: (id) => {
      const held = running.get(id)
      if (held === undefined) return false
      kill(id, held)
      return true
    },
    allOff: async () => {
      const children = [...running.values()].flatMap(({ child }) => (child === undefined || child.exitCode !== null ? [] : [child]))
      const ended = Promise.all(children.map((child) => new Promise<void>((resolve) => child.once("exit", () => resolve()))))
      for (const id of [...running.keys()]) off({ id })
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, stopMsMax).unref())])
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
