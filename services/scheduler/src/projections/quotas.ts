import { foldHistory, history } from "@millrace/readmodel"
import type { Fact } from "@millrace/journal"
import type { MillFact, QuotaLifted, QuotaSet, QuotaTerms } from "@millrace/schemas"
import type { SchemaModule, Transaction } from "kysely"

/** What was last said of a workspace or a cohort. */
export interface QuotaRow {
  readonly node: string
  readonly terms: QuotaTerms
  readonly set_by: string
  readonly changed_at_ms: number
}

export interface QuotaTables {
  readonly quotas: QuotaRow & { readonly valid_from_seq: number; readonly valid_to_seq: number | null }
}

export const quotas = history({ table: "quotas", stream: "SCHEDULER", key: ["node"] })

export type OfQuotas = QuotaSet | QuotaLifted

/** What is minded here, by name. */
export const quotaFacts = ["QuotaSet", "QuotaLifted"] as const satisfies ReadonlyArray<OfQuotas["_tag"]>

export const createQuotas = (schema: SchemaModule) => [
  ...quotas.create(schema, (table) => table.addColumn("node", "text").addColumn("terms", "jsonb").addColumn("set_by", "text").addColumn("changed_at_ms", "bigint"))
]

export const applyToQuotas = (tx: Transaction<any>, facts: ReadonlyArray<Fact<MillFact>>): Promise<void> =>
  foldHistory<QuotaRow, MillFact>(tx, facts, quotas, {
    about: ({ event }) => (event._tag === "QuotaSet" || event._tag === "QuotaLifted" ? { node: event.node } : undefined),
    evolve: (_, { commit, event }) => event._tag === "QuotaSet" ? { node: event.node, terms: event.terms, set_by: event.setBy, changed_at_ms: commit.place.storedAtMs } : undefined
  })
