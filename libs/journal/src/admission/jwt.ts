import { hashName, type SigningKey } from "./nkey.ts"

/**
 * NATS's JWTs: what an operator, an account or a user is and may do, signed by the key above it.
 * Source of the form: https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt and
 * https://github.com/nats-io/jwt (version 2 claims, algorithm `ed25519-nkey`).
 */
export interface Claims {
  readonly name: string
  /** Whose claims these are: a public key. */
  readonly sub: string
  /** In s since 1970. A user whose account revokes its key at t is refused when `iat <= t`. */
  readonly iat: number
  readonly exp?: number
  readonly nats: Readonly<Record<string, unknown>>
}

/** Which subjects a user may use. What is not allowed is refused. */
export interface Permissions {
  readonly publish: ReadonlyArray<string>
  readonly subscribe: ReadonlyArray<string>
  /** May answer each request once, within this time, on whatever reply subject it names. */
  readonly answersWithinMs?: number
}

/** Signs claims. The same claims make the same JWT. */
export const signClaims = (claims: Claims, key: SigningKey): string => {
  const issued = { ...claims, iss: key.publicKey }
  const head = base64Url({ typ: "JWT", alg: "ed25519-nkey" })
  const body = base64Url({ ...issued, jti: hashName(JSON.stringify(issued)) })
  return `${head}.${body}.${key.sign(`${head}.${body}`).toString("base64url")}`
}

/** What a JWT says. Who handed it over has checked who signed it. */
export const claimsIn = (jwt: string): Claims => {
  const [, body] = jwt.split(".")
  if (body === undefined) throw new Error("this is no JWT: it has no body")
  return JSON.parse(Buffer.from(body, "base64url").toString("utf8")) as Claims
}

export interface UserTerms {
  readonly name: string
  readonly publicKey: string
  /** The account it belongs to; the signing key is one of that account's. */
  readonly account: string
  readonly permissions: Permissions
  readonly issuedAtS: number
  readonly expiresAtS?: number
  readonly subscriptionsMax: number
  readonly payloadBytesMax: number
}

/** A user's claims. Only plain client connections, and never a bearer token: the user proves its key. */
export const userClaims = (terms: UserTerms): Claims => ({
  name: terms.name,
  sub: terms.publicKey,
  iat: terms.issuedAtS,
  ...(terms.expiresAtS === undefined ? {} : { exp: terms.expiresAtS }),
  nats: {
    pub: { allow: terms.permissions.publish },
    sub: { allow: terms.permissions.subscribe },
    ...(terms.permissions.answersWithinMs === undefined ? {} : { resp: { max: 1, ttl: terms.permissions.answersWithinMs * 1_000_000 } }),
    subs: terms.subscriptionsMax,
    data: -1,
    payload: terms.payloadBytesMax,
    allowed_connection_types: ["STANDARD"],
    issuer_account: terms.account,
    type: "user",
    version: 2
  }
})

/** The text of a credentials file: a user's JWT and its seed. */
export const credsText = (jwt: string, seed: string): string =>
  `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n` +
  `-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`

/** The JWT inside a credentials file's text. */
export const jwtInCreds = (creds: string): string => {
  const found = /-----BEGIN NATS USER JWT-----\s+(\S+)/.exec(creds)
  if (found?.[1] === undefined) throw new Error("these are no NATS credentials: they hold no user JWT")
  return found[1]
}

/**
 * Where a user receives answers: the one inbox its JWT lets it subscribe. A client that connects with
 * these credentials must be told (`inboxPrefix`), because the default one is refused.
 */
export const inboxPrefixIn = (jwt: string): string => {
  const { allow = [] } = claimsIn(jwt).nats["sub"] as { readonly allow?: ReadonlyArray<string> }
  const inbox = allow.find((subject) => subject.startsWith("_INBOX_"))
  if (inbox === undefined) throw new Error("this user has no inbox: its credentials were not made by Millrace's provisioning")
  return inbox.slice(0, -".>".length)
}

const base64Url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
