import { createHash } from "node:crypto"
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { manifestPath, millraceHome, onPath, repositoryRoot } from "./places.mjs"
import { dependenciesAreCurrent } from "./dependencies.mjs"
import { SANDBOXES } from "./sandboxes.mjs"

/**
 * @typedef {import("./index.mjs").Manifest} Manifest
 * @typedef {import("./index.mjs").ToolName} ToolName
 */

export const MANIFEST_VERSION = 1

/**
 * What the bootstrap found and fetched on this machine. Throws one sentence where it has not run.
 * @param {string} [root]
 * @returns {Manifest}
 */
export const readManifest = (root = repositoryRoot()) => {
  const path = manifestPath(millraceHome(root))
  const found = manifestIn(path)
  if ("problem" in found) throw new Error(`${path} ${found.problem}: run \`node infra/bootstrap/src/main.mjs\` in ${root} once.`)
  return found
}

/**
 * One tool of this machine.
 * @param {ToolName} name
 */
export const findTool = (name) => readManifest()[name]

/** @param {string} path @returns {Manifest | { problem: string }} */
export const manifestIn = (path) => {
  let text
  try {
    text = readFileSync(path, "utf8")
  } catch {
    return { problem: "is missing" }
  }
  try {
    const value = JSON.parse(text)
    const problem = defectOf(value)
    return problem === undefined ? value : { problem }
  } catch {
    return { problem: "is not JSON" }
  }
}

/**
 * What is wrong with the shape of a manifest; `undefined` when nothing is.
 * @param {unknown} value
 */
export const defectOf = (value) => {
  const manifest = /** @type {Record<string, Record<string, unknown>>} */ (value)
  if (typeof value !== "object" || value === null) return "holds no manifest"
  if (/** @type {Manifest} */ (value).version !== MANIFEST_VERSION) return `is of another version than ${MANIFEST_VERSION}`
  /** @param {string} name @param {readonly string[]} keys */
  const has = (name, keys) => keys.every((key) => typeof manifest[name]?.[key] === "string" && manifest[name][key] !== "")
  for (const name of ["node", "natsServer"]) if (!has(name, ["path", "version", "from"])) return `does not say where ${name} is`
  for (const name of ["runsc", "bubblewrap"]) if (!has(name, ["path", "version"]) && !has(name, ["missing", "remedy"])) return `does not say where ${name} is`
  if (!has("postgres", ["binDir", "version"])) return "does not say where postgres is"
  if (!has("made", ["root", "platform", "lockfile"]) || typeof manifest["files"] !== "object") return "does not say what it was made from"
  return undefined
}

/**
 * Writes a manifest, whole or not at all.
 * @param {string} root
 * @param {string} home
 * @param {Pick<Manifest, "node" | "natsServer" | "runsc" | "bubblewrap" | "postgres">} tools
 */
export const writeManifest = (root, home, tools) => {
  const { bubblewrap, natsServer, node, postgres, runsc } = tools
  const paths = [node.path, natsServer.path, join(postgres.binDir, "postgres"), join(postgres.binDir, "initdb")]
  for (const tool of [runsc, bubblewrap]) if ("path" in tool) paths.push(tool.path)
  /** @type {Manifest} */
  const manifest = {
    version: MANIFEST_VERSION,
    node,
    natsServer,
    runsc,
    bubblewrap,
    postgres,
    made: circumstances(root),
    files: Object.fromEntries(paths.map((path) => [path, printOf(path) ?? ""]))
  }
  const path = manifestPath(home)
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify(manifest, null, 2)}\n`)
  renameSync(`${path}.${process.pid}`, path)
  return manifest
}

/**
 * Whether all that a manifest says still holds, without running or fetching anything: the lockfile it
 * was made from, each file it names, and nothing new on PATH for what was missing then.
 * @param {string} root
 * @param {Manifest} manifest
 */
export const holds = (root, manifest) =>
  dependenciesAreCurrent(root) &&
  JSON.stringify(manifest.made) === JSON.stringify(circumstances(root)) &&
  Object.entries(manifest.files).every(([path, print]) => printOf(path) === print) &&
  !cameSince(manifest.runsc, SANDBOXES.runsc.command) &&
  !cameSince(manifest.bubblewrap, SANDBOXES.bubblewrap.command)

/** @param {import("./index.mjs").Tool | import("./index.mjs").Missing} tool @param {string} command */
const cameSince = (tool, command) => "missing" in tool && (onPath(command) ?? "") !== tool.seen

/** What a manifest depends on besides files. @param {string} root @returns {Manifest["made"]} */
const circumstances = (root) => ({
  root,
  platform: `${process.platform}-${process.arch}`,
  lockfile: createHash("sha256").update(readFileSync(join(root, "package-lock.json"))).digest("hex"),
  asRoot: process.getuid?.() === 0,
  natsServerNamed: process.env["MILLRACE_NATS_SERVER"] ?? ""
})

/** @param {string} path */
const printOf = (path) => {
  const found = statSync(path, { throwIfNoEntry: false })
  return found === undefined ? undefined : `${found.size} ${Math.trunc(found.mtimeMs)}`
}
