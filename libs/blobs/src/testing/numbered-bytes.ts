import { Stream } from "effect"

/** Bytes that differ from place to place and from seed to seed (xorshift32, Marsaglia 2003). */
export const bytesNumbered = (seed: number, sizeBytes: number): Uint8Array => {
  const bytes = new Uint8Array(sizeBytes)
  let state = (seed + 1) * 0x9e3779b1 | 1
  for (let at = 0; at < sizeBytes; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
}

/** A long stream of fresh chunks of 64 KiB, each starting with its number; `onPull` hears how much was asked for. */
export const longStream = (sizeBytes: number, onPull: (producedBytes: number) => void): Stream.Stream<Uint8Array> => {
  const chunkBytes = 65_536
  return Stream.range(0, sizeBytes / chunkBytes - 1).pipe(
    Stream.rechunk(1),
    Stream.map((number) => {
      const chunk = Buffer.alloc(chunkBytes, number & 0xff)
      chunk.writeUInt32BE(number)
      onPull((number + 1) * chunkBytes)
      return chunk
    })
  )
}
