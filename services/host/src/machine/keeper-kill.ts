import { spawn } from "node:child_process"
import { readdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"

const endWithMsMax = 10_000

/** A negative pid is a process group's, as in kill(2). What is gone already, or has become somebody else's, needs no signal of ours. */
export const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch {
    // ESRCH: it is gone. EPERM: all that is left there runs as another user (a setuid program): only its
    // cgroup, or whoever runs that sandbox, can end it.
  }
}

/** Ends every process that carries the attempt's id in its environment, as each descendant of it does. */
export const endByEnvironment = async (attempt: string): Promise<void> => {
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^[0-9]+$/u.test(pid)) continue
    const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "")
    if (environment.split("\0").includes(`MILLRACE_ATTEMPT=${attempt}`)) signal(Number(pid), "SIGKILL")
  }
}

/** Ends all that is in a cgroup, at once and whoever it belongs to. */
export const endByCgroup = (cgroup: string): Promise<void> => writeFile(join(cgroup, "cgroup.kill"), "1").catch(() => undefined)

/** Runs what ends it, for at most 10 s. That it fails is no news: what it was to end may be gone. */
export const endByCommand = ([command, ...args]: ReadonlyArray<string>): Promise<void> =>
  command === undefined ? Promise.resolve() : new Promise((resolve) => {
    const child = spawn(command, args, { stdio: "ignore", timeout: endWithMsMax, killSignal: "SIGKILL" })
    child.once("error", () => resolve())
    child.once("exit", () => resolve())
  })
