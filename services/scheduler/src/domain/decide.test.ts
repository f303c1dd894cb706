import { assert, describe, it } from "@effect/vitest"
import { dialectNow, type HostJoined, type MillFact } from "@millrace/schemas"
import { admitted, cancelled, Cell, dismissed, exited, given, host, job, joined, left, needs, refused, submitted } from "../testing/cell.ts"
import { dueAtMs } from "./decide.ts"
import { scheduler } from "./scheduler.ts"

/** A fact in a few words: enough to tell a right decision from a wrong one. */
const brief = (event: MillFact): string => {
  const about = "jobId" in event ? event.jobId.slice(4).replace(/^0+/u, "").toLowerCase() : ""
  switch (event._tag) {
    case "PlacementMade":
      return `${about} on ${event.hostId.slice(4).replace(/^0+/u, "").toLowerCase()}, attempt ${event.attempt}`
    case "JobDeferred":
      return `${about} waits: ${event.reason}`
    case "JobRetried":
      return `${about} again after ${event.failedAttempt}, not before ${event.notBeforeMs}`
    case "JobSettled":
      return `${about} ${event.outcome}: ${event.cause}`
    case "PlacementWithdrawn":
      return `${about} withdrawn: ${event.cause}`
    case "LateWordNoted":
      return `${about} late: ${event.word} of attempt ${event.attempt}`
    default:
      return event._tag
  }
}

const assertSays = (cell: Cell, atMs: number, ...expected: ReadonlyArray<string>) =>
  assert.deepStrictEqual(cell.decide(atMs).filter(({ _tag }) => _tag !== "DemandChanged").map(brief), expected)

const here = (name: string, resources = needs(4000, 4000)): ReadonlyArray<MillFact> => [admitted(name), joined(name, resources)]

