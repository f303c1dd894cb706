import { Journal, JournalUnavailable } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { Effect, Layer } from "effect"
import { hasPut } from "../reactors/claims.ts"
import { Holdings } from "../reactors/holdings.ts"
import { madeHere } from "./bytes-kept.ts"

/** Holdings as the log and the gateway's tables say: what was put is known at once, what a job made as soon as its end can be read. */
export const holdingsLive: Layer.Layer<Holdings, never, Database | Journal> = Layer.effect(Holdings, Effect.gen(function*() {
  const database = yield* Database
  const journal = yield* Journal
  return {
    holds: Effect.fnUntraced(function*(workspace, digest) {
      if (yield* Effect.provideService(hasPut(workspace, digest), Journal, journal)) return true
      return yield* madeHere(workspace, digest).pipe(
        Effect.provideService(Database, database),
        Effect.mapError(({ what }) => new JournalUnavailable({ doing: "looking whose bytes these are", detail: what }))
      )
    })
  }
}))
