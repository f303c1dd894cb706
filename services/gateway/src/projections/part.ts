import type { Fact } from "@millrace/journal"
import { type Projection, projection, type ProjectionDeclared, type SchemaStatement, speaksForItself } from "@millrace/readmodel"
import type { MillFact, StreamName } from "@millrace/schemas"
import type { SchemaModule, Transaction } from "kysely"

/** Tables that answer one question, as a part of what the gateway remembers. */
export interface Part<Tables = any> {
  readonly hears: readonly [StreamName, ...ReadonlyArray<StreamName>]
  readonly only?: ReadonlyArray<string>
  readonly tables: (schema: SchemaModule) => ReadonlyArray<SchemaStatement>
  readonly apply: (tx: Transaction<any>, facts: ReadonlyArray<Fact>) => Promise<void>
  /** Carries the type of its tables; there is no such value. */
  readonly rows?: Projection<Tables>["rows"]
}

type PartDeclared<Tables, F extends MillFact> = Pick<ProjectionDeclared<Tables, F>, "hears" | "only" | "tables" | "apply">

/** Declares a part: `part<Tables>()<Facts>({ ... })`. Each fact that it minds it is handed once, in its stream's order. */
export const part = <Tables>() => <F extends MillFact>(declared: PartDeclared<Tables, F>): Part<Tables> => declared as unknown as Part<Tables>

type TablesOf<P> = P extends { readonly rows?: ((db: import("kysely").Kysely<infer Tables>) => void) | undefined } ? Tables : never
type All<Parts> = Parts extends readonly [infer First, ...infer Rest] ? TablesOf<First> & All<Rest> : unknown

/**
 * Several parts as one projection: each stream is read and each fact decoded once for all of them, and they
 * move in one transaction, so a read sees them at one cut. What a host says of another host is remembered by none.
 */
export const together = <const Parts extends readonly [Part, ...ReadonlyArray<Part>]>(
  { name, version }: { readonly name: string; readonly version: number },
  parts: Parts
): Projection<All<Parts>> => {
  const minded = parts.map(({ apply, only }) => ({ apply, names: new Set(only) }))
  const [first, ...more] = [...new Set(parts.flatMap(({ hears }) => hears))]
  return projection<All<Parts>>()<MillFact>({
    name,
    version,
    hears: [first!, ...more],
    only: [...new Set(parts.flatMap(({ only }) => only ?? []))] as Array<MillFact["_tag"]>,
    tables: (schema) => parts.flatMap(({ tables }) => tables(schema)),
    apply: async (tx, facts) => {
      const believed = facts.filter(({ commit, event }) => speaksForItself(commit, event))
      for (const { apply, names } of minded) {
        const own = believed.filter((fact) => names.has(fact.name))
        if (own.length > 0) await apply(tx, own)
      }
    }
  })
}