describe("where work goes", () => {
  it("places what may run longer than moments can be counted, under a warrant that ends with them", () => {
    const cell = given(admitted("a"), joined("a", needs(1000, 1000)), submitted("j1", { runMsMax: Number.MAX_SAFE_INTEGER }))
    cell.rest(1_000)
    assert.strictEqual(cell.placed("j1").warrant.expiresAtMs, Number.MAX_SAFE_INTEGER)
  })

  it("the first host with room takes it, in the order of host ids, whoever joined first", () =>
    assertSays(given(...here("b"), ...here("a"), submitted("j1")), 0, "j1 on a, attempt 1"))

  it("a host that is full is passed over", () =>
    assertSays(given(...here("a", needs(1500, 4000)), ...here("b"), submitted("j1"), submitted("j2"), submitted("j3")), 0,
      "j1 on a, attempt 1", "j2 on b, attempt 1", "j3 on b, attempt 1"))

  it("what is short counts, be it cores or memory", () =>
    assertSays(given(...here("a", needs(8000, 50)), ...here("b", needs(500, 8000)), ...here("c"), submitted("j1")), 0, "j1 on c, attempt 1"))

  it("who waited longest is placed first when room comes back", () => {
    const cell = given(...here("a", needs(1000, 1000)), submitted("j1"), submitted("j2"), submitted("j3"))
    assertSays(cell, 0, "j1 on a, attempt 1", "j2 waits: no_room", "j3 waits: no_room")
    cell.hear(exited(cell.placed("j1")))
    assertSays(cell, 1, "j1 succeeded: exited with 0", "j2 on a, attempt 1")
    cell.hear(exited(cell.placed("j2")))
    assertSays(cell, 2, "j2 succeeded: exited with 0", "j3 on a, attempt 1")
  })

  it("an agent gets what it understands: a plain program any, more only one that says so", () => {
    const older = (name: string): ReadonlyArray<MillFact> => [admitted(name), { ...joined(name), dialect: 1 } as MillFact]
    assertSays(given(...older("a"), submitted("j1"), submitted("j2", { dialect: 2 })), 0, "j1 on a, attempt 1", "j2 waits: no_host")
    assertSays(given(...older("a"), ...here("b"), submitted("j1", { dialect: 2 }), submitted("j2")), 0, "j1 on b, attempt 1", "j2 on a, attempt 1")
    assertSays(given(...here("a"), submitted("j1", { dialect: 3 })), 0, "j1 waits: no_host")
    const newest = (dialect: number): MillFact => ({ ...joined("a", needs(1000, 1000)) as HostJoined, dialect })
    assertSays(given(admitted("a"), newest(dialectNow), submitted("j1", { dialect: dialectNow })), 0, "j1 on a, attempt 1")
    assertSays(given(admitted("a"), newest(dialectNow - 1), submitted("j1", { dialect: dialectNow })), 0, "j1 waits: no_host")
  })

  it("a smaller job goes on where a larger one waits", () =>
    assertSays(given(...here("a", needs(1000, 1000)), submitted("j1", { resources: needs(2000) }), submitted("j2")), 0, "j2 on a, attempt 1", "j1 waits: no_room"))

  it("what does not fit waits, and says what is short", () => {
    const [deferred] = given(...here("a", needs(500, 2000)), ...here("b", needs(900, 1000)), submitted("j1")).decide()
    assert.include(deferred, { _tag: "JobDeferred", reason: "no_room", unblockedBy: "capacity", arithmetic: "needs 1 core, 100 MiB; the roomiest of 2 hosts has 0.9 cores, 1000 MiB free" })
  })

  it("what nobody here may run waits for a host that may", () => {
    const [deferred] = given(...here("a"), submitted("j1", { trust: "others" })).decide()
    assert.include(deferred, { reason: "no_host", arithmetic: "no host runs process work with trust others, of 1 known" })
  })

  it("a job that waits is told so once", () => {
    const cell = given(submitted("j1"))
    assertSays(cell, 0, "j1 waits: no_host")
    assertSays(cell.hear(submitted("j2")), 1, "j2 waits: no_host")
  })

  it("a host that has joined and was not admitted takes nothing, and the other way round", () => {
    assertSays(given(joined("a"), submitted("j1")), 0, "j1 waits: no_host")
    assertSays(given(admitted("a"), submitted("j1")), 0, "j1 waits: no_host")
  })

  it("a host that leaves takes nothing, until it joins again", () => {
    const cell = given(...here("a"), left("a"), submitted("j1"))
    assertSays(cell, 0, "j1 waits: no_host")
    assertSays(cell.hear(joined("a")), 1, "j1 on a, attempt 1")
  })

  it("a host that was dismissed takes nothing, even if it says that it is here", () =>
    assertSays(given(...here("a"), dismissed("a"), joined("a"), submitted("j1")), 0, "j1 waits: no_host"))

  it("room is given back at the exit, and only once", () => {
    const cell = given(...here("a", needs(1000, 1000)), submitted("j1"))
    cell.decide()
    cell.hear(exited(cell.placed("j1")), exited(cell.placed("j1")), submitted("j2"), submitted("j3"))
    assertSays(cell, 1, "j1 succeeded: exited with 0", "j3 waits: no_room", "j2 on a, attempt 1")
  })

  it("the warrant is for this host, this attempt and no more than was asked", () => {
    const cell = given(...here("a"), submitted("j1"))
    cell.decide(5000)
    const { attempt, fence, warrant } = cell.placed("j1")
    assert.deepInclude(warrant, { hostId: host("a"), jobId: job("j1"), attempt, fence, resources: needs(1000), expiresAtMs: 5000 + 60_000 + 600_000 })
  })
})

