import { spawn, type ChildProcess } from "node:child_process"
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import type { Machine } from "./books.ts"
import { type Inside, namespaceFor, withoutNamespaces } from "./namespaces.ts"

/** What runs on the sky's machines. */
export interface Power {
  /** `turnedOff` is called when it turns itself off from inside. */
  readonly on: (machine: Machine, turnedOff: () => void) => void
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

/** A machine's dead man, as its user data brings it: a script, and a unit that says with what it is started. */
const deadManIn = ({ write_files: files = [] }: CloudConfig, home: string) => {
  const script = files.find(({ path }) => path === "/etc/millrace/dead-man")?.content
  const unit = files.find(({ path }) => path?.endsWith("/millrace-dead-man.service"))?.content
  const [, silentS, everyS] = /^ExecStart=\/bin\/sh \/etc\/millrace\/dead-man \S+ (\d+) (\d+)$/mu.exec(unit ?? "") ?? []
  if (script === undefined || silentS === undefined || everyS === undefined) return undefined
  const [own, programs, off] = [join(home, "dead-man"), join(home, "bin"), join(home, "off")]
  mkdirSync(programs, { recursive: true })
  writeFileSync(own, script)
  writeFileSync(join(programs, "systemctl"), `#!/bin/sh\n: > '${off}'\nkill -9 $PPID\n`, { mode: 0o755 })
  return { args: [own, join(home, "heard"), silentS, everyS], programs, hasTurnedOff: () => existsSync(off) }
}

/** One that was killed has a signal and no exit code. */
const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

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

/** What runs for one machine. */
interface Held {
  child?: ChildProcess
  deadMan?: ChildProcess
  timer?: NodeJS.Timeout
  inside?: Inside
}

/**
 * Each machine is a child process: the real host agent in a folder of its own, with the settings and the one-time
 * key that its user data writes to `/etc/millrace`. Turned off, it is killed with everything in its process group,
 * as a machine is that somebody ends. A dead man that its user data brings runs beside it, with a `systemctl` that turns
 * the pretended machine off and no other.
 */
export const agents = ({ folder, bootMs = 0, namespaces = false, settings = {} }: {
  readonly folder: string
  /** How long a machine takes until its agent starts. */
  readonly bootMs?: number
  /** Each machine has a network namespace of its own: it reaches what its settings name on this machine, and nothing else. */
  readonly namespaces?: boolean
  /** Settings that win over those of the user data. */
  readonly settings?: Readonly<Record<string, string>>
}): Power => {
  const running = new Map<string, Held>()
  const unable = namespaces ? withoutNamespaces() : undefined
  if (unable !== undefined) throw new Error(`This machine makes no network namespaces for those of the sky: ${unable}. Leave them out, or let unshare and ip do it`)
  const main = join(dirname(createRequire(import.meta.url).resolve("@millrace/host")), "main.ts")

  const start = (machine: Machine, turnedOff: () => void): void => {
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
    const env = {
      PATH: process.env["PATH"] ?? "",
      // What was compiled once is kept: a pretended machine boots no slower than a process must.
      ...(process.env["NODE_COMPILE_CACHE"] === undefined ? {} : { NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] }),
      // All of them are this machine, and reach each other on it, unless each has a network of its own.
      ...(namespaces ? {} : { MILLRACE_GANG_ADDRESS: "127.0.0.1" }),
      ...own,
      ...settings,
      ...(own["MILLRACE_DEAD_MAN_FILE"] === undefined ? {} : { MILLRACE_DEAD_MAN_FILE: join(home, "heard") }),
      MILLRACE_HOST_DIR: join(home, "host"),
      MILLRACE_ONE_TIME_KEY: keyFile,
      MILLRACE_HOST_CPU_MILLI: String(machine.ware.vcpus * 1000),
      MILLRACE_HOST_MEMORY_MIB: String(Math.floor(machine.ware.memoryGib * 1024 * 0.9))
    }
    const inside = namespaces ? namespaceFor(main, { home, settings: env }) : undefined
    const [program, ...args] = inside?.command ?? [process.execPath, main]
    const child = spawn(program, args, { cwd: home, detached: true, stdio: ["ignore", "pipe", "pipe"], env })
    if (inside !== undefined) held.inside = inside
    const watch = deadManIn(config, home)
    if (watch !== undefined) {
      const deadMan = spawn("/bin/sh", watch.args, { cwd: home, detached: true, stdio: "ignore", env: { PATH: `${watch.programs}:${env.PATH}` } })
      deadMan.once("error", () => undefined).once("exit", () => watch.hasTurnedOff() ? turnedOff() : undefined)
      held.deadMan = deadMan
    }
    child.stdout?.pipe(log, { end: false })
    child.stderr?.pipe(log, { end: false })
    child.once("error", () => off(machine))
    child.once("exit", () => log.end())
    held.child = child
  }

  const kill = (id: string, { child, deadMan, inside, timer }: Held): void => {
    if (timer !== undefined) clearTimeout(timer)
    for (const one of [child, deadMan]) if (one?.pid !== undefined && !hasEnded(one)) signal(-one.pid)
    inside?.close()
    const keeper = keeperOf(join(folder, id, "host", "keeper"))
    if (keeper !== undefined) signal(keeper)
  }

  const off = (machine: Pick<Machine, "id">): void => {
    const held = running.get(machine.id)
    if (held !== undefined) kill(machine.id, held)
    running.delete(machine.id)
  }

  return {
    on: (machine, turnedOff) => {
      const held: Held = {}
      running.set(machine.id, held)
      held.timer = setTimeout(() => start(machine, turnedOff), bootMs)
    },
    off,
    crash: (id) => {
      const held = running.get(id)
      if (held === undefined) return false
      kill(id, held)
      return true
    },
    allOff: async () => {
      const children = [...running.values()].flatMap(({ child }) => (child === undefined || hasEnded(child) ? [] : [child]))
      const ended = Promise.all(children.map((child) => new Promise<void>((resolve) => child.once("exit", () => resolve()))))
      for (const id of [...running.keys()]) off({ id })
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, stopMsMax).unref())])
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
