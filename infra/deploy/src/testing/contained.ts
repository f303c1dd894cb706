import { chmodSync, chownSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { spawn, spawnSync } from "node:child_process"
import { parse } from "yaml"
import { type Account, unprivileged } from "../cell-folder.ts"
import { parts, type Part } from "../parts.ts"

/** As much of a service in the compose file as a test needs. */
export interface ComposeService {
  readonly image: string
  readonly command: ReadonlyArray<string>
  readonly environment: Readonly<Record<string, string>>
  readonly secrets: ReadonlyArray<{ readonly source: string; readonly target: string }>
  readonly volumes: ReadonlyArray<{ readonly source: string; readonly target: string; readonly read_only: boolean }>
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly healthcheck?: { readonly test: ReadonlyArray<string> }
  readonly ports?: ReadonlyArray<string>
  readonly networks: ReadonlyArray<string>
  readonly [field: string]: unknown
}

export interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
  readonly networks: Readonly<Record<string, unknown>>
}

export const readCompose = (folder: string): Compose => parse(readFileSync(join(folder, "compose.yaml"), "utf8"))

const root = new URL("../../../../", import.meta.url).pathname

/** The account that the parts run as: the containers' own, where root may take it and it can read the source; this one elsewhere. */
export const accountHere = (): Account => {
  const own = { uid: process.getuid!(), gid: process.getgid!() }
  if (own.uid !== 0) return own
  const { status } = spawnSync(process.execPath, ["-e", "fs.readFileSync(process.argv[1])", join(root, "package.json")], { ...unprivileged, env: {}, cwd: "/" })
  return status === 0 ? unprivileged : own
}

/** Lets an account pass to the folders of state, as mounts would lead it there. */
export const passable = (...folders: ReadonlyArray<string>): void => folders.forEach((folder) => chmodSync(folder, 0o711))

/** Takes everything away, closed folders too. */
export const removeContained = (into: string): void => {
  for (const folder of foldersUnder(into, "")) chmodSync(folder, 0o700)
  rmSync(into, { recursive: true, force: true })
}

/** What one container of the compose file sees, laid down in a folder: the files and folders that it is given, and no others. */
export interface Contained {
  readonly part: Part
  readonly account: Account
  readonly env: Readonly<Record<string, string>>
  /** When the folders of its keys were last changed: nothing may be written there. */
  readonly keysTouchedMs: () => ReadonlyArray<number>
}

/** How addresses of the cell's network are reached on this machine. */
export interface Loopback {
  readonly text: (text: string) => string
  readonly healthPort: (name: string) => number
}

/** Lays down what one part sees, with the folders of its keys closed to writing. */
export const contain = (cell: string, into: string, name: string, account: Account, { healthPort, text }: Loopback): Contained => {
  const compose = readCompose(cell)
  const service = compose.services[name]!
  const folder = join(into, name)
  mkdirSync(folder, { recursive: true })
  for (const { source, target } of service.secrets) {
    const path = join(folder, target)
    mkdirSync(dirname(path), { recursive: true })
    copyFileSync(join(cell, compose.secrets[source]!.file), path)
    writeFileSync(path, text(readFileSync(path, "utf8")))
    chownSync(path, account.uid, account.gid)
  }
  const keys = foldersUnder(folder, "run/")
  for (const { source, target } of service.volumes) {
    mkdirSync(dirname(join(folder, target)), { recursive: true })
    symlinkSync(join(cell, source), join(folder, target))
  }
  for (const closed of keys) chmodSync(closed, 0o555)
  const rebased = (value: string) => text(value.replace(/^\/(?=run|var|etc)/u, `${folder}/`))
  const env = Object.fromEntries(Object.entries(service.environment).map(([key, value]) => [key, rebased(value)]))
  return {
    part: parts.find((part) => part.name === name)!,
    account,
    env: "MILLRACE_HEALTH_PORT" in env ? { ...env, MILLRACE_HEALTH_PORT: String(healthPort(name)) } : env,
    keysTouchedMs: () => keys.map((path) => statSync(path).mtimeMs)
  }
}

function foldersUnder(folder: string, within: string): ReadonlyArray<string> {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => relative(folder, path).startsWith(within))
}

/** A process of a part, with the environment of its container and nothing else. */
export interface Running {
  readonly name: string
  readonly said: () => string
  readonly ended: Promise<number | null>
  readonly stop: (signal?: NodeJS.Signals) => void
}

export const runPart = ({ account, env, part }: Contained): Running => {
  const child = spawn(process.execPath, part.command.map((word) => join(root, word)), { cwd: root, ...(account.uid === process.getuid!() ? {} : account), env: { ...env }, stdio: ["ignore", "pipe", "pipe"] })
  let said = ""
  const hear = (text: string) => void (said = (said + text).slice(-20_000))
  child.stdout.setEncoding("utf8").on("data", hear)
  child.stderr.setEncoding("utf8").on("data", hear)
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)))
  return { name: part.name, said: () => said, ended, stop: (signal = "SIGTERM") => void child.kill(signal) }
}
