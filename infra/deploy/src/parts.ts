import { keysIn, placesInContainers, processes, type ProcessName, type Serving, serverPorts, usualPorts } from "./places.ts"
import { cellSettings, type Settings } from "./settings.ts"

/** Servers and steps that are not ours to name: the log, the tables, and what makes the streams. */
export type PartName = ProcessName | "nats" | "postgres" | "provision"

/** A file of a cell's folder that a part may read, and where it reads it. Nobody sees the folder itself. */
export interface KeyFile {
  /** Its name among all secrets of the cell. */
  readonly name: string
  /** Where it lies in the prepared folder. */
  readonly from: string
  /** Where it lies in the part's container. */
  readonly at: string
}

/** A folder that lasts longer than the part. */
export interface StateFolder {
  /** Where it lies in the prepared folder, and its name as a volume. */
  readonly from: string
  readonly at: string
  readonly access: "write" | "read"
  readonly keep: StateKind
}

/** Kept for the part alone, kept for several parts at once, or only worth having. */
export type StateKind = { readonly kind: "own" | "together"; readonly size: string } | { readonly kind: "cache"; readonly size: string }

export interface Resources {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly memoryMibMax: number
}

/** One container of a cell: what runs in it, and the little that it may see. */
export interface Part {
  readonly name: PartName
  /** What it runs, behind the image's own entry point. */
  readonly command: ReadonlyArray<string>
  readonly image: "millrace" | "nats" | "postgres"
  readonly settings: Settings
  /** Where it is asked by others. */
  readonly port?: number
  /** Where its process tells how it is; of the two servers, a command asks. */
  readonly health?: { readonly port: number } | { readonly command: ReadonlyArray<string> }
  readonly reads: ReadonlyArray<KeyFile>
  readonly state: ReadonlyArray<StateFolder>
  /** Folders in memory, for what need not last. */
  readonly scratch: ReadonlyArray<string>
  /** Others that must serve before it is of use. It waits, or ends and is started again, when they do not. */
  readonly waitsFor: ReadonlyArray<PartName>
  /** Whom it asks over the network; nobody else is open to it. */
  readonly asks: ReadonlyArray<PartName>
  /** How long it may take to stop: its own bound, and when it is ended regardless. */
  readonly stopWithinS: number
  readonly stopGraceS: number
  readonly resources: Resources
  /** Ends when it is done, and is not started again then. */
  readonly once?: true
}

/** Those whose tables lie in PostgreSQL, each in a database and under a role of its own. */
export const withTables = ["gateway", "scheduler", "access", "metering", "broker", "snapshots"] as const
export type WithTables = typeof withTables[number]

const at = placesInContainers.keys
const from = keysIn("keys")
const settings = cellSettings(placesInContainers)

const creds = (name: string): KeyFile => ({ name: `nats-${name}`, from: `${from.credentials}/${name}.creds`, at: `${at.credentials}/${name}.creds` })
const database = (name: WithTables): KeyFile => ({ name: `database-${name}`, from: `keys/database/${name}.env`, at: placesInContainers.settingsFile ?? "" })
const cellPublic: KeyFile = { name: "cell-key-public", from: from.cellPublic, at: at.cellPublic }
const sessionPublic: KeyFile = { name: "session-key-public", from: from.sessionPublic, at: at.sessionPublic }

const workspaces = (access: StateFolder["access"]): StateFolder =>
  ({ from: "state/workspaces", at: "/var/lib/millrace/workspaces", access, keep: { kind: "together", size: "1Gi" } })
const blobs: StateFolder = { from: "state/blobs", at: placesInContainers.folders.blobs, access: "write", keep: { kind: "together", size: "50Gi" } }
const checkpoints = (name: ProcessName): StateFolder =>
  ({ from: `state/checkpoints/${name}`, at: placesInContainers.folders.checkpoints, access: "write", keep: { kind: "cache", size: "4Gi" } })

interface OwnPart {
  readonly reads: ReadonlyArray<KeyFile>
  readonly state?: ReadonlyArray<StateFolder>
  readonly asks: ReadonlyArray<PartName>
  readonly resources: Resources
  readonly more?: Settings
  readonly stopWithinS?: number
}

/** Between the bound that a process keeps itself and the moment when it is ended regardless, in s. */
const graceS = 5
const small: Resources = { cpuMilli: 100, memoryMib: 192, memoryMibMax: 768 }
const large: Resources = { cpuMilli: 250, memoryMib: 384, memoryMibMax: 2048 }
const log: ReadonlyArray<PartName> = ["nats", "postgres"]

