import type { Journal } from "@millrace/journal"
import { cutAt, type Database, read, type Reading, type ReadOptions } from "@millrace/readmodel"
import type { Cut } from "@millrace/schemas"
import { BadRequest, Unavailable } from "@millrace/service"
import { Effect } from "effect"
import { type CapacityTables, leases } from "../projections/leases.ts"

/** As of when somebody reads: after what was said by a cut, or at one, or at a moment. */
export interface ReadQuery {
  readonly after?: string
  readonly at?: string
  readonly waitMs?: number
}

const unavailable = (error: { readonly _tag: string; readonly message: string }) => new Unavailable({
  code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
  what: error.message,
  where: "the broker's tables",
  remedy: "ask again in a moment"
})

const cutOf = (text: string): Cut => Object.fromEntries(text.split(",").map((entry) => [entry.split("=")[0]!, Number(entry.split("=")[1])]))

/** A moment as it is written in a query, in ms since 1970. */
export const momentOf = (text: string, field: string): Effect.Effect<number, BadRequest> => {
  const timeMs = Date.parse(text)
  return Number.isNaN(timeMs)
    ? Effect.fail(new BadRequest({ code: "time_malformed", what: `${text} is no moment`, where: `the query's field ${field}`, remedy: "write it as 2026-11-22T08:00:00Z" }))
    : Effect.succeed(timeMs)
}

const options = Effect.fnUntraced(function*({ after, at, waitMs }: ReadQuery): Effect.fn.Return<ReadOptions, BadRequest | Unavailable, Database | Journal> {
  const atCut = at === undefined ? undefined : at.includes("=") ? cutOf(at) : yield* Effect.flatMap(momentOf(at, "at"), (timeMs) => Effect.mapError(cutAt(["BROKER"], timeMs), unavailable))
  return {
    ...(after ? { after: cutOf(after) } : {}),
    ...(atCut === undefined ? {} : { at: atCut }),
    ...(waitMs === undefined ? {} : { waitMsMax: waitMs })
  }
})

/** Asks the broker's tables as of what the query says. */
export const readingOf = <A>(query: ReadQuery, ask: (reading: Reading<CapacityTables>) => Promise<A>) =>
  Effect.flatMap(options(query), (given) => Effect.mapError(read(leases, ask, given), unavailable))
