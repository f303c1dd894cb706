import type { PlacementMade, Program } from "@millrace/schemas"
import { createHash } from "node:crypto"
import { join } from "node:path"
import { type Member, torchEnv } from "../domain/gang-network.ts"
import { gangEnv } from "./gang-env.ts"
import { programsInside } from "./sandbox-programs.ts"

/** Where an attempt's things lie on the host, all below one folder that the agent alone may enter. */
export interface Places {
  readonly folder: string
  /** The bundle that runsc reads: `config.json` and the empty frame of the root file system. */
  readonly bundle: string
  readonly root: string
  /** What the work may write, on a file system of limited size. */
  readonly disk: string
  readonly work: string
  readonly artefacts: string
  readonly tmp: string
  /** The folder with the host's socket. */
  readonly run: string
  /** runsc's own notes of this one container. */
  readonly state: string
}

export const placesIn = (folder: string): Places => {
  const bundle = join(folder, "bundle")
  const disk = join(folder, "disk")
  return {
    folder,
    bundle,
    root: join(bundle, "root"),
    disk,
    work: join(disk, "work"),
    artefacts: join(disk, "artefacts"),
    tmp: join(disk, "tmp"),
    run: join(folder, "run"),
    state: join(folder, "state")
  }
}

/** Who the work is inside. It is never root there. */
export const workUid = 1000

/** As many host ids as an attempt's user namespace spans. */
const span = 65_536

/**
 * The host id that stands for the sandbox's root. Attempts get ranges far apart, so that one that broke out
 * would own nothing of another; all of them lie above the ids that distributions give out.
 */
export const hostIdsOf = (attemptId: string): number =>
  (16 + (createHash("sha256").update(attemptId).digest().readUInt16BE(0) % 16_384)) * span

/** How the sandbox's own processes are confined on the host. */
export type Rung =
  /** The agent is root: the sandbox runs in a user namespace whose root is nobody on the host. */
  | "mapped"
  /** The agent is not root: the sandbox runs as the agent's own account. */
  | "caller"

/** A read-only part of the machine that the work sees. */
export interface Seen {
  readonly source: string
  readonly destination: string
}

/** What makes up one sandbox. */
export interface Frame {
  readonly places: Places
  readonly rung: Rung
  readonly hostIds: number
  readonly seen: ReadonlyArray<Seen>
  readonly socket: boolean
  /** Its place in the network of its gang. Without it there is only loopback. */
  readonly network?: Member | undefined
}

const shm = 64 * 2 ** 20

const environment = (made: PlacementMade, program: Program, { network, socket }: Pick<Frame, "network" | "socket">): ReadonlyArray<string> =>
  Object.entries({
    PATH: `/usr/local/bin:/usr/bin:/bin:${programsInside}`,
    HOME: "/work",
    LANG: "C.UTF-8",
    ...(network === undefined ? {} : torchEnv(network)),
    ...program.env,
    MILLRACE_JOB: made.jobId,
    MILLRACE_ATTEMPT: made.attemptId,
    ...(made.task === undefined ? {} : { MILLRACE_TASK: String(made.task) }),
    ...(made.spec.array === undefined ? {} : { MILLRACE_TASKS: String(made.spec.array.tasks) }),
    ...gangEnv(made, network !== undefined),
    MILLRACE_ARTEFACTS: "/artefacts",
    ...(socket ? { MILLRACE_SOCKET: "/run/millrace/api.sock" } : {})
  }).map(([name, value]) => `${name}=${value}`)

/**
 * The configuration of one sandbox, as the OCI runtime specification 1.0 writes it. It holds the job's argv
 * and environment, so it is written to a file that the agent alone can read, and never to a command line.
 *
 * The root is read-only and nearly empty; `/work`, `/artefacts` and `/tmp` share one file system of limited
 * size. There is no network but the sandbox's own loopback, and for a member of a gang the one device of the namespace
 * that runsc is started in; no capability, and no way to gain one.
 */
export const bundleOf = (frame: Frame, made: PlacementMade, program: Program) => {
  const { hostIds, network, places, rung, seen, socket } = frame
  const mapping = [{ containerID: 0, hostID: hostIds, size: span }]
  return {
    ociVersion: "1.0.0",
    process: {
      terminal: false,
      user: { uid: workUid, gid: workUid },
      args: program.argv,
      env: environment(made, program, frame),
      cwd: program.cwd ?? "/work",
      noNewPrivileges: true,
      capabilities: { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] }
    },
    root: { path: places.root, readonly: true },
    hostname: hostnameOf(network),
    mounts: [
      ...seen.map(({ destination, source }) => ({ destination, type: "bind", source, options: ["ro", "rbind", "nosuid", "nodev"] })),
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "size=64k"] },
      { destination: "/dev/shm", type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", `size=${shm}`] },
      ...([["/work", places.work], ["/artefacts", places.artefacts], ["/tmp", places.tmp]] as const).map(([destination, source]) =>
        ({ destination, type: "bind", source, options: ["rw", "rbind", "nosuid", "nodev"] })),
      ...(socket ? [{ destination: "/run/millrace", type: "bind", source: places.run, options: ["ro", "rbind", "nosuid", "nodev"] }] : [])
    ],
    linux: {
      namespaces: ["pid", "network", "ipc", "uts", "mount", ...(rung === "mapped" ? ["user"] : [])].map((type) => ({ type, ...(type === "network" && network !== undefined ? { path: "/proc/self/ns/net" } : {}) })),
      ...(rung === "mapped" ? { uidMappings: mapping, gidMappings: mapping } : {})
    }
  }
}

/** What the work calls the machine that it is on. A member of a gang is found by the others under that name. */
export const hostnameOf = (network: Member | undefined): string => network === undefined ? "sandbox" : `rank-${network.rank}`

/** runsc's arguments before its subcommand. Nothing of the job is among them. */
export const runscFlags = ({ network, places, rung }: Pick<Frame, "network" | "places" | "rung">): ReadonlyArray<string> => [
  `--root=${places.state}`,
  "--platform=systrap",
  network === undefined ? "--network=none" : "--network=sandbox",
  "--ignore-cgroups",
  "--host-uds=open",
  // What the root's overlay takes lies in memory, where the limit sees it; by default a file beside the root grows.
  "--overlay2=none",
  `--panic-log=${fallenFile(places)}`,
  ...(rung === "caller" ? ["--rootless"] : [])
]

/** Written when the sandbox's own kernel falls. */
export const fallenFile = ({ folder }: Pick<Places, "folder">): string => join(folder, "fallen")

/** The one name that runsc knows a container by; each has a state folder of its own. */
export const containerName = "work"
