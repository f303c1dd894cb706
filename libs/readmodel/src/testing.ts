import { headsOf, type Journal, type JournalUnavailable } from "@millrace/journal"
import type { Cut } from "@millrace/schemas"
import { Effect } from "effect"
import type { Database, DatabaseUnavailable, StatementFailed } from "./database.ts"
import type { Projection } from "./projection.ts"
import { type ReadTooOld, waitFor } from "./read.ts"

/** Waits until a projection has taken in everything that is stored by now, at most `waitMsMax`, and answers where it stands. */
export const caughtUp = (projection: Projection, waitMsMax = 20_000): Effect.Effect<
  Cut,
  ReadTooOld | DatabaseUnavailable | StatementFailed | JournalUnavailable,
  Database | Journal
> => Effect.flatMap(headsOf(projection.hears), (heads) => waitFor(projection, heads, waitMsMax))
