import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { forgetting, type MarketFact, type ProviderRow, resume, Said, suspend, suspended, suspensions, world } from "../fixtures/providers.ts"
import { openEdition } from "./edition.ts"
import { read } from "./index.ts"
import { writeBatch } from "./write-batch.ts"

const Step = Schema.Struct({ provider: Schema.Literals(["aws", "gcp", "nebius"]), what: Schema.Literals(["suspend", "resume", "forget"]) })

const factOf = ({ provider, what }: typeof Step.Type): MarketFact =>
  what === "suspend" ? suspend(provider) : resume(provider, what === "forget" ? 0 : 500)

const foldOf = (commits: ReadonlyArray<ReadonlyArray<MarketFact>>): ReadonlyArray<ProviderRow> => {
  const rows = new Map<string, ProviderRow>()
  for (const fact of commits.flat()) {
    const row = forgetting(rows.get(fact.provider), fact)
    if (row === undefined) rows.delete(fact.provider)
    else rows.set(fact.provider, row)
  }
  return [...rows.values()].sort((a, b) => (a.provider < b.provider ? -1 : 1))
}

const rowsAt = (at?: Record<string, number>) =>
  Effect.map(read(suspended, ({ db, valid }) =>
    db.selectFrom("suspensions").select(["provider", "suspended", "times"]).where(valid(suspensions)).orderBy("provider").execute(), at === undefined ? {} : { at }), ({ value }) => value)

describe("a table with history", () => {
  it.effect.prop("says at every cut what a fold of the facts up to it says, however they were batched", [
    Schema.Array(Schema.NonEmptyArray(Step)),
    Schema.NonEmptyArray(Schema.Literals([1, 2, 3, 5, 8]))
  ], ([commits, sizes]) => {
    const said = new Said()
    const facts = commits.map((steps) => steps.map(factOf))
    for (const commit of facts) said.say(commit)
    return world(said, Effect.gen(function*() {
      const edition = yield* openEdition(suspended, 1)
      let position = edition.position
      for (let at = 0, turn = 0; at < facts.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 1
        position = (yield* writeBatch(suspended, edition, position, said.log.after("BROKER", at, undefined, size).commits)).position
        at += size
      }
      for (let at = 0; at <= facts.length; at++) {
        assert.deepStrictEqual(yield* rowsAt({ BROKER: at }), foldOf(facts.slice(0, at)), `at ${at}`)
      }
      assert.deepStrictEqual(yield* rowsAt(), foldOf(facts), "now")
    }))
  }, { arbitrary: { runs: 8 } })

  it.live("says the same when the facts of one commit were taken in apart", () => {
    const said = new Said()
    said.say([suspend("aws"), resume("aws")])
    said.say([resume("aws", 0), suspend("aws")])
    said.say([resume("aws", 0)])
    return world(said, Effect.gen(function*() {
      const failing: typeof suspended = {
        ...suspended,
        apply: async (tx, facts) => {
          if (facts.length > 1) throw new Error("one at a time")
          await suspended.apply(tx, facts)
        }
      }
      const edition = yield* openEdition(failing, 1)
      const written = yield* writeBatch(failing, edition, edition.position, said.log.after("BROKER", 0, undefined, 9).commits)
      assert.deepStrictEqual(written.asides, [])
      assert.deepStrictEqual(yield* rowsAt({ BROKER: 1 }), [{ provider: "aws", suspended: false, times: 1 }])
      assert.deepStrictEqual(yield* rowsAt({ BROKER: 2 }), [{ provider: "aws", suspended: true, times: 1 }])
      assert.deepStrictEqual(yield* rowsAt({ BROKER: 3 }), [])
    }))
  })
})
