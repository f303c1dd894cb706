import { type AsOf, MomentMalformed, read, type Reading, readOptionsOf, timeFrom } from "@millrace/readmodel"
import { BadRequest, Unavailable } from "@millrace/service"
import { Effect } from "effect"
import { type CapacityTables, leases } from "../projections/leases.ts"

type Trouble = { readonly _tag: "ReadTooOld" | "HistoryNotKept" | "DatabaseUnavailable" | "StatementFailed" | "JournalUnavailable"; readonly message: string }

const unreadable = (error: MomentMalformed | Trouble) => error._tag === "MomentMalformed" ? new BadRequest(error.words) : new Unavailable({
  code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
  what: error.message,
  where: "the broker's tables",
  remedy: "ask again in a moment"
})

/** A moment as it is written in a query, in ms since 1970. */
export const momentOf = (text: string, field: string): Effect.Effect<number, BadRequest> => {
  const timeMs = timeFrom(text)
  return timeMs === undefined ? Effect.fail(new BadRequest(new MomentMalformed({ field, text }).words)) : Effect.succeed(timeMs)
}

/** Asks the broker's tables as of what the query says. */
export const readingOf = <A>(query: AsOf, ask: (reading: Reading<CapacityTables>) => Promise<A>) =>
  Effect.mapError(Effect.flatMap(readOptionsOf(query, leases.hears), (given) => read(leases, ask, given)), unreadable)
