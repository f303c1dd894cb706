import { assert, describe, it } from "@effect/vitest"
import type { MillFact, ReclaimNoticed } from "@millrace/schemas"
import { admitted, type Cell, enrolled, exited, given, host, job, joined, leaseEnded, left, needs, reclaimed, released, submitted } from "../testing/cell.ts"
import { leaveMsOf } from "./reclaim.ts"
import { scheduler } from "./scheduler.ts"

const retiring = (name: string): MillFact => {
  const { leaseId, provider } = released(name)
  return { _tag: "MachineRetiring", leaseId, provider, by: released("b").leaseId }
}

const twoHosts = [admitted("a"), joined("a"), enrolled("a"), admitted("b"), joined("b")]

describe("a rented machine", () => {
  it("takes work like any other", () => {
    const cell = given(...twoHosts, submitted("1"))
    cell.rest()
    assert.strictEqual(cell.placed("1").hostId, host("a"))
  })

  it.each([["is released", released("a")], ["is taken back by its provider", reclaimed("a")], ["is to go for a cheaper one", retiring("a")]])("that %s takes nothing more, and what runs there ends by itself", (_, word) => {
    const cell = given(...twoHosts, submitted("1"))
    cell.rest()
    cell.hear(word, submitted("2"))
    const said = cell.rest(1)
    assert.deepStrictEqual(said.map(({ _tag }) => _tag), ["PlacementMade"])
    assert.strictEqual(cell.placed("2").hostId, host("b"))
    cell.hear(exited(cell.placed("1")))
    assert.deepStrictEqual(cell.rest(2).map((fact) => [fact._tag, "jobId" in fact && fact.jobId]), [["JobSettled", job("1")]])
  })

  it("is forgotten when its lease has ended, however many come and go; its host takes nothing more", () => {
    const cell = given(admitted("a"), joined("a"), submitted("1"))
    for (const name of ["a", ...Array.from({ length: 50 }, (_, number) => `b${number}`)]) cell.hear(enrolled(name), released(name), leaseEnded(name))
    assert.strictEqual(cell.world.machines.size, 0)
    assert.notInclude(cell.rest().map(({ _tag }) => _tag), "PlacementMade")
    const again = scheduler.load(structuredClone(scheduler.save(cell.world)) as never)
    assert.deepStrictEqual(scheduler.save(again), scheduler.save(cell.world))
  })

  it("takes nothing even if its host enrols late, or joins again", () => {
    const cell = given(released("a"), admitted("a"), joined("a"), enrolled("a"), left("a"), joined("a"), submitted("1", { resources: needs(10) }))
    assert.notInclude(cell.rest().map(({ _tag }) => _tag), "PlacementMade")
  })
})

describe("a machine that its provider takes back at a moment", () => {
  const goneAt = (name: string, deadlineAtMs: number): ReclaimNoticed => ({ ...reclaimed(name), deadlineAtMs })
  const told = (cell: Cell) => cell.said("PlacementWithdrawn").map(({ cause, jobId }) => `${cause} ${jobId.slice(-1)}`)
  const hour = 3_600_000
  const plain = { runtime: "process", resources: needs(1) } as const
  const leaveMs = leaveMsOf(plain)

  it("is told to it as long before as its end and the keeping of its disk take, two minutes at most", () => {
    const sandbox = (diskMib: number) => leaveMsOf({ runtime: "sandbox", resources: { ...needs(1), diskMib } })
    assert.deepStrictEqual([leaveMsOf(plain), sandbox(64), sandbox(256), sandbox(0), sandbox(100_000)], [30_000, 34_000, 46_000, 46_000, 120_000])
  })

  it("has what could not end by then leave in time, and it begins elsewhere before the machine is gone; that takes no attempt", () => {
    const cell = given(admitted("a"), joined("a"), enrolled("a"), submitted("1", { runMsMax: hour }), submitted("2", { runMsMax: 100_000 }))
    cell.rest(0)
    cell.hear(admitted("b"), joined("b"), goneAt("a", 120_000))
    cell.rest(1_000)
    assert.deepStrictEqual(told(cell), [], "it works on while there is time")
    assert.strictEqual(scheduler.dueAtMs?.(cell.world), 120_000 - leaveMs)
    cell.rest(120_000 - leaveMs)
    assert.deepStrictEqual(told(cell), ["preempted 1"])
    assert.include(cell.said("PlacementWithdrawn")[0]!.why, "1970-01-01T00:02:00.000Z")
    cell.hear(exited(cell.placed("1"), { cause: "withdrawn" }))
    cell.rest(92_000)
    assert.deepInclude(cell.said("JobRetried")[0], { jobId: job("1"), preempted: true, cause: `it gave way to the provider of ${host("a")}, who takes that machine back`, notBeforeMs: 92_000 })
    assert.deepInclude(cell.placed("1"), { hostId: host("b"), attempt: 2 })
    // Whatever ends by itself in time may stay.
    assert.deepStrictEqual(told(cell), ["preempted 1"])
  })

  it("lets it go on for as long as there is time, and wakes for the moment when there is none", () => {
    const cell = given(admitted("a"), joined("a"), enrolled("a"), submitted("1", { runMsMax: 10 * hour }))
    cell.rest(0)
    cell.hear(goneAt("a", hour))
    cell.rest(1_000)
    assert.deepStrictEqual(told(cell), [])
    assert.strictEqual(scheduler.dueAtMs?.(cell.world), hour - leaveMs)
    const again = scheduler.load(JSON.parse(JSON.stringify(scheduler.save(cell.world))) as never)
    assert.strictEqual(scheduler.dueAtMs?.(again), hour - leaveMs)
    cell.rest(hour - leaveMs)
    assert.deepStrictEqual(told(cell), ["preempted 1"])
  })

  it("does so whenever that is heard: before its host has enrolled, or again with another moment", () => {
    const cell = given(goneAt("a", hour), admitted("a"), joined("a"), submitted("1", { runMsMax: 10 * hour }))
    cell.rest(0)
    assert.strictEqual(cell.placed("1").hostId, host("a"))
    cell.hear({ ...enrolled("a"), hostId: host("a") } as MillFact)
    cell.rest(1)
    assert.strictEqual(scheduler.dueAtMs?.(cell.world), hour - leaveMs)
    cell.hear(goneAt("a", leaveMs + 5_000))
    cell.rest(5_000)
    assert.deepStrictEqual(told(cell), ["preempted 1"])
  })

  it("has a whole gang leave, of which one member is there", () => {
    const three = (name: string): MillFact => ({ ...(joined(name, needs(1000)) as Extract<MillFact, { _tag: "HostJoined" }>), dialect: 3 })
    const cell = given(admitted("a"), three("a"), enrolled("a"), admitted("b"), three("b"), submitted("g", { gang: { members: 2, topology: "anywhere", onLoss: "end" }, dialect: 3, runMsMax: hour }))
    cell.rest(0)
    const made = cell.said("PlacementMade")
    cell.hear(goneAt("a", 25_000))
    cell.rest(1_000)
    assert.deepStrictEqual(told(cell), ["preempted G", "preempted G"])
    cell.hear(...made.map((one) => exited(one, { cause: "withdrawn" })), admitted("c"), three("c"))
    cell.rest(2_000)
    assert.deepStrictEqual(cell.said("PlacementMade").slice(2).map(({ attempt, hostId }) => [attempt, hostId]).sort(), [[2, host("b")], [2, host("c")]])
  })
})
