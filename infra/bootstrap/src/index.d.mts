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
