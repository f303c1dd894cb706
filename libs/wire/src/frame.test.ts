import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { channelsMax, dataBytesMax, decodeFrame, encodeFrame, frameBytesMax, relabel, type Frame, type Statement } from "./frame.ts"

const u16 = fc.integer({ min: 0, max: 0xffff })
const u32 = fc.integer({ min: 0, max: 0xffffffff })
const offset = fc.maxSafeNat()
const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength })
const text = fc.string({ unit: "grapheme", maxLength: 20 })
const position = fc.tuple(u16, offset, offset, offset).map(([id, ...places]) => {
  const [read, next, limit] = places.sort((a, b) => a - b) as [number, number, number]
  return { id, next, read, limit }
})
const statement: fc.Arbitrary<Statement> = fc.tuple(position, text).map(([where, name]) => ({ ...where, name }))
const link = u32

const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ _tag: fc.constant("Hello" as const), link, boot: bytes(16, 16) }),
  fc.record({
    _tag: fc.constant("Open" as const), link, ordinal: u32, session: text, host: text, warrant: bytes(0, 300), proof: bytes(64, 64),
    channels: fc.uniqueArray(statement, { maxLength: channelsMax, selector: ({ id }) => id })
  }),
  fc.record({ _tag: fc.constant("Accepted" as const), link, channels: fc.array(position, { maxLength: channelsMax }) }),
  fc.record({ _tag: fc.constant("Close" as const), link, code: text, message: text }),
  fc.record({ _tag: fc.constant("Detach" as const), link }),
  fc.record({ _tag: fc.constant("Data" as const), link, channel: u16, offset: fc.maxSafeNat().map((at) => Math.max(0, at - dataBytesMax)), bytes: bytes(1, 2_000) }),
  fc.tuple(link, u16, offset, fc.integer({ min: 1, max: 1e6 })).map(([link, channel, from, size]) =>
    ({ _tag: "Gap" as const, link, channel, from: Math.max(0, from - size), to: Math.max(0, from - size) + size })),
  fc.record({ _tag: fc.constant("End" as const), link, channel: u16, at: offset }),
  fc.tuple(link, position).map(([link, { id, read, limit }]) => ({ _tag: "Credit" as const, link, channel: id, read, limit })),
  fc.record({ _tag: fc.constant("OpenChannel" as const), link, channel: statement }),
  fc.record({ _tag: fc.constant("ChannelOver" as const), link, channel: u16, code: text, message: text }),
  fc.record({ _tag: fc.constantFrom("Ping" as const, "Pong" as const), link, nonce: u32 })
)

// Byte fields come back as views of another class; compared as plain arrays.
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value, (_, one: unknown) => {
  const held = one as { readonly type?: string; readonly data?: unknown }
  return one instanceof Uint8Array ? [...one] : held?.type === "Buffer" ? held.data : one
}))

describe("frames", () => {
  it("what is encoded decodes to the same", () =>
    fc.assert(fc.property(frame, (said) => {
      const heard = decodeFrame(encodeFrame(said))
      assert.deepStrictEqual(Result.isSuccess(heard) ? plain(heard.success) : heard.failure.reason, plain(said))
    })))

  it("a frame cut short or made longer is refused, but for Data, whose last field is the rest", () =>
    fc.assert(fc.property(frame, fc.nat(), (said, cut) => {
      const whole = encodeFrame(said)
      const least = said._tag === "Data" ? 16 : whole.byteLength - 1
      assert.isTrue(Result.isFailure(decodeFrame(whole.subarray(0, Math.min(least, cut % whole.byteLength)))))
      if (said._tag !== "Data") assert.isTrue(Result.isFailure(decodeFrame(Buffer.concat([whole, Buffer.from([0])]))))
    })))

  it("no bytes whatever make the decoder throw", () =>
    fc.assert(fc.property(fc.oneof(bytes(0, 400), fc.tuple(fc.integer({ min: 0, max: 15 }), bytes(0, 400)).map(([kind, rest]) => Uint8Array.from([1, kind, ...rest]))), (any) => {
      decodeFrame(any)
    }), { numRuns: 2_000 }))

  it("another link number is written in place, and nothing else changes", () =>
    fc.assert(fc.property(frame, u32, (said, number) => {
      const encoded = encodeFrame(said)
      relabel(encoded, number)
      assert.deepStrictEqual(Buffer.from(encoded), Buffer.from(encodeFrame({ ...said, link: number })))
    })))

  it("other versions, unknown kinds and frames above the limit are refused with the reason", () => {
    const reason = (any: Uint8Array) => Result.match(decodeFrame(any), { onSuccess: () => "", onFailure: (refused) => refused.reason })
    assert.include(reason(Uint8Array.from([2, 5, 0, 0, 0, 0])), "version is 2")
    assert.include(reason(Uint8Array.from([1, 99, 0, 0, 0, 0])), "kind 99 is unknown")
    assert.include(reason(new Uint8Array(frameBytesMax + 1)), "above 65536")
    assert.throws(() => encodeFrame({ _tag: "Close", link: 0, code: "x".repeat(256), message: "" }), RangeError)
  })
})
