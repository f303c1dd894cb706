import { assert, describe, it } from "@effect/vitest"
import type { Constraints, MillFact } from "@millrace/schemas"
import { admitted, Cell, exited, given, job, joined, needs, submitted } from "../testing/cell.ts"
import { account, agent, budget, cost, delegated, grant, issued, lent, opened, priced, recalled, resumed, revoked, slice, suspended } from "../testing/means.ts"
import { dueAtMs } from "./decide.ts"

const here: ReadonlyArray<MillFact> = [admitted("a"), joined("a", needs(4000, 4000))]
const under = (name = "g", terms: Parameters<typeof submitted>[1] = {}) => ({ by: agent, grant: grant(name), ...terms })
const granted = (constraints: Constraints = {}, expiresAtMs?: number) => given(...here, ...opened, issued("g", constraints, expiresAtMs))

describe("a job under a grant", () => {
  it("carries a warrant with the whole path, its holder and the narrowest limits", () => {
    const cell = granted({ cpuMilliMax: 3000 }).hear(delegated("h", "g", { cpuMilliMax: 2000, egress: [] }), submitted("j1", under("h")))
    cell.rest()
    const { attemptId, warrant } = cell.placed("j1")
    assert.deepInclude(warrant as object, { grantPath: [grant("g"), grant("h")], holder: agent, workspace: "acme", constraints: { cpuMilliMax: 2000, egress: [] }, attemptId })
  })

  it("speaks for nobody where there is no grant", () => {
    const cell = given(...here, submitted("j1"))
    cell.rest()
    assert.notProperty(cell.placed("j1").warrant, "holder")
  })

  it("is refused where the grant allows less, with the limit named, and the refusal is in the audit", () => {
    const cell = granted({ cpuMilliMax: 500 }).hear(submitted("j1", under()))
    cell.rest()
    assert.deepInclude(cell.said("JobRefused")[0], { reason: "not_allowed" })
    const [decision] = cell.said("DecisionMade")
    assert.deepInclude(decision, { point: "scheduler", verdict: "deny", reason: "constraint", jobId: job("j1") })
    assert.deepInclude(decision?.missing, { limit: "cpuMilliMax", needs: "1000", has: "500", narrowedBy: grant("g") })
  })

  it("is refused under a grant that nobody issued", () => {
    const cell = given(...here, submitted("j1", under()))
    cell.rest()
    assert.deepInclude(cell.said("DecisionMade")[0], { reason: "no_grant" })
  })

  it("is not decided before the scheduler has heard what the door had", () => {
    const cell = given(...here, { ...submitted("j1", under()), decision: { rule: "grant", view: { ACCESS: 4 } } } as MillFact)
    assert.deepStrictEqual(cell.rest(), [])
    cell.hear(...opened, issued("g")).rest(1)
    assert.strictEqual(cell.placed("j1").attempt, 1)
  })

  it("ends with it: what runs is withdrawn, what waits is refused", () => {
    for (const end of [revoked("g"), suspended("g")]) {
      const cell = granted().hear(submitted("j1", under("g", { resources: needs(4000) })), submitted("j2", under()))
      cell.rest()
      cell.hear(end).rest(1)
      assert.deepInclude(cell.said("PlacementWithdrawn")[0], { jobId: job("j1"), cause: "revoked" })
      assert.deepInclude(cell.said("JobRefused")[0], { jobId: job("j2"), reason: "not_allowed" })
      cell.hear(exited(cell.placed("j1"), { cause: "withdrawn" })).rest(2)
      assert.deepInclude(cell.said("JobSettled")[0], { jobId: job("j1"), outcome: "refused" })
    }
  })

  it("ends with a link above it, and with the grant's time", () => {
    const above = granted().hear(delegated("h", "g"), submitted("j1", under("h")))
    above.rest()
    above.hear(revoked("g")).rest(1)
    assert.lengthOf(above.said("PlacementWithdrawn"), 1)
    const timed = granted({}, 5_000).hear(submitted("j1", under()))
    timed.rest(1_000)
    assert.strictEqual(dueAtMs(timed.world), 5_000)
    timed.rest(5_000)
    assert.deepInclude(timed.said("PlacementWithdrawn")[0], { cause: "revoked" })
    assert.isUndefined(dueAtMs(timed.world))
  })

  it("runs under a grant that was resumed", () => {
    const cell = granted().hear(suspended("g"), resumed("g"), submitted("j1", under()))
    cell.rest()
    assert.strictEqual(cell.placed("j1").attempt, 1)
  })

  it("has no more running at once than every link allows, and goes on when one has ended", () => {
    const cell = granted({ concurrencyMax: 1 }).hear(delegated("h", "g", { concurrencyMax: 1 }), submitted("j1", under("g")), submitted("j2", under("h")))
    cell.rest()
    assert.deepInclude(cell.said("JobDeferred")[0], { jobId: job("j2"), reason: "quota", unblockedBy: "quota" })
    cell.hear(exited(cell.placed("j1"))).rest(1)
    assert.strictEqual(cell.placed("j2").attempt, 1)
  })

  it("uses it as often as it may be used, tasks counted, retries not", () => {
    const cell = granted({ usesMax: 3 }).hear(submitted("j1", under("g", { attemptsMax: 2 })), submitted("j2", under("g", { array: { tasks: 2 } })), submitted("j3", under()))
    cell.rest()
    assert.deepStrictEqual(cell.said("JobRefused").map(({ jobId }) => jobId), [job("j3")])
    assert.deepInclude(cell.said("DecisionMade")[0]?.missing, { limit: "usesMax", needs: "4", has: "3" })
    cell.hear(exited(cell.placed("j1"), { code: 1 })).rest(0)
    cell.rest(200)
    assert.strictEqual(cell.placed("j1").attempt, 2)
  })
})

