import { Effect, type Option } from "effect"
import { cellFolder, readDoor } from "./door.ts"
import { Trouble } from "./trouble.ts"

/** The pretend cloud of this machine's cell. */
export interface Sky {
  readonly url: string
  readonly ask: <A>(method: "GET" | "POST", path: string, body?: unknown) => Effect.Effect<A, Trouble>
}

const answerMsMax = 10_000
const loopback = new Set(["127.0.0.1", "localhost", "[::1]"])

/** The sky beside the cell of a folder. There is none elsewhere: nobody kills a machine that somebody pays for with this. */
export const skyOf = (folder: Option.Option<string>): Effect.Effect<Sky, Trouble> => {
  const where = cellFolder(folder)
  const door = readDoor(where)
  const url = door?.skyUrl
  if (url === undefined) return Effect.fail(trouble("sky_absent", door === undefined ? "no cell runs on this machine" : "no pretend cloud runs beside this cell", where, "start a cell that has one with: npm start"))
  if (!URL.canParse(url) || !loopback.has(new URL(url).hostname)) return Effect.fail(trouble("sky_elsewhere", `${url} is not on this machine`, where, "this is for the pretend cloud of this machine alone"))
  return Effect.succeed({
    url,
    ask: <A>(method: "GET" | "POST", path: string, body?: unknown) =>
      Effect.tryPromise({
        try: async (signal) => {
          const answer = await fetch(`${url}${path}`, {
            method,
            signal: AbortSignal.any([signal, AbortSignal.timeout(answerMsMax)]),
            ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } })
          })
          return { status: answer.status, said: await answer.json() as A & { readonly error?: { readonly message?: string } } }
        },
        catch: (error) => trouble("sky_unreachable", `the pretend cloud does not answer: ${error instanceof Error ? error.message : String(error)}`, url, "start the cell again with: npm start")
      }).pipe(Effect.flatMap(({ said, status }) =>
        status < 300 ? Effect.succeed(said as A) : Effect.fail(new Trouble({
          code: status === 404 ? "machine_unknown" : "sky_refused",
          what: said.error?.message ?? `the pretend cloud answers ${status}`,
          where: url,
          remedy: status === 404 ? "see what runs with: millrace sky ledger" : "see what there is with: millrace sky weather --help",
          ending: status === 404 ? "unknown" : "rejected"
        }))))
  })
}

const trouble = (code: string, what: string, where: string, remedy: string): Trouble => new Trouble({ code, what, where, remedy, ending: "unavailable" })
