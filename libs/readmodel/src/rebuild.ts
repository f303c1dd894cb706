import { Journal, type JournalUnavailable, type StoredCommit } from "@millrace/journal"
import type { Cut, StreamName } from "@millrace/schemas"
import { Effect } from "effect"
import { sql } from "kysely"
import { type AnyTransaction, attempt, Database, type DatabaseUnavailable, type StatementFailed } from "./database.ts"
import { chosen, createTables, type Edition, editionsOf, tablesIn } from "./edition.ts"
import type { Projection } from "./projection.ts"
import { ReadTooOld } from "./read.ts"
import { applyCommits } from "./write-batch.ts"

/** The content of a projection's tables, as a text that equal contents share, and the cut that it is of. */
export interface ContentHash {
  readonly hash: string
  readonly cut: Cut
}

/**
 * Hashes what the tables of a projection hold, whatever order the rows lie in: per table the number of
 * rows and the sums of two 64-bit hashes over each row's JSON form. Two different contents meet with a
 * probability of about 2^-128; the memory it takes does not grow with the rows.
 */
export const contentHash = (projection: Projection): Effect.Effect<ContentHash, ReadTooOld | DatabaseUnavailable | StatementFailed, Database> =>
  Database.use(({ transact }) =>
    transact(`hashing ${projection.name}`, (tx) =>
      Effect.gen(function*() {
        const edition = yield* current(tx, projection)
        return { hash: yield* attempt(() => hashTables(tx, edition.schema)), cut: edition.position }
      }), { snapshot: true }))

/**
 * What `contentHash` must come to: the projection built again from fact one up to a cut, in a transaction
 * that rolls back. Equal hashes show that the rows equal a replay from zero.
 */
export const rebuildHash = (projection: Projection, cut: Cut): Effect.Effect<
  ContentHash,
  ReadTooOld | DatabaseUnavailable | StatementFailed | JournalUnavailable,
  Database | Journal
> =>
  Effect.scoped(Effect.gen(function*() {
    const { transact } = yield* Database
    const { epoch } = yield* Journal
    const schema = `${projection.name.replace(".", "_")}_rebuilt`
    const edition: Edition = { version: projection.version, epoch, schema, ready: false, position: {} }
    const built = transact(`rebuilding ${projection.name}`, (tx) =>
      Effect.gen(function*() {
        yield* attempt(() => createTables(tx, projection, schema))
        for (const stream of projection.hears) {
          yield* eachBatch(stream, cut[stream] ?? 0, (commits) => attempt(() => applyCommits(projection, edition, tx.withSchema(schema), commits)))
        }
        return yield* Effect.fail(new Rebuilt(yield* attempt(() => hashTables(tx, schema))))
      }))
    const hash = yield* built.pipe(Effect.catchIf((error) => error instanceof Rebuilt, (error) => Effect.succeed((error as Rebuilt).hash)))
    return { hash: hash as string, cut }
  })) as never

/** The result, on its way out of a transaction that must roll back. */
class Rebuilt {
  readonly _tag = "Rebuilt"
  readonly hash: string

  constructor(hash: string) {
    this.hash = hash
  }
}

const current = Effect.fnUntraced(function*(tx: AnyTransaction, { name, version }: Projection) {
  const edition = chosen(version, yield* attempt(() => editionsOf(tx, name)))
  return edition ?? (yield* new ReadTooOld({ projection: name, behind: {} }))
})

const hashTables = async (tx: AnyTransaction, schema: string): Promise<string> => {
  const lines: Array<string> = []
  for (const table of await tablesIn(tx, schema)) lines.push(`${table} ${await hashTable(tx, schema, table)}`)
  return lines.join("\n")
}

/** Blocks of 8 KiB that one statement hashes: a slice stays far below the time that a statement may take. */
const SLICE_BLOCKS = 8_192

const hashTable = async (tx: AnyTransaction, schema: string, table: string): Promise<string> => {
  const name = sql.id(schema, table)
  const sized = await sql<{ blocks: number }>`
    select (pg_relation_size(${`"${schema}"."${table}"`}::text::regclass) / current_setting('block_size')::int)::int as blocks`.execute(tx)
  const blocks = sized.rows[0]?.blocks ?? 0
  let [count, a, b] = [0n, 0n, 0n]
  for (let from = 0; from < blocks; from += SLICE_BLOCKS) {
    const { rows } = await sql<{ count: string; a: string; b: string }>`
      select count(*)::text as count, coalesce(sum(hashtextextended(line, 0)::numeric), 0)::text as a,
        coalesce(sum(hashtextextended(line, 1)::numeric), 0)::text as b
      from (select to_jsonb(t)::text as line from ${name} t
        where ctid >= ${`(${from},0)`}::text::tid and ctid < ${`(${from + SLICE_BLOCKS},0)`}::text::tid) lines`.execute(tx)
    count += BigInt(rows[0]?.count ?? 0)
    a += BigInt(rows[0]?.a ?? 0)
    b += BigInt(rows[0]?.b ?? 0)
  }
  return `${count} ${a} ${b}`
}

const eachBatch = <E>(stream: StreamName, upTo: number, take: (commits: ReadonlyArray<StoredCommit>) => Effect.Effect<unknown, E>) =>
  Effect.scoped(Effect.gen(function*() {
    const journal = yield* Journal
    const reader = yield* journal.read(stream, { after: 0 })
    let at = 0
    while (at < upTo) {
      const commits = (yield* reader.take).filter(({ place }) => place.sequence <= upTo)
      at = commits.length === 0 ? upTo : commits.at(-1)?.place.sequence ?? upTo
      if (commits.length > 0) yield* take(commits)
    }
  }))
