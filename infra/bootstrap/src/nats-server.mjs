import { join } from "node:path"
import { distribution, linkIntoBin, takePackage } from "./apt.mjs"
import { runCommand } from "./command.mjs"
import { firstExisting, isExecutable, onPath } from "./places.mjs"
import { NATS_SERVER_RELEASE, takeRelease } from "./release.mjs"
import { NATS_SERVER_MIN, natsServerRefusal, versionIn } from "./versions.mjs"

const VERSION_MS_MAX = 10_000

/** @typedef {import("./index.mjs").Tool} Tool */

/** The command that mends a missing nats-server on this machine. */
export const natsServerRemedy = () =>
  process.platform === "darwin"
    ? "brew install nats-server"
    : `curl -fsSL ${NATS_SERVER_RELEASE.base}/v${NATS_SERVER_RELEASE.version}/nats-server-v${NATS_SERVER_RELEASE.version}-linux-${process.arch === "arm64" ? "arm64" : "amd64"}.tar.gz | tar -xz && export MILLRACE_NATS_SERVER="$PWD"/nats-server-v*/nats-server`

/**
 * A nats-server that may hold the journal: the one named by `MILLRACE_NATS_SERVER`, one on PATH, one
 * fetched before, one of the distribution, the vendor's release; the first that is new enough. A
 * named one that is refused is not passed over silently: whoever named it should know.
 * @param {{ home: string, says: (said: string) => void, onStart: (pid: number) => void }} step
 * @returns {Promise<Tool>}
 */
export const findNatsServer = async (step) => {
  const named = process.env["MILLRACE_NATS_SERVER"]
  if (named) {
    const tool = await look(named, "MILLRACE_NATS_SERVER")
    if ("problem" in tool) throw new Error(`MILLRACE_NATS_SERVER names ${named}, but ${tool.problem}: name a newer one, or unset it and one is fetched.`)
    return tool
  }
  /** @type {string[]} */
  const problems = []
  const ways = [
    () => lookOn(onPath("nats-server"), "this machine"),
    () => lookOn(firstExisting([join(step.home, "bin", "nats-server")]), "an earlier fetch"),
    () => fromDistribution(step),
    () => takeRelease(NATS_SERVER_RELEASE, step).then((path) => look(linkIntoBin(step.home, path), `the vendor's release ${NATS_SERVER_RELEASE.version}`))
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
  throw new Error(`No nats-server ${NATS_SERVER_MIN} or newer could be found or fetched (${problems.join("; ")}): install one, then run this again: ${natsServerRemedy()}`)
}

/** @param {{ home: string, says: (said: string) => void, onStart: (pid: number) => void }} step */
const fromDistribution = async (step) => {
  const here = distribution()
  if ("problem" in here) return here
  const folder = await takePackage(here, here.newest, "nats-server", step)
  const binary = firstExisting(["usr/sbin/nats-server", "usr/bin/nats-server"].map((path) => join(folder, path)))
  if (binary === undefined) return { problem: `the package of ${here.name} ${here.newest} holds no nats-server` }
  const tool = await look(binary, `${here.name} ${here.newest}`)
  return "problem" in tool ? tool : { ...tool, path: linkIntoBin(step.home, binary) }
}

/** @param {string | undefined} path @param {string} from */
const lookOn = async (path, from) => (path === undefined ? undefined : look(path, from))

/** @param {string} path @param {string} from @returns {Promise<Tool | { problem: string }>} */
const look = async (path, from) => {
  if (!isExecutable(path)) return { problem: "no program can be run there" }
  const { output, problem } = await runCommand(path, ["--version"], { limitMs: VERSION_MS_MAX })
  const refusal = problem ?? natsServerRefusal(output)
  return refusal === undefined ? { path, version: (versionIn(output) ?? []).join("."), from } : { problem: refusal }
}
