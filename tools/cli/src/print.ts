import { Cause, Effect } from "effect"
import { Flag } from "effect/cli"
import { type Ended, endedWith, Trouble, troubleJson, troubleOf, troubleText } from "./trouble.ts"

export type Output = "text" | "json"

/** Every command has it. */
export const output = Flag.Literals("output", ["text", "json"]).pipe(
  Flag.withAlias("o"),
  Flag.withDescription("text for people, json for programs; data goes to stdout, progress and errors to stderr"),
  Flag.withDefault("text" as Output)
)

/** Data, to stdout. */
export const say = (line: string): void => void process.stdout.write(`${harmless(line)}\n`)

/** Progress and remarks, to stderr. */
export const note = (line: string): void => void process.stderr.write(`${harmless(line)}\n`)

/**
 * What others have named, told or typed cannot steer the terminal that it is shown on, nor turn its line around:
 * such characters are written as JSON writes them, so that JSON stays what it was. A job's own output is not told so.
 */
export const harmless = (text: string): string => text.replace(steering, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`)

const steering = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/** In one line, whatever it is. */
export const inLine = (text: string): string => text.replaceAll("\n", "\\n").replaceAll("\t", "\\t")

/** One value, as a line of JSON. */
export const sayJson = (value: unknown): void => say(JSON.stringify(value))

/** Columns that line up, for people; nothing is cut. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const all = [head, ...rows.map((row) => row.map(inLine))]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()).join("\n")
}

/** Ends a command's failures where they are said: once, on stderr, in the form that was asked for. */
export const telling = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  { format, url }: { readonly format: Output; readonly url?: string | undefined }
): Effect.Effect<A, Ended, R> =>
  Effect.catchCause(effect, (cause): Effect.Effect<never, Ended> => {
    const error = Cause.squash(cause)
    if (isEnded(error)) return Effect.fail(error)
    if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
    const trouble = troubleOf(error, url === undefined ? {} : { url }) ?? bug(cause)
    note(format === "json" ? troubleJson(trouble) : troubleText(trouble))
    return Effect.fail(endedWith(trouble.ending))
  })

const isEnded = (error: unknown): error is Ended => typeof error === "object" && error !== null && "_tag" in error && error._tag === "Ended"

const bug = (cause: Cause.Cause<unknown>): Trouble =>
  new Trouble({
    code: "bug",
    what: `something went wrong that should not: ${Cause.pretty(cause)}`,
    where: "this command",
    remedy: "report it with the lines above; nothing was changed by it that the log does not show",
    ending: "bug"
  })
