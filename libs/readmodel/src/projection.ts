import type { Fact } from "@millrace/journal"
import type { MillFact, StreamName } from "@millrace/schemas"
import type { Kysely, SchemaModule, Transaction } from "kysely"
import type { History } from "./history.ts"

/** A statement of Kysely's schema builder, such as `schema.createTable("jobs")...`. */
export interface SchemaStatement {
  readonly execute: () => Promise<unknown>
}

/** What a projection says of itself. `Tables` maps each table's name to the row that it holds. */
export interface ProjectionDeclared<Tables, F extends MillFact> {
  /** `<service>.<what it remembers>`: lower-case letters, digits and underscores on both sides. */
  readonly name: string
  /** Raised with every change of the tables or of `apply`: the new ones are built beside and swapped. */
  readonly version: number
  readonly hears: readonly [StreamName, ...ReadonlyArray<StreamName>]
  /** The facts it minds, by name; it is handed no others. Without it: every fact of its streams. */
  readonly only?: ReadonlyArray<F["_tag"]>
  /** Creates its tables and indexes. Their names need no schema: each edition has one of its own. */
  readonly tables: (schema: SchemaModule) => ReadonlyArray<SchemaStatement>
  /** Its tables with history. A projection without one refuses reads in the past. */
  readonly history?: ReadonlyArray<History>
  /**
   * Remembers facts, in the transaction that moves the position: each counts once, however often it is
   * delivered. Facts of one stream come in its order; between streams there is none, so what comes out
   * may not depend on one. It depends on nothing but the facts and its own tables, and may be run again
   * on a part of a batch that was rolled back.
   */
  readonly apply: (tx: Transaction<Tables>, facts: ReadonlyArray<Fact<F>>) => Promise<void>
}

/** Tables that somebody remembers of the stories, and how: thrown away and read again at will. */
export interface Projection<Tables = any> extends Omit<ProjectionDeclared<Tables, any>, "apply" | "only"> {
  readonly only?: ReadonlyArray<string>
  readonly apply: (tx: Transaction<any>, facts: ReadonlyArray<Fact>) => Promise<void>
  /** Carries the type of its tables; there is no such value. */
  readonly rows?: (db: Kysely<Tables>) => void
}

const NAME = /^[a-z][a-z0-9]*\.[a-z][a-z0-9_]{0,39}$/

/** Declares a projection: `projection<Tables>()<Facts>({ ... })`. A malformed one is a bug and throws. */
export const projection = <Tables>() => <F extends MillFact>(declared: ProjectionDeclared<Tables, F>): Projection<Tables> => {
  if (!NAME.test(declared.name)) throw new Error(`${declared.name} is no name for a projection: write it <service>.<what_it_remembers>`)
  if (!Number.isInteger(declared.version) || declared.version < 1) throw new Error(`${declared.name} needs a whole version of at least 1`)
  return declared as unknown as Projection<Tables>
}

/** The service that a projection belongs to, and what it remembers. */
export const partsOf = ({ name }: Pick<Projection, "name">): { readonly service: string; readonly memory: string } => {
  const [service = "", memory = ""] = name.split(".")
  return { service, memory }
}
