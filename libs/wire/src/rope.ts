/**
 * A run of bytes in pieces: grows at the back, shrinks at the front, never changes in place. Small
 * pieces are joined as they come, so that a thousand one-byte writes do not become a thousand pieces;
 * bytes are copied on the way in, so what a rope counts is what it holds.
 */
export interface Rope {
  readonly length: number
  readonly pieces: ReadonlyArray<Uint8Array>
}

/** No bytes. */
export const emptyRope: Rope = { length: 0, pieces: [] }

// A last piece below this is joined with what follows; above it a join would copy more than it saves.
const joinBelow = 4096

/** `rope` with a copy of `bytes` behind it. */
export const append = (rope: Rope, bytes: Uint8Array): Rope => {
  if (bytes.byteLength === 0) return rope
  const length = rope.length + bytes.byteLength
  const last = rope.pieces.at(-1)
  if (last === undefined || last.byteLength + bytes.byteLength > joinBelow) {
    return { length, pieces: [...rope.pieces, Uint8Array.from(bytes)] }
  }
  const joined = new Uint8Array(last.byteLength + bytes.byteLength)
  joined.set(last)
  joined.set(bytes, last.byteLength)
  return { length, pieces: [...rope.pieces.slice(0, -1), joined] }
}

/** `rope` without its first `count` bytes. */
export const dropFront = (rope: Rope, count: number): Rope => {
  if (count <= 0) return rope
  if (count >= rope.length) return emptyRope
  const { index, within } = locate(rope, count)
  const pieces = rope.pieces.slice(index)
  pieces[0] = (pieces[0] as Uint8Array).subarray(within)
  return { length: rope.length - count, pieces }
}

/** At most `max` bytes from position `from` on, as one array; never empty while there are bytes there. */
export const peek = (rope: Rope, from: number, max: number): Uint8Array => {
  if (from >= rope.length || max <= 0) return new Uint8Array(0)
  const { index, within } = locate(rope, from)
  const first = (rope.pieces[index] as Uint8Array).subarray(within)
  const wanted = Math.min(max, rope.length - from)
  if (first.byteLength >= wanted) return first.subarray(0, wanted)
  const joined = new Uint8Array(wanted)
  let at = 0
  for (let n = index; at < wanted; n++) {
    const piece = n === index ? first : (rope.pieces[n] as Uint8Array)
    const part = piece.subarray(0, wanted - at)
    joined.set(part, at)
    at += part.byteLength
  }
  return joined
}

const locate = (rope: Rope, position: number): { readonly index: number; readonly within: number } => {
  let within = position
  let index = 0
  while (within >= (rope.pieces[index] as Uint8Array).byteLength) {
    within -= (rope.pieces[index] as Uint8Array).byteLength
    index++
  }
  return { index, within }
}
