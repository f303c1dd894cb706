import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { generateKeyPairSync } from "node:crypto"
import { covers } from "./channel-name.ts"
import { ControlReader, encodeControl, type Control } from "./control.ts"
import { freshHolder, proofBytes, readWarrant, signWarrant, verifyWith, type SessionWarrant } from "./warrant.ts"

const cell = generateKeyPairSync("ed25519")
const other = generateKeyPairSync("ed25519")
const holder = freshHolder()
const boot = new Uint8Array(16).fill(7)
const terms: SessionWarrant = {
  sessionId: "s1", hostId: "h1", jobId: "job-1", attempt: 2, channels: ["stdout", "port:*"],
  notBeforeMs: 1_000, expiresAtMs: 2_000, bytesMax: 10, holder: holder.publicKey
}
const asked = (bytes: Uint8Array) => {
  const said = { sessionId: "s1", hostId: "h1", boot, ordinal: 0 }
  return { ...said, channels: ["stdout", "port:80"], proof: holder.sign(proofBytes(said, bytes)) }
}

const text = fc.string({ unit: "grapheme", maxLength: 20 })
const warrant: fc.Arbitrary<SessionWarrant> = fc.record({
  sessionId: text, hostId: text, jobId: text, attempt: fc.nat(), channels: fc.array(text, { maxLength: 32 }),
  notBeforeMs: fc.maxSafeNat(), expiresAtMs: fc.maxSafeNat(), bytesMax: fc.maxSafeNat(), holder: fc.uint8Array({ minLength: 32, maxLength: 32 })
})

describe("warrants", () => {
  it("what was signed is read again, and equal warrants are equal bytes", () =>
    fc.assert(fc.property(warrant, (said) => {
      const bytes = signWarrant(said, cell.privateKey)
      const read = Result.getOrThrow(readWarrant(bytes))
      assert.deepStrictEqual({ ...read, holder: [...read.holder] }, { ...said, holder: [...said.holder] })
      assert.deepStrictEqual(signWarrant(read, cell.privateKey), bytes)
    }), { numRuns: 50 }))

  it("no bytes whatever make the reader throw", () =>
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void readWarrant(bytes))))

  it.effect("a change of any one byte is refused", () => Effect.gen(function*() {
    yield* TestClock.setTime(1_500)
    const bytes = signWarrant(terms, cell.privateKey)
    const verify = verifyWith({ cellKeys: [cell.publicKey], skewMs: 0 })
    assert.strictEqual((yield* verify(bytes, asked(bytes))).attempt, 2)
    for (let at = 0; at < bytes.byteLength; at++) {
      const changed = Uint8Array.from(bytes, (byte, n) => (n === at ? byte ^ 0x20 : byte))
      const refused = yield* Effect.flip(verify(changed, asked(changed)))
      assert.include(["warrant_forged", "warrant_malformed"], refused.code)
    }
  }))

  it.effect("holds from its first to its last millisecond, and the skew beyond", () => Effect.gen(function*() {
    const bytes = signWarrant(terms, cell.privateKey)
    const at = (nowMs: number, skewMs: number) => TestClock.setTime(nowMs).pipe(
      Effect.andThen(verifyWith({ cellKeys: [cell.publicKey], skewMs })(bytes, asked(bytes))),
      Effect.match({ onSuccess: () => "allowed", onFailure: ({ code }) => code })
    )
    assert.strictEqual(yield* at(999, 0), "warrant_not_yet")
    assert.strictEqual(yield* at(999, 1), "allowed")
    assert.strictEqual(yield* at(1_000, 0), "allowed")
    assert.strictEqual(yield* at(1_999, 0), "allowed")
    assert.strictEqual(yield* at(2_000, 0), "warrant_expired")
    assert.strictEqual(yield* at(2_000, 1), "allowed")
  }))

  it.effect("while the cell changes its key, warrants of both are good", () => Effect.gen(function*() {
    yield* TestClock.setTime(1_500)
    const verify = verifyWith({ cellKeys: [other.publicKey, cell.publicKey], skewMs: 0 })
    for (const key of [cell.privateKey, other.privateKey]) {
      const bytes = signWarrant(terms, key)
      assert.strictEqual((yield* verify(bytes, asked(bytes))).sessionId, "s1")
    }
  }))

  it("a kind with a star covers its details and no other kind", () => {
    assert.isTrue(covers(["port:*"], "port:8080"))
    assert.isTrue(covers(["port:8080"], "port:8080"))
    assert.isFalse(covers(["port:8080"], "port:80801"))
    assert.isFalse(covers(["port:*"], "portal"))
    assert.isFalse(covers(["stdout"], "stdin"))
    assert.isFalse(covers(["*", "toString:*"], "toString:1"))
  })
})

describe("control messages", () => {
  const said: ReadonlyArray<Control> = [
    { _tag: "Ready", pid: 4_000_000 }, { _tag: "Resize", columns: 200, rows: 50 }, { _tag: "Signal", name: "SIGHUP" }, { _tag: "Exited", code: 7, signal: "" }
  ]
  it("come out whole however the bytes are cut", () =>
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (cuts) => {
      const reader = new ControlReader()
      const bytes = Buffer.concat(said.map(encodeControl))
      const heard: Array<Control> = []
      for (let at = 0, n = 0; at < bytes.byteLength; n++) {
        const size = cuts[n % cuts.length] as number
        heard.push(...Result.getOrThrow(reader.push(bytes.subarray(at, at + size))))
        at += size
      }
      assert.deepStrictEqual(heard, said)
    })))

  it("that are none are refused", () => {
    assert.isTrue(Result.isFailure(new ControlReader().push(Uint8Array.from([0, 1, 99]))))
    assert.isTrue(Result.isFailure(new ControlReader().push(Uint8Array.from([255, 255]))))
  })
})
