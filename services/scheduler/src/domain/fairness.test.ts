import { assert, describe, it } from "@effect/vitest"
import { AskId, type MillFact, Principal, type QuotaTerms } from "@millrace/schemas"
import { admitted, Cell, exited, given, host, job, joined, needs, submitted, workspace } from "../testing/cell.ts"
import { agedMs } from "./patience.ts"

const here = (name: string, cpuMilli = 4000): ReadonlyArray<MillFact> => [admitted(name), joined(name, needs(cpuMilli, 100_000))]

let asks = 0
const asking = () => ({ askId: AskId.make(`ask_${String(++asks).padStart(26, "0")}`), workspace: workspace("acme"), askedBy: Principal.make("user:ada"), decision: { rule: "role", view: {} } })
const quota = (node: string, terms?: Partial<QuotaTerms>): MillFact =>
  ({ _tag: "QuotaAsked", ...asking(), node, ...(terms === undefined ? {} : { terms: { limits: [], ...terms } }) }) as MillFact
const cores = (nominal: number, more: object = {}) => ({ limits: [{ dimension: "cpuMilli", nominal, ...more }] })
const urgent = (name: string, priority: number): MillFact => ({ _tag: "PriorityAsked", ...asking(), jobId: job(name), priority })

/** Which jobs were placed, in the order in which they were. */
const order = (cell: Cell): string => cell.said("PlacementMade").map(({ jobId }) => jobId.slice(4).replace(/^0+/u, "").toLowerCase()).join(" ")
const ends = (cell: Cell, name: string) => cell.hear(exited(cell.placed(name)))
const waits = (cell: Cell, name: string) => cell.said("JobDeferred").findLast(({ jobId }) => jobId === job(name))!
const named = (id: string): string => id.slice(4).replace(/^0+/u, "").toLowerCase()

describe("who is served first", () => {
  it("the more urgent of a workspace before the older", () => {
    const cell = given(...here("a", 1000), submitted("j1"))
    cell.rest(0)
    cell.hear(submitted("j2", { priority: 20 }), submitted("j3"), submitted("j4", { priority: 80 }))
    cell.rest(1)
    for (const name of ["j1", "j4", "j3"]) {
      ends(cell, name)
      cell.rest(2)
    }
    assert.strictEqual(order(cell), "j1 j4 j3 j2")
  })

  it("to others a job is no more urgent than the quota of its workspace says", () => {
    const cell = given(...here("a", 1000), submitted("j0"))
    cell.rest(0)
    cell.hear(submitted("j1", { in: "other" }), submitted("j2", { priority: 95 }), submitted("j3", { in: "third", priority: 80 }), quota("workspace/third", { priorityMax: 80 }))
    cell.rest(1)
    for (const name of ["j0", "j3"]) {
      ends(cell, name)
      cell.rest(2)
    }
    // j3 counts as urgent to all; of acme and other, which count alike, the first by name.
    assert.strictEqual(order(cell), "j0 j3 j2")
  })

  it("nothing stands behind a new quota or priority in the log that does not follow it", () => {
    const cell = given(...here("a", 4000), quota("workspace/acme", cores(1000)), submitted("j1"), submitted("j2"))
    cell.rest(0)
    assert.strictEqual(order(cell), "j1")
    assert.strictEqual(waits(cell, "j2").reason, "quota")
    const other = given(...here("b", 1000), submitted("j3"), submitted("j4"), urgent("j4", 80))
    other.rest(0)
    assert.strictEqual(order(other), "j4")
  })

  it("a workspace that holds less goes before one that holds more, whoever came first", () => {
    const cell = given(...here("a", 4000))
    for (let at = 0; at < 6; at += 1) cell.hear(submitted(`a${at}`))
    cell.hear(submitted("b0", { in: "other" }), submitted("b1", { in: "other" }))
    cell.rest(0)
    assert.strictEqual(order(cell), "a0 b0 a1 b1")
  })

  it("an array shares turns with others, a task a turn", () => {
    const cell = given(...here("a", 4000), submitted("a", { array: { tasks: 100 } }), submitted("b", { in: "other", array: { tasks: 100 } }))
    cell.rest(0)
    assert.strictEqual(order(cell), "a b a b")
  })

  it("who is due more parts gets more turns", () => {
    const cell = given(...here("a", 6000), quota("workspace/other", { weight: 2 }))
    cell.rest(0)
    cell.hear(submitted("a", { array: { tasks: 100 } }), submitted("b", { in: "other", array: { tasks: 100 } }))
    cell.rest(1)
    assert.strictEqual(order(cell).split(" ").filter((name) => name === "b").length, 4)
  })

  it("a priority can be changed while a job waits", () => {
    const cell = given(...here("a", 1000), submitted("j1"), submitted("j2"), submitted("j3"))
    cell.rest(0)
    cell.hear(urgent("j3", 80))
    cell.rest(1)
    assert.deepInclude(cell.said("PriorityChanged")[0], { jobId: job("j3"), priority: 80 })
    ends(cell, "j1")
    cell.rest(2)
    assert.strictEqual(order(cell), "j1 j3")
  })
})

