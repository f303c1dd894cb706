import { assert, describe, it } from "@effect/vitest"
import type { LeaseEnded, MillFact } from "@millrace/schemas"
import { admitted, cancelled, type Cell, enrolled, exited, given, host, joined, leaseEnded, needs, reclaimed, released, silent, submitted } from "../testing/cell.ts"
import { scheduler } from "./scheduler.ts"

const here = (name: string, cores = 4): ReadonlyArray<MillFact> => [admitted(name), joined(name, needs(cores * 1000, 4000))]

const onA = (terms: Parameters<typeof submitted>[1] = {}) => {
  const cell = given(...here("a"), submitted("j1", terms))
  cell.rest()
  return cell.hear(...here("b"))
}

describe("a host that is silent past its lease", () => {
  it("is declared lost with the times that the listener gave, and takes nothing more", () => {
    const cell = given(...here("a"))
    cell.rest(20_000, [silent("a", 1_000)])
    assert.deepInclude(cell.said("HostDeclaredLost")[0], { hostId: host("a"), lastHeardAtMs: 1_000, leaseEndedAtMs: 16_000 })
    cell.hear(submitted("j1")).rest(20_001)
    assert.isEmpty(cell.said("PlacementMade"))
    cell.rest(20_002, [silent("a", 1_000)])
    assert.lengthOf(cell.said("HostDeclaredLost"), 1)
  })

  it("takes nothing in the very round that declares it lost", () => {
    const cell = given(...here("a"), submitted("j1"))
    cell.rest(20_000, [silent("a", 1_000)])
    assert.isEmpty(cell.said("PlacementMade"))
  })

  it("has its work tried elsewhere, not before the lease of the lost attempt is over, and at no cost of attempts", () => {
    const cell = onA()
    cell.rest(20_000, [silent("a", 5_000)])
    assert.deepInclude(cell.said("JobRetried")[0], { failedAttempt: 1, lost: true, notBeforeMs: 5_000 + 15_000 + 1_000 })
    assert.deepInclude(cell.said("PlacementWithdrawn")[0], { cause: "host_lost", attempt: 1 })
    cell.rest(20_999)
    assert.lengthOf(cell.said("PlacementMade"), 1)
    cell.rest(21_000)
    assert.deepInclude(cell.placed("j1"), { hostId: host("b"), attempt: 2 })
    cell.hear(exited(cell.placed("j1"), { code: 1 })).rest(22_000)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "failed" })
  })

  it("may keep work for longer than its lease where the job says so: then the next attempt waits as long", () => {
    const cell = onA({ onSilence: { keepMs: 300_000 } })
    cell.rest(20_000, [silent("a", 5_000)])
    assert.strictEqual(cell.said("JobRetried")[0]?.notBeforeMs, 5_000 + 300_000 + 1_000)
  })

  it("says something late: it is noted once, changes nothing, and only then is the room free again", () => {
    const cell = onA({ resources: needs(4000) })
    const first = cell.placed("j1")
    cell.rest(20_000, [silent("a", 5_000)])
    cell.rest(21_000)
    cell.hear(joined("a")).rest(22_000)
    assert.lengthOf(cell.said("HostReturned"), 1)
    cell.hear(submitted("j2")).rest(22_001)
    assert.deepInclude(cell.said("JobDeferred")[0], { reason: "no_room" })
    cell.hear(exited(first, { cause: "withdrawn" })).rest(22_002)
    assert.deepInclude(cell.said("LateWordNoted")[0], { attempt: 1, word: "AttemptExited" })
    assert.deepInclude(cell.placed("j2"), { hostId: host("a") })
    cell.hear(exited(first)).rest(22_003)
    assert.lengthOf(cell.said("LateWordNoted"), 1)
    cell.hear(exited(cell.placed("j1"))).rest(22_004)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "succeeded", attempt: 2 })
  })

  it("said the end of an attempt before it was silent: that counts", () => {
    const cell = onA()
    cell.hear(exited(cell.placed("j1"))).rest(20_000, [silent("a", 5_000)])
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "succeeded" })
    assert.isEmpty(cell.said("JobRetried"))
  })

  it("takes a task with it five times; with the sixth the job is lost", () => {
    const cell = given(...here("a", 8), submitted("j1"))
    cell.rest()
    for (let loss = 1; loss <= 6; loss += 1) {
      const atMs = loss * 100_000
      cell.rest(atMs, [silent("a", atMs - 20_000)])
      cell.hear(joined("a", needs(8000, 4000))).rest(atMs + 50_000)
    }
    assert.lengthOf(cell.said("JobRetried"), 5)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "lost", attempt: 6 })
  })

  it("is no reason to wait for it where the job is cancelled", () => {
    const cell = onA()
    cell.hear(cancelled("j1")).rest(1)
    cell.rest(20_000, [silent("a", 5_000)])
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "cancelled" })
    cell.hear(exited(cell.placed("j1"), { cause: "withdrawn" })).rest(20_001)
    assert.lengthOf(cell.said("LateWordNoted"), 1)
  })
})

