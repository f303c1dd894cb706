import type { Blobs } from "@millrace/blobs"
import type { PlacementMade, Program, Resources } from "@millrace/schemas"
import { Effect } from "effect"
import { chmodSync, chownSync, existsSync, linkSync, lstatSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Member, namesOf } from "../domain/gang-network.ts"
import { behindPort, type Joined, layPort } from "./gang/network.ts"
import { CannotStart } from "./runtime.ts"
import { bundleOf, containerName, hostIdsOf, hostnameOf, placesIn, type Places, type Rung, runscFlags, type Seen } from "./sandbox-bundle.ts"
import { command } from "./sandbox-command.ts"
import { type DiskLimit, diskMibOf, makeDisk, ownerOf, removePlaces } from "./sandbox-disk.ts"
import { layDownSnapshot, layInputs } from "./sandbox-files.ts"
import { programsInside } from "./sandbox-programs.ts"
import { type Controls, groupOf, killGroup, makeGroup, membersOf, removeGroup } from "./sandbox-limits.ts"

/** What sandboxes of this machine stand on. */
export interface Ground {
  readonly runsc: string
  /** The folder of all attempts. */
  readonly folder: string
  /** The folder with programs that every sandbox is given. */
  readonly programs: string
  readonly rung: Rung
  readonly disk: DiskLimit
  readonly controls: Controls
}

/** What is to be made ready. */
export interface Wanted {
  /** Names it among the sandboxes of the ground: an attempt's id. */
  readonly name: string
  readonly program: Program
  readonly resources: Resources
  /** The placement it belongs to; a probe has none. */
  readonly made?: PlacementMade
  /** The host's listening socket for this work. */
  readonly socket?: string
  /** Its way into the network of its gang. */
  readonly joined?: Joined | undefined
  readonly pidsMax?: number
}

const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })

const emptyMade = (name: string): PlacementMade => ({ jobId: name, attemptId: name, spec: {} } as unknown as PlacementMade)

/** Makes one sandbox ready to run: its folders, disk, files, limits and configuration. What an earlier try left is removed first. */
export const prepare = Effect.fnUntraced(function*(ground: Ground, wanted: Wanted): Effect.fn.Return<void, CannotStart> {
  const { joined, made = emptyMade(wanted.name), name, program, resources, socket } = wanted
  yield* release(ground, name)
  const places = placesIn(join(ground.folder, name))
  const owner = ground.rung === "mapped" ? ownerOf(name) : undefined
  const sizeMib = diskMibOf(resources.diskMib)
  yield* attempt(() => makeFrame(places, ground.rung === "mapped" ? hostIdsOf(name) : undefined, joined?.self), "its root could not be made")
  if (joined !== undefined) yield* layPort(places.folder, joined)
  yield* makeDisk(places, ground.disk, sizeMib, owner)
  const speaks = socket !== undefined && (yield* bindSocket(ground, name, socket))
  yield* attempt(() => {
    makeGroup(groupOf(ground.controls, name), resources, wanted.pidsMax)
    const frame = { places, rung: ground.rung, hostIds: hostIdsOf(name), seen: seenHere(places, ground.programs), socket: speaks, network: joined?.self }
    writeFileSync(join(places.bundle, "config.json"), JSON.stringify(bundleOf(frame, made, program)), { mode: 0o600 })
  }, "its limits or its configuration could not be written")
})

/** Lays down what the work starts from: its snapshot, then its files over it. */
export const furnish = Effect.fnUntraced(function*(ground: Ground, made: PlacementMade, program: Program): Effect.fn.Return<void, CannotStart, Blobs> {
  const places = placesIn(join(ground.folder, made.attemptId))
  const owner = ground.rung === "mapped" ? ownerOf(made.attemptId) : undefined
  const bytesMax = diskMibOf(made.spec.resources.diskMib) * 2 ** 20
  if (made.from !== undefined) yield* layDownSnapshot(made.from, places, bytesMax, owner)
  yield* layInputs(program.files ?? [], places, bytesMax, owner)
})

