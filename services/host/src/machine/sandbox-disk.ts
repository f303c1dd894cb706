import { Effect } from "effect"
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync } from "node:fs"
import { chown, mkdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { hostIdsOf, type Places, workUid } from "./sandbox-bundle.ts"
import { command } from "./sandbox-command.ts"
import { CannotStart } from "./runtime.ts"

/** How the work's files are kept from filling the host's disk. */
export type DiskLimit =
  /** A file system of its own, in an image file of the limit's size. It needs root. */
  | "image"
  /** A folder like any other: nothing limits it. */
  | "none"

/** What a job that names no disk may write, in MiB. */
export const diskMibByDefault = 256

const diskMibMin = 8
const mountMsMax = 20_000

/** As many MiB as an attempt may write. */
export const diskMibOf = (asked: number): number => Math.max(diskMibMin, asked === 0 ? diskMibByDefault : asked)

const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })

/**
 * Makes what the work may write: `/work`, `/artefacts` and `/tmp` on one file system of `sizeMib`. When it is
 * full the work sees "no space left", and the host's own disk has lost no more than that.
 */
export const makeDisk = Effect.fnUntraced(function*(places: Places, limit: DiskLimit, sizeMib: number, owner: number | undefined) {
  yield* Effect.promise(() => mkdir(places.disk, { recursive: true, mode: 0o711 }))
  if (limit === "image") yield* mountImage(places, sizeMib)
  yield* Effect.tryPromise({
    try: async () => {
      await rm(join(places.disk, "lost+found"), { recursive: true, force: true })
      for (const folder of [places.work, places.artefacts, places.tmp]) {
        await mkdir(folder, { recursive: true, mode: 0o755 })
        if (owner !== undefined) await chown(folder, owner, owner)
      }
    },
    catch: (cause) => cannot(`its files could not be prepared: ${String(cause)}`)
  })
})

const mountImage = Effect.fnUntraced(function*(places: Places, sizeMib: number) {
  const image = imageOf(places)
  yield* Effect.try({
    try: () => {
      const file = openSync(image, "w", 0o600)
      ftruncateSync(file, sizeMib * 2 ** 20)
      closeSync(file)
    },
    catch: (cause) => cannot(`${image} could not be written: ${String(cause)}`)
  })
  const made = yield* command("mkfs.ext4", ["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "nodiscard", "-T", "small", image], mountMsMax)
  if (made.code !== 0) return yield* cannot(`mkfs.ext4 ended with ${made.code}: ${made.stderr.trim()}`)
  const mounted = yield* command("mount", ["-o", "loop,nosuid,nodev", image, places.disk], mountMsMax)
  if (mounted.code !== 0) return yield* cannot(`mount ended with ${mounted.code}: ${mounted.stderr.trim()}`)
})

const imageOf = ({ folder }: Places): string => join(folder, "disk.img")

/** Everything that is mounted below a folder, the innermost first. */
const mountedBelow = (folder: string): ReadonlyArray<string> =>
  existsSync("/proc/self/mountinfo")
    ? readFileSync("/proc/self/mountinfo", "utf8").split("\n")
      .map((line) => unescaped(line.split(" ")[4] ?? ""))
      .filter((at) => at === folder || at.startsWith(`${folder}/`))
      .reverse()
    : []

/** The kernel writes space, tab, newline and backslash as three octal digits. Source: proc_pid_mountinfo(5). */
const unescaped = (path: string): string => path.replace(/\\(\d{3})/gu, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)))

/**
 * Removes an attempt's folder with all that is mounted in it. Repeating it is safe; it dies when a mount
 * stays, because removing files through it would be worse.
 */
export const removePlaces = Effect.fnUntraced(function*(folder: string) {
  for (const at of mountedBelow(folder)) {
    const gone = yield* command("umount", [at], mountMsMax)
    if (gone.code !== 0) yield* command("umount", ["-l", at], mountMsMax)
  }
  const left = mountedBelow(folder)
  if (left.length > 0) return yield* Effect.die(new Error(`${left.join(", ")} cannot be unmounted. Unmount it by hand and remove ${folder}`))
  yield* Effect.promise(() => rm(folder, { recursive: true, force: true }))
})

/** The host's account that stands for the work's own, where the two differ. */
export const ownerOf = (attemptId: string): number => hostIdsOf(attemptId) + workUid
