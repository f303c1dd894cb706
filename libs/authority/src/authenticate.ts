import type { Digest, GrantId, Principal, WorkspaceName } from "@millrace/schemas"
import type { View } from "./view.ts"

/** Who speaks, where, and under which grant every action of theirs goes. */
export interface Speaker {
  readonly principal: Principal
  readonly workspace: WorkspaceName
  readonly grant?: GrantId
}

/** Who shows the token behind this digest; nobody when it is unknown, revoked or over. */
export const authenticate = (view: View, tokenDigest: Digest, atMs: number): Speaker | undefined => {
  const credential = view.credentials.get(tokenDigest)
  if (credential === undefined || credential.revoked || atMs >= credential.expiresAtMs) return undefined
  const { grant, principal, workspace } = credential
  return { principal, workspace, ...(grant === undefined ? {} : { grant }) }
}
