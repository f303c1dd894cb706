import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { runCommand } from "./command.mjs"
import { linkPostgresLibraries, postgresFolder } from "./dependencies.mjs"
import { versionIn } from "./versions.mjs"

const VERSION_MS_MAX = 20_000

/** Where root keeps what another user must reach, when the checkout itself is closed to others. */
export const SHARED_FOLDER = "/var/lib/millrace"

/**
 * @typedef {import("./index.mjs").Postgres} Postgres
 * @typedef {import("./index.mjs").Account} Account
 */

/**
 * The account PostgreSQL runs under: none when we are not root (it runs as we do), else `postgres`
 * where the machine knows it, else `nobody`; PostgreSQL refuses to run as root, and as a user id
 * without a name.
 * @returns {Account | null}
 */
export const postgresAccount = () => {
  if (process.getuid?.() !== 0) return null
  const accounts = new Map(readFileSync("/etc/passwd", "utf8").split("\n").map((line) => {
    const [name = "", , uid, gid] = line.split(":")
    return [name, { name, uid: Number(uid), gid: Number(gid) }]
  }))
  const account = accounts.get("postgres") ?? accounts.get("nobody")
  if (account === undefined) throw new Error("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody: run `useradd --system postgres`, then this again.")
  return account
}

/**
 * PostgreSQL as it came with the dependencies, proven by running it as the account that will. Where
 * that account cannot reach the checkout, a copy is made where it can.
 * @param {string} root
 * @param {(said: string) => void} says
 * @returns {Promise<Postgres>}
 */
export const findPostgres = async (root, says) => {
  const folder = postgresFolder(root)
  if (!existsSync(join(folder, "bin", "postgres"))) {
    throw new Error(`No PostgreSQL came with the dependencies for ${process.platform}-${process.arch} (${folder} is missing): run \`npm ci --include=optional\`, then this again.`)
  }
  linkPostgresLibraries(folder)
  const runAs = postgresAccount()
  const here = await look(folder, runAs, "node_modules")
  if (!("problem" in here)) return here
  if (runAs === null) throw new Error(`PostgreSQL does not run on this machine: ${here.problem}.`)
  says("copying PostgreSQL to where its user can reach it")
  const there = await look(await copyOf(folder, root), runAs, SHARED_FOLDER)
  if ("problem" in there) throw new Error(`PostgreSQL does not run as the user ${runAs.name}: ${there.problem}.`)
  return there
}

/** @param {string} folder @param {Account | null} runAs @param {string} from @returns {Promise<Postgres | { problem: string }>} */
const look = async (folder, runAs, from) => {
  const binDir = join(folder, "bin")
  const { problem, stdout } = await runCommand(join(binDir, "postgres"), ["--version"], {
    limitMs: VERSION_MS_MAX,
    cwd: "/",
    ...(runAs === null ? {} : { uid: runAs.uid, gid: runAs.gid })
  })
  return problem === undefined ? { binDir, version: (versionIn(stdout) ?? []).join("."), from, runAs } : { problem }
}

/** A copy that appears whole or not at all, named after the package's version. @param {string} folder @param {string} root */
const copyOf = async (folder, root) => {
  const { version } = JSON.parse(readFileSync(join(folder, "..", "package.json"), "utf8"))
  const copy = join(SHARED_FOLDER, `postgresql-${version}`)
  mkdirSync(SHARED_FOLDER, { recursive: true, mode: 0o755 })
  const { mode, uid } = statSync(SHARED_FOLDER)
  if (uid !== 0 || (mode & 0o022) !== 0) throw new Error(`${SHARED_FOLDER} can be written by others than root, so no program is put there: run \`chown root ${SHARED_FOLDER} && chmod 755 ${SHARED_FOLDER}\`, or move ${root} to where user postgres can read it.`)
  if (existsSync(copy)) return copy
  const partial = join(SHARED_FOLDER, `.partial-${process.pid}-postgresql`)
  rmSync(partial, { recursive: true, force: true })
  cpSync(folder, partial, { recursive: true, verbatimSymlinks: true })
  const { problem } = await runCommand("chmod", ["-R", "a+rX", partial], { limitMs: VERSION_MS_MAX })
  if (problem !== undefined) throw new Error(`The copy of PostgreSQL in ${SHARED_FOLDER} could not be opened to its user: ${problem}`)
  renameSync(partial, copy)
  return copy
}