const own: Readonly<Record<ProcessName, OwnPart>> = {
  gateway: {
    reads: [creds("gateway"), database("gateway"), cellPublic, { name: "session-key", from: from.session, at: at.session }, sessionPublic],
    state: [workspaces("write"), blobs],
    asks: [...log, "access", "metering", "scheduler", "broker", "snapshots"],
    resources: large
  },
  scheduler: {
    reads: [creds("scheduler"), database("scheduler"), { name: "cell-key", from: from.cell, at: at.cell }, cellPublic],
    state: [checkpoints("scheduler")],
    asks: log,
    resources: large
  },
  access: {
    reads: [
      creds("access"),
      database("access"),
      cellPublic,
      { name: "admission-keys", from: from.admission, at: at.admission },
      { name: "enrolments", from: from.enrolments, at: at.enrolments },
      { name: "owner", from: from.owner, at: at.owner }
    ],
    state: [checkpoints("access")],
    asks: log,
    resources: small
  },
  metering: { reads: [creds("metering"), database("metering"), cellPublic], state: [checkpoints("metering")], asks: log, resources: small },
  broker: {
    reads: [creds("broker"), database("broker"), cellPublic, { name: "broker-key", from: from.broker, at: at.broker }],
    state: [checkpoints("broker"), blobs],
    asks: log,
    resources: small
  },
  snapshots: { reads: [creds("snapshots"), database("snapshots"), cellPublic], state: [checkpoints("snapshots"), blobs], asks: log, resources: small },
  host: {
    reads: [cellPublic, sessionPublic, { name: "one-time-key", from: from.oneTimeKey, at: at.oneTimeKey }],
    state: [{ from: "state/host", at: placesInContainers.folders.host, access: "write", keep: { kind: "own", size: "20Gi" } }, workspaces("read"), blobs],
    asks: ["nats", "access", "gateway"],
    resources: { cpuMilli: 500, memoryMib: 512, memoryMibMax: 4096 },
    // Work cannot outlive its container, so it is waited for; what is not over by then is lost, and tried again.
    more: { MILLRACE_AT_STOP: "drain" },
    stopWithinS: 60
  }
}

const portOf = (name: ProcessName): { readonly port?: number } => name in usualPorts ? { port: usualPorts[name as Serving] } : {}

const partOf = (name: ProcessName): Part => {
  const { asks, more = {}, reads, resources, state = [], stopWithinS = 10 } = own[name]
  return {
    name,
    image: "millrace",
    command: [`services/${name}/src/main.ts`],
    settings: { ...settings[name], ...more, MILLRACE_STOP_WITHIN: `${stopWithinS} seconds` },
    ...portOf(name),
    ...(placesInContainers.health === undefined ? {} : { health: { port: placesInContainers.health.port } }),
    reads,
    state,
    scratch: ["/tmp"],
    waitsFor: name === "host" ? ["access", "gateway"] : ["provision", "postgres"],
    asks,
    stopWithinS,
    stopGraceS: stopWithinS + graceS,
    resources
  }
}

/** The log. It tells how it is over loopback alone, so a command in its container asks. */
const nats: Part = {
  name: "nats",
  image: "nats",
  command: ["-c", "/etc/nats/nats-server.conf"],
  settings: {},
  port: serverPorts.nats,
  health: { command: ["wget", "-q", "-O", "-", `http://127.0.0.1:${serverPorts.natsMonitor}/healthz`] },
  reads: [{ name: "nats-server-conf", from: "keys/nats-server.conf", at: "/etc/nats/nats-server.conf" }],
  state: [{ from: "state/nats", at: "/data", access: "write", keep: { kind: "own", size: "50Gi" } }],
  scratch: ["/tmp"],
  waitsFor: [],
  asks: [],
  // It lets clients go one after the other, and syncs.
  stopWithinS: 30,
  stopGraceS: 30 + graceS,
  resources: { cpuMilli: 250, memoryMib: 256, memoryMibMax: 2048 }
}

const postgres: Part = {
  name: "postgres",
  image: "postgres",
  command: ["-c", "max_connections=100"],
  settings: { POSTGRES_USER: "millrace", POSTGRES_PASSWORD_FILE: "/run/millrace/superuser.password", PGDATA: "/var/lib/postgresql/data" },
  port: serverPorts.postgres,
  health: { command: ["pg_isready", "-q", "-h", "127.0.0.1", "-U", "millrace"] },
  reads: [
    { name: "database-superuser", from: "keys/database/superuser.password", at: "/run/millrace/superuser.password" },
    { name: "database-roles", from: "keys/database/roles.sql", at: "/docker-entrypoint-initdb.d/roles.sql" }
  ],
  state: [{ from: "state/postgres", at: "/var/lib/postgresql", access: "write", keep: { kind: "own", size: "20Gi" } }],
  scratch: ["/tmp", "/var/run/postgresql"],
  waitsFor: [],
  asks: [],
  stopWithinS: 30,
  stopGraceS: 30 + graceS,
  resources: { cpuMilli: 250, memoryMib: 256, memoryMibMax: 2048 }
}

/** Makes the streams that are missing, with the one credential that may, and ends. */
const provision: Part = {
  name: "provision",
  image: "millrace",
  command: ["infra/deploy/src/provision.ts"],
  settings: { MILLRACE_NATS_URL: placesInContainers.natsUrl, MILLRACE_NATS_CREDS: at.credentials },
  reads: [creds("provisioner")],
  state: [],
  scratch: ["/tmp"],
  waitsFor: ["nats"],
  asks: ["nats"],
  stopWithinS: 10,
  stopGraceS: 10 + graceS,
  resources: { cpuMilli: 100, memoryMib: 128, memoryMibMax: 512 },
  once: true
}

/** Every container of a cell, servers first. */
export const parts: ReadonlyArray<Part> = [nats, postgres, provision, ...processes.map(partOf)]

/** Every file of the prepared folder that some part reads, once. */
export const keyFiles: ReadonlyArray<KeyFile> = [...new Map(parts.flatMap(({ reads }) => reads).map((file) => [file.name, file])).values()]
