import { foldHistory, history, projection } from "@millrace/readmodel"
import { encodeFact, type GrantDelegated, type GrantIssued, type GrantResumed, type GrantRevoked, type GrantSuspended } from "@millrace/schemas"

export interface GrantRow {
  readonly grant_id: string
  readonly workspace: string
  readonly tree: string
  readonly parent: string | null
  readonly depth: number
  readonly holder: string
  readonly issuer: string
  readonly account: string | null
  /** As the fact has it. */
  readonly reach: unknown
  readonly durable: boolean
  readonly reason: string
  readonly suspended_by: string | null
  readonly revoked_by: string | null
  /** Why it rests or is over, in the words of whoever did it. */
  readonly cause: string | null
}

export interface GrantTables {
  readonly grants: GrantRow
}

type GrantFact = GrantIssued | GrantDelegated | GrantSuspended | GrantResumed | GrantRevoked

export const grantHistory = history({ table: "grants", stream: "ACCESS", key: ["grant_id"] })

/** Every grant as it was at any time. Answers "who may do what, who gave it to them, and could they on Tuesday". */
export const grants = projection<GrantTables>()<GrantFact>({
  name: "access.grants",
  version: 1,
  hears: ["ACCESS"],
  only: ["GrantIssued", "GrantDelegated", "GrantSuspended", "GrantResumed", "GrantRevoked"],
  history: [grantHistory],
  tables: (schema) => [
    ...grantHistory.create(schema, (table) =>
      table
        .addColumn("grant_id", "text", (column) => column.notNull())
        .addColumn("workspace", "text", (column) => column.notNull())
        .addColumn("tree", "text", (column) => column.notNull())
        .addColumn("parent", "text")
        .addColumn("depth", "integer", (column) => column.notNull())
        .addColumn("holder", "text", (column) => column.notNull())
        .addColumn("issuer", "text", (column) => column.notNull())
        .addColumn("account", "text")
        .addColumn("reach", "jsonb", (column) => column.notNull())
        .addColumn("durable", "boolean", (column) => column.notNull())
        .addColumn("reason", "text", (column) => column.notNull())
        .addColumn("suspended_by", "text")
        .addColumn("revoked_by", "text")
        .addColumn("cause", "text")),
    schema.createIndex("grants_of_workspace").on("grants").columns(["workspace", "grant_id"])
  ],
  apply: (tx, facts) =>
    foldHistory<GrantRow, GrantFact>(tx, facts, grantHistory, {
      about: ({ event }) => ({ grant_id: event.grantId }),
      evolve: (row, { event }) => evolveGrant(row, event)
    })
})

const evolveGrant = (row: GrantRow | undefined, event: GrantFact): GrantRow | undefined => {
  switch (event._tag) {
    case "GrantIssued":
    case "GrantDelegated":
      return row ?? {
        grant_id: event.grantId,
        workspace: event.workspace,
        tree: event.tree,
        parent: event._tag === "GrantDelegated" ? event.parent : null,
        depth: event._tag === "GrantDelegated" ? event.depth : 0,
        holder: event.holder,
        issuer: event.issuer,
        account: event.account ?? null,
        reach: encodeFact(event).body["reach"],
        durable: event._tag === "GrantIssued" && event.durable,
        reason: event.reason,
        suspended_by: null,
        revoked_by: null,
        cause: null
      }
    case "GrantSuspended":
      return row === undefined ? undefined : { ...row, suspended_by: event.suspendedBy, cause: event.cause }
    case "GrantResumed":
      return row === undefined ? undefined : { ...row, suspended_by: null, cause: null }
    case "GrantRevoked":
      return row === undefined ? undefined : { ...row, revoked_by: event.revokedBy, cause: event.cause }
    default:
      return event satisfies never
  }
}
