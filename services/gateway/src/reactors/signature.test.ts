import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { createHmac } from "node:crypto"
import { secretFrom, secretText, verifySignature } from "./signature.ts"

describe("a signed request", () => {
  const secret = Buffer.from("0123456789abcdef0123456789abcdef")
  const body = Buffer.from("{\"a\":1}")
  const nowMs = 1_800_000_000_000
  const sign = (id: string, seconds: number, of: Uint8Array, by: Uint8Array = secret) =>
    `v1,${createHmac("sha256", by).update(`${id}.${seconds}.`).update(of).digest("base64")}`
  const headers = (change: Record<string, string | undefined> = {}) => ({
    "webhook-id": "msg_1",
    "webhook-timestamp": String(nowMs / 1000),
    "webhook-signature": sign("msg_1", nowMs / 1000, body),
    ...change
  })
  const why = (refused: ReturnType<typeof verifySignature>) => Option.match(refused, { onNone: () => "it is believed", onSome: ({ why }) => why })

  it("is believed with the right secret, beside signatures of an older one", () => {
    assert.strictEqual(why(verifySignature(secret, headers(), body, nowMs)), "it is believed")
    const both = `${sign("msg_1", nowMs / 1000, body, Buffer.from("old"))} ${sign("msg_1", nowMs / 1000, body)}`
    assert.strictEqual(why(verifySignature(secret, headers({ "webhook-signature": both }), body, nowMs)), "it is believed")
  })

  it("is not with another body, id, time, secret, or without a header", () => {
    for (const [given, of, at] of [
      [headers(), Buffer.from("{\"a\":2}"), nowMs],
      [headers({ "webhook-id": "msg_2" }), body, nowMs],
      [headers({ "webhook-timestamp": String(nowMs / 1000 + 1) }), body, nowMs],
      [headers({ "webhook-signature": sign("msg_1", nowMs / 1000, body, Buffer.from("other")) }), body, nowMs],
      [headers({ "webhook-signature": "v1," }), body, nowMs],
      [headers({ "webhook-signature": undefined }), body, nowMs],
      [headers({ "webhook-timestamp": "now" }), body, nowMs],
      [headers(), body, nowMs + 301_000],
      [headers(), body, nowMs - 301_000]
    ] as const) {
      assert.notStrictEqual(why(verifySignature(secret, given, of, at)), "it is believed", JSON.stringify(given))
    }
  })

  it("is the one that the specification shows", () => {
    const given = {
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    }
    const secret = secretFrom("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert.strictEqual(why(verifySignature(secret, given, Buffer.from("{\"test\": 2432232314}"), 1_614_265_330_000)), "it is believed")
  })

  it("a secret goes to its text form and back", () => assert.deepStrictEqual(Buffer.from(secretFrom(secretText(secret))), secret))
})
