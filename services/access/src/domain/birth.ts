import type { Digest, MillFact, Principal, WorkspaceName } from "@millrace/schemas"
import type { Registry } from "./registry.ts"

/** Whoever started the cell, and the digest of the token that they keep. */
export interface FirstOwner {
  readonly digest: Digest
  readonly principal: Principal
  readonly workspace: WorkspaceName
}

/** The first token ends like every other, but not soon: nobody is there yet who could issue the next one. */
const tokenMs = 10 * 365 * 86_400_000

/** The facts by which a cell gets its first owner: once, and never again when it has a workspace. */
export const birth = ({ view }: Registry, { digest, principal, workspace }: FirstOwner, atMs: number): ReadonlyArray<MillFact> =>
  view.owners.size > 0 ? [] : [
    { _tag: "WorkspaceOpened", workspace, organisation: workspace, owner: principal },
    { _tag: "RoleBound", workspace, principal, role: "owner", boundBy: principal },
    { _tag: "CredentialIssued", workspace, principal, credentialDigest: digest, expiresAtMs: atMs + tokenMs, issuedBy: principal },
    { _tag: "WorkspaceKeyTurned", workspace, key: `${workspace}/1` }
  ]
