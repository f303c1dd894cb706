import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type Bucket, full, take } from "./token-bucket.ts"

const rate = { perSecond: 10, burst: 3 }

describe("a token bucket", () => {
  it("gives what it holds at once, then says how long to wait, and keeps that word", () => {
    let bucket: Bucket = full(rate, 0)
    for (let turn = 0; turn < 3; turn += 1) {
      const taken = take(bucket, rate, 0)
      assert.strictEqual(taken.waitMs, 0)
      bucket = taken.bucket
    }
    const refused = take(bucket, rate, 0)
    assert.strictEqual(refused.waitMs, 100)
    assert.strictEqual(take(refused.bucket, rate, 99).waitMs, 1)
    assert.strictEqual(take(refused.bucket, rate, 100).waitMs, 0)
  })

  it("a clock that goes back fills nothing", () => {
    let bucket: Bucket = full(rate, 1_000)
    for (const nowMs of [1_000, 0, 1_000]) bucket = take(bucket, rate, nowMs).bucket
    assert.isAbove(take(bucket, rate, 0).waitMs, 0)
    assert.isAbove(take(take(bucket, rate, 0).bucket, rate, 1_000).waitMs, 0)
  })

  it.prop("over any stretch nobody gets more than the burst and the rate together", [Schema.NonEmptyArray(Schema.Literals([0, 1, 7, 50, 400]))], ([pauses]) => {
    let bucket: Bucket = full(rate, 0)
    let nowMs = 0
    let given = 0
    for (const pause of pauses) {
      nowMs += pause
      const taken = take(bucket, rate, nowMs)
      bucket = taken.bucket
      if (taken.waitMs === 0) given += 1
      assert.isAtMost(given, rate.burst + (nowMs * rate.perSecond) / 1000 + 1e-9)
    }
  })
})
