/** A program of this machine. */
export interface Tool {
  readonly path: string
  readonly version: string
  /** Where it came from, in words. */
  readonly from: string
}

/** An optional program that could not be had. */
export interface Missing {
  readonly missing: string
  /** The command that mends it. */
  readonly remedy: string
  /** A program of that name on PATH that was passed over; empty when there was none. */
  readonly seen: string
}

export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

export interface Postgres {
  /** The folder of `postgres` and `initdb`. */
  readonly binDir: string
  readonly version: string
  readonly from: string
  /** The account it must run as, where that is not the own one: PostgreSQL refuses to run as root. */
  readonly runAs: Account | null
}

/** What this machine has, as the bootstrap found, fetched and proved it. */
export interface Manifest {
  readonly version: 1
  readonly node: Tool
  readonly natsServer: Tool
  readonly runsc: Tool | Missing
  readonly bubblewrap: Tool | Missing
  readonly postgres: Postgres
  readonly made: {
    readonly root: string
    readonly platform: string
    readonly lockfile: string
    readonly asRoot: boolean
    readonly natsServerNamed: string
  }
  /** Size and time of each file named above, by path. */
  readonly files: Readonly<Record<string, string>>
}

export type ToolName = "node" | "natsServer" | "runsc" | "bubblewrap" | "postgres"

/** One line of `millrace doctor`. */
export interface DoctorRow {
  readonly name: string
  /** Where it was found, or what is wrong. */
  readonly found: string
  readonly version: string
  readonly needed: string
  readonly ok: boolean
  /** True where Millrace runs without it, if only for `trust: own`. */
  readonly optional: boolean
  /** The command that mends it; empty when nothing is wrong. */
  readonly remedy: string
}

/** The root folder of this checkout. */
export declare const repositoryRoot: () => string

/** The folder that holds what this machine was given: `MILLRACE_HOME`, else `.millrace` in the checkout. */
export declare const millraceHome: (root?: string) => string

/** What the bootstrap found and fetched on this machine. Throws one sentence where it has not run. */
export declare const readManifest: (root?: string) => Manifest

/** One tool of this machine. Throws as `readManifest` does. */
export declare const findTool: <Name extends ToolName>(name: Name) => Manifest[Name]

/** Ends this process with one sentence and status 1 when its Node is too old for the product. */
export declare const requireNode24: () => void

/** Looks at this machine anew: every program is run, each look within 10 s; nothing is fetched. */
export declare const doctor: (root?: string) => Promise<Array<DoctorRow>>

/** The rows of `doctor` as a table for people, remedies below it. */
export declare const renderDoctor: (rows: ReadonlyArray<DoctorRow>) => string

/** Why a nats-server that prints this version is refused, in one sentence; `undefined` when it is not. */
export declare const natsServerRefusal: (text: string) => string | undefined

/** Why a Node of this version is refused, in one sentence; `undefined` when it is not. */
export declare const nodeRefusal: (version: string) => string | undefined

/** Where root keeps what another account must reach, when the checkout itself is closed to others. */
export declare const SHARED_FOLDER: string

/** One archive a Debian-like machine takes packages from, as sources.list(5) describes it. */
export interface Source {
  readonly uri: string
  readonly suite: string
  readonly components: ReadonlyArray<string>
  /** The keyring, or the key itself. */
  readonly signedBy: { readonly path: string } | { readonly block: string } | undefined
  /** Whether whoever runs this machine takes its packages without a signature. */
  readonly trusted: boolean
}

/** Sources of the one-line format. */
export declare const parseOneLine: (text: string) => Array<Source>

/** Sources of the deb822 format. */
export declare const parseDeb822: (text: string) => Array<Source>

/** The archive of the distribution itself among a machine's sources. */
export declare const distributionArchive: (sources: ReadonlyArray<Source>, codename: string) => Source | undefined

/** Below zero when `a` is older than `b`, zero when equal, above zero when newer. */
export declare const compareVersions: (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => number

/** The numbers of the first version found in a text. */
export declare const versionIn: (text: string) => Array<number> | undefined

/** What is wrong with the shape of a manifest; `undefined` when nothing is. */
export declare const defectOf: (value: unknown) => string | undefined

/** Where a command is found on PATH, folders of npm's binaries passed over. */
export declare const onPath: (command: string) => string | undefined

/** A release of nats-server, with the SHA-256 of its archives by `platform-arch` as Node names them. */
export interface Release {
  readonly version: string
  readonly base: string
  readonly sha256: Readonly<Record<string, string>>
}

/** Downloads and unpacks a release once its checksum is proven; gives the path of its nats-server. */
export declare const takeRelease: (
  release: Release,
  where: { readonly home: string; readonly says: (said: string) => void; readonly onStart: (pid: number) => void }
) => Promise<string>
