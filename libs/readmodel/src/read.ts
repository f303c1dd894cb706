import type { Cut } from "@millrace/schemas"
import { Clock, Effect, Schema } from "effect"
import type { Expression, Kysely, SqlBool } from "kysely"
import { sql } from "kysely"
import { attempt, Database, DatabaseUnavailable, StatementFailed, told } from "./database.ts"
import { chosen, type Edition, editionsOf } from "./edition.ts"
import { isMissing } from "./failure.ts"
import { asOf, type History } from "./history.ts"
import type { Projection } from "./projection.ts"
import { behind, reached } from "./standing.ts"

/** The rows have not come as far as they were asked to be, within the time that was given. */
export class ReadTooOld extends Schema.TaggedError<ReadTooOld>()("ReadTooOld", {
  projection: Schema.String,
  /** How many commits of each stream are missing; empty while the projection has never been built. */
  behind: Schema.Record(Schema.String, Schema.Int)
}) {
  override get message() {
    const missing = Object.entries(this.behind).map(([stream, commits]) => `${commits} commits of ${stream}`).join(", ")
    return `${this.projection} is not there yet: ${missing || "it is being built"}. Wait longer, or read without --after`
  }
}

/** The past was asked of tables that keep only the present. */
export class HistoryNotKept extends Schema.TaggedError<HistoryNotKept>()("HistoryNotKept", { projection: Schema.String }) {
  override get message() {
    return `${this.projection} keeps no history, so it cannot be read in the past. Read the facts themselves (millrace events --at), or give its tables history() and raise its version`
  }
}

export interface ReadOptions {
  /** Rows must be at least as new as this cut: one's own write is in them. */
  readonly after?: Cut
  /** Rows as they were at this cut. */
  readonly at?: Cut
  /** How long to wait for the cut, in ms. 2,000 unless told. */
  readonly waitMsMax?: number
}

/** The tables of one projection, as of one cut, in one snapshot. */
export interface Reading<Tables> {
  readonly db: Kysely<Tables>
  readonly cut: Cut
  /** Holds for the rows of a table with history that are valid at the cut being read: the one asked for, else now. */
  readonly valid: (history: History, alias?: string) => Expression<SqlBool>
}

/** What was read, and the cut that it is of. */
export interface Read<A> {
  readonly value: A
  readonly cut: Cut
}

/**
 * Reads a projection in one snapshot, with the cut that the rows are of. Until a raised version has
 * caught up, the rows are the old one's; a query that needs what only the new tables have is
 * `ReadTooOld` until then.
 */
export const read = <Tables, A>(
  projection: Projection<Tables>,
  query: (reading: Reading<Tables>) => Promise<A>,
  options: ReadOptions = {}
): Effect.Effect<Read<A>, ReadTooOld | HistoryNotKept | DatabaseUnavailable | StatementFailed, Database> =>
  Effect.gen(function*() {
    if (options.at !== undefined && (projection.history ?? []).length === 0) return yield* new HistoryNotKept({ projection: projection.name })
    const wanted = { ...options.after, ...options.at }
    if (Object.keys(wanted).length > 0) yield* waitFor(projection, wanted, options.waitMsMax ?? 2_000)
    const once = snapshot(projection, query, options.at, within(projection, wanted))
    // The edition may be dropped between choosing it and reading it; the next look chooses another.
    return yield* once.pipe(Effect.catchIf(isElsewhere, () => once), Effect.catchIf(isElsewhere, () => Effect.fail(new ReadTooOld({ projection: projection.name, behind: {} }))))
  })

/** Marks a failure that may be due to reading an edition other than the one the code was written for. */
class Elsewhere extends Schema.TaggedError<Elsewhere>()("Elsewhere", {}) {}

const isElsewhere = (error: { readonly _tag: string }): error is Elsewhere => error._tag === "Elsewhere"

