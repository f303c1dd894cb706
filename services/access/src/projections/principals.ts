import { foldHistory, history, projection } from "@millrace/readmodel"
import type { CredentialIssued, CredentialRevoked, GrantDelegated, GrantIssued, Role, RoleBound, RoleUnbound } from "@millrace/schemas"

export interface PrincipalRow {
  readonly workspace: string
  readonly principal: string
  readonly roles: ReadonlyArray<Role>
}

export interface CredentialRow {
  readonly credential_digest: string
  readonly workspace: string
  readonly principal: string
  readonly grant_id: string | null
  readonly expires_at_ms: string
  readonly issued_by: string
  readonly revoked_by: string | null
}

export interface PrincipalTables {
  readonly principals: PrincipalRow
  readonly credentials: CredentialRow
}

type CredentialFact = CredentialIssued | CredentialRevoked
type NamingFact = RoleBound | RoleUnbound | CredentialIssued | GrantIssued | GrantDelegated

export const principalHistory = history({ table: "principals", stream: "ACCESS", key: ["workspace", "principal"] })
export const credentialHistory = history({ table: "credentials", stream: "ACCESS", key: ["credential_digest"] })

/** Who there is, with roles and tokens, at any time. Answers "who could speak here, and as what". */
export const principals = projection<PrincipalTables>()<NamingFact | CredentialFact>({
  name: "access.principals",
  version: 1,
  hears: ["ACCESS"],
  only: ["RoleBound", "RoleUnbound", "CredentialIssued", "CredentialRevoked", "GrantIssued", "GrantDelegated"],
  history: [principalHistory, credentialHistory],
  tables: (schema) => [
    ...principalHistory.create(schema, (table) =>
      table
        .addColumn("workspace", "text", (column) => column.notNull())
        .addColumn("principal", "text", (column) => column.notNull())
        .addColumn("roles", "jsonb", (column) => column.notNull())),
    ...credentialHistory.create(schema, (table) =>
      table
        .addColumn("credential_digest", "text", (column) => column.notNull())
        .addColumn("workspace", "text", (column) => column.notNull())
        .addColumn("principal", "text", (column) => column.notNull())
        .addColumn("grant_id", "text")
        .addColumn("expires_at_ms", "bigint", (column) => column.notNull())
        .addColumn("issued_by", "text", (column) => column.notNull())
        .addColumn("revoked_by", "text"))
  ],
  apply: async (tx, facts) => {
    await foldHistory<PrincipalRow, NamingFact | CredentialFact>(tx, facts, principalHistory, {
      about: ({ event }) => {
        const named = namedBy(event)
        return named === undefined ? undefined : { workspace: event.workspace, principal: named }
      },
      evolve: (row, { event }) => evolvePrincipal(row, event)
    })
    await foldHistory<CredentialRow, NamingFact | CredentialFact>(tx, facts, credentialHistory, {
      about: ({ event }) => ("credentialDigest" in event ? { credential_digest: event.credentialDigest } : undefined),
      evolve: (row, { event }) => evolveCredential(row, event)
    })
  }
})

const namedBy = (event: NamingFact | CredentialFact): string | undefined =>
  event._tag === "CredentialRevoked" ? undefined : "holder" in event ? event.holder : event.principal

const evolvePrincipal = (row: PrincipalRow | undefined, event: NamingFact | CredentialFact): PrincipalRow | undefined => {
  const principal = namedBy(event)
  if (principal === undefined) return row
  const known = row ?? { workspace: event.workspace, principal, roles: [] }
  switch (event._tag) {
    case "RoleBound":
      return known.roles.includes(event.role) ? known : { ...known, roles: [...known.roles, event.role].sort() }
    case "RoleUnbound":
      return { ...known, roles: known.roles.filter((role) => role !== event.role) }
    default:
      return known
  }
}

const evolveCredential = (row: CredentialRow | undefined, event: NamingFact | CredentialFact): CredentialRow | undefined => {
  switch (event._tag) {
    case "CredentialIssued":
      return row ?? {
        credential_digest: event.credentialDigest,
        workspace: event.workspace,
        principal: event.principal,
        grant_id: event.grant ?? null,
        expires_at_ms: String(event.expiresAtMs),
        issued_by: event.issuedBy,
        revoked_by: null
      }
    case "CredentialRevoked":
      return row === undefined || row.revoked_by !== null ? row : { ...row, revoked_by: event.revokedBy }
    default:
      return row
  }
}
