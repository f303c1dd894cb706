import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { planted, PlantedBugs } from "./planted.ts"

describe("a planted bug", () => {
  it.effect("is there where a test plants it, and nowhere else", () =>
    Effect.gen(function*() {
      const both = Effect.all([planted("forget-acks"), planted("double-book")])
      assert.deepStrictEqual(yield* both, [false, false])
      assert.deepStrictEqual(yield* Effect.provideService(both, PlantedBugs, new Set(["forget-acks"])), [true, false])
    }))
})
