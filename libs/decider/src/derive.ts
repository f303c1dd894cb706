import { hash } from "node:crypto"

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const base32 = (value: bigint, digits: number): string => {
  let text = ""
  for (let rest = value; text.length < digits; rest >>= 5n) text = alphabet[Number(rest & 31n)] + text
  return text
}

/** A time of 48 bits in ten digits. */
const timeDigits = (ms: number): string => {
  let text = ""
  for (let rest = ms; text.length < 10; rest = Math.floor(rest / 32)) text = alphabet[rest % 32] + text
  return text
}

/** Hexadecimal digits in base 32: of five, which are twenty bits, four. */
const digitsOfHex = (hex: string): string => {
  let text = ""
  for (let at = 0; at < hex.length; at += 5) {
    const bits = Number.parseInt(hex.slice(at, at + 5), 16)
    text += alphabet[bits >> 15]! + alphabet[(bits >> 10) & 31]! + alphabet[(bits >> 5) & 31]! + alphabet[bits & 31]!
  }
  return text
}

const hashOf = (parts: ReadonlyArray<string | number>): string =>
  hash("sha256", parts.map((part) => `${String(part).length}:${part}`).join(""), "hex")

/**
 * An id that anybody derives again from the same cause: `<prefix>_`, 48 bits of `atMs`, 80 bits of the
 * SHA-256 over the parts, in Crockford's base 32. So a redelivered reaction says its fact under the same
 * id. `parts` are joined so that no two different lists give the same text.
 *
 * The ids' form is a ULID's (https://github.com/ulid/spec); two different lists meet with probability
 * about n^2 / 2^81 within one millisecond.
 */
export const deriveId = <Id extends string>(prefix: string, atMs: number, ...parts: ReadonlyArray<string | number>): Id => {
  const digest = hashOf(parts)
  return `${prefix}_${timeDigits(Math.max(0, Math.floor(atMs)))}${digitsOfHex(digest.slice(0, 20))}` as Id
}

/**
 * An id that a name leads to, such as a job's from its idempotency key: all 130 bits from the SHA-256 over
 * the parts. It carries no time, because whoever asks again does not know when it was asked first.
 */
export const namedId = <Id extends string>(prefix: string, ...parts: ReadonlyArray<string | number>): Id =>
  `${prefix}_${base32(BigInt(`0x${hashOf(parts).slice(0, 33)}`), 26)}` as Id

/** The moment that an id carries, in ms since 1970. */
export const timeOfId = (id: string): number => {
  let ms = 0
  for (const digit of id.slice(id.indexOf("_") + 1).slice(0, 10)) ms = ms * 32 + alphabet.indexOf(digit)
  return ms
}
