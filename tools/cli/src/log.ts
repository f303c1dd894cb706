import { Journal } from "@millrace/journal"
import { logLayer } from "@millrace/service"
import { type Cut, type StreamName, streamNames } from "@millrace/schemas"
import { Effect } from "effect"
import { type LogGiven, logDoor } from "./door.ts"

/** Runs an effect over the cell's log, with credentials that can read everything and write nothing. */
export const readingLog = <A, E, R>(given: LogGiven, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(logDoor(given), (door) => Effect.provide(effect, logLayer("reader", door)))

/** The last sequence of each stream, now. */
export const heads = (streams: ReadonlyArray<StreamName> = streamNames) =>
  Journal.use((journal) =>
    Effect.map(Effect.forEach(streams, (stream) => Effect.map(journal.head(stream), (head) => [stream, head] as const), { concurrency: 4 }), (all): Cut => Object.fromEntries(all)))
