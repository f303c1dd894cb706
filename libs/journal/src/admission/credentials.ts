import type { Authenticator } from "@nats-io/transport-node"
import { inboxPrefixIn, jwtInCreds } from "./jwt.ts"
import { signingKey } from "./nkey.ts"

/** How a client shows who it is, and the one inbox it may listen on: both go to `connectNats`. */
export interface Credentials {
  readonly authenticator: Authenticator
  readonly inboxPrefix: string
}

/** From the text of a credentials file. Throws one sentence where it is none. */
export const credentialsIn = (creds: string): Credentials => {
  const jwt = jwtInCreds(creds)
  return { authenticator: proving(() => jwt, seedInCreds(creds)), inboxPrefix: inboxPrefixIn(jwt) }
}

/** A host's: `jwt` is asked anew at each connection, so that a renewed one is shown. */
export const hostCredentials = (seed: string, jwt: () => string): Credentials => ({
  authenticator: proving(jwt, seed),
  inboxPrefix: inboxPrefixIn(jwt())
})

/**
 * Proves the key by signing what the server asks. The client library's own authenticators do the same in
 * pure JavaScript, which takes tens of ms a connection.
 */
const proving = (jwt: () => string, seed: string): Authenticator => {
  const key = signingKey(seed)
  return (nonce) => ({ jwt: jwt(), nkey: key.publicKey, sig: key.sign(nonce ?? "").toString("base64url") })
}

/** The seed inside a credentials file's text. */
export const seedInCreds = (creds: string): string => {
  const found = /-----BEGIN USER NKEY SEED-----\s+(\S+)/.exec(creds)
  if (found?.[1] === undefined) throw new Error("these are no NATS credentials: they hold no seed")
  return found[1]
}