const snapshot = <Tables, A>(projection: Projection<Tables>, query: (reading: Reading<Tables>) => Promise<A>, at: Cut | undefined, wanted: Cut) =>
  Database.use(({ transact }) =>
    transact(`reading ${projection.name}`, (tx) =>
      Effect.gen(function*() {
        const edition = chosen(projection.version, yield* attempt(() => editionsOf(tx, projection.name)))
        if (edition === undefined) return yield* new ReadTooOld({ projection: projection.name, behind: {} })
        // Rows may have gone since somebody saw them reach the cut: what the snapshot says is what counts.
        if (!reached(edition.position, wanted)) return yield* new ReadTooOld({ projection: projection.name, behind: behind(edition.position, wanted) })
        const reading: Reading<Tables> = {
          db: tx.withSchema(edition.schema) as unknown as Kysely<Tables>,
          cut: at === undefined ? edition.position : within(projection, at),
          valid: (history, alias) => asOf(history, at, alias)
        }
        yield* attempt(() => sql`select set_config('search_path', ${edition.schema}, true)`.execute(tx))
        const value = yield* attempt(() => query(reading)).pipe(
          Effect.mapError(({ cause }) => {
            const error = told(`reading ${projection.name}`, cause)
            return error._tag === "StatementFailed" && isMissing(error.state) && isNotOwn(projection, edition) ? new Elsewhere() : error
          }))
        return { value, cut: reading.cut }
      }), { snapshot: true }))

const isNotOwn = ({ version }: Projection, edition: Edition): boolean => edition.version !== version || !edition.ready

const within = ({ hears }: Projection, cut: Cut): Cut => Object.fromEntries(hears.map((stream) => [stream, cut[stream] ?? 0]))

/** Where the rows of a projection stand that a read would give now; undefined before it was ever built. */
export const positionOf = (projection: Projection): Effect.Effect<Cut | undefined, DatabaseUnavailable | StatementFailed, Database> =>
  Effect.map(editionRead(projection), (edition) => edition?.position)

const editionRead = (projection: Projection) =>
  Database.use(({ db }) =>
    attempt(() => editionsOf(db as never, projection.name)).pipe(
      Effect.map((editions) => chosen(projection.version, editions)),
      Effect.mapError(({ cause }) => told(`looking where ${projection.name} stands`, cause))
    ))

/** How often another process's progress is looked at, in ms, at first and at most. */
const LOOK_MS = { first: 2, most: 50 } as const

/**
 * Waits until the rows have reached a cut (of the streams that the projection hears), at most
 * `waitMsMax`. A runner in this process wakes it with the commit; another process's is looked at.
 */
export const waitFor = Effect.fnUntraced(function*(projection: Projection, cut: Cut, waitMsMax: number): Effect.fn.Return<
  Cut,
  ReadTooOld | DatabaseUnavailable | StatementFailed,
  Database
> {
  const { standing } = yield* Database
  const untilMs = (yield* Clock.currentTimeMillis) + waitMsMax
  const wanted = within(projection, cut)
  for (let pauseMs: number = LOOK_MS.first; ; pauseMs = Math.min(LOOK_MS.most, pauseMs * 2)) {
    const leftMs = untilMs - (yield* Clock.currentTimeMillis)
    const here = standing.servedHere(projection.name, projection.version)
    if (here !== undefined) {
      yield* Effect.raceFirst(untilReached(standing, here, wanted), Effect.sleep(Math.max(0, leftMs)))
      const position = standing.of(here)
      if (position !== undefined && reached(position, wanted)) return position
    }
    const edition = yield* editionRead(projection)
    if (edition !== undefined && reached(edition.position, wanted)) return edition.position
    if (leftMs <= 0) return yield* new ReadTooOld({ projection: projection.name, behind: edition === undefined ? {} : behind(edition.position, wanted) })
    yield* Effect.sleep(Math.min(leftMs, pauseMs))
  }
})

/** Ends when this process's runner has reached the cut, or runs no more. */
const untilReached = (standing: Database["Service"]["standing"], schema: string, wanted: Cut): Effect.Effect<void> =>
  Effect.suspend(() => {
    const position = standing.of(schema)
    return position === undefined || reached(position, wanted) ? Effect.void : Effect.andThen(standing.next(schema), untilReached(standing, schema, wanted))
  })
