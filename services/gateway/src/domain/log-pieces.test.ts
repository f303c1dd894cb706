import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { nothingHeldAt, placeOf, placeText, told, toldAtEnd, toldUpTo, type LogPiece } from "./log-pieces.ts"

/** What a follower is told of bytes that come cut like this. */
const tell = (bytes: Uint8Array, cuts: ReadonlyArray<number>, from = 0): ReadonlyArray<LogPiece> => {
  const pieces: Array<LogPiece> = []
  let held = nothingHeldAt(from)
  let at = 0
  for (const size of [...cuts, bytes.length]) {
    const after = told(held, bytes.subarray(at, at + size))
    at = Math.min(bytes.length, at + size)
    if (after.piece !== undefined) pieces.push(after.piece)
    held = after.held
    assert.strictEqual(toldUpTo(held), after.piece?.next ?? toldUpTo(held))
  }
  const rest = toldAtEnd(held)
  return rest === undefined ? pieces : [...pieces, rest]
}

const bytesOf = (pieces: ReadonlyArray<LogPiece>): Buffer =>
  Buffer.concat(pieces.map((piece) => "text" in piece ? Buffer.from(piece.text) : Buffer.from(piece.base64, "base64")))

describe("pieces of a log", () => {
  it("no character is cut in two, wherever the bytes were cut", () => {
    const text = "aé€😀z"
    const bytes = Buffer.from(text)
    for (let cut = 0; cut <= bytes.length; cut++) {
      const pieces = tell(bytes, [cut])
      assert.isTrue(pieces.every((piece) => "text" in piece), `cut at ${cut}: ${JSON.stringify(pieces)}`)
      assert.strictEqual(bytesOf(pieces).toString(), text)
    }
  })

  it("bytes that are no UTF-8 are told as they are, and a byte order mark stays", () => {
    const bytes = Buffer.concat([Buffer.from([0xff, 0xfe, 0x00, 0xc0]), Buffer.from("\uFEFFx")])
    assert.deepStrictEqual(bytesOf(tell(bytes, [1, 1, 3])), bytes)
    assert.deepStrictEqual(tell(Buffer.from("\uFEFFx"), []), [{ text: "\uFEFFx", next: 4 }])
  })

  it("what ends in the middle of a character is told at the end", () =>
    assert.deepStrictEqual(tell(Buffer.from([0x61, 0xe2, 0x82]), [], 7), [{ text: "a", next: 8 }, { base64: "4oI=", next: 10 }]))

  it.effect.prop("whatever the bytes and the cuts, all are told in order, and whoever goes on at a piece's end misses nothing",
    [Schema.Array(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 255 })))), Schema.Array(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 9 }))))],
    ([values, cuts]) => Effect.sync(() => {
      const bytes = Buffer.from(values)
      const pieces = tell(bytes, cuts)
      assert.deepStrictEqual(bytesOf(pieces), bytes)
      for (const { next } of pieces) {
        const before = pieces.filter((piece) => piece.next <= next)
        assert.deepStrictEqual(Buffer.concat([bytesOf(before), bytesOf(tell(bytes.subarray(next), cuts, next))]), bytes)
      }
    }), { arbitrary: { runs: 200 } })

  it("a place is read back as it was written, and nothing else is a place", () => {
    assert.deepStrictEqual(placeOf(placeText({ attempt: 2, offset: 1024 })), { attempt: 2, offset: 1024 })
    for (const text of ["", "1", "1:", ":1", "0:1", "1:-1", "1:01", "1:9999999999999999", "1:1\n", " 1:1", "1:1e3"]) assert.isUndefined(placeOf(text), text)
  })
})
