import type { Journal, JournalUnavailable } from "@millrace/journal"
import { cutAt, type Database, type DatabaseUnavailable, type StatementFailed } from "@millrace/readmodel"
import type { Cut, StreamName } from "@millrace/schemas"
import { Effect, Schema } from "effect"

/** A cut as it travels in a query: `GATEWAY=12,ACCESS=40`. */
export const CutText = Schema.String.pipe(Schema.check(Schema.isPattern(/^[A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9}$/u)))

/** A moment in the past: a cut, a time such as `2026-05-04T10:00:00Z`, or whole ms since 1970. */
export const MomentText = Schema.String.pipe(Schema.check(Schema.isPattern(
  /^([A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9}|[0-9]{10,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?)$/u
)))

export const cutIn = (text: string): Cut =>
  Object.fromEntries(text.split(",").map((entry) => [entry.split("=")[0]!, Number(entry.split("=")[1])]))

/** The cut that a moment stands for in these streams, and the time where it was one. */
export const momentOf = (text: string, streams: ReadonlyArray<StreamName>): Effect.Effect<
  { readonly cut: Cut; readonly timeMs?: number },
  DatabaseUnavailable | StatementFailed | JournalUnavailable,
  Database | Journal
> => {
  if (text.includes("=")) return Effect.succeed({ cut: cutIn(text) })
  const timeMs = /^[0-9]+$/u.test(text) ? Number(text) : Date.parse(text)
  return Number.isNaN(timeMs) ? Effect.succeed({ cut: {} }) : Effect.map(cutAt(streams, timeMs), (cut) => ({ cut, timeMs }))
}
