import { mkdirSync, rmSync, statfsSync } from "node:fs"
import { join } from "node:path"
import { runCommand } from "./command.mjs"
import { manifestIn } from "./manifest.mjs"
import { natsServerRemedy } from "./nats-server.mjs"
import { manifestPath, millraceHome, repositoryRoot } from "./places.mjs"
import { SANDBOXES } from "./sandboxes.mjs"
import { atLeast, NATS_SERVER_MIN, NODE_MAJOR_MIN, natsServerRefusal, versionIn } from "./versions.mjs"

/**
 * @typedef {import("./index.mjs").DoctorRow} DoctorRow
 * @typedef {import("./index.mjs").Manifest} Manifest
 * @typedef {import("./index.mjs").Tool} Tool
 * @typedef {import("./index.mjs").Missing} Missing
 */

const PROBE_MS_MAX = 10_000
const DISK_GIB_MIN = 2
/** An account without a name or rights, for probes that root must not run as root. */
const NOBODY = { uid: 65533, gid: 65533 }
const BOOTSTRAP = "node infra/bootstrap/src/main.mjs"

/**
 * Looks at this machine anew: every program is run, and isolation counts only where a process was
 * really started inside it. Each look has a limit of 10 s; nothing is fetched or changed.
 * @param {string} [root]
 * @returns {Promise<DoctorRow[]>}
 */
export const doctor = async (root = repositoryRoot()) => {
  const home = millraceHome(root)
  const manifest = manifestIn(manifestPath(home))
  if ("problem" in manifest) {
    return [row("bootstrap", { found: `${manifestPath(home)} ${manifest.problem}`, needed: "run once", ok: false, remedy: BOOTSTRAP }), disk(home)]
  }
  return [
    ...(await Promise.all([nodeRow(manifest), natsServerRow(manifest), postgresRow(manifest), runscRow(manifest.runsc, home), bubblewrapRow(manifest.bubblewrap)])),
    disk(home)
  ]
}

/**
 * The rows as a table for people, remedies below it.
 * @param {readonly DoctorRow[]} rows
 */
export const renderDoctor = (rows) => {
  const cells = rows.map((row) => [row.ok ? "✓" : row.optional ? "-" : "✗", row.name, row.version || "-", row.needed, row.found])
  const table = [["", "what", "version", "needed", "found"], ...cells]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((line) => line[column]?.length ?? 0)))
  const lines = table.map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd())
  const remedies = rows.filter((row) => !row.ok).map((row) => `To mend ${row.name}: ${row.remedy}`)
  return [...lines, ...(remedies.length === 0 ? [] : ["", ...remedies])].join("\n")
}

/** @param {string} name @param {Partial<DoctorRow> & Pick<DoctorRow, "found" | "needed" | "ok" | "remedy">} rest @returns {DoctorRow} */
const row = (name, rest) => ({ name, version: "", optional: false, ...rest, remedy: rest.ok ? "" : rest.remedy })

/** @param {string} path */
const versionOf = async (path) => {
  const { output, problem } = await runCommand(path, ["--version"], { limitMs: PROBE_MS_MAX, cwd: "/" })
  return { output, problem, version: problem === undefined ? (versionIn(output) ?? []).join(".") : "" }
}

/** @param {Manifest} manifest */
const nodeRow = async ({ node }) => {
  const { problem, version } = await versionOf(node.path)
  return row("node", { found: problem ?? node.path, version, needed: `>= ${NODE_MAJOR_MIN}`, ok: atLeast(version, `${NODE_MAJOR_MIN}.0`), remedy: "npm ci" })
}

/** @param {Manifest} manifest */
const natsServerRow = async ({ natsServer }) => {
  const { output, problem, version } = await versionOf(natsServer.path)
  const refusal = problem ?? natsServerRefusal(output)
  return row("nats-server", { found: refusal ?? `${natsServer.path} (${natsServer.from})`, version, needed: `>= ${NATS_SERVER_MIN}`, ok: refusal === undefined, remedy: natsServerRemedy() })
}

/** @param {Manifest} manifest */
const postgresRow = async ({ postgres }) => {
  const { problem, stdout } = await runCommand(join(postgres.binDir, "postgres"), ["--version"], {
    limitMs: PROBE_MS_MAX,
    cwd: "/",
    ...(postgres.runAs === null ? {} : { uid: postgres.runAs.uid, gid: postgres.runAs.gid })
  })
  const as = postgres.runAs === null ? "" : `, as ${postgres.runAs.name}`
  return row("postgresql", { found: problem ?? `${postgres.binDir}${as}`, version: (versionIn(stdout) ?? []).join("."), needed: "any", ok: problem === undefined, remedy: `npm ci --include=optional && ${BOOTSTRAP} --refresh` })
}

/** @param {Tool | Missing} runsc @param {string} home */
const runscRow = async (runsc, home) => {
  const needed = `>= ${SANDBOXES.runsc.least}, runs systrap`
  if ("missing" in runsc) return row("runsc", { found: runsc.missing, needed, ok: false, optional: true, remedy: runsc.remedy })
  const state = join(home, "probe", `runsc-${process.pid}`)
  mkdirSync(state, { recursive: true })
  const rootless = process.getuid?.() === 0 ? [] : ["--rootless"]
  const args = ["--root", state, ...rootless, "--platform=systrap", "--network=none", "--ignore-cgroups", "do", "true"]
  const { problem } = await runCommand(runsc.path, args, { limitMs: PROBE_MS_MAX, cwd: "/" })
  rmSync(state, { recursive: true, force: true })
  return row("runsc", {
    found: problem ?? `${runsc.path} ran a process in its own kernel`,
    version: runsc.version,
    needed,
    ok: problem === undefined,
    optional: true,
    remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1   (or run the host as root); without it only trust: own runs here"
  })
}

/** @param {Tool | Missing} bubblewrap */
const bubblewrapRow = async (bubblewrap) => {
  const needed = `>= ${SANDBOXES.bubblewrap.least}, not as root`
  if ("missing" in bubblewrap) return row("bubblewrap", { found: bubblewrap.missing, needed, ok: false, optional: true, remedy: bubblewrap.remedy })
  // Run by root it is no sandbox: host settings stay writable. So it is tried as hosts use it, without root.
  const account = process.getuid?.() === 0 ? NOBODY : {}
  const args = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--uid", "1000", "--gid", "1000"]
  const { problem } = await runCommand(bubblewrap.path, [...args, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"], { limitMs: PROBE_MS_MAX, cwd: "/", ...account })
  return row("bubblewrap", {
    found: problem ?? `${bubblewrap.path} ran a process in namespaces of its own`,
    version: bubblewrap.version,
    needed,
    ok: problem === undefined,
    optional: true,
    remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0   (whichever of the two exists here)"
  })
}

/** @param {string} home */
const disk = (home) => {
  mkdirSync(home, { recursive: true })
  const { bavail, bsize } = statfsSync(home)
  const gib = (bavail * bsize) / 1024 ** 3
  return row("disk", { found: `${gib.toFixed(1)} GiB free at ${home}`, needed: `>= ${DISK_GIB_MIN} GiB`, ok: gib >= DISK_GIB_MIN, remedy: `make room on the disk of ${home}, or set MILLRACE_HOME to a folder on a larger one` })
}
