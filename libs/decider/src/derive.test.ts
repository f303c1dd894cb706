import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { deriveId, timeOfId } from "./derive.ts"

describe("derived ids", () => {
  it("the same cause gives the same id, another ordinal another", () => {
    assert.strictEqual(deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0), deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0))
    assert.notStrictEqual(deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0), deriveId("fct", 1_700_000_000_000, "cause", "reactor", 1))
  })
  it("are for ever what they once were: they lie in logs", () => {
    assert.deepStrictEqual(
      [deriveId("fct", 1_700_000_000_000, "cause", "reactor", 0), deriveId("att", 0), deriveId("x", 2 ** 48 - 1, "ü", 1)],
      ["fct_01HF7YAT008YZB251SHHMJCEQP", "att_0000000000WERC8GMRZGE196QV", "x_7ZZZZZZZZZ3JSHHR3FKR82WD74"]
    )
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
