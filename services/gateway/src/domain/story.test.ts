import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { MillFact } from "@millrace/schemas"
import { inCausalOrder, sentence, type Told } from "./story.ts"

const line = (id: string, storedAtMs: number, causedBy: string | null = null): Told => ({ id, causedBy, storedAtMs, stream: "GATEWAY", sequence: storedAtMs, ordinal: 0 })
const ids = (lines: ReadonlyArray<Told>) => inCausalOrder(lines).map(({ id }) => id).join(" ")

describe("a line of a story", () => {
  const which = { jobId: "job_1", workspace: "acme", hostId: "hst_1", attempt: 1, attemptId: "att_1", fence: { epoch: 1, sequence: 1 } }
  const told = (fact: object): string => sentence({ ...which, ...fact } as unknown as MillFact)

  it("says to whom and by what right work gave way, and that this is no failure of its own", () => {
    assert.include(told({ _tag: "PlacementWithdrawn", cause: "preempted", why: "it makes room for job_2 of acme" }), "withdrawn from hst_1: it makes room for job_2 of acme")
    assert.notInclude(told({ _tag: "PlacementWithdrawn", cause: "cancelled" }), "undefined")
    const retried = { _tag: "JobRetried", failedAttempt: 1, notBeforeMs: 0 }
    for (const term of ["preempted", "gang"]) assert.strictEqual(told({ ...retried, [term]: true, cause: "it gave way" }), "attempt 1 ended for others (it gave way); another follows, and this one does not count")
    assert.include(told({ ...retried, cause: "exited with 1" }), "attempt 1 failed (exited with 1)")
  })
})

describe("a story's order", () => {
  it("is that of its causes; among what is free, what was stored first", () => {
    assert.strictEqual(ids([line("exit", 1, "start"), line("asked", 2), line("start", 3)]), "asked start exit")
    assert.strictEqual(ids([line("c", 3), line("a", 1), line("b", 2, "elsewhere")]), "a b c")
    assert.strictEqual(ids([line("d", 1, "b"), line("c", 2, "a"), line("a", 3), line("b", 4, "a")]), "a c b d")
  })

  it("has an end even where facts cause each other in a ring", () => {
    assert.strictEqual(ids([line("a", 1, "b"), line("b", 2, "a"), line("c", 3)]), "c a b")
  })

  it.prop("tells every line once, and no line before its cause", [Schema.Array(Schema.Literals([0, 1, 2, 3, 4, 5]))], ([causes]) => {
    const lines = causes.map((cause, at) => line(`${at}`, (at * 7) % 5, cause < at ? `${cause}` : null))
    const told = inCausalOrder(lines)
    assert.sameMembers(told.map(({ id }) => id), lines.map(({ id }) => id))
    for (const [at, { causedBy }] of told.entries()) {
      if (causedBy !== null) assert.isTrue(told.slice(0, at).some(({ id }) => id === causedBy))
    }
  })
})
