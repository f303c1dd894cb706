import { join } from "node:path"

/** The processes of a cell that are ours. */
export const processes = ["gateway", "scheduler", "access", "metering", "broker", "snapshots", "host"] as const
export type ProcessName = typeof processes[number]

/** Those of them that answer over HTTP, and on which port unless told otherwise. */
export const usualPorts = { gateway: 8080, access: 8081, metering: 8083, scheduler: 8084, broker: 8085, snapshots: 8086 } as const
export type Serving = keyof typeof usualPorts
export const serving = Object.keys(usualPorts) as ReadonlyArray<Serving>

/** Where the servers listen that are not ours. A cell on one machine keeps PostgreSQL off its usual port, which is often taken. */
export const serverPorts = { nats: 4222, postgres: 5432, postgresBeside: 5433, natsMonitor: 8222 } as const

/** Where a cell's things are: all that its processes' settings are made of. Paths are of the machine, or container, they run on. */
export interface Places {
  readonly natsUrl: string
  /** The tables' address, where it may stand in the environment; elsewhere it stands in `settingsFile`. */
  readonly databaseUrl?: string
  /** A file of further settings, for what is secret and so in no environment. */
  readonly settingsFile?: string
  /** The address that servers listen on. */
  readonly listen: string
  readonly ports: Readonly<Record<Serving, number>>
  /** Where each is found by the others. */
  readonly urls: Readonly<Record<Serving, string>>
  /** Where health is told; without it every process takes a free port of loopback. */
  readonly health?: { readonly host: string; readonly port: number }
  readonly keys: KeyPlaces
  readonly folders: FolderPlaces
}

/** The files and folders that the preparation makes. */
export interface KeyPlaces {
  /** The folder of `<service>.creds`. */
  readonly credentials: string
  readonly admission: string
  /** Digests of the one-time keys that hosts may enrol with, and the key of the first host. */
  readonly enrolments: string
  readonly oneTimeKey: string
  readonly owner: string
  readonly cell: string
  readonly cellPublic: string
  readonly session: string
  readonly sessionPublic: string
  readonly broker: string
}

/** What the processes write themselves. */
export interface FolderPlaces {
  /** The keys that workspaces' secrets are sealed under: the gateway makes them, the host opens with them. */
  readonly workspaces: string
  readonly blobs: string
  readonly checkpoints: string
  readonly host: string
}

/** Where the preparation puts the keys in a cell's folder. The owner's token lies beside them, for its owner alone. */
export const keysIn = (folder: string): KeyPlaces & { readonly token: string } => ({
  credentials: join(folder, "nats"),
  admission: join(folder, "nats", "admission.json"),
  enrolments: join(folder, "enrolments.json"),
  oneTimeKey: join(folder, "one-time-key"),
  owner: join(folder, "owner.json"),
  cell: join(folder, "cell.pem"),
  cellPublic: join(folder, "cell.pem.pub"),
  session: join(folder, "session.pem"),
  sessionPublic: join(folder, "session.pem.pub"),
  broker: join(folder, "broker-key"),
  token: join(folder, "token")
})

export interface OneMachine {
  readonly folder: string
  readonly natsUrl: string
  readonly databaseUrl: string
  readonly ports?: Readonly<Record<Serving, number>>
}

/** A cell whose processes all run on this machine, over loopback, with everything in one folder. */
export const placesOnOneMachine = ({ databaseUrl, folder, natsUrl, ports = usualPorts }: OneMachine): Places => ({
  natsUrl,
  databaseUrl,
  listen: "127.0.0.1",
  ports,
  urls: urlsOf((name) => `http://127.0.0.1:${ports[name]}`),
  keys: keysIn(join(folder, "keys")),
  folders: {
    workspaces: join(folder, "keys", "workspaces"),
    blobs: join(folder, "blobs"),
    checkpoints: join(folder, "checkpoints"),
    host: join(folder, "host")
  }
})

/** What containers see: keys under one folder, a folder for what each writes, a name in the network for each other. */
export const placesInContainers: Places = {
  natsUrl: `nats://nats:${serverPorts.nats}`,
  settingsFile: "/run/millrace/database.env",
  listen: "0.0.0.0",
  ports: usualPorts,
  urls: urlsOf((name) => `http://${name}:${usualPorts[name]}`),
  health: { host: "0.0.0.0", port: 9090 },
  keys: keysIn("/run/millrace"),
  folders: {
    workspaces: "/var/lib/millrace/workspaces/keys",
    blobs: "/var/lib/millrace/blobs",
    checkpoints: "/var/lib/millrace/checkpoints",
    host: "/var/lib/millrace/host"
  }
}

function urlsOf(url: (name: Serving) => string): Readonly<Record<Serving, string>> {
  return { gateway: url("gateway"), access: url("access"), metering: url("metering"), scheduler: url("scheduler"), broker: url("broker"), snapshots: url("snapshots") }
}
