import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const today = resolve(import.meta.dirname, "../..")
/** Where a source tree has its packages. */
const rooms = ["schemas", "libs", "services", "infra", "tools"] as const

/** The source of the programs of one version: today's, or a released one unpacked beside it. */
export interface Release {
  readonly root: string
  /** The program of one of its services. */
  readonly main: (service: string) => string
}

const releaseAt = (root: string): Release => ({ root, main: (service) => join(root, "services", service, "src", "main.ts") })

/** What is being worked on. */
export const thisRelease: Release = releaseAt(today)

/**
 * Unpacks a released version for as long as the scope lives, so that its services run under today's Node and
 * beside today's: its own packages are its own, everything that it stands on is what is installed here.
 */
export const released = (version: string): Effect.Effect<Release, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const root = mkdtempSync(join(tmpdir(), `millrace-${version}-`))
      chmodSync(root, 0o755)
      execFileSync("tar", ["-xzf", join(import.meta.dirname, "releases", `${version}.tar.gz`), "-C", root], { timeout: 30_000 })
      linkModules(root)
      return releaseAt(root)
    }),
    ({ root }) => Effect.sync(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }))
  )

const linkModules = (root: string): void => {
  const installed = join(today, "node_modules")
  const own = join(root, "node_modules", "@millrace")
  mkdirSync(own, { recursive: true })
  for (const name of readdirSync(installed)) {
    if (name !== "@millrace") symlinkSync(join(installed, name), join(root, "node_modules", name))
  }
  const linked = new Set<string>()
  for (const folder of packagesIn(root)) {
    const { name } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { readonly name: string }
    linked.add(name)
    symlinkSync(folder, join(root, "node_modules", name))
  }
  // Finds the servers' programs on this machine, which are none of the release's own.
  if (!linked.has("@millrace/bootstrap")) symlinkSync(join(today, "infra", "bootstrap"), join(own, "bootstrap"))
}

const packagesIn = (root: string): ReadonlyArray<string> =>
  rooms.flatMap((room) => {
    const names = readdirSync(join(root, room))
    return names.includes("package.json") ? [join(root, room)] : names.map((name) => join(root, room, name))
  })
