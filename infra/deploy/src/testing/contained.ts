import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { spawn } from "node:child_process"
import { createServer } from "node:net"
import { parse } from "yaml"
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

/** What one container of the compose file sees, laid down in a folder: the files and folders that it is given, and no others. */
export interface Contained {
  readonly part: Part
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  /** When the folders of its keys were last changed: nothing may be written there. */
  readonly keysTouchedMs: () => ReadonlyArray<number>
}

/** How addresses of the cell's network are reached on this machine. */
export interface Loopback {
  readonly text: (text: string) => string
  readonly healthPort: (name: string) => number
}

export const contain = (cell: string, into: string, name: string, { healthPort, text }: Loopback): Contained => {
  const compose = readCompose(cell)
  const service = compose.services[name]!
  const folder = join(into, name)
  mkdirSync(folder, { recursive: true })
  for (const { source, target } of service.secrets) {
    const path = join(folder, target)
    mkdirSync(dirname(path), { recursive: true })
    copyFileSync(join(cell, compose.secrets[source]!.file), path)
    writeFileSync(path, text(readFileSync(path, "utf8")))
  }
  const keys = foldersUnder(folder)
  for (const { source, target } of service.volumes) {
    mkdirSync(dirname(join(folder, target)), { recursive: true })
    symlinkSync(join(cell, source), join(folder, target))
  }
  const rebased = (value: string) => text(value.replace(/^\/(?=run|var|etc)/u, `${folder}/`))
  const env = Object.fromEntries(Object.entries(service.environment).map(([key, value]) => [key, rebased(value)]))
  return {
    part: parts.find((part) => part.name === name)!,
    folder,
    env: "MILLRACE_HEALTH_PORT" in env ? { ...env, MILLRACE_HEALTH_PORT: String(healthPort(name)) } : env,
    keysTouchedMs: () => keys.map((path) => statSync(path).mtimeMs)
  }
}

const foldersUnder = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isDirectory() && relative(folder, join(entry.parentPath, entry.name)).startsWith("run/")).map((entry) => join(entry.parentPath, entry.name))

/** A process of a part, with the environment of its container and nothing else. */
export interface Running {
  readonly name: string
  readonly said: () => string
  readonly ended: Promise<number | null>
  readonly stop: (signal?: NodeJS.Signals) => void
}

export const runPart = ({ env, part }: Contained): Running => {
  const child = spawn(process.execPath, part.command.map((word) => join(root, word)), { cwd: root, env: { ...env }, stdio: ["ignore", "pipe", "pipe"] })
  let said = ""
  const hear = (text: string) => void (said = (said + text).slice(-20_000))
  child.stdout.setEncoding("utf8").on("data", hear)
  child.stderr.setEncoding("utf8").on("data", hear)
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)))
  return { name: part.name, said: () => said, ended, stop: (signal = "SIGTERM") => void child.kill(signal) }
}

/** Ports of loopback that are free at this moment. */
export const freePorts = async (count: number): Promise<ReadonlyArray<number>> => {
  const servers = await Promise.all(Array.from({ length: count }, () =>
    new Promise<ReturnType<typeof createServer>>((resolve) => {
      const server = createServer()
      server.listen(0, "127.0.0.1", () => resolve(server))
    })))
  const ports = servers.map((server) => (server.address() as { readonly port: number }).port)
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))))
  return ports
}
