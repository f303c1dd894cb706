import { findTool, SHARED_FOLDER } from "@millrace/bootstrap"
import type { Postgres } from "@millrace/bootstrap"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { isAlive } from "./holder.ts"
import { PostgresUnavailable } from "./postgres-unavailable.ts"
import { run } from "./program.ts"

const INITDB_MS_MAX = 120_000
const LOOK_MS_MAX = 10_000
const PASSWORD_FILE = "millrace.password"

export const SUPERUSER = "millrace"

/** A folder PostgreSQL can start from, and the password of its superuser. */
export interface DataFolder {
  /** Where the data really lies. */
  readonly data: string
  /** All that has to go when the data is thrown away. */
  readonly folders: ReadonlyArray<string>
  readonly password: string
  readonly postgres: Postgres
}

/**
 * Readies `<dataDir>/data`: an existing one is taken as it is, a new one is written beside and moved
 * into place, so that a killed run leaves none that is half made. As root, data that PostgreSQL's own
 * account could not reach there is put under /var/lib/millrace, with a link in its place.
 */
export const prepareDataFolder = Effect.fnUntraced(function*(dataDir: string) {
  const unusable = (detail: string) => new PostgresUnavailable({ reason: "folder_unusable", dataDir, detail })
  const attempt = <A>(f: () => A) => Effect.try({ try: f, catch: (cause) => unusable(cause instanceof Error ? cause.message : String(cause)) })

  const postgres = yield* attempt(() => findTool("postgres"))
  const data = join(dataDir, "data")
  yield* attempt(() => mkdirSync(dataDir, { recursive: true }))
  yield* attempt(() => sweep(dataDir))
  if (!existsSync(data)) {
    const place = (yield* isReachable(dataDir, postgres)) ? dataDir : yield* attempt(() => elsewhere())
    const fresh = join(place, `new-${process.pid}-${randomBytes(4).toString("hex")}`)
    const password = randomBytes(24).toString("base64url")
    const passwordFile = `${fresh}.password`
    yield* attempt(() => writeOwned(passwordFile, password, postgres))
    yield* attempt(() => mkdirOwned(fresh, postgres))
    const initdb = [
      ...["-D", fresh, "-U", SUPERUSER, `--pwfile=${passwordFile}`, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"],
      ...["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    ]
    const { problem } = yield* run(join(postgres.binDir, "initdb"), initdb, { as: postgres.runAs, limitMs: INITDB_MS_MAX })
    yield* attempt(() => rmSync(passwordFile, { force: true }))
    if (problem !== undefined) {
      yield* attempt(() => rmSync(fresh, { recursive: true, force: true }))
      return yield* unusable(problem)
    }
    yield* attempt(() => {
      writeOwned(join(fresh, PASSWORD_FILE), password, postgres)
      moveIntoPlace(fresh, place, data)
    })
  }
  return yield* attempt((): DataFolder => {
    const real = realpathSync(data)
    return { data: real, folders: dirname(real) === realpathSync(dataDir) ? [dataDir] : [dataDir, dirname(real)], password: readFileSync(join(real, PASSWORD_FILE), "utf8").trim(), postgres }
  })
})

/** Should another process have made the same folder meanwhile, its data stays and ours goes. */
const moveIntoPlace = (fresh: string, place: string, data: string) => {
  try {
    renameSync(fresh, join(place, "data"))
    if (join(place, "data") !== data) symlinkSync(join(place, "data"), data)
  } catch (error) {
    if (!existsSync(data)) throw error
    rmSync(fresh, { recursive: true, force: true })
  }
}

/** What runs that were killed left behind, and a link to data that is gone. */
const sweep = (dataDir: string) => {
  for (const name of readdirSync(dataDir)) {
    const maker = /^new-(\d+)-/.exec(name)?.[1]
    if (maker !== undefined && !isAlive(Number(maker))) rmSync(join(dataDir, name), { recursive: true, force: true })
  }
  const data = join(dataDir, "data")
  if (!existsSync(data) && lstatSync(data, { throwIfNoEntry: false }) !== undefined) rmSync(data)
}

/** Asked by going there as that account: rights alone would not tell of access lists and mounts. */
const isReachable = (folder: string, postgres: Postgres) =>
  postgres.runAs === null
    ? Effect.succeed(true)
    : Effect.map(run("/bin/sh", ["-c", "cd \"$1\"", "sh", folder], { as: postgres.runAs, limitMs: LOOK_MS_MAX }), ({ problem }) => problem === undefined)

const elsewhere = () => {
  mkdirSync(SHARED_FOLDER, { recursive: true, mode: 0o755 })
  const place = mkdtempSync(join(SHARED_FOLDER, "postgres-"))
  chmodSync(place, 0o755)
  return place
}

const mkdirOwned = (folder: string, { runAs }: Postgres) => {
  mkdirSync(folder, { mode: 0o700 })
  if (runAs !== null) chownSync(folder, runAs.uid, runAs.gid)
}

const writeOwned = (file: string, text: string, { runAs }: Postgres) => {
  writeFileSync(file, `${text}\n`, { mode: 0o600, flag: "wx" })
  if (runAs !== null) chownSync(file, runAs.uid, runAs.gid)
}
