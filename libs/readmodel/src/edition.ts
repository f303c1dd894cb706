import { crashPoint } from "@millrace/journal"
import type { Cut } from "@millrace/schemas"
import { Effect } from "effect"
import { sql } from "kysely"
import { openBooks } from "./books.ts"
import { type AnyTransaction, attempt, Database } from "./database.ts"
import { partsOf, type Projection } from "./projection.ts"

/** One build of a projection: its version under one epoch of the journal, in a schema of its own. */
export interface Edition {
  readonly version: number
  /** A restored log may have lost facts that an earlier epoch remembered: its editions are built anew. */
  readonly epoch: number
  readonly schema: string
  /** Whether it has caught up once and may be read. */
  readonly ready: boolean
  readonly position: Cut
}

const schemaOf = ({ name, version }: Projection, epoch: number): string => `${name.replace(".", "_")}_v${version}_e${epoch}`

const newest = (editions: ReadonlyArray<Edition>): Edition | undefined =>
  editions.reduce<Edition | undefined>((best, edition) => (best === undefined || isBefore(best, edition) ? edition : best), undefined)

const isBefore = (a: Pick<Edition, "epoch" | "version">, b: Pick<Edition, "epoch" | "version">): boolean =>
  a.epoch < b.epoch || (a.epoch === b.epoch && a.version < b.version)

/**
 * The edition that a process reads whose code knows one version: its own once that has caught up, until
 * then the newest that has, and its own unfinished one when there is nothing else.
 */
export const chosen = (version: number, editions: ReadonlyArray<Edition>): Edition | undefined => {
  const own = newest(editions.filter((edition) => edition.version === version))
  return own?.ready === true ? own : newest(editions.filter(({ ready }) => ready)) ?? own
}

/** All editions of a projection, with their positions, as the transaction sees them. */
export const editionsOf = async (tx: AnyTransaction, projection: string): Promise<ReadonlyArray<Edition>> => {
  const { rows } = await sql<Edition>`
    select e.version, e.epoch, e.schema, e.ready,
      coalesce(jsonb_object_agg(p.stream, p.sequence) filter (where p.stream is not null), '{}') as position
    from millrace.editions e left join millrace.positions p using (projection, version, epoch)
    where e.projection = ${projection} group by e.projection, e.version, e.epoch`.execute(tx)
  return rows
}

/**
 * The edition that this code builds, made if it is not there: tables, books and positions in one
 * transaction, so that a crash leaves all or nothing. While the scope is open nobody drops it.
 */
export const openEdition = Effect.fnUntraced(function*(projection: Projection, epoch: number) {
  const { hold } = yield* Database
  const schema = schemaOf(projection, epoch)
  yield* hold(schema)
  return yield* committed(`building ${projection.name}`, (tx) =>
    attempt(async () => {
      // Read models may be thrown away at any time, their books with them.
      await openBooks(tx)
      await lockBooks(tx, projection)
      const known = (await editionsOf(tx, projection.name)).some((edition) => edition.schema === schema)
      if (!known) {
        await sql`insert into millrace.editions (projection, version, epoch, schema)
          values (${projection.name}, ${projection.version}, ${epoch}, ${schema})`.execute(tx)
        await sql`drop schema if exists ${sql.id(schema)} cascade`.execute(tx)
        await createTables(tx, projection, schema)
      }
      for (const stream of projection.hears) {
        await sql`insert into millrace.positions (projection, version, epoch, stream, sequence)
          values (${projection.name}, ${projection.version}, ${epoch}, ${stream}, 0) on conflict do nothing`.execute(tx)
      }
      return (await editionsOf(tx, projection.name)).find((edition) => edition.schema === schema) as Edition
    }))
})

/** A transaction with places to die right before and right behind its commit. */
const committed = <A, E>(doing: string, work: (tx: AnyTransaction) => Effect.Effect<A, E>) =>
  Database.use(({ transact }) => transact(doing, (tx) => Effect.tap(work(tx), () => crashPoint(`commit ${doing} before`)))).pipe(
    Effect.tap(() => crashPoint(`commit ${doing} after`))
  )

/** A schema with the projection's empty tables. */
export const createTables = async (tx: AnyTransaction, projection: Projection, schema: string): Promise<void> => {
  await sql`create schema ${sql.id(schema)}`.execute(tx)
  await sql`select set_config('search_path', ${schema}, true)`.execute(tx)
  for (const statement of projection.tables(tx.withSchema(schema).schema)) await statement.execute()
}

/** The tables of an edition, by name. */
export const tablesIn = async (tx: AnyTransaction, schema: string): Promise<ReadonlyArray<string>> => {
  const { rows } = await sql<{ tablename: string }>`
    select tablename from pg_tables where schemaname = ${schema} order by tablename`.execute(tx)
  return rows.map(({ tablename }) => tablename)
}

/**
 * Readers turn to this edition from here on; those of an older code keep their own. The views of the
 * service's schema, for people who look by hand, only ever go forward.
 */
export const serve = Effect.fnUntraced(function*(projection: Projection, edition: Edition) {
  yield* committed(`swapping ${projection.name}`, (tx) =>
    attempt(async () => {
      await lockBooks(tx, projection)
      await sql`update millrace.editions set ready = true where schema = ${edition.schema}`.execute(tx)
      const ready = (await editionsOf(tx, projection.name)).filter(({ ready }) => ready)
      if (newest(ready)?.schema === edition.schema) await showViews(tx, projection, edition)
    }))
})

const showViews = async (tx: AnyTransaction, projection: Projection, { schema }: Edition): Promise<void> => {
  const { memory, service } = partsOf(projection)
  await sql`select pg_advisory_xact_lock(hashtextextended('millrace.views', 0))`.execute(tx)
  await sql`create schema if not exists ${sql.id(service)}`.execute(tx)
  for (const table of await tablesIn(tx, schema)) {
    const view = sql.id(service, table === memory || table.startsWith(`${memory}_`) ? table : `${memory}_${table}`)
    await sql`drop view if exists ${view}`.execute(tx)
    await sql`create view ${view} as select * from ${sql.id(schema, table)}`.execute(tx)
  }
}

/**
 * Drops the editions before this one that no process holds any more, once this one is served. Answers
 * how many are left for a later try.
 */
export const dropOlder = Effect.fnUntraced(function*(projection: Projection, edition: Edition) {
  const { transact } = yield* Database
  return yield* transact(`dropping old editions of ${projection.name}`, (tx) =>
    attempt(async () => {
      const older = (await editionsOf(tx, projection.name)).filter((other) => isBefore(other, edition))
      if (older.length === 0) return 0
      await lockBooks(tx, projection)
      let left = 0
      for (const { schema } of older) {
        const { rows } = await sql<{ free: boolean }>`
          select pg_try_advisory_xact_lock(hashtextextended(${schema}, 0)) as free`.execute(tx)
        if (rows[0]?.free !== true) {
          left += 1
          continue
        }
        await sql`drop schema if exists ${sql.id(schema)} cascade`.execute(tx)
        await sql`delete from millrace.editions where schema = ${schema}`.execute(tx)
      }
      return left
    }))
})

/** One process at a time changes what editions there are. */
const lockBooks = (tx: AnyTransaction, { name }: Projection) =>
  sql`select pg_advisory_xact_lock(hashtextextended(${`millrace.editions ${name}`}, 0))`.execute(tx)
