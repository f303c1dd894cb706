import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { deriveId, timeOfId } from "./derive.ts"

describe("derived ids", () => {
  it("the same cause gives the same id, another ordinal another", () => {
    assert.strictEqual(deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0), deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0))
    assert.notStrictEqual(deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0), deriveId("fct", 1_700_000_000_000, "cause", "reactor", 1))
  })
  it("parts do not run together", () => {
    assert.notStrictEqual(deriveId("fct", 0, "ab", "c"), deriveId("fct", 0, "a", "bc"))
  })
  it.prop("an id carries its time and has the form that the schemas demand", [Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 45 }))), Schema.String], ([atMs, part]) => {
    const id = deriveId("fct", atMs, part)
    assert.match(id, /^fct_[0-9A-HJKMNP-TV-Z]{26}$/u)
    assert.strictEqual(timeOfId(id), atMs)
  })
})
