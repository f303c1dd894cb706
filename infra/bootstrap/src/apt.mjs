import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import { distributionArchive, parseDeb822, parseOneLine } from "./apt-sources.mjs"
import { runCommand } from "./command.mjs"
import { onPath } from "./places.mjs"

/**
 * Takes single packages from the machine's own distribution, without root and without touching the
 * machine: apt runs with lists, cache and state of our own, and the package is only unpacked.
 *
 * @typedef {object} Distribution
 * @property {string} name as people say it
 * @property {string} codename the machine's own release
 * @property {string} newest the suite with the newest packages
 * @property {readonly string[]} components where those lie
 * @property {import("./apt-sources.mjs").Source} archive
 */

const UPDATE_MS_MAX = 180_000
const DOWNLOAD_MS_MAX = 300_000
const UNPACK_MS_MAX = 60_000

/** The newest suite by family; a derivative is left to the next way, as its archive need not have one. */
const FAMILIES = new Map([
  ["debian", { name: "Debian", newest: "sid", components: ["main"] }],
  ["ubuntu", { name: "Ubuntu", newest: "devel", components: ["main", "universe"] }]
])

/**
 * What this machine says about itself, or why packages cannot be taken from it.
 * @returns {Distribution | { problem: string }}
 */
export const distribution = () => {
  for (const command of ["apt-get", "dpkg"]) if (onPath(command) === undefined) return { problem: `this machine has no ${command}` }
  const release = osRelease()
  const family = FAMILIES.get(release.get("ID") ?? "")
  if (family === undefined) return { problem: `no package suite is known for "${release.get("ID") ?? "this system"}"` }
  const codename = release.get("VERSION_CODENAME") ?? ""
  const archive = distributionArchive(machineSources(), codename)
  if (archive === undefined) return { problem: `${etcApt()} names no ${family.name} archive` }
  return { ...family, codename: codename || archive.suite, archive }
}

/**
 * Takes one package from a suite and gives the folder it is unpacked in. The folder appears whole or
 * not at all, and a package already unpacked is kept. Rejects with one sentence.
 * @param {Distribution} from
 * @param {string} suite
 * @param {string} name
 * @param {{ home: string, says: (said: string) => void, onStart: (pid: number) => void }} where
 * @returns {Promise<string>}
 */
export const takePackage = async (from, suite, name, { home, onStart, says }) => {
  const area = join(home, "apt", suite)
  const options = privateOptions(from, suite, area)
  const packages = join(home, "packages")
  const archives = join(area, "archives")
  mkdirSync(packages, { recursive: true })

  const apt = async (/** @type {string[]} */ args, /** @type {number} */ limitMs) => {
    const { output, problem } = await runCommand("apt-get", [...args, ...options], { limitMs, cwd: archives, onStart, env: plainEnglish() })
    if (problem !== undefined) throw new Error(`${name} could not be had from ${from.name} ${suite}: ${problem}`)
    return output
  }
  says(`reading the package list of ${from.name} ${suite}`)
  if (!listIsFresh(area)) {
    await apt(["update", "-q", "-o", "APT::Update::Error-Mode=any"], UPDATE_MS_MAX)
    writeFileSync(join(area, "listed"), "")
  }
  const file = fileIn(await apt(["download", "--print-uris", "-q", name], DOWNLOAD_MS_MAX), name)
  const folder = join(packages, file.replace(/\.deb$/, ""))
  if (existsSync(folder)) return folder

  says(`downloading ${file}`)
  await apt(["download", "-q", name], DOWNLOAD_MS_MAX)
  says(`unpacking ${file}`)
  const partial = join(packages, `.partial-${process.pid}-${name}`)
  rmSync(partial, { recursive: true, force: true })
  const { problem } = await runCommand("dpkg", ["-x", join(archives, file), partial], { limitMs: UNPACK_MS_MAX, onStart })
  if (problem !== undefined) throw new Error(`${file} could not be unpacked: ${problem}`)
  renameSync(partial, folder)
  rmSync(join(archives, file), { force: true })
  return folder
}

/**
 * Puts a name for an unpacked file into `bin`, relative, so that the checkout may be moved.
 * @param {string} home
 * @param {string} target
 */
