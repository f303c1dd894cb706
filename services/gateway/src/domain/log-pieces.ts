/** Where a follower of a log stands: behind so many bytes of one attempt's stream. */
export interface LogPlace {
  readonly attempt: number
  readonly offset: number
}

/** The one text form of a place: `2:1024`. */
export const placeText = ({ attempt, offset }: LogPlace): string => `${attempt}:${offset}`

/** The place that a text names, or nothing. */
export const placeOf = (text: string): LogPlace | undefined => {
  const [, attempt, offset] = /^([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,15})$/u.exec(text) ?? []
  if (attempt === undefined || !Number.isSafeInteger(Number(offset))) return undefined
  return { attempt: Number(attempt), offset: Number(offset) }
}

/** A piece as it is told: whole characters as text; bytes that are no UTF-8 as base64. `next` lies behind it. */
export type LogPiece =
  | { readonly text: string; readonly next: number }
  | { readonly base64: string; readonly next: number }

/** The first bytes of a character whose others have not come, and where the stream stands behind them. */
export interface Held {
  readonly bytes: Uint8Array
  readonly next: number
}

export const nothingHeldAt = (offset: number): Held => ({ bytes: new Uint8Array(0), next: offset })

/** What can be told once `bytes` have come. At most three bytes are held back, for the rest of their character. */
export const told = (held: Held, bytes: Uint8Array): { readonly piece: LogPiece | undefined; readonly held: Held } => {
  const all = held.bytes.length === 0 ? bytes : Buffer.concat([held.bytes, bytes])
  const cut = all.length - beginningAtEnd(all)
  const next = held.next + bytes.length
  return {
    piece: cut === 0 ? undefined : pieceOf(all.subarray(0, cut), next - (all.length - cut)),
    held: { bytes: Uint8Array.from(all.subarray(cut)), next }
  }
}

/** What was held back, when nothing more comes. */
export const toldAtEnd = ({ bytes, next }: Held): LogPiece | undefined => bytes.length === 0 ? undefined : pieceOf(bytes, next)

/** Where whoever has been told everything so far goes on. */
export const toldUpTo = ({ bytes, next }: Held): number => next - bytes.length

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const pieceOf = (bytes: Uint8Array, next: number): LogPiece => {
  try {
    return { text: strict.decode(bytes), next }
  } catch {
    return { base64: Buffer.from(bytes).toString("base64"), next }
  }
}

/** How many bytes at the end begin a character that is not whole (RFC 3629, section 3): 0 to 3. */
const beginningAtEnd = (bytes: Uint8Array): number => {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!
    if ((byte & 0b1100_0000) === 0b1000_0000) continue
    const length = byte >= 0xf0 && byte < 0xf8 ? 4 : byte >= 0xe0 ? (byte < 0xf0 ? 3 : 1) : byte >= 0xc0 ? 2 : 1
    return length > back ? back : 0
  }
  return 0
}
