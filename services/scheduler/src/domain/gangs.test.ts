import { assert, describe, it } from "@effect/vitest"
import { commitsOf } from "@millrace/journal"
import type { GangTerms, MillFact } from "@millrace/schemas"
import { admitted, cancelled, Cell, enrolled, exited, given, host, job, joined, needs, silent, submitted } from "../testing/cell.ts"
import { agedMs } from "./patience.ts"
import { scheduler } from "./scheduler.ts"

const here = (name: string, labels: Record<string, string> = {}, cpuMilli = 2000): ReadonlyArray<MillFact> => {
  const said = joined(name, needs(cpuMilli, 100_000)) as Extract<MillFact, { _tag: "HostJoined" }>
  return [admitted(name), { ...said, dialect: 3, capabilities: { ...said.capabilities, labels } }]
}
/** A machine with nothing but what its broker says of where it stands. */
const rented = (name: string, region: string, more: { readonly fabric?: boolean; readonly zone?: string } = {}): ReadonlyArray<MillFact> => {
  const { leaseId, provider } = enrolled(name)
  const { fabric, zone } = more
  return [
    ...here(name),
    {
      _tag: "LeaseRequested", leaseId, provider, column: { region, machineType: "m", market: "on_demand", ...(zone === undefined ? {} : { zone }) }, resources: needs(1, 1), ...(fabric === undefined ? {} : { fabric }),
      pricePicoPerSecondMax: 1n, token: "t", cell: "c", oneTimeKeyDigest: `sha256:${"0".repeat(64)}` as never, answerByMs: 1
    },
    enrolled(name)
  ]
}
const gang = (members: number, topology: GangTerms["topology"] = "anywhere", onLoss: GangTerms["onLoss"] = "restart"): GangTerms => ({ members, topology, onLoss })
const hostsOf = (cell: Cell, name: string): string =>
  cell.said("PlacementMade").filter(({ jobId }) => jobId === job(name)).map(({ gang, hostId }) => `${gang?.rank}@${hostId.slice(4).replace(/^0+/u, "").toLowerCase()}`).join(" ")
const newest = (cell: Cell, name: string) => {
  const made = cell.said("PlacementMade").filter(({ jobId }) => jobId === job(name))
  return made.filter(({ attempt }) => attempt === made.at(-1)?.attempt)
}
const member = (cell: Cell, name: string, rank: number) => newest(cell, name).find(({ task }) => task === rank)!

describe("where a gang goes", () => {
  it("whole or not at all, and the others go on where it waits", () => {
    const cell = given(...here("a"), ...here("b"), submitted("g", { gang: gang(5), dialect: 3 }), submitted("j"))
    cell.rest(0)
    assert.strictEqual(hostsOf(cell, "g"), "")
    assert.include(cell.said("JobDeferred")[0], { reason: "no_room", arithmetic: "its 5 members begin together; the roomiest of 1 has room for 3 now" })
    assert.isDefined(cell.placed("j"))
    cell.hear(...here("c"))
    cell.rest(1)
    assert.strictEqual(hostsOf(cell, "g").split(" ").length, 5)
  })

  it("its members are told their rank and where each of them is found, and are said as one", () => {
    const cell = given(...here("a", { address: "10.0.0.1" }, 1000), ...here("b", {}, 1000), submitted("g", { gang: gang(2), dialect: 3 }))
    const round = cell.roundAt(0)
    const commits = commitsOf(scheduler, round, scheduler.decide(cell.world, round))
    const placing = commits.filter(({ facts }) => facts.some(({ event }) => event._tag === "PlacementMade"))
    assert.deepStrictEqual(placing.map(({ together }) => together), [0, 0])
    cell.rest(0)
    assert.deepStrictEqual(newest(cell, "g").map(({ gang }) => gang), [0, 1].map((rank) => ({ rank, members: 2, addresses: newest(cell, "g").map(({ hostId }) => (hostId === host("a") ? "10.0.0.1" : hostId)) })))
  })

  it("on what they must share: one host, one fabric, one zone; the tightest that has room", () => {
    const three = [...here("a", { fabric: "x" }, 3000), ...here("b", { fabric: "y" }), ...here("c", { fabric: "y" }), ...here("d")]
    const on = (topology: GangTerms["topology"], members: number) => {
      const cell = given(...three, submitted("g", { gang: gang(members, topology), dialect: 3 }))
      cell.rest(0)
      return [...new Set(hostsOf(cell, "g").split(" ").map((one) => one.slice(2)))].join("")
    }
    assert.strictEqual(on("host", 3), "a")
    assert.strictEqual(on("fabric", 3), "a")
    assert.strictEqual(on("fabric", 4), "bc")
    assert.strictEqual(on("fabric", 5), "")
    assert.strictEqual(on("zone", 2), "")
    assert.strictEqual(on("anywhere", 9), "abcd")
  })

  it("on rented machines that one fabric or one zone joins, as their broker says", () => {
    const on = (topology: GangTerms["topology"], members: number, ...facts: ReadonlyArray<ReadonlyArray<MillFact>>) => {
      const cell = given(...facts.flat(), submitted("g", { gang: gang(members, topology), dialect: 3 }))
      cell.rest(0)
      return [...new Set(hostsOf(cell, "g").split(" ").map((one) => one.slice(2)))].join("")
    }
    const joined = (name: string, region = "east") => rented(name, region, { fabric: true })
    assert.strictEqual(on("fabric", 4, joined("a"), rented("b", "east"), joined("c")), "ac")
    assert.strictEqual(on("fabric", 4, joined("a"), joined("b", "west")), "")
    assert.strictEqual(on("zone", 4, rented("a", "east", { zone: "1" }), rented("b", "east", { zone: "2" }), rented("c", "east", { zone: "1" })), "ac")
    assert.strictEqual(on("zone", 4, joined("a"), joined("b")), "")
  })

  it("on the same rented machines after a checkpoint", () => {
    const cell = given(...rented("a", "east", { fabric: true }), ...rented("b", "east", { fabric: true }))
    const again = scheduler.load(JSON.parse(JSON.stringify(scheduler.save(cell.world))) as never)
    assert.deepStrictEqual([...again.hosts.values()].map(({ rented }) => rented?.fabric), ["east", "east"].map((region) => `${enrolled("a").provider}/${region}`))
  })

  it("two of which each fits alone go one after the other: neither holds a part of what the other needs", () => {
    const cell = given(...here("a"), ...here("b"), submitted("g", { gang: gang(3), dialect: 3 }), submitted("h", { gang: gang(3), dialect: 3 }))
    cell.rest(0)
    assert.deepStrictEqual([hostsOf(cell, "g").split(" ").length, hostsOf(cell, "h")], [3, ""])
    cell.hear(...newest(cell, "g").map((made) => exited(made)))
    cell.rest(1)
    assert.strictEqual(hostsOf(cell, "h").split(" ").length, 3)
  })
})

