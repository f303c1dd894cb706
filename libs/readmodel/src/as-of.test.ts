import { assert, describe, it } from "@effect/vitest"
import { MomentMalformed, timeFrom } from "./as-of.ts"

describe("as of when somebody reads", () => {
  it("a moment is a date, a time or whole ms", () => {
    assert.strictEqual(timeFrom("2026-03-01T12:00:00Z"), Date.UTC(2026, 2, 1, 12))
    assert.strictEqual(timeFrom("2026-03-01T13:00:00+01:00"), Date.UTC(2026, 2, 1, 12))
    assert.strictEqual(timeFrom("2026-03-01"), Date.UTC(2026, 2, 1))
    assert.strictEqual(timeFrom("1772366400000"), 1_772_366_400_000)
    for (const text of ["", "yesterday", "2026-13-01T00:00:00Z", "12:00", "1 March 2026", "-5"]) assert.isUndefined(timeFrom(text), text)
  })

  it("what names none is told as such, cut to what a line can hold", () => {
    const { message, words } = new MomentMalformed({ field: "at", text: "x".repeat(500) })
    assert.strictEqual(words.code, "moment_malformed")
    assert.strictEqual(words.where, "at in the query")
    assert.isBelow(message.length, 120)
  })
})
