import { millraceHome } from "@millrace/bootstrap"
import { Effect, Option, Schema } from "effect"
import { Flag } from "effect/cli"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type Origin, originOf } from "./origin.ts"
import { patienceMs } from "./patience.ts"
import { Trouble } from "./trouble.ts"

/** What a running cell writes into its folder, so that commands on this machine find it. Holds paths, no secrets. */
export const DoorFile = Schema.Struct({
  apiUrl: Schema.String,
  natsUrl: Schema.String,
  /** The folder of `<service>.creds`. */
  credentials: Schema.String,
  tokenFile: Schema.String,
  /** Where folds keep their checkpoints. */
  checkpoints: Schema.String,
  /** The pretend cloud's own address, where one runs beside the cell. */
  skyUrl: Schema.optionalKey(Schema.String)
})
export type DoorFile = typeof DoorFile.Type

/** The name of that file. */
export const doorFileName = "door.json"

const text = (name: string, description: string) => Flag.String(name).pipe(Flag.withDescription(description), Flag.optional)

export const folderFlag = Flag.String("folder").pipe(
  Flag.withMetavar("path"),
  Flag.withDescription("the folder of a cell on this machine, as given to npm start (MILLRACE_FOLDER; .millrace/cell)"),
  Flag.optional
)

/** Where the API is, for commands that ask it. */
export const apiFlags = {
  url: text("url", "the API's address (MILLRACE_URL; the cell that runs on this machine)"),
  token: text("token", "a token, or a file that holds one (MILLRACE_TOKEN; the running cell's)"),
  folder: folderFlag
}

/** Where the log is, for commands that read it themselves. */
export const logFlags = {
  natsUrl: text("nats-url", "addresses of the log's servers, separated by commas (MILLRACE_NATS_URL; the running cell's)"),
  creds: text("creds", "the folder that holds reader.creds (MILLRACE_NATS_CREDS; the running cell's)"),
  folder: folderFlag
}

type Given<Flags> = { readonly [Name in keyof Flags]: Option.Option<string> }
export type ApiGiven = Given<typeof apiFlags>
export type LogGiven = Given<typeof logFlags>

const given = (flag: Option.Option<string>, variable: string): string | undefined => Option.getOrUndefined(flag) ?? (process.env[variable] || undefined)

export const cellFolder = (folder: Option.Option<string>): string => given(folder, "MILLRACE_FOLDER") ?? join(millraceHome(), "cell")

/** What the cell of a folder wrote about itself; undefined where none runs. */
export const readDoor = (folder: string): DoorFile | undefined => {
  const path = join(folder, doorFileName)
  if (!existsSync(path)) return undefined
  const read = Schema.decodeUnknownOption(Schema.fromJsonString(DoorFile))(readFileSync(path, "utf8"))
  return Option.getOrUndefined(read)
}

const nobodyHome = (folder: string, flags: string): Trouble =>
  new Trouble({ code: "cell_not_running", what: "no cell runs on this machine", where: folder, remedy: `start one with: npm start   (or say where one is with ${flags})`, ending: "unavailable" })

/** Where the API is, by flag, environment or running cell. */
export const apiUrl = (flags: ApiGiven): string | undefined =>
  given(flags.url, "MILLRACE_URL")?.replace(/\/+$/u, "") ?? readDoor(cellFolder(flags.folder))?.apiUrl

export interface Opening {
  readonly note?: (text: string) => void
  /** How long an API that is away is asked again, in ms; as the environment says, unless told. */
  readonly waitMsMax?: number
}

const isAddress = (url: string): boolean => URL.canParse(url) && ["http:", "https:"].includes(new URL(url).protocol)

/** The cell's API. The running cell's own token is handed to that cell alone. */
export const openDoor = Effect.fnUntraced(function*(flags: ApiGiven, { note, waitMsMax = patienceMs() }: Opening = {}): Effect.fn.Return<Origin, Trouble> {
  const folder = cellFolder(flags.folder)
  const url = apiUrl(flags)
  if (url === undefined) return yield* nobodyHome(folder, "--url and --token")
  if (!isAddress(url)) return yield* wrong("url_malformed", `${JSON.stringify(url)} is no address`, "--url or MILLRACE_URL", "give one such as http://127.0.0.1:8080")
  const door = readDoor(folder)
  const token = given(flags.token, "MILLRACE_TOKEN") ?? (door?.apiUrl === url ? door.tokenFile : undefined)
  if (token === undefined) return yield* wrong("token_missing", `there is no token for ${url}`, "--token or MILLRACE_TOKEN", "give a token, or the path of a file that holds one")
  return yield* originOf({ url, token: yield* tokenIn(token) }, { waitMsMax, ...(note === undefined ? {} : { note }) })
})

const tokenIn = (token: string): Effect.Effect<string, Trouble> =>
  token.startsWith("mill_")
    ? tokenFrom(token, "what was given begins as a token does, and is none")
    : Effect.try({
      try: () => readFileSync(token, "utf8").trim(),
      catch: () => noToken("the token does not begin with mill_, and no file of that name can be read")
    }).pipe(Effect.flatMap((found) => tokenFrom(found, `${token} holds no token, or more than one`)))

/** What can stand in a header, and is not some other file's text. */
const tokenFrom = (text: string, otherwise: string): Effect.Effect<string, Trouble> =>
  /^mill_[A-Za-z0-9_.~+/=-]+$/u.test(text) ? Effect.succeed(text) : Effect.fail(noToken(otherwise))

const noToken = (what: string): Trouble => wrong("token_unreadable", what, "--token or MILLRACE_TOKEN", "give the token that npm start wrote down, or the path of its file")

const wrong = (code: string, what: string, where: string, remedy: string): Trouble => new Trouble({ code, what, where, remedy, ending: "settings" })

export interface LogDoor {
  readonly servers: string
  readonly credentials: string
}

/** Where the log is, and who may read it, by flag, environment or running cell. */
export const logDoor = Effect.fnUntraced(function*(flags: LogGiven): Effect.fn.Return<LogDoor, Trouble> {
  const folder = cellFolder(flags.folder)
  const door = readDoor(folder)
  const servers = given(flags.natsUrl, "MILLRACE_NATS_URL") ?? door?.natsUrl
  if (servers === undefined) return yield* nobodyHome(folder, "--nats-url and --creds")
  return { servers, credentials: given(flags.creds, "MILLRACE_NATS_CREDS") ?? door?.credentials ?? join(folder, "keys", "nats") }
})