describe("how a gang ends", () => {
  const two = (terms: Partial<GangTerms> = {}, attemptsMax = 2): Cell => {
    const cell = given(...here("a", {}, 1000), ...here("b", {}, 1000), submitted("g", { gang: { ...gang(2), ...terms }, dialect: 3, attemptsMax }))
    cell.rest(0)
    return cell
  }

  it("well, when every member has ended well; nothing is settled before", () => {
    const cell = two()
    cell.hear(exited(member(cell, "g", 0)))
    cell.rest(1)
    assert.deepStrictEqual(cell.said("TaskSettled"), [])
    cell.hear(exited(member(cell, "g", 1)))
    cell.rest(2)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "succeeded" })
  })

  it("one that fails has the others end, and all begin again together while attempts are left", () => {
    const cell = two()
    cell.hear(exited(member(cell, "g", 1), { code: 1 }))
    cell.rest(1)
    assert.deepInclude(cell.said("PlacementWithdrawn")[0], { task: 0, cause: "settled" })
    assert.deepStrictEqual(cell.said("JobRetried"), [])
    cell.hear(exited(member(cell, "g", 0), { cause: "withdrawn" }))
    cell.rest(2)
    assert.strictEqual(cell.said("JobRetried").length, 2)
    assert.deepStrictEqual(newest(cell, "g").map(({ attempt, task }) => [task, attempt]), [[0, 2], [1, 2]])
    cell.hear(exited(member(cell, "g", 0), { code: 3 }))
    cell.rest(3)
    cell.hear(exited(member(cell, "g", 1), { cause: "withdrawn" }))
    cell.rest(4)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "failed" })
    assert.deepStrictEqual(cell.said("TaskSettled").map(({ outcome, task }) => [task, outcome]), [[0, "failed"], [1, "cancelled"]])
  })

  it("with onLoss end the first that fails ends it", () => {
    const cell = two({ onLoss: "end" })
    cell.hear(exited(member(cell, "g", 1), { code: 1 }))
    cell.rest(1)
    cell.hear(exited(member(cell, "g", 0), { cause: "withdrawn" }))
    cell.rest(2)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "failed" })
  })

  it("a lost host takes none of its attempts: all begin again, no earlier than the lost one's lease is over", () => {
    const cell = two({}, 1)
    const lostOn = member(cell, "g", 0).hostId
    const name = lostOn === host("a") ? "a" : "b"
    cell.rest(20_000, [silent(name, 1_000)])
    cell.hear(exited(member(cell, "g", 1), { cause: "withdrawn" }))
    cell.rest(20_001)
    assert.deepStrictEqual(cell.said("JobRetried").map(({ gang, lost, notBeforeMs, task }) => [task, lost, gang, notBeforeMs]), [[0, true, undefined, 20_001], [1, undefined, true, 20_001]])
    cell.hear(...here("c", {}, 1000))
    cell.rest(30_000)
    assert.deepStrictEqual(newest(cell, "g").map(({ attempt }) => attempt), [2, 2])
    assert.notInclude(hostsOf(cell, "g").split(" ").slice(2).join(), `@${name}`)
  })

  it("one that gives way begins again with all of it, whatever its policy and however often: that is no loss", () => {
    const cell = given(...here("a"), ...here("b", {}, 1000), submitted("g", { gang: gang(3, "anywhere", "end"), dialect: 3, attemptsMax: 1, priority: 20, runMsMax: 1e9 }))
    cell.rest(0)
    for (const [round, atMs] of [100_000, 300_000].entries()) {
      cell.hear(submitted(`p${round}`, { priority: 80, resources: needs(1500) }))
      cell.rest(atMs)
      // All of it at once: what is left of it would run for nothing.
      assert.deepStrictEqual(cell.said("PlacementWithdrawn").map(({ cause }) => cause), Array.from({ length: 3 * (round + 1) }, () => "preempted"))
      cell.hear(...newest(cell, "g").map((made) => exited(made, { cause: "withdrawn" })))
      cell.rest(atMs + 1)
      assert.isDefined(cell.placed(`p${round}`))
      cell.hear(exited(cell.placed(`p${round}`)))
      cell.rest(atMs + 2)
      assert.deepStrictEqual(newest(cell, "g").map(({ attempt }) => attempt), [1, 2, 3].map(() => round + 2))
    }
    assert.notInclude(cell.said("JobSettled").map(({ jobId }) => jobId), job("g"))
  })

  it("a member that fails while it is told to give way has done so: its word came after ours", () => {
    const cell = given(...here("a"), ...here("b", {}, 1000), submitted("g", { gang: gang(3, "anywhere", "end"), dialect: 3, priority: 20 }))
    cell.rest(0)
    cell.hear(submitted("p", { priority: 80, resources: needs(1500) }))
    cell.rest(100_000)
    const told = (cause: string) => cell.said("PlacementWithdrawn").filter((fact) => fact.cause === cause).length
    assert.strictEqual(told("preempted"), 3)
    cell.hear(...newest(cell, "g").map((made, rank) => exited(made, rank > 0 ? { cause: "withdrawn" } : { code: 7 })))
    cell.rest(100_001)
    assert.notInclude(cell.said("JobSettled").map(({ jobId }) => jobId), job("g"))
  })

  it("with onLoss end one of whose members had failed before the others were told to give way has failed", () => {
    const cell = given(...here("a"), ...here("b", {}, 1000), submitted("g", { gang: gang(3, "anywhere", "end"), dialect: 3, priority: 20 }))
    cell.rest(0)
    cell.hear(exited(member(cell, "g", 0), { code: 7 }), submitted("p", { priority: 80, resources: needs(1500) }))
    cell.rest(100_000)
    cell.hear(exited(member(cell, "g", 1), { cause: "withdrawn" }), exited(member(cell, "g", 2), { cause: "withdrawn" }))
    cell.rest(100_001)
    assert.deepInclude(cell.said("JobSettled").find(({ jobId }) => jobId === job("g")), { outcome: "failed" })
  })

  it("a cancel ends all of it", () => {
    const cell = two()
    cell.hear(cancelled("g"))
    cell.rest(1)
    assert.strictEqual(cell.said("PlacementWithdrawn").length, 2)
    cell.hear(...newest(cell, "g").map((made) => exited(made, { cause: "withdrawn" })))
    cell.rest(2)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "cancelled" })
  })

  it("one that waits too long has what it needs held for it, and small work goes round that", () => {
    const cell = given(...here("a"), ...here("b"), ...here("c"))
    let small = 0
    const begin = (count: number, atMs: number) => {
      for (let at = 0; at < count; at += 1) cell.hear(submitted(`k${small++}`, { runMsMax: 600_000, resources: needs(1500) }))
      cell.rest(atMs)
    }
    begin(3, 0)
    cell.hear(submitted("g", { gang: gang(4), dialect: 3, priority: 20 }))
    cell.rest(0)
    let placedAtMs: number | undefined
    for (let atMs = 30_000; placedAtMs === undefined && atMs <= agedMs + 300_000; atMs += 30_000) {
      const over = new Set(cell.said("AttemptExited").map(({ attemptId }) => attemptId))
      const [oldest] = cell.said("PlacementMade").filter(({ attemptId }) => !over.has(attemptId))
      cell.hear(submitted(`k${small++}`, { runMsMax: 600_000, resources: needs(1500) }), exited(oldest!))
      cell.rest(atMs)
      if (cell.placed("g") !== undefined) placedAtMs = atMs
    }
    assert.isDefined(placedAtMs)
    assert.isAtLeast(placedAtMs!, agedMs)
  })
})