const funded = (...slices: ReadonlyArray<MillFact>): Cell => given(...here, ...opened, priced, budget, ...slices)

describe("a job that costs money", () => {
  it("takes its share from a slice that was lent, by what it costs at most", () => {
    const cell = funded(lent("s", 100_000n)).hear(submitted("j1"))
    cell.rest()
    assert.deepStrictEqual(cell.placed("j1").share, { account, slice: slice("s"), amountPico: 60_000n })
  })

  it("goes to an agent that can write it down, which those of the first dialect cannot", () => {
    const cell = given(admitted("a"), { ...joined("a", needs(4000, 4000)), dialect: 1 } as MillFact, ...opened, priced, budget, lent("s", 1_000_000n), submitted("j1"))
    cell.rest(1)
    assert.deepStrictEqual(cell.said("PlacementMade"), [])
    cell.hear(joined("a", needs(4000, 4000))).rest(2)
    assert.isDefined(cell.placed("j1").share)
  })

  it("needs none where no account was ever opened", () => {
    const cell = given(...here, priced, submitted("j1"))
    cell.rest()
    assert.notProperty(cell.placed("j1"), "share")
  })

  it("waits where too little is free, with the sum, until an attempt's cost is known or more is lent", () => {
    const cell = funded(lent("s", 100_000n)).hear(submitted("j1"), submitted("j2"), submitted("j3"))
    cell.rest()
    assert.deepInclude(cell.said("JobDeferred")[0], {
      jobId: job("j2"), reason: "budget", unblockedBy: "budget",
      arithmetic: `${account} must promise $0.00000006 for 60000 ms of this by plain/1; the largest free part of a slice is $0.00000004`
    })
    cell.hear(exited(cell.placed("j1"))).rest(1)
    assert.isUndefined(cell.placed("j2"))
    cell.hear(cost(cell.placed("j1"), 1_000n)).rest(2)
    assert.strictEqual(cell.placed("j2").share?.amountPico, 60_000n)
    cell.hear(lent("t", 60_000n)).rest(3)
    assert.strictEqual(cell.placed("j3").share?.slice, slice("t"))
  })

  it("promises nothing from a slice that was recalled", () => {
    const cell = funded(lent("s", 100_000n), recalled("s")).hear(submitted("j1"))
    cell.rest()
    assert.deepInclude(cell.said("JobDeferred")[0], { reason: "budget" })
  })

  it("answers that a slice was called back, once, when a job waits for money", () => {
    const cell = funded(lent("s", 30_000n), lent("t", 30_000n)).hear(submitted("j1"))
    cell.rest()
    assert.lengthOf(cell.said("JobDeferred"), 1)
    cell.hear(recalled("s"), recalled("t")).rest(1)
    assert.lengthOf(cell.said("JobDeferred"), 2)
    assert.deepStrictEqual(cell.rest(2), [])
  })

  it("is told when it waits for money and no more for room, and the other way round", () => {
    const cell = given(...opened, priced, budget, lent("s", 10_000n), submitted("j1"))
    cell.rest()
    assert.strictEqual(cell.said("JobDeferred")[0]?.reason, "budget")
    cell.hear(lent("t", 60_000n)).rest(5_000)
    assert.strictEqual(cell.said("JobDeferred").at(-1)?.reason, "no_host")
    assert.deepInclude(cell.said("DemandChanged").at(-1)?.classes[0] as object, { cpuMilli: 1000, waiting: 1 })
    cell.hear(recalled("t")).rest(10_000)
    assert.deepInclude(cell.said("JobDeferred").at(-1) as object, { reason: "budget", budget: { account, needsPico: 60_000n } })
    assert.deepStrictEqual(cell.said("DemandChanged").at(-1)?.classes, [])
    assert.deepStrictEqual(cell.rest(20_000), [])
  })

  it("spends no more than its grant may, promised and used together, to the pico-dollar", () => {
    const cell = given(...here, ...opened, priced, budget, lent("s", 1_000_000n), issued("g", { spendPicoMax: 120_000n }),
      submitted("j1", under()), submitted("j2", under()), submitted("j3", under()))
    cell.rest()
    assert.deepInclude(cell.said("JobDeferred")[0], { jobId: job("j3"), reason: "budget" })
    cell.hear(cost(cell.placed("j1"), 59_999n)).rest(1)
    assert.isUndefined(cell.placed("j3"))
    cell.hear(cost(cell.placed("j2"), 2n)).rest(2)
    assert.isUndefined(cell.placed("j3"))
    assert.deepInclude(cell.said("JobRefused")[0], { jobId: job("j3"), reason: "over_budget" })
    assert.deepInclude(cell.said("DecisionMade")[0]?.missing, { limit: "spendPicoMax", needs: "120001", has: "120000" })
  })
})
