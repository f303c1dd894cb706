import { spawnSync } from "node:child_process"
import { mkdirSync } from "node:fs"
import { connect, createServer, type Server } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const inNamespace = fileURLToPath(new URL("./in-namespace.ts", import.meta.url))
/** Makes a namespace in which its maker is root, and brings its loopback up; nothing else is in it. */
const enter = ["unshare", "--map-root-user", "--net", "/bin/sh", "-c", 'ip link set lo up && exec "$0" "$@"']

/** Why this machine makes no network namespaces; undefined where it does. */
export const withoutNamespaces = (): string | undefined => {
  const tried = spawnSync(enter[0]!, [...enter.slice(1), "true"], { encoding: "utf8", timeout: 10_000 })
  return tried.status === 0 ? undefined : (tried.stderr || tried.error?.message || `it ended with ${tried.status}`).trim()
}

/** The ports on this machine's loopback that settings name: what a program with them has to reach. */
const portsIn = (settings: Readonly<Record<string, string>>): ReadonlyArray<number> =>
  [...new Set(Object.values(settings).flatMap((value) => [...value.matchAll(/(?:127\.0\.0\.1|localhost):(\d{1,5})/gu)].map(([, port]) => Number(port))))].sort((a, b) => a - b)

/** A way for a program to begin in a network namespace of its own, and what stands outside for it. */
export interface Inside {
  readonly command: readonly [string, ...Array<string>]
  readonly close: () => void
}

/**
 * Prepares a network namespace for one program: it reaches the ports of this machine's loopback that its settings name, at the
 * same addresses, and nothing else: no other machine, no other port. The sockets in between lie in `home`.
 */
export const namespaceFor = (main: string, { home, settings }: { readonly home: string; readonly settings: Readonly<Record<string, string>> }): Inside => {
  const doors = join(home, "doors")
  mkdirSync(doors, { recursive: true, mode: 0o700 })
  const ports = portsIn(settings)
  const servers = ports.map((port): Server => createServer((inside) => {
    const outside = connect(port, "127.0.0.1")
    for (const [one, other] of [[inside, outside], [outside, inside]] as const) one.once("error", () => other.destroy()).once("close", () => other.destroy())
    inside.pipe(outside).pipe(inside)
  }).listen(join(doors, String(port))))
  for (const server of servers) server.unref()
  return {
    command: [...enter, process.execPath, inNamespace, main, doors, ...ports.map(String)] as unknown as Inside["command"],
    close: () => servers.forEach((server) => server.close())
  }
}
