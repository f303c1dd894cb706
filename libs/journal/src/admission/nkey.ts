import { createHash, createHmac, createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from "node:crypto"

/**
 * NKeys: Ed25519 keys as NATS writes them, base 32 of a prefix byte, the key and a CRC-16.
 * Source of the form: https://docs.nats.io/reference/reference-protocols/nats-protocol (NKey) and
 * https://github.com/nats-io/nkeys. Signing goes through node:crypto: under 0.1 ms, where the pure
 * JavaScript of @nats-io/nkeys takes tens of ms, and a cell admits hosts by the thousand.
 */
export type Role = "operator" | "account" | "user"

const PREFIX: Readonly<Record<Role, number>> = { operator: 14 << 3, account: 0, user: 20 << 3 }
const SEED_PREFIX = 18 << 3
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
/** What stands before the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410). */
const PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex")
/** What stands before the 32 bytes of an Ed25519 public key in SubjectPublicKeyInfo (RFC 8410). */
const SPKI_HEAD = Buffer.from("302a300506032b6570032100", "hex")
const KEY_BYTES = 32

/** A key that can sign. Its seed is a secret: it is kept in here and not shown. */
export interface SigningKey {
  readonly publicKey: string
  readonly sign: (text: string) => Buffer
  /** A text that only the holder of this key can tell from `about`; 26 characters, 130 bits. */
  readonly secretName: (about: string) => string
}

/** A new seed, as it is kept in a file. */
export const newSeed = (role: Role): string => {
  const prefix = PREFIX[role]
  return encode([SEED_PREFIX | (prefix >> 5), (prefix & 31) << 3], randomBytes(KEY_BYTES))
}

/** The key of a seed. Throws one sentence where the text is no seed. */
export const signingKey = (seed: string): SigningKey => {
  const [first = 0, second = 0, ...bytes] = decode(seed)
  if ((first & 248) !== SEED_PREFIX || bytes.length !== KEY_BYTES) throw new Error("this is no NKey seed: a seed begins with S and holds 32 bytes")
  const prefix = ((first & 7) << 5) | (second >> 3)
  const raw = Buffer.from(bytes)
  const key: KeyObject = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, raw]), format: "der", type: "pkcs8" })
  const spki = createPublicKey(key).export({ format: "der", type: "spki" })
  return {
    publicKey: encode([prefix], spki.subarray(spki.length - KEY_BYTES)),
    sign: (text) => sign(null, Buffer.from(text), key),
    secretName: (about) => base32(createHmac("sha256", raw).update(about).digest()).slice(0, 26)
  }
}

/** Whether a text is a public key of this role, its checksum included. */
export const isPublicKey = (role: Role, text: string): boolean => {
  try {
    const [prefix, ...bytes] = decode(text)
    return prefix === PREFIX[role] && bytes.length === KEY_BYTES
  } catch {
    return false
  }
}

/** Whether the holder of this public key signed exactly this text. Nothing that is malformed was signed. */
export const isSignedBy = (role: Role, publicKey: string, text: string, signature: Uint8Array): boolean => {
  try {
    const [prefix, ...bytes] = decode(publicKey)
    if (prefix !== PREFIX[role] || bytes.length !== KEY_BYTES) return false
    const key = createPublicKey({ key: Buffer.concat([SPKI_HEAD, Buffer.from(bytes)]), format: "der", type: "spki" })
    return verify(null, Buffer.from(text), key, signature)
  } catch {
    return false
  }
}

/** The name a text is known by: base 32 of its SHA-512/256, as NATS names JWTs. */
export const hashName = (text: string): string => base32(createHash("sha512-256").update(text).digest())

const encode = (prefix: ReadonlyArray<number>, key: Uint8Array): string => {
  const bytes = Buffer.from([...prefix, ...key])
  const sum = crc16(bytes)
  return base32(Buffer.concat([bytes, Buffer.from([sum & 255, sum >> 8])]))
}

const decode = (text: string): ReadonlyArray<number> => {
  const all = fromBase32(text)
  const bytes = all.slice(0, -2)
  if (all.length < 4 || crc16(bytes) !== (all.at(-2)! | (all.at(-1)! << 8))) throw new Error("this is no NKey: its checksum is wrong")
  return bytes
}

/** CRC-16/XMODEM: polynomial 0x1021, beginning with 0. */
const crc16 = (bytes: Iterable<number>): number => {
  let sum = 0
  for (const byte of bytes) {
    sum ^= byte << 8
    for (let bit = 0; bit < 8; bit++) sum = (sum & 0x8000) === 0 ? (sum << 1) & 0xffff : ((sum << 1) ^ 0x1021) & 0xffff
  }
  return sum
}

/** RFC 4648, without padding. */
const base32 = (bytes: Iterable<number>): string => {
  let text = ""
  let held = 0
  let bits = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(held >> (bits - 5)) & 31]
    held &= (1 << bits) - 1
  }
  return bits === 0 ? text : text + ALPHABET[(held << (5 - bits)) & 31]
}

const fromBase32 = (text: string): ReadonlyArray<number> => {
  const bytes: Array<number> = []
  let held = 0
  let bits = 0
  for (const letter of text) {
    const value = ALPHABET.indexOf(letter)
    if (value < 0) throw new Error("this is no NKey: it holds a letter that base 32 does not have")
    held = (held << 5) | value
    bits += 5
    if (bits >= 8) {
      bytes.push((held >> (bits - 8)) & 255)
      bits -= 8
    }
    held &= (1 << bits) - 1
  }
  return bytes
}