export const linkIntoBin = (home, target) => {
  const link = join(home, "bin", basename(target))
  const fresh = `${link}.${process.pid}`
  mkdirSync(dirname(link), { recursive: true })
  rmSync(fresh, { force: true })
  symlinkSync(relative(dirname(link), target), fresh)
  renameSync(fresh, link)
  return link
}

/** What earlier runs were killed over. @param {string} home */
export const sweepPartials = (home) => {
  const packages = join(home, "packages")
  if (!existsSync(packages)) return
  for (const name of readdirSync(packages)) if (name.startsWith(".partial-")) rmSync(join(packages, name), { recursive: true, force: true })
}

/** A list read by the same run is good enough for its next package. @param {string} area */
const listIsFresh = (area) => existsSync(join(area, "listed"))

/** Lets the next package be looked up in a list read anew. @param {string} home */
export const forgetLists = (home) => {
  const apt = join(home, "apt")
  if (!existsSync(apt)) return
  for (const suite of readdirSync(apt)) rmSync(join(apt, suite, "listed"), { force: true })
}

/** Where this machine keeps its package sources; `MILLRACE_APT_ETC` names another folder. */
const etcApt = () => process.env["MILLRACE_APT_ETC"] || "/etc/apt"

const machineSources = () => {
  const parts = join(etcApt(), "sources.list.d")
  const names = existsSync(parts) ? readdirSync(parts).sort() : []
  return [
    ...parseOneLine(textOf(join(etcApt(), "sources.list"))),
    ...names.filter((name) => name.endsWith(".sources")).flatMap((name) => parseDeb822(textOf(join(parts, name)))),
    ...names.filter((name) => name.endsWith(".list")).flatMap((name) => parseOneLine(textOf(join(parts, name))))
  ]
}

/**
 * Options that keep apt inside our own folder. Given on the command line, they weigh more than any
 * file of the machine; its proxies and credentials still apply.
 * @param {Distribution} from
 * @param {string} suite
 * @param {string} area
 */
const privateOptions = (from, suite, area) => {
  for (const folder of ["lists/partial", "cache/archives/partial", "state", "archives"]) mkdirSync(join(area, folder), { recursive: true })
  const list = join(area, "sources.list")
  const said = [...keyOption(from.archive.signedBy, area), ...(from.archive.trusted ? ["trusted=yes"] : [])]
  writeFileSync(list, `deb ${said.length === 0 ? "" : `[${said.join(" ")}] `}${from.archive.uri} ${suite} ${from.components.join(" ")}\n`)
  const options = {
    "Dir::Etc::SourceList": list,
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::Etc::Preferences": "/dev/null",
    "Dir::Etc::PreferencesParts": "/dev/null",
    "Dir::State": join(area, "state"),
    "Dir::State::Lists": join(area, "lists"),
    "Dir::State::status": "/dev/null",
    "Dir::Cache": join(area, "cache"),
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "20",
    "Acquire::https::Timeout": "20",
    // Our folder may lie where apt's own user cannot go.
    ...(process.getuid?.() === 0 ? { "APT::Sandbox::User": "root" } : {})
  }
  return Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`])
}

/** @param {import("./apt-sources.mjs").Source["signedBy"]} signedBy @param {string} area */
const keyOption = (signedBy, area) => {
  if (signedBy === undefined) return []
  if ("path" in signedBy) return [`signed-by=${signedBy.path}`]
  const file = join(area, "archive.asc")
  writeFileSync(file, signedBy.block)
  return [`signed-by=${file}`]
}

/**
 * The file named in what `apt-get download --print-uris` printed: `'URI' FILE SIZE HASH`.
 * @param {string} printed
 * @param {string} name
 */
const fileIn = (printed, name) => {
  const file = /^'[^']+'\s+(\S+\.deb)\s/m.exec(printed)?.[1]
  if (file === undefined) throw new Error(`apt-get named no file for the package ${name}`)
  return basename(file)
}

/** @returns {Map<string, string>} */
const osRelease = () =>
  new Map(textOf("/etc/os-release").split("\n").flatMap((line) => {
    const found = /^([A-Z_]+)="?([^"]*)"?$/.exec(line.trim())
    return found ? [[found[1] ?? "", found[2] ?? ""]] : []
  }))

/** @param {string} path */
const textOf = (path) => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

const plainEnglish = () => ({ ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" })
