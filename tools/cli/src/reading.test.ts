import type { StoredCommit } from "@millrace/journal"
import { Result } from "effect"
import { assert, describe, it } from "vitest"
import { parseCut, parseMoment } from "./cut.ts"
import { factsOf, factText, unreadableIn } from "./fact-line.ts"
import { earliest } from "./merged.ts"
import { memoryMib, millis } from "./quantities.ts"

const commit = (stream: string, sequence: number, storedAtMs: number, more: Partial<StoredCommit> = {}): { readonly commit: StoredCommit } => ({
  commit: {
    place: { stream, sequence, prev: sequence - 1, epoch: 1, storedAtMs },
    subject: { kind: "job", scope: "main", story: "job_0" },
    actor: "user:owner" as never,
    happenedAtMs: storedAtMs,
    mustUnderstand: false,
    facts: [],
    ...more
  }
})
const placeOf = (head: { readonly commit: StoredCommit } | undefined) => head && `${head.commit.place.stream} ${head.commit.place.sequence}`

describe("what people write on a command line", () => {
  it("is a size", () => assert.deepStrictEqual(["256", "64MiB", "2GiB", "0.5g", "1 TiB"].map(memoryMib), [256, 64, 2048, 512, 1_048_576]))
  it("is no size", () => assert.deepStrictEqual(["", "MiB", "12parsec", "-1", "1e3"].map(memoryMib), Array.from({ length: 5 }, () => undefined)))
  it("is a length of time", () => assert.deepStrictEqual(["500ms", "90s", "10m", "1.5h", "2d"].map(millis), [500, 90_000, 600_000, 5_400_000, 172_800_000]))
  it("is no length of time", () => assert.deepStrictEqual(["10", "10x", "", "-5s"].map(millis), Array.from({ length: 4 }, () => undefined)))
  it("is a cut", () => assert.deepStrictEqual(parseCut("GATEWAY=12, SCHEDULER=40"), { GATEWAY: 12, SCHEDULER: 40 }))
  it("is no cut", () => assert.deepStrictEqual(["", "GATEWAY", "NOWHERE=1", "GATEWAY=-1", "gateway=1"].map(parseCut), Array.from({ length: 5 }, () => undefined)))
  it("is a moment", () =>
    assert.deepStrictEqual([parseMoment("HOSTS=3"), parseMoment("2026-07-01T12:00:00Z"), parseMoment("1 o'clock"), parseMoment("12")], [
      { cut: { HOSTS: 3 } },
      { atMs: Date.UTC(2026, 6, 1, 12) },
      undefined,
      undefined
    ]))
})

describe("several streams as one list", () => {
  it("begin with what was stored first", () =>
    assert.strictEqual(placeOf(earliest([commit("SCHEDULER", 1, 20), commit("GATEWAY", 1, 10)])), "GATEWAY 1"))

  it("put what a decision had seen before the decision, within one millisecond", () => {
    const decided = { saw: { HOSTS: 7 }, decidedAtMs: 10, ordinal: 0, of: 1 }
    assert.strictEqual(placeOf(earliest([commit("SCHEDULER", 4, 10, { decided }), commit("HOSTS", 7, 10)])), "HOSTS 7")
    assert.strictEqual(placeOf(earliest([commit("SCHEDULER", 4, 10, { decided }), commit("HOSTS", 8, 10)])), "SCHEDULER 4")
  })

  it("end", () => assert.isUndefined(earliest([])))
})

describe("a fact that cannot be read", () => {
  const unread = commit("GATEWAY", 9, 10, {
    facts: [{ id: "fct_1" as never, name: "JobAdored", version: 3, ordinal: 0, partOf: "fct_1" as never, event: Result.fail({ reason: "no such fact is known here" } as never) }]
  }).commit

  it("is shown as such and counted", () => {
    const [view] = factsOf(unread)
    assert.deepInclude(view, { name: "JobAdored", body: null, unreadable: "no such fact is known here" })
    assert.match(factText(view!, false), /^GATEWAY 9 .*JobAdored .*cannot be read: no such fact is known here$/u)
    assert.match(factText(view!, true), /\{"unreadable":"no such fact is known here"\}$/u)
    assert.strictEqual(unreadableIn(unread), 1)
  })
})