describe("quotas", () => {
  it("beyond what it is due and may borrow a workspace waits, and is told the arithmetic", () => {
    const cell = given(...here("a", 9000), quota("workspace/acme", cores(2000)))
    cell.rest(0)
    cell.hear(submitted("a", { array: { tasks: 5 } }), submitted("b", { in: "other" }))
    cell.rest(1)
    assert.strictEqual(order(cell), "a b a")
    assert.deepInclude(waits(cell, "a"), {
      reason: "quota", unblockedBy: "quota", arithmetic: "workspace/acme needs 1 core and can have no more: it is due 2 cores, and 2 cores are taken"
    })
    cell.hear(quota("workspace/acme"))
    cell.rest(2)
    assert.strictEqual(cell.said("PlacementMade").length, 6)
  })

  it("what a neighbour leaves idle is borrowed, and comes back when it is wanted: the cheapest of what was borrowed ends", () => {
    const cell = given(...here("a", 4000), quota("workspace/acme", { parent: "cohort/all", ...cores(2000) }), quota("workspace/other", { parent: "cohort/all", ...cores(2000) }))
    cell.rest(0)
    for (const [at, name] of ["a0", "a1", "a2", "a3"].entries()) {
      cell.hear(submitted(name))
      cell.rest(at * 1_000)
    }
    assert.strictEqual(order(cell), "a0 a1 a2 a3")
    cell.hear(submitted("b0", { in: "other" }))
    cell.rest(100_000)
    const withdrawn = cell.said("PlacementWithdrawn")
    // a2 and a3 lie beyond what acme is due; a3 began later and loses less.
    assert.deepStrictEqual(withdrawn.map(({ cause, jobId }) => [named(jobId), cause]), [["a3", "preempted"]])
    assert.deepInclude(withdrawn[0]!.by, { jobId: job("b0"), workspace: workspace("other") })
    assert.deepStrictEqual(waits(cell, "b0").heldOn, [host("a")])
    // What is freed for it is kept for it, also against those that would go first.
    cell.hear(submitted("b1", { in: "third", priority: 95 }))
    cell.hear(exited(cell.placed("a3"), { cause: "withdrawn" }))
    cell.rest(100_001)
    assert.strictEqual(order(cell), "a0 a1 a2 a3 b0")
    assert.deepInclude(cell.said("JobRetried")[0], { jobId: job("a3"), preempted: true })
    // And it takes none of its attempts: a3 had but one.
    assert.deepStrictEqual(cell.said("JobSettled"), [])
  })

  it("nobody gives way before it has run a while, and then does", () => {
    const cell = given(...here("a", 1000), submitted("j1", { priority: 20 }))
    cell.rest(0)
    cell.hear(submitted("j2", { priority: 80 }))
    cell.rest(1_000)
    assert.deepStrictEqual(cell.said("PlacementWithdrawn"), [])
    assert.strictEqual(waits(cell, "j2").dueAtMs, 60_000)
    cell.rest(60_000)
    assert.deepStrictEqual(cell.said("PlacementWithdrawn").map(({ by, jobId }) => [named(jobId), named(by!.jobId)]), [["j1", "j2"]])
    cell.hear(exited(cell.placed("j1"), { cause: "withdrawn" }))
    cell.rest(60_001)
    assert.strictEqual(order(cell), "j1 j2")
    ends(cell, "j2")
    cell.rest(60_002)
    assert.strictEqual(order(cell), "j1 j2 j1")
  })

  it("what exits well before it had to give way has succeeded", () => {
    const cell = given(...here("a", 1000), submitted("j1", { priority: 20 }))
    cell.rest(0)
    cell.hear(submitted("j2", { priority: 80 }))
    cell.rest(70_000)
    assert.strictEqual(cell.said("PlacementWithdrawn").length, 1)
    ends(cell, "j1")
    cell.rest(70_001)
    assert.deepInclude(cell.said("JobSettled")[0], { jobId: job("j1"), outcome: "succeeded" })
  })

  it("room is made on one host, at the least loss, and no more of it than is needed", () => {
    const cell = given(...here("a", 4000), ...here("b", 4000))
    // On a lies one that has run long, on b two that have not; beside them room on neither.
    cell.hear(submitted("w", { priority: 20, resources: needs(4000), runMsMax: 600_000 }))
    cell.rest(0)
    cell.hear(submitted("s1", { priority: 20, resources: needs(2000), runMsMax: 600_000 }), submitted("s2", { priority: 20, resources: needs(2000), runMsMax: 600_000 }))
    cell.rest(50_000)
    cell.hear(submitted("j", { priority: 80, resources: needs(1000) }))
    cell.rest(200_000)
    assert.deepStrictEqual(cell.said("PlacementWithdrawn").map(({ jobId }) => named(jobId).slice(0, 1)), ["s"])
  })
})

