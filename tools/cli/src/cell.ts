import type { DoctorRow } from "@millrace/bootstrap"
import { Journal } from "@millrace/journal"
import type { Cut, StreamName } from "@millrace/schemas"
import { Effect, Result } from "effect"
import { cutText } from "./cut.ts"
import { type ApiGiven, apiUrl, type LogGiven, openDoor } from "./door.ts"
import { heads, readingLog } from "./log.ts"
import { Trouble, troubleOf } from "./trouble.ts"

/** Each question to a cell must be answered within this time. */
const patience = "20 seconds"

/** Whether the cell is up: its API, its log, and how many commits its tables are behind. */
export const cellRows = Effect.fnUntraced(function*(given: ApiGiven & LogGiven): Effect.fn.Return<ReadonlyArray<DoctorRow>> {
  const url = apiUrl(given)
  const tables = yield* asked(Effect.flatMap(openDoor(given, { waitMsMax: 0 }), ({ client }) => Effect.map(client.jobs.list({ query: { limit: 1 } }), ({ cut }) => cut)), url)
  const log = yield* asked(readingLog(given, Effect.all({ heads: heads(), epoch: Journal.useSync(({ epoch }) => epoch) })), url)
  return [
    row("api", "answers", tables, () => url ?? ""),
    row("log", "readable", log, ({ epoch, heads }) => `epoch ${epoch}, ${cutText(heads)}`),
    ...(Result.isSuccess(tables) && Result.isSuccess(log) ? [lagRow(tables.success, log.success.heads)] : [])
  ]
})

const asked = <A, E, R>(question: Effect.Effect<A, E, R>, url: string | undefined): Effect.Effect<Result.Result<A, Trouble>, never, R> =>
  question.pipe(
    Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(silent) }),
    Effect.mapError((error) => troubleOf(error, url === undefined ? {} : { url }) ?? unexpected(error)),
    Effect.result
  )

const silent = new Trouble({ code: "cell_silent", what: `no answer within ${patience}`, where: "the cell", remedy: "look at the log lines of npm start", ending: "unavailable" })

const unexpected = (error: unknown): Trouble =>
  new Trouble({ code: "cell_strange", what: String(error), where: "the cell", remedy: "look at the log lines of npm start", ending: "unavailable" })

const row = <A>(name: string, needed: string, answer: Result.Result<A, Trouble>, found: (answer: A) => string): DoctorRow =>
  Result.isSuccess(answer)
    ? { name, found: found(answer.success), version: "", needed, ok: true, optional: false, remedy: "" }
    : { name, found: answer.failure.what, version: "", needed, ok: false, optional: false, remedy: answer.failure.remedy }

/** Tables follow the log; a moment behind is well, a thousand commits are not. */
const behindMax = 1_000

const lagRow = (tables: Cut, log: Cut): DoctorRow => {
  const behind = Object.entries(tables).map(([stream, at]) => Math.max(0, (log[stream as StreamName] ?? 0) - at)).reduce((sum, one) => sum + one, 0)
  const ok = behind <= behindMax
  return {
    name: "tables",
    found: behind === 0 ? "hold all that the log holds" : `${behind} commits behind the log`,
    version: "",
    needed: `<= ${behindMax} behind`,
    ok,
    optional: false,
    remedy: ok ? "" : "wait a moment; if it does not shrink, start the gateway again"
  }
}