describe("how work ends", () => {
  it("what exits with 0 has succeeded", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 3 }))
    cell.decide()
    assertSays(cell.hear(exited(cell.placed("j1"))), 1, "j1 succeeded: exited with 0")
    assertSays(cell, 2)
  })

  it("what fails is tried again with growing pauses until its attempts are spent", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 3 }))
    assertSays(cell, 0, "j1 on a, attempt 1")
    assertSays(cell.hear(exited(cell.placed("j1"), { code: 7 })), 1000, "j1 again after 1, not before 1200")
    assertSays(cell, 1199)
    assert.strictEqual(dueAtMs(cell.world), 1200)
    assertSays(cell, 1200, "j1 on a, attempt 2")
    assertSays(cell.hear(refused(cell.placed("j1"))), 2000, "j1 again after 2, not before 2400")
    assertSays(cell, 2400, "j1 on a, attempt 3")
    assertSays(cell.hear(exited(cell.placed("j1"), { code: 7 })), 3000, "j1 failed: exited with 7")
    assert.isUndefined(dueAtMs(cell.world))
  })

  it("no pause is longer than a minute", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 30 }))
    let atMs = 0
    for (let attempt = 1; attempt <= 20; attempt += 1) {
      cell.decide(atMs)
      cell.hear(exited(cell.placed("j1"), { code: 1 }))
      cell.decide(atMs)
      assert.isAtMost(dueAtMs(cell.world)! - atMs, 60_000)
      atMs = dueAtMs(cell.world)!
    }
    assert.strictEqual(cell.placed("j1").attempt, 20)
  })

  it("a retry that finds no room waits like any other", () => {
    const cell = given(...here("a", needs(1000, 1000)), submitted("j1", { attemptsMax: 2 }), submitted("j2"))
    cell.decide()
    assertSays(cell.hear(exited(cell.placed("j1"), { code: 1 })), 0, "j1 again after 1, not before 200", "j2 on a, attempt 1")
    assertSays(cell, 200, "j1 waits: no_room")
    assertSays(cell, 300)
    assertSays(cell.hear(exited(cell.placed("j2"))), 400, "j2 succeeded: exited with 0", "j1 on a, attempt 2")
  })

  it("work that an agent's restart ended is tried again, or lost when no attempt is left", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 2 }))
    cell.decide()
    assertSays(cell.hear(exited(cell.placed("j1"), { cause: "agent_restarted" })), 0, "j1 again after 1, not before 200")
    cell.decide(200)
    assertSays(cell.hear(exited(cell.placed("j1"), { cause: "agent_restarted" })), 300, "j1 lost: agent_restarted")
  })

  it("an exit that is heard before its placement ends it all the same", () => {
    const before = given(...here("a"), submitted("j1"))
    before.decide()
    const word = exited(before.placed("j1"))
    const after = given(...here("a"), submitted("j1"), word).hear(before.placed("j1"), submitted("j2", { resources: needs(4000, 4000) }))
    assertSays(after, 1, "j1 succeeded: exited with 0", "j2 on a, attempt 1")
  })

  it("a host's word on an attempt of another host is nothing, whatever it calls itself", () => {
    const cell = given(...here("a", needs(1000, 1000)), ...here("b", needs(1000, 1000)), submitted("j1"))
    cell.decide()
    const made = cell.placed("j1")
    cell.hear({ ...exited(made), hostId: host("b") })
    cell.hearOn({ kind: "attempt", scope: host("b") }, "HOSTS", exited(made))
    cell.hear(submitted("j2"), submitted("j3"))
    assertSays(cell, 1, "j2 on b, attempt 1", "j3 waits: no_room")
    assertSays(cell.hear(exited(made, { code: 3 })), 2, "j1 failed: exited with 3", "j3 on a, attempt 1")
  })

  it("a host cannot join, drain or leave in another's name", () => {
    const cell = given(...here("a"), ...here("b"))
    cell.hearOn({ kind: "host", scope: host("b") }, "HOSTS", left("a"))
    assertSays(cell.hear(submitted("j1")), 1, "j1 on a, attempt 1")
  })
})

