import { Schema } from "effect"
import { type Ending, exitCodes } from "./exit-codes.ts"

/** What the command says when it cannot do what was asked: what, where, one remedy, a stable code. */
export class Trouble extends Schema.TaggedError<Trouble>()("Trouble", {
  code: Schema.NonEmptyString,
  what: Schema.NonEmptyString,
  where: Schema.String,
  remedy: Schema.NonEmptyString,
  ending: Schema.Literals(Object.keys(exitCodes) as [Ending, ...Array<Ending>]),
  /** The capability that would have been needed, as the gate named it. */
  missing: Schema.optionalKey(Schema.Unknown)
}) {
  override get message() {
    return this.what
  }
}

/** The end of a command that has said everything already. */
export class Ended extends Schema.TaggedError<Ended>()("Ended", { exitCode: Schema.Int }) {}

export const endedWith = (ending: Ending): Ended => new Ended({ exitCode: exitCodes[ending].code })

const endings: Readonly<Record<string, Ending>> = {
  BadRequest: "rejected",
  Conflict: "rejected",
  TooLarge: "rejected",
  NotFound: "unknown",
  Unauthorized: "forbidden",
  Forbidden: "forbidden",
  TooMany: "unavailable",
  Unavailable: "unavailable"
}

/** How the command ends on an error of the API with this status. */
export const endingOf = (status: number): Ending =>
  status === 401 || status === 403 ? "forbidden" : status === 404 ? "unknown" : status === 429 || status >= 500 ? "unavailable" : "rejected"

/** The trouble behind a typed failure of the API's client or of the log. Undefined: it is a bug of ours. */
export const troubleOf = (error: unknown, at: { readonly url?: string } = {}): Trouble | undefined => {
  if (error instanceof Trouble) return error
  if (typeof error !== "object" || error === null || !("_tag" in error)) return undefined
  const tag = String(error._tag)
  if (tag in endings && "code" in error) {
    const { code, missing, remedy, what, where } = error as unknown as { code: string; what: string; where: string; remedy: string; missing?: unknown }
    return new Trouble({ code, what, where, remedy, ending: endings[tag]!, ...(missing === undefined ? {} : { missing }) })
  }
  const message = error instanceof Error ? error.message : tag
  switch (tag) {
    case "HttpClientError":
      return (error as unknown as { reason: { _tag: string } }).reason._tag === "TransportError"
        ? new Trouble({ code: "api_unreachable", what: `the API at ${at.url ?? "this address"} does not answer`, where: at.url ?? "the API", remedy: "start a cell with: npm start   (or say where one is with --url)", ending: "unavailable" })
        : new Trouble({ code: "api_strange", what: `the answer is not one of Millrace's API: ${message}`, where: at.url ?? "the API", remedy: "check --url; the command and the cell may be of different versions", ending: "unavailable" })
    case "SchemaError":
      return new Trouble({ code: "api_strange", what: `the answer does not have the API's shape: ${message.replaceAll("\n", " ")}`, where: at.url ?? "the API", remedy: "check --url; the command and the cell may be of different versions", ending: "unavailable" })
    case "JournalUnavailable":
      return new Trouble({ code: "log_unreachable", what: message, where: at.url ?? "the cell's log", remedy: "start a cell with: npm start   (or say where its log is with --nats-url)", ending: "unavailable" })
    case "LogUnfit": {
      const { found, remedy, wanted, where } = error as unknown as { where: string; found: string; wanted: string; remedy: string }
      return new Trouble({ code: "log_unfit", what: `${where} is ${found}, and ${wanted} is needed`, where, remedy, ending: "settings" })
    }
    default:
      return undefined
  }
}

/** A trouble as lines for people. */
export const troubleText = ({ code, missing, remedy, what, where }: Trouble): string =>
  [
    `millrace: ${what}`,
    `  where:   ${where}`,
    ...(missing === undefined ? [] : [`  missing: ${missingText(missing)}`]),
    `  remedy:  ${remedy}`,
    `  code:    ${code}`
  ].join("\n")

/** A missing capability in one line: `job.submit on workspace/main (gpusMax: needs 8, has 1)`. */
export const missingText = (missing: unknown): string => {
  const { action, has, limit, narrowedBy, needs, resource } = missing as Readonly<Record<string, string | undefined>>
  const bound = limit === undefined ? "" : ` (${limit}: needs ${needs ?? "more"}, has ${has ?? "none"})`
  return `${action ?? "a capability"} on ${resource ?? "this"}${bound}${narrowedBy === undefined ? "" : `, narrowed by ${narrowedBy}`}`
}

/** A trouble for programs, in one line. */
export const troubleJson = ({ code, missing, remedy, what, where }: Trouble): string =>
  JSON.stringify({ error: { code, what, where, remedy, ...(missing === undefined ? {} : { missing }) } })
