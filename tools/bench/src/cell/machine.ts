import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"

const wantedFiles = 1_048_576
/** The unit of CPU time in /proc: a hundredth of a second on every Linux (sysconf _SC_CLK_TCK). */
const tickMs = 10

/**
 * Raises how many files this process and its children may have open, as far as this machine lets it. Says
 * what it came to: each host costs the server one and its own process one.
 */
export const raiseFileLimit = (): number => {
  try {
    execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${wantedFiles}:${wantedFiles}`], { stdio: "ignore", timeout: 5_000 })
  } catch {
    // Not root, or no prlimit: the limit stays what it is, and is told with the figures.
  }
  const found = /Max open files\s+(\d+|unlimited)/.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]
  return found === undefined || found === "unlimited" ? wantedFiles : Number(found)
}

/** The memory that a process has resident, in MiB (VmRSS). */
export const residentMib = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN) / 1024)

/** The CPU time that these processes have used so far, in ms. */
export const cpuMs = (pids: ReadonlyArray<number>): number =>
  pids.reduce((sum, pid) => {
    // Behind the name, which may hold anything: state is field 3, user and system time are 14 and 15.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ")
    return sum + (Number(fields[11]) + Number(fields[12])) * tickMs
  }, 0)
