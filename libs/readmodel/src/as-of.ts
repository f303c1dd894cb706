import type { Journal, JournalUnavailable } from "@millrace/journal"
import { type Cut, cutFrom, type StreamName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import type { Database, DatabaseUnavailable, StatementFailed } from "./database.ts"
import { cutAt } from "./marks.ts"
import type { ReadOptions } from "./read.ts"

/** A cut or a moment of the past, as `at` in a query names it; `pastOf` reads it. */
export const MomentText = Schema.String.pipe(Schema.check(Schema.isMaxLength(200))).annotate({
  description: "how it was: at a cut, or at a moment in ISO 8601 or whole ms since 1970 (what the log had stored by then)",
  examples: ["SCHEDULER=40", "2026-03-01T12:00:00Z"]
})

/** As of when somebody reads, as a query says it. */
export interface AsOf {
  /** Not before this cut: one's own write is in the answer. */
  readonly after?: string
  /** As it was at this cut or moment. */
  readonly at?: string
  /** How long to wait for a cut, in ms. */
  readonly waitMs?: number
}

/** A text that should name a moment names none. */
export class MomentMalformed extends Schema.TaggedError<MomentMalformed>()("MomentMalformed", { field: Schema.String, text: Schema.String }) {
  /** As an API answers it. */
  get words() {
    return {
      code: "moment_malformed",
      what: `${JSON.stringify(this.text.slice(0, 60))} is neither a cut nor a moment`,
      where: `${this.field} in the query`,
      remedy: "write a cut as answers carry it, such as GATEWAY=12,SCHEDULER=40, or a moment such as 2026-03-01T12:00:00Z"
    }
  }
  override get message() {
    return this.words.what
  }
}

/** The moment that a text names, in ms since 1970: whole ms, or a date with or without a time (ISO 8601). Undefined where it names none. */
export const timeFrom = (text: string): number | undefined => {
  if (/^[0-9]{1,15}$/u.test(text)) return Number(text)
  const atMs = /^[0-9]{4}-[0-9]{2}-[0-9]{2}(T|$)/u.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : atMs
}

/** The cut that `at` names in these streams, as a cut or by a moment; and that moment, in ms since 1970, where it was one. */
export const pastOf = (at: string, streams: ReadonlyArray<StreamName>): Effect.Effect<
  { readonly cut: Cut; readonly atMs?: number },
  MomentMalformed | DatabaseUnavailable | StatementFailed | JournalUnavailable,
  Database | Journal
> => {
  const cut = at === "" ? undefined : cutFrom(at)
  if (cut !== undefined) return Effect.succeed({ cut })
  const atMs = timeFrom(at)
  return atMs === undefined ? Effect.fail(new MomentMalformed({ field: "at", text: at })) : Effect.map(cutAt(streams, atMs), (found) => ({ cut: found, atMs }))
}

/** Which rows a query asks for: the newest, those behind a write, or those of the past of these streams. */
export const readOptionsOf = Effect.fnUntraced(function*({ after, at, waitMs }: AsOf, streams: ReadonlyArray<StreamName>): Effect.fn.Return<
  ReadOptions,
  MomentMalformed | DatabaseUnavailable | StatementFailed | JournalUnavailable,
  Database | Journal
> {
  return {
    ...(after ? { after: cutFrom(after) ?? {} } : {}),
    ...(at === undefined ? {} : { at: (yield* pastOf(at, streams)).cut }),
    ...(waitMs === undefined ? {} : { waitMsMax: waitMs })
  }
})
