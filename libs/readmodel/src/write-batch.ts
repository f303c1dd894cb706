import { crashPoint, type Fact, readable, type StoredCommit } from "@millrace/journal"
import type { Cut } from "@millrace/schemas"
import { Effect, Result, Schema } from "effect"
import { sql } from "kysely"
import { type AnyTransaction, attempt, Database, type DatabaseUnavailable, type StatementFailed } from "./database.ts"
import type { Edition } from "./edition.ts"
import { isPassing } from "./failure.ts"
import { keepMarks, type Mark, marksOf } from "./marks.ts"
import type { Projection } from "./projection.ts"
import { type Aside, asideOf, asideOfFact, keepAside } from "./set-aside.ts"

/** Another runner of the same projection has moved its position meanwhile. What was written here has rolled back. */
export class Fenced extends Schema.TaggedError<Fenced>()("Fenced", { projection: Schema.String }) {
  override get message() {
    return `Another process writes ${this.projection}. This one steps back; nothing was counted twice`
  }
}

/** What a transaction left behind. */
export interface Written {
  readonly position: Cut
  readonly facts: number
  readonly asides: ReadonlyArray<Aside>
}

/**
 * Takes in a batch of whole commits, once: the rows, the position and what was set aside stand together
 * or not at all. A fact that the projection fails over is found by halving, set aside, and the others
 * are taken in, in order.
 *
 * @param position where the edition stood when the batch was read; if it has moved since, `Fenced`
 */
export const writeBatch = (
  projection: Projection,
  edition: Edition,
  position: Cut,
  commits: ReadonlyArray<StoredCommit>
): Effect.Effect<Written, Fenced | DatabaseUnavailable | StatementFailed, Database> => Effect.flatMap(Database, ({ standing }) => {
  const batch = sorted(projection, edition, commits, marksOf(commits, standing.marked))
  const next = { ...position, ...batch.reached }
  const write = (apply: (tx: AnyTransaction) => Effect.Effect<ReadonlyArray<Aside>, unknown>) =>
    Database.use(({ transact }) =>
      transact(`writing ${projection.name}`, (tx) =>
        Effect.gen(function*() {
          yield* move(tx, projection, edition, position, batch)
          const asides = [...batch.unreadable, ...(yield* apply(tx.withSchema(edition.schema)))]
          yield* attempt(() => keepAside(tx, asides))
          yield* crashPoint(`commit ${projection.name} before`)
          return { position: next, facts: batch.facts.length, asides }
        }))) as Effect.Effect<Written, Fenced | DatabaseUnavailable | StatementFailed, Database>
  return write((tx) => Effect.as(attempt(() => projection.apply(tx, batch.facts)), [])).pipe(
    Effect.catchTag("StatementFailed", () => write((tx) => attempt(() => applyApart(projection, edition, tx, batch.facts)))),
    Effect.tap(() => {
      for (const { bucket, stream } of batch.marks) standing.marked.set(stream, bucket)
      return crashPoint(`commit ${projection.name} after`)
    })
  )
})

interface Batch {
  readonly facts: ReadonlyArray<Fact>
  readonly unreadable: ReadonlyArray<Aside>
  readonly reached: Cut
  readonly marks: ReadonlyArray<Mark>
}

const sorted = (projection: Projection, edition: Edition, commits: ReadonlyArray<StoredCommit>, marks: ReadonlyArray<Mark>): Batch => {
  const { only } = projection
  // A commit whose headers are broken too names no fact: nobody can say that it does not matter.
  const minds = (name: string): boolean => only === undefined || only.includes(name) || name === "?"
  const facts: Array<Fact> = []
  const unreadable: Array<Aside> = []
  const reached: Record<string, number> = {}
  for (const commit of commits) {
    const read = readable(commit, minds)
    facts.push(...read.facts)
    for (const fact of read.unreadable) unreadable.push(asideOf(projection, edition, commit, fact, fact.reason))
    reached[commit.place.stream] = commit.place.sequence
  }
  return { facts, unreadable, reached, marks }
}

/**
 * Moves the position and holds it until the end of the transaction. It must still stand exactly where
 * this batch begins: a fence that only went forward would let a slower runner count the overlap again.
 */
const move = Effect.fnUntraced(function*(tx: AnyTransaction, { name, version }: Projection, { epoch, schema }: Edition, position: Cut, { marks, reached }: Batch) {
  for (const [stream, sequence] of Object.entries(reached)) {
    const { rows } = yield* attempt(() => sql<{ moved: number }>`
      with moved as (
        update millrace.positions set sequence = ${sequence}
        where projection = ${name} and version = ${version} and epoch = ${epoch}
          and stream = ${stream} and sequence = ${position[stream] ?? -1}
        returning 1
      )
      select count(*)::int as moved, set_config('search_path', ${schema}, true) from moved`.execute(tx))
    if (rows[0]?.moved !== 1) return yield* new Fenced({ projection: name })
  }
  yield* attempt(() => keepMarks(tx, epoch, marks))
})

/** Applies what can be applied, in order, and finds what cannot by halving behind savepoints. */
const applyApart = async (projection: Projection, edition: Edition, tx: AnyTransaction, facts: ReadonlyArray<Fact>): Promise<ReadonlyArray<Aside>> => {
  // What a deferred constraint refuses must be refused here, where it can be told whose fault it is.
  await sql`set constraints all immediate`.execute(tx)
  const asides: Array<Aside> = []
  const take = async (part: ReadonlyArray<Fact>): Promise<void> => {
    const outcome = await tried(tx, () => projection.apply(tx, part))
    if (Result.isSuccess(outcome)) return
    const [first] = part
    if (part.length <= 1 && first !== undefined) return void asides.push(asideOfFact(projection, edition, first, outcome.failure))
    if (first === undefined) throw outcome.failure
    const half = part.length >> 1
    await take(part.slice(0, half))
    await take(part.slice(half))
  }
  await take(facts)
  return asides
}

const tried = async (tx: AnyTransaction, work: () => Promise<void>): Promise<Result.Result<void, unknown>> => {
  await sql`savepoint part`.execute(tx)
  try {
    await work()
    await sql`release savepoint part`.execute(tx)
    return Result.succeed(undefined)
  } catch (cause) {
    if (isPassing(cause)) throw cause
    await sql`rollback to savepoint part`.execute(tx)
    await sql`release savepoint part`.execute(tx)
    return Result.fail(cause)
  }
}

/** Applies commits as `writeBatch` would, without books: for building again what is then compared. */
export const applyCommits = async (projection: Projection, edition: Edition, tx: AnyTransaction, commits: ReadonlyArray<StoredCommit>): Promise<void> => {
  await applyApart(projection, edition, tx, sorted(projection, edition, commits, []).facts)
}