describe("how work is cancelled", () => {
  it("before it is placed: it is settled, and never placed", () => {
    assertSays(given(...here("a"), submitted("j1"), cancelled("j1")), 0, "j1 cancelled: cancelled before it was placed")
    const waiting = given(submitted("j1"))
    waiting.decide()
    assertSays(waiting.hear(cancelled("j1"), ...here("a")), 1, "j1 cancelled: cancelled before it was placed")
    assertSays(waiting, 2)
  })

  it("while it backs off: it is settled, and not tried again", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 2 }))
    cell.decide()
    cell.hear(exited(cell.placed("j1"), { code: 1 }))
    cell.decide()
    assertSays(cell.hear(cancelled("j1")), 200, "j1 cancelled: cancelled between two attempts")
    assertSays(cell, 400)
  })

  it("while it runs: it is withdrawn once, keeps its room until its host says that it is over, and is then settled", () => {
    const cell = given(...here("a", needs(1000, 1000)), submitted("j1", { attemptsMax: 3 }))
    cell.decide()
    assertSays(cell.hear(cancelled("j1"), submitted("j2")), 1, "j1 withdrawn: cancelled", "j2 waits: no_room")
    assertSays(cell, 2)
    assertSays(cell.hear(exited(cell.placed("j1"), { cause: "withdrawn" })), 3, "j1 cancelled: cancelled by request", "j2 on a, attempt 1")
  })

  it("after its end: nothing more is said", () => {
    const cell = given(...here("a"), submitted("j1"))
    cell.decide()
    cell.hear(exited(cell.placed("j1")))
    cell.decide()
    assertSays(cell.hear(cancelled("j1")), 2)
  })

  it("a cancel that is heard before its submission holds", () =>
    assertSays(given(...here("a"), cancelled("j1"), submitted("j1")), 0, "j1 cancelled: cancelled before it was placed"))
})

describe("a scope that holds what cannot be read", () => {
  it("gets no decisions, while others go on", () => {
    const cell = given(...here("a"), submitted("j1", { in: "acme" }), submitted("j2", { in: "other" }))
    assertSays(cell.hearUnreadable(cancelled("j1", "acme")), 0, "j2 on a, attempt 1")
    assertSays(cell.hear(cancelled("j1", "acme")), 1)
  })

  it("does not keep the scheduler awake for what may not be decided", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 2 }))
    cell.decide()
    cell.hear(exited(cell.placed("j1"), { code: 1 }))
    cell.decide()
    assert.strictEqual(dueAtMs(cell.world), 200)
    assert.isUndefined(dueAtMs(cell.hearUnreadable(submitted("j2")).world))
  })

  it("is a host, where a host's facts cannot be read, or what was placed there", () => {
    for (const unreadable of ["joined", "placed"] as const) {
      const cell = given(...here("a"), ...here("b"), submitted("j1"))
      cell.decide()
      cell.hearUnreadable(unreadable === "joined" ? joined("a") : cell.placed("j1"))
      assertSays(cell.hear(submitted("j2")), 1, "j2 on b, attempt 1")
    }
  })
})

describe("a job's sealed program", () => {
  const remembered = (cell: Cell) => JSON.stringify(scheduler.save(cell.world)).split("cHJvZ3JhbQ").length - 1

  it("goes along with every attempt, and is remembered once for as long as another may follow", () => {
    const cell = given(...here("a"), submitted("j1", { attemptsMax: 2 }))
    cell.decide()
    assert.strictEqual(cell.placed("j1").spec.program?.sealed, "cHJvZ3JhbQ")
    cell.hear(exited(cell.placed("j1"), { code: 1 }))
    cell.decide()
    assert.strictEqual(remembered(cell), 1)
    cell.decide(500)
    assert.strictEqual(cell.placed("j1").attempt, 2)
    assert.strictEqual(cell.placed("j1").spec.program?.sealed, "cHJvZ3JhbQ")
  })

  it("is forgotten when the job is over, so that a scheduler does not grow by all that was ever run", () => {
    const cell = given(...here("a"), submitted("j1"))
    cell.decide()
    cell.hear(exited(cell.placed("j1"), { code: 0 }))
    cell.decide()
    assert.strictEqual(remembered(cell), 0)
  })
})