describe("work that took too long to begin, or did nothing", () => {
  it("is tried again while attempts are left, and then has failed; either says which limit of its job's it was", () => {
    const cell = given(...here("a"), submitted("j1", { startMsMax: 30_000, idleMsMax: 60_000, attemptsMax: 2 }))
    cell.rest(1)
    cell.hear(exited(cell.placed("j1"), { cause: "start_timed_out" })).rest(2)
    assert.deepInclude(cell.said("JobRetried")[0], { failedAttempt: 1, cause: "it did not run within 30000 ms of reaching its host (startMsMax)" })
    cell.rest(1_000)
    cell.hear(exited(cell.placed("j1"), { cause: "idle_timed_out" })).rest(1_001)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "failed", cause: "it did nothing for 60000 ms (idleMsMax)" })
  })
})

describe("a host that never says the end", () => {
  it("is told to end the attempt when its time is long up, and the next attempt follows its word", () => {
    const cell = given(...here("a"), submitted("j1", { runMsMax: 1_000, attemptsMax: 2 }))
    cell.rest()
    cell.rest(120_999)
    assert.isEmpty(cell.said("PlacementWithdrawn"))
    cell.rest(121_000)
    assert.deepInclude(cell.said("PlacementWithdrawn")[0], { cause: "timed_out" })
    cell.hear(exited(cell.placed("j1"), { cause: "withdrawn" })).rest(121_001)
    assert.deepInclude(cell.said("JobRetried")[0], { failedAttempt: 1 })
  })
})

describe("a machine that its provider takes back without a word", () => {
  const spot = (name: string, dialect = 2): ReadonlyArray<MillFact> => {
    const { leaseId, provider } = enrolled(name)
    return [
      {
        _tag: "LeaseRequested", leaseId, provider, column: { region: "eu-west-1", machineType: "m", market: "spot" }, resources: needs(1, 1), pricePicoPerSecondMax: 1n, token: "t", cell: "c",
        oneTimeKeyDigest: `sha256:${"0".repeat(64)}` as never, answerByMs: 1
      },
      enrolled(name), admitted(name), { ...joined(name), dialect } as MillFact
    ]
  }
  const tolerant = (name: string, terms: Parameters<typeof submitted>[1] = {}): MillFact => submitted(name, { where: { spot: "tolerated" }, dialect: 3, ...terms })
  const names = [..."abcdefghj"]

  /** A job that loses one spot machine after the other, each of which then ends as its broker says. */
  const loses = (ends: (name: string) => ReadonlyArray<MillFact>, read: (cell: Cell) => Cell = (cell) => cell): Cell => {
    let cell = given(tolerant("1"))
    for (const [at, name] of names.entries()) {
      const atMs = (at + 1) * 100_000
      cell.hear(...spot(name, 3))
      cell.rest(atMs)
      cell.rest(atMs + 30_000, [silent(name, atMs + 1_000)])
      cell.hear(...ends(name))
      cell = read(cell)
      cell.rest(atMs + 40_000)
    }
    return cell
  }
  const endedAs = (confirmed: LeaseEnded["confirmed"]) => (name: string): ReadonlyArray<MillFact> => [{ ...leaseEnded(name), confirmed }]
  const losses = (cell: Cell) => cell.said("JobRetried").length

  it("is no loss of the job's, however often, once that is known, and not held against it before", () => {
    for (const ends of [endedAs("reclaimed"), endedAs("not_there"), (name: string) => [{ ...reclaimed(name), deadlineAtMs: 1 }], () => []]) {
      const cell = loses(ends)
      assert.strictEqual(losses(cell), names.length)
      assert.isEmpty(cell.said("JobSettled"))
      assert.include(cell.said("JobRetried")[0]!.cause, "could take that machine back, and this counts as a loss only if it did not")
    }
  })

  it("is told from one that was ended by us, and from a host that takes its own end: those count", () => {
    for (const ends of [endedAs("terminated"), (name: string) => [released(name), ...endedAs("terminated")(name)]]) {
      const cell = loses(ends)
      assert.deepInclude(cell.said("JobSettled")[0], { outcome: "lost", attempt: 7 })
      assert.include(cell.said("JobSettled")[0]!.cause, "the 6th of its hosts")
    }
  })

  it("is counted the same by a scheduler that goes on from a checkpoint", () => {
    const again = (cell: Cell): Cell => {
      cell.world = scheduler.load(JSON.parse(JSON.stringify(scheduler.save(cell.world))) as never)
      return cell
    }
    assert.strictEqual(losses(loses(endedAs("reclaimed"), again)), names.length)
    assert.strictEqual(losses(loses(endedAs("terminated"), again)), losses(loses(endedAs("terminated"))))
  })

  it("is no loss of a gang's that begins again", () => {
    const cell = given(...spot("0", 3), tolerant("g", { resources: needs(4000), gang: { members: 2, topology: "anywhere", onLoss: "restart" } }))
    for (const [at, name] of names.entries()) {
      const atMs = (at + 1) * 100_000
      cell.hear(...spot(name, 3))
      cell.rest(atMs)
      const made = cell.said("PlacementMade").filter(({ hostId }) => hostId === host("0")).at(-1)!
      assert.strictEqual(made.attempt, at + 1)
      cell.rest(atMs + 30_000, [silent(name, atMs + 1_000)])
      cell.hear({ ...leaseEnded(name), confirmed: "reclaimed" }, exited(made, { cause: "withdrawn" }))
      cell.rest(atMs + 40_000)
    }
    assert.isEmpty(cell.said("JobSettled"))
  })
})