describe("what gives way to a gang", () => {
  const six = (): Cell => {
    const cell = given(...here("a", { zone: "x" }), ...here("b", { zone: "x" }), ...here("c", { zone: "y" }))
    for (const [at, name] of ["j1", "j2", "j3", "j4", "j5", "j6"].entries()) {
      cell.hear(submitted(name, { priority: 20 }))
      cell.rest(at * 1_000)
    }
    return cell
  }
  const gaveWay = (cell: Cell) => cell.said("PlacementWithdrawn").map(({ cause, jobId }) => `${cause} ${jobId.slice(-2).toLowerCase()}`)

  it("is as much as all of it needs, at the least loss; its hosts take nothing else until it is there", () => {
    const cell = six()
    cell.hear(submitted("g", { gang: gang(4, "zone"), dialect: 3, priority: 80 }))
    cell.rest(100_000)
    const onX = cell.said("PlacementMade").filter(({ hostId }) => hostId !== host("c")).map(({ jobId }) => jobId.slice(-2).toLowerCase()).sort()
    assert.deepStrictEqual([...gaveWay(cell)].sort(), onX.map((name) => `preempted ${name}`))
    assert.deepStrictEqual([...cell.said("JobDeferred").findLast(({ jobId }) => jobId === job("g"))!.heldOn ?? []].sort(), [host("a"), host("b")])
    const [first, ...rest] = cell.said("PlacementWithdrawn").map(({ jobId }) => cell.said("PlacementMade").find((made) => made.jobId === jobId)!)
    cell.hear(exited(first!, { cause: "withdrawn" }))
    cell.rest(100_001)
    // Neither it nor who gave way begins where a part of it has room by now.
    assert.isUndefined(cell.placed("g"))
    assert.strictEqual(cell.said("PlacementMade").length, 6)
    cell.hear(...rest.map((made) => exited(made, { cause: "withdrawn" })))
    cell.rest(100_002)
    assert.strictEqual(newest(cell, "g").length, 4)
    assert.deepStrictEqual([...new Set(newest(cell, "g").map(({ hostId }) => hostId))].sort(), [host("a"), host("b")])
  })

  it("is no more than that", () => {
    const cell = six()
    cell.hear(exited(cell.placed("j1")))
    cell.rest(10_000)
    cell.hear(submitted("g", { gang: gang(3), dialect: 3, priority: 80 }))
    cell.rest(100_000)
    assert.strictEqual(gaveWay(cell).length, 2)
    // The youngest lose least.
    assert.deepStrictEqual([...gaveWay(cell)].sort(), ["preempted j5", "preempted j6"])
  })

  it("is nobody where all of it has no place then", () => {
    const cell = six()
    cell.hear(submitted("g", { gang: gang(5, "zone"), dialect: 3, priority: 80 }), submitted("h", { gang: gang(4, "fabric"), dialect: 3, priority: 80 }), submitted("k", { gang: gang(4), dialect: 3, priority: 20 }))
    cell.rest(100_000)
    assert.deepStrictEqual(gaveWay(cell), [])
  })

  it("is another gang whole, or none of it", () => {
    const cell = given(...here("a"), ...here("b"), submitted("k", { gang: gang(3), dialect: 3, priority: 20, runMsMax: 1e9 }), submitted("j", { priority: 20, runMsMax: 1e9 }))
    cell.rest(0)
    cell.hear(submitted("g", { gang: gang(2), dialect: 3, priority: 80, runMsMax: 1e9 }))
    cell.rest(100_000)
    // One of three and j would do for room, but one of three takes the others with it: then j need not end.
    assert.deepStrictEqual(gaveWay(cell), ["preempted 0k", "preempted 0k", "preempted 0k"])
    cell.hear(...newest(cell, "k").map((made) => exited(made, { cause: "withdrawn" })))
    cell.rest(100_001)
    assert.strictEqual(newest(cell, "g").length, 2)
    // Nobody gives way to what gave way: there it ends.
    for (let atMs = 200_000; atMs < 2_000_000; atMs += 100_000) cell.rest(atMs)
    assert.strictEqual(gaveWay(cell).length, 3)
  })
})