describe("asks", () => {
  it("each has exactly one answer: the quota, that it is so already, or why not", () => {
    const cell = given(quota("workspace/acme", cores(5)), quota("workspace/acme", cores(5)), quota("cohort/x", { parent: "cohort/y" }), quota("cohort/y", { parent: "cohort/x" }), quota("workspace/none"), urgent("j1", 3))
    cell.rest(0)
    assert.strictEqual(cell.said("QuotaSet").length, 2)
    assert.strictEqual(cell.said("AskFoundDone").length, 2)
    assert.deepStrictEqual(cell.said("AskRefused").map(({ reason }) => reason), ["unknown", "invalid"])
    assert.strictEqual(cell.world.asks.size, 0)
  })
})

describe("starving", () => {
  it("who holds a host is placed there although another comes before it in its line, whose quota has no room beside what is held", () => {
    const long = { resources: needs(2300), runMsMax: 1e9 }
    const cell = given(...here("a", 3000), quota("workspace/acme", cores(4500, { borrowingMax: 0 })))
    cell.rest(0)
    cell.hear(submitted("x", { in: "other", resources: needs(2900), runMsMax: 1e9 }), submitted("j0", { resources: needs(100), runMsMax: 1e9 })).rest(1)
    cell.hear(submitted("j1", { ...long, after: [{ jobId: job("j0"), on: "over" }] }), submitted("j2", long)).rest(2)
    cell.rest(agedMs + 3)
    assert.deepStrictEqual(waits(cell, "j2").heldOn, [host("a")])
    ends(cell, "j0")
    cell.rest(agedMs + 4)
    assert.strictEqual(waits(cell, "j1").reason, "quota")
    ends(cell, "x")
    cell.rest(agedMs + 5)
    assert.strictEqual(cell.placed("j2")?.hostId, host("a"))
  })

  it("what waits long enough at the head of its line has a host held for it, and is placed when what runs there has ended", () => {
    const cell = given(...here("a", 2000), ...here("b", 2000))
    // Small jobs without end, on each host one that ends as the next begins, would keep both half taken for ever.
    let small = 0
    const begin = (atMs: number) => {
      cell.hear(submitted(`k${small++}`, { resources: needs(1100) }))
      cell.rest(atMs)
    }
    begin(0)
    begin(0)
    cell.hear(submitted("b", { resources: needs(2000), priority: 20 }))
    cell.rest(0)
    let placedAtMs: number | undefined
    for (let atMs = 30_000; placedAtMs === undefined && atMs <= agedMs + 120_000; atMs += 30_000) {
      const [oldest] = cell.said("PlacementMade").filter(({ attemptId }) => !cell.said("AttemptExited").some((word) => word.attemptId === attemptId))
      cell.hear(submitted(`k${small++}`, { resources: needs(1100) }), exited(oldest!))
      cell.rest(atMs)
      if (cell.placed("b") !== undefined) placedAtMs = atMs
    }
    assert.isDefined(placedAtMs)
    assert.isAtLeast(placedAtMs!, agedMs)
    assert.isAtMost(placedAtMs!, agedMs + 60_000)
    assert.isAbove(small, 20)
  })
})
