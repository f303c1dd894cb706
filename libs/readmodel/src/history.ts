import type { Fact } from "@millrace/journal"
import type { Cut, MillFact, StreamName } from "@millrace/schemas"
import { type CreateTableBuilder, type Expression, type SchemaModule, sql, type SqlBool, type Transaction } from "kysely"
import type { SchemaStatement } from "./projection.ts"
import { aim, columnsOf, keysIn, recordsOf, removeRows, type Row, type RowFold, rowsWith } from "./rows.ts"

/**
 * A table that keeps every state each of its rows was in, and from which sequence to before which one of
 * its stream it was in it. It is fed by one stream: between streams there is no order, so a row that
 * two of them change has no history that a replay would give again. A question over two streams keeps
 * two such tables and joins them, each at its own place in the cut.
 */
export interface History {
  readonly table: string
  readonly stream: StreamName
  readonly key: ReadonlyArray<string>
  /** The statements that create it: the given columns, `valid_from_seq`, `valid_to_seq`, and the index of what is so now. */
  readonly create: (
    schema: SchemaModule,
    columns: (table: CreateTableBuilder<string>) => CreateTableBuilder<string, any>
  ) => ReadonlyArray<SchemaStatement>
}

/** Declares a table with history. Equal states are not written again; a row that is removed is closed, not deleted. */
export const history = ({ key, stream, table }: Omit<History, "create">): History => ({
  table,
  stream,
  key,
  create: (schema, columns) => [
    (columns(schema.createTable(table)) as CreateTableBuilder<string, string>)
      .addColumn("valid_from_seq", "bigint", (column) => column.notNull())
      .addColumn("valid_to_seq", "bigint")
      .addPrimaryKeyConstraint(`${table}_key`, [...key, "valid_from_seq"]),
    schema.createIndex(`${table}_now`).unique().on(table).columns([...key]).where("valid_to_seq", "is", null)
  ]
})

/** Holds for the rows that were so at a cut; without a cut, for those that are so now. */
export const asOf = ({ stream, table }: History, cut: Cut | undefined, alias = table): Expression<SqlBool> => {
  const from = sql.ref(`${alias}.valid_from_seq`)
  const to = sql.ref(`${alias}.valid_to_seq`)
  const sequence = cut?.[stream] ?? 0
  return cut === undefined
    ? sql<SqlBool>`${to} is null`
    : sql<SqlBool>`(${from} <= ${sequence} and (${to} is null or ${to} > ${sequence}))`
}

interface State {
  readonly fromSequence: number
  readonly row: Row | undefined
}

/**
 * Folds a batch into a table with history. What its rows say at a cut equals the fold of the facts up to
 * that cut: states between the facts of one commit are never seen. Facts of other streams are left out.
 */
export const foldHistory = async <R extends object, F extends MillFact>(
  tx: Transaction<any>,
  facts: ReadonlyArray<Fact<F>>,
  { key, stream, table }: History,
  { about, evolve }: Pick<RowFold<R, F>, "about" | "evolve">
): Promise<void> => {
  const aimed = aim(facts.filter(({ commit }) => commit.place.stream === stream), key, about)
  const states = new Map<string, Array<State>>()
  for (const { valid_from_seq, valid_to_seq: _, ...row } of await rowsWith(tx, table, key, keysIn(aimed), OPEN)) {
    states.set(JSON.stringify(key.map((column) => row[column])), [{ fromSequence: valid_from_seq as number, row }])
  }
  const changed = new Map<string, Row>()
  for (const { fact, key, text } of aimed) {
    const past = states.get(text) ?? []
    const last = past.at(-1)
    const row = evolve(last?.row as R | undefined, fact) as Row | undefined
    if (row === last?.row) continue
    const { sequence } = fact.commit.place
    if (last?.fromSequence === sequence) past.pop()
    past.push({ fromSequence: sequence, row })
    states.set(text, past)
    changed.set(text, key)
  }
  await removeRows(tx, table, key, [...changed.values()], OPEN)
  await insertRows(tx, table, [...changed.keys()].flatMap((text) => rowsOf(states.get(text) ?? [])))
}

const OPEN = sql`have.valid_to_seq is null`

const rowsOf = (states: ReadonlyArray<State>): ReadonlyArray<Row> =>
  states.flatMap(({ fromSequence, row }, index) =>
    row === undefined ? [] : [{ ...row, valid_from_seq: fromSequence, valid_to_seq: states[index + 1]?.fromSequence ?? null }])

const insertRows = async (tx: Transaction<any>, table: string, rows: ReadonlyArray<Row>): Promise<void> => {
  const [first] = rows
  if (first === undefined) return
  const columns = columnsOf(Object.keys(first))
  await sql`insert into ${sql.id(table)} (${columns}) select ${columns} from ${recordsOf(table, rows)}`.execute(tx)
}
