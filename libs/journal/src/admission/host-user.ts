import { signClaims, userClaims } from "./jwt.ts"
import type { SigningKey } from "./nkey.ts"
import { hostPermissions, inboxPrefix } from "./permissions.ts"

const HOST_SUBSCRIPTIONS_MAX = 64
const HOST_PAYLOAD_BYTES_MAX = 1_048_576

export interface HostTerms {
  readonly hostId: string
  /** The host's own public NKey. */
  readonly publicKey: string
  /** The hosts' account. */
  readonly account: string
  readonly issuedAtS: number
  readonly expiresAtS: number
}

/**
 * The JWT that lets one host speak until it expires. Pure: the same terms under the same key make the
 * same JWT. The host's inbox hangs on its key alone, so a renewal keeps it.
 */
export const mintHostUser = (terms: HostTerms, key: SigningKey): { readonly jwt: string; readonly inboxPrefix: string } => {
  const prefix = inboxPrefix(key.secretName(`inbox of ${terms.publicKey}`))
  const permissions = hostPermissions(terms.hostId, prefix)
  const claims = userClaims({
    name: terms.hostId,
    permissions,
    subscriptionsMax: HOST_SUBSCRIPTIONS_MAX,
    payloadBytesMax: HOST_PAYLOAD_BYTES_MAX,
    ...terms
  })
  return { jwt: signClaims(claims, key), inboxPrefix: prefix }
}