const attempt = (body: () => void, what: string): Effect.Effect<void, CannotStart> =>
  Effect.try({ try: body, catch: (cause) => cannot(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`) })

/**
 * What is run on the host: a shell that puts itself into the groups, and then becomes runsc. Whoever could
 * not enter a group runs nothing, with code 125. For a member of a gang that stands behind its port.
 */
export const commandLine = (ground: Ground, name: string, joined?: Joined): ReadonlyArray<string> => {
  const places = placesIn(join(ground.folder, name))
  const { folders } = groupOf(ground.controls, name)
  const enter = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'
  const command = ["/bin/sh", "-c", enter, "sandbox", ...folders, "--", ground.runsc, ...runscFlags({ places, rung: ground.rung, network: joined?.self }), "run", `--pid-file=${startedFile(places)}`, `--bundle=${places.bundle}`, containerName]
  return joined === undefined ? command : behindPort(places.folder, command)
}

/** Written by runsc when the sandbox exists. */
export const startedFile = ({ folder }: Places): string => join(folder, "started")

const endMsMax = 10_000

/** Ends a sandbox whatever it does, and returns when none of its processes is left. */
export const end = Effect.fnUntraced(function*(ground: Ground, name: string) {
  const group = groupOf(ground.controls, name)
  const places = placesIn(join(ground.folder, name))
  if (existsSync(places.state) && readdirSync(places.state).length > 0) {
    yield* command(ground.runsc, [...runscFlags({ places, rung: ground.rung }), "delete", "--force", containerName], endMsMax)
  }
  for (let look = 0; membersOf(group).length > 0; look += 1) {
    if (look === 500) return yield* Effect.die(new Error(`processes ${membersOf(group).join(", ")} of ${name} do not end. Restart the machine`))
    killGroup(group)
    yield* Effect.sleep("20 millis")
  }
})

/** Ends a sandbox and removes everything of it: processes, groups, mounts, folders. Repeating it is safe. */
export const release = Effect.fnUntraced(function*(ground: Ground, name: string) {
  yield* end(ground, name)
  const group = groupOf(ground.controls, name)
  for (let look = 0; !removeGroup(group) && look < 250; look += 1) yield* Effect.sleep("20 millis")
  yield* removePlaces(join(ground.folder, name))
})

/**
 * Puts the host's socket where the work finds it: the same one under a second name, for the one account that may
 * speak there. Done again, it puts a newer socket in its place, which a running sandbox sees. False: the work
 * goes without, as where the two folders lie on different disks.
 */
export const bindSocket = (ground: Ground, name: string, socket: string): Effect.Effect<boolean> =>
  Effect.try(() => {
    const at = join(placesIn(join(ground.folder, name)).run, "api.sock")
    rmSync(`${at}.next`, { force: true })
    linkSync(socket, `${at}.next`)
    if (ground.rung === "mapped") chownSync(`${at}.next`, ownerOf(name), ownerOf(name))
    chmodSync(`${at}.next`, 0o600)
    renameSync(`${at}.next`, at)
    return true
  }).pipe(Effect.catch((failure) => Effect.as(Effect.logWarning(`${name} cannot speak to the cell: ${String(failure.cause)}`), false)))

/** Account names, for programs that look themselves up. Nothing here is the host's. */
const etcOf = (member: Member | undefined) => ({
  passwd: "root:x:0:0:root:/:/usr/sbin/nologin\nwork:x:1000:1000:work:/work:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
  group: "root:x:0:\nwork:x:1000:\nnogroup:x:65534:\n",
  // A name of its own that led to loopback would have members tell each other that.
  hosts: member === undefined ? "127.0.0.1 localhost sandbox\n::1 localhost\n" : `127.0.0.1 localhost\n::1 localhost\n${namesOf(member)}`,
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
  hostname: `${hostnameOf(member)}\n`
})

/** Folders of the system that programs are made of. In some systems they are links into /usr. */
const ofTheSystem = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
/** Parts of the host's /etc that hold no setting of the host's own, and without which programs do not find each other. */
const ofEtc = ["/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/mime.types"]

const seenHere = ({ root }: Places, programs: string): ReadonlyArray<Seen> => [
  ...[...ofTheSystem, ...ofEtc].filter((path) => existsSync(path) && existsSync(join(root, path)) && !lstatSync(join(root, path)).isSymbolicLink())
    .map((path) => ({ source: realpathSync(path), destination: path })),
  { source: programs, destination: programsInside }
]

/** The root of the work's file system: empty folders to mount on, and the few files of `etc`. */
const makeFrame = (places: Places, group: number | undefined, member: Member | undefined): void => {
  mkdirSync(places.folder, { recursive: true, mode: 0o700 })
  // The sandbox's own account passes through, and nobody else's.
  if (group !== undefined) {
    chownSync(places.folder, process.geteuid?.() ?? 0, group)
    chmodSync(places.folder, 0o710)
  }
  for (const folder of ["", "etc", "work", "artefacts", "tmp", "proc", "dev", "run/millrace", programsInside.slice(1)]) mkdirSync(join(places.root, folder), { recursive: true, mode: 0o755 })
  for (const folder of [places.run, places.state]) mkdirSync(folder, { recursive: true, mode: 0o755 })
  chmodSync(places.state, 0o700)
  for (const [name, text] of Object.entries(etcOf(member))) writeFileSync(join(places.root, "etc", name), text, { mode: 0o644 })
  for (const path of [...ofTheSystem, ...ofEtc]) {
    const there = lstatSync(path, { throwIfNoEntry: false })
    const at = join(places.root, path)
    if (there === undefined) continue
    rmSync(at, { recursive: true, force: true })
    if (there.isSymbolicLink()) symlinkSync(realpathSync(path).slice(1), at)
    else if (there.isDirectory()) mkdirSync(at, { recursive: true, mode: 0o755 })
    else writeFileSync(at, "", { mode: 0o644 })
  }
}
