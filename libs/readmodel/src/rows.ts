import type { Fact } from "@millrace/journal"
import type { MillFact } from "@millrace/schemas"
import { type RawBuilder, sql, type Transaction } from "kysely"

/** A row as it is written and read: JSON values. bigint and numeric columns also take decimal text. */
export type Row = Readonly<Record<string, unknown>>

/** The text that stands for a key: equal keys, equal texts. */
export const keyText = (key: ReadonlyArray<string>, row: Row): string => JSON.stringify(key.map((column) => row[column]))

/** Many rows in one parameter, with the column types of their table. The bigint of the program becomes decimal text. */
export const recordsOf = (table: string, rows: ReadonlyArray<Row>): RawBuilder<unknown> =>
  sql`jsonb_populate_recordset(null::${sql.id(table)}, ${JSON.stringify(rows, plain)}::text::jsonb)`

const plain = (_: string, value: unknown): unknown => (typeof value === "bigint" ? value.toString() : value)

export const columnsOf = (names: ReadonlyArray<string>): RawBuilder<unknown> => sql.join(names.map((name) => sql.id(name)))

const sameKey = (key: ReadonlyArray<string>): RawBuilder<unknown> =>
  sql.join(key.map((column) => sql`have.${sql.id(column)} = want.${sql.id(column)}`), sql` and `)

/**
 * Writes rows whole, by key: the last one of a key wins. One statement and one parameter however many
 * they are, which is the fastest form short of COPY and has no limit of 65,535 parameters. All rows
 * name the same columns.
 */
export const upsertRows = async (tx: Transaction<any>, table: string, key: ReadonlyArray<string>, rows: ReadonlyArray<Row>): Promise<void> => {
  const [first] = rows
  if (first === undefined) return
  const columns = Object.keys(first)
  const last = new Map<string, Row>()
  for (const row of rows) {
    if (Object.keys(row).length !== columns.length) throw new Error(`the rows for ${table} name different columns`)
    last.set(keyText(key, row), row)
  }
  const values = columns.filter((column) => !key.includes(column))
  const onConflict = values.length === 0
    ? sql`do nothing`
    : sql`do update set ${sql.join(values.map((column) => sql`${sql.id(column)} = excluded.${sql.id(column)}`))}`
  await sql`insert into ${sql.id(table)} (${columnsOf(columns)}) select ${columnsOf(columns)}
    from ${recordsOf(table, [...last.values()])} on conflict (${columnsOf(key)}) ${onConflict}`.execute(tx)
}

/** Removes the rows that have these keys. */
export const removeRows = async (tx: Transaction<any>, table: string, key: ReadonlyArray<string>, keys: ReadonlyArray<Row>, only = sql`true`): Promise<void> => {
  if (keys.length === 0) return
  await sql`delete from ${sql.id(table)} have using ${recordsOf(table, keys)} want where ${sameKey(key)} and ${only}`.execute(tx)
}

/** Reads the rows that have these keys. */
export const rowsWith = async <R extends Row>(tx: Transaction<any>, table: string, key: ReadonlyArray<string>, keys: ReadonlyArray<Row>, only = sql`true`): Promise<ReadonlyArray<R>> => {
  if (keys.length === 0) return []
  const { rows } = await sql<R>`select have.* from ${recordsOf(table, keys)} want join ${sql.id(table)} have on ${sameKey(key)} where ${only}`.execute(tx)
  return rows
}

/** How one table remembers: which row a fact is about, and what becomes of that row. */
export interface RowFold<R extends object, F extends MillFact> {
  readonly table: string
  /** The columns of its primary key, or of another unique index. */
  readonly key: ReadonlyArray<keyof R & string>
  /** The key of the row that a fact is about; undefined when it is about none here. */
  readonly about: (fact: Fact<F>) => object | undefined
  /** The row after a fact. Pure. `undefined` removes it; the row that came in, unchanged, writes nothing. */
  readonly evolve: (row: R | undefined, fact: Fact<F>) => R | undefined
}

/**
 * Folds a batch into a table of one row a key: one statement reads the rows that the batch is about, the
 * fold runs in memory, and one statement writes those that changed, so the cost of a batch grows with
 * its keys and not with its facts.
 */
export const foldRows = async <R extends object, F extends MillFact>(
  tx: Transaction<any>,
  facts: ReadonlyArray<Fact<F>>,
  { about, evolve, key, table }: RowFold<R, F>
): Promise<void> => {
  const aimed = aim(facts, key, about)
  const before = new Map<string, R>()
  for (const row of await rowsWith(tx, table, key, keysIn(aimed))) before.set(keyText(key, row), row as R)
  const after = new Map(before)
  for (const { fact, text } of aimed) {
    const row = evolve(after.get(text), fact)
    if (row === undefined) after.delete(text)
    else after.set(text, row)
  }
  await removeRows(tx, table, key, [...before].flatMap(([text, row]) => (after.has(text) ? [] : [keyOf(key, row as Row)])))
  await upsertRows(tx, table, key, [...after].flatMap(([text, row]) => (before.get(text) === row ? [] : [row as Row])))
}

export interface Aimed<F extends MillFact> {
  readonly fact: Fact<F>
  readonly text: string
  readonly key: Row
}

/** The facts that are about a row, each with the key of it. */
export const aim = <F extends MillFact>(facts: ReadonlyArray<Fact<F>>, key: ReadonlyArray<string>, about: (fact: Fact<F>) => object | undefined): ReadonlyArray<Aimed<F>> =>
  facts.flatMap((fact) => {
    const row = about(fact) as Row | undefined
    return row === undefined ? [] : [{ fact, text: keyText(key, row), key: keyOf(key, row) }]
  })

/** Each key once. */
export const keysIn = <F extends MillFact>(aimed: ReadonlyArray<Aimed<F>>): ReadonlyArray<Row> =>
  [...new Map(aimed.map(({ key, text }) => [text, key])).values()]

const keyOf = (key: ReadonlyArray<string>, row: Row): Row => Object.fromEntries(key.map((column) => [column, row[column]]))
