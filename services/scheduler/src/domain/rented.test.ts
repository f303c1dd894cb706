import { assert, describe, it } from "@effect/vitest"
import { admitted, enrolled, exited, given, host, job, joined, left, needs, reclaimed, released, submitted } from "../testing/cell.ts"

const twoHosts = [admitted("a"), joined("a"), enrolled("a"), admitted("b"), joined("b")]

describe("a rented machine", () => {
  it("takes work like any other", () => {
    const cell = given(...twoHosts, submitted("1"))
    cell.rest()
    assert.strictEqual(cell.placed("1").hostId, host("a"))
  })

  it.each([["is released", released("a")], ["is taken back by its provider", reclaimed("a")]])("that %s takes nothing more, and what runs there ends by itself", (_, word) => {
    const cell = given(...twoHosts, submitted("1"))
    cell.rest()
    cell.hear(word, submitted("2"))
    const said = cell.rest(1)
    assert.deepStrictEqual(said.map(({ _tag }) => _tag), ["PlacementMade"])
    assert.strictEqual(cell.placed("2").hostId, host("b"))
    cell.hear(exited(cell.placed("1")))
    assert.deepStrictEqual(cell.rest(2).map((fact) => [fact._tag, "jobId" in fact && fact.jobId]), [["JobSettled", job("1")]])
  })

  it("takes nothing even if its host enrols late, or joins again", () => {
    const cell = given(released("a"), admitted("a"), joined("a"), enrolled("a"), left("a"), joined("a"), submitted("1", { resources: needs(10) }))
    assert.notInclude(cell.rest().map(({ _tag }) => _tag), "PlacementMade")
  })
})
