/**
 * How a host says who it is when it dials in: `<public key>.<ms>.<signature>`, the signature by the host's
 * own key over `dialText`. It holds for as long as the relay lets it be old, and is made anew for each dial.
 */
export interface HostToken {
  /** The host's public NKey (`U...`). */
  readonly publicKey: string
  /** When it was made, in ms since 1970 by the host's clock. */
  readonly atMs: number
  readonly signature: Uint8Array
}

/** What a host signs to dial in: good for nothing else. */
export const dialText = (publicKey: string, atMs: number): string => `millrace relay ${publicKey} ${atMs}`

/** The text form of a token. */
export const hostTokenText = ({ atMs, publicKey, signature }: HostToken): string =>
  `${publicKey}.${atMs}.${Buffer.from(signature).toString("base64url")}`

/** The token in a text, its signature not looked at; nothing where it is none. */
export const hostTokenOf = (text: string): HostToken | undefined => {
  const [, publicKey = "", at = "", signature = ""] = /^(U[A-Z2-7]{55})\.([0-9]{1,15})\.([A-Za-z0-9_-]{86})$/u.exec(text) ?? []
  return publicKey === "" ? undefined : { publicKey, atMs: Number(at), signature: Buffer.from(signature, "base64url") }
}
