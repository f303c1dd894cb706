import { Effect } from "effect"
import { attempt, Database, type DatabaseUnavailable, type StatementFailed } from "./database.ts"
import { chosen, editionsOf } from "./edition.ts"
import type { Projection } from "./projection.ts"
import { type Aside, asidesIn } from "./set-aside.ts"

/** What the edition of a projection that is read now has set aside, by stream and sequence, at most `limit`. */
export const setAsideBy = (projection: Projection, limit = 1000): Effect.Effect<ReadonlyArray<Aside>, DatabaseUnavailable | StatementFailed, Database> =>
  Database.use(({ transact }) =>
    transact(`looking at what ${projection.name} set aside`, (tx) =>
      attempt(async () => {
        const edition = chosen(projection.version, await editionsOf(tx, projection.name))
        return edition === undefined ? [] : asidesIn(tx, projection.name, edition, limit)
      })))
