import { join } from "node:path"
import { distribution, linkIntoBin, takePackage } from "./apt.mjs"
import { runCommand } from "./command.mjs"
import { firstExisting, onPath } from "./places.mjs"
import { atLeast, RUNSC_MIN, versionIn } from "./versions.mjs"

const VERSION_MS_MAX = 10_000

/**
 * @typedef {import("./index.mjs").Tool} Tool
 * @typedef {import("./index.mjs").Missing} Missing
 *
 * @typedef {object} Sandbox
 * @property {string} command
 * @property {string} packageName
 * @property {"newest" | "own"} suite which packages of the distribution run here
 * @property {string} least
 * @property {string} remedy
 */

const again = "node infra/bootstrap/src/main.mjs --refresh"

/**
 * runsc is linked statically, so the newest package runs anywhere; bubblewrap leans on the C library
 * and must come from the machine's own release. 0.8.0 is the first that can forbid nested namespaces.
 * @type {{ runsc: Sandbox, bubblewrap: Sandbox }}
 */
export const SANDBOXES = {
  runsc: { command: "runsc", packageName: "runsc", suite: "newest", least: RUNSC_MIN, remedy: `${again}   (or install gVisor's runsc, https://gvisor.dev/docs/user_guide/install/)` },
  bubblewrap: { command: "bwrap", packageName: "bubblewrap", suite: "own", least: "0.8.0", remedy: "sudo apt-get install bubblewrap   (or your system's package bubblewrap)" }
}

/**
 * A sandbox program, from PATH, from an earlier fetch, or from the distribution. Isolation is
 * optional: one that cannot be had is told as missing, with the reason and the remedy.
 * @param {Sandbox} sandbox
 * @param {{ home: string, says: (said: string) => void, onStart: (pid: number) => void }} step
 * @returns {Promise<Tool | Missing>}
 */
export const findSandbox = async (sandbox, step) => {
  if (process.platform !== "linux") return { missing: `${sandbox.command} runs on Linux only`, remedy: "run hosts on Linux", seen: "" }
  /** @type {string[]} */
  const problems = []
  const ways = [
    () => lookOn(sandbox, onPath(sandbox.command), "this machine"),
    () => lookOn(sandbox, firstExisting([join(step.home, "bin", sandbox.command)]), "an earlier fetch"),
    () => fromDistribution(sandbox, step)
  ]
  for (const way of ways) {
    try {
      const tool = await way()
      if (tool === undefined) continue
      if (!("problem" in tool)) return tool
      problems.push(tool.problem)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  return { missing: problems.join("; ") || "not found", remedy: sandbox.remedy, seen: onPath(sandbox.command) ?? "" }
}

/** @param {Sandbox} sandbox @param {{ home: string, says: (said: string) => void, onStart: (pid: number) => void }} step */
const fromDistribution = async (sandbox, step) => {
  const here = distribution()
  if ("problem" in here) return here
  const suite = sandbox.suite === "newest" ? here.newest : here.codename
  const folder = await takePackage(here, suite, sandbox.packageName, step)
  const tool = await look(sandbox, join(folder, "usr/bin", sandbox.command), `${here.name} ${suite}`)
  return "problem" in tool ? tool : { ...tool, path: linkIntoBin(step.home, tool.path) }
}

/** @param {Sandbox} sandbox @param {string | undefined} path @param {string} from */
const lookOn = async (sandbox, path, from) => (path === undefined ? undefined : look(sandbox, path, from))

/** @param {Sandbox} sandbox @param {string} path @param {string} from @returns {Promise<Tool | { problem: string }>} */
const look = async (sandbox, path, from) => {
  const { output, problem } = await runCommand(path, ["--version"], { limitMs: VERSION_MS_MAX })
  if (problem !== undefined) return { problem }
  const version = (versionIn(output) ?? []).join(".")
  return atLeast(output, sandbox.least) ? { path, version, from } : { problem: `${path} is version ${version || "unknown"}, older than ${sandbox.least}` }
}
