import { assert, describe, it } from "@effect/vitest"
import { AskId, type GangTerms, type HostJoined, type MillFact, Principal, type QuotaTerms } from "@millrace/schemas"
import { admitted, type Cell, dismissed, exited, given, host, job, joined, needs, submitted, workspace } from "../testing/cell.ts"
import { agent, grant, issued, opened } from "../testing/means.ts"
import { agedMs } from "./patience.ts"

const h100 = { model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 }
const gpuHost = (name: string, count: number, labels: Record<string, string> = {}): ReadonlyArray<MillFact> => {
  const plain = joined(name, { ...needs(64_000, 64_000), gpus: count }) as HostJoined
  return [admitted(name), { ...plain, dialect: 3, capabilities: { ...plain.capabilities, gpus: Array.from({ length: count }, (_, index) => ({ ...h100, index })), labels } }]
}
const gang = (members: number, topology: GangTerms["topology"] = "anywhere"): Parameters<typeof submitted>[1] => ({ gang: { members, topology, onLoss: "restart" }, dialect: 3 })
const quota = (node: string, limits: QuotaTerms["limits"]): MillFact =>
  ({ _tag: "QuotaAsked", askId: AskId.make(`ask_${"1".padStart(26, "0")}`), workspace: workspace("acme"), askedBy: Principal.make("user:ada"), decision: { rule: "role", view: {} }, node, terms: { limits } }) as MillFact
const placed = (cell: Cell, name: string) => cell.said("PlacementMade").filter(({ jobId }) => jobId === job(name))
const under = { by: agent, grant: grant("g") }

describe("the members of a gang", () => {
  it("are each a use of its grant", () => {
    const cell = given(...gpuHost("a", 8), ...opened, issued("g", { usesMax: 3 }), submitted("j1", { ...gang(2), ...under }))
    cell.rest()
    cell.hear(submitted("j2", { ...gang(2), ...under })).rest(1)
    assert.deepStrictEqual([placed(cell, "j1").length, placed(cell, "j2").length], [2, 0])
    assert.deepInclude(cell.said("DecisionMade")[0]?.missing, { limit: "usesMax", needs: "4", has: "3" })
  })

  it("that are more than their grant may ever have running are refused at once", () => {
    const cell = given(...gpuHost("a", 8), ...opened, issued("g", { concurrencyMax: 1 }), submitted("j1", { ...gang(2), ...under }))
    cell.rest()
    assert.deepInclude(cell.said("JobRefused")[0], { jobId: job("j1") })
  })

  it("count together against what their workspace may have of a model", () => {
    const cell = given(...gpuHost("a", 8), quota("workspace/acme", [{ dimension: "gpuMilli/H100", nominal: 3_000, borrowingMax: 0 }]))
    cell.rest()
    cell.hear(submitted("j1", { ...gang(2), resources: { ...needs(1000), gpus: 2 } })).rest(1)
    assert.strictEqual(placed(cell, "j1").length, 0)
    assert.deepInclude(cell.said("JobDeferred")[0], { reason: "quota" })
  })

  it("have other hosts held for them when one of those that were is gone", () => {
    const cell = given(...gpuHost("a", 1), ...gpuHost("b", 1), ...gpuHost("c", 1))
    const long = (name: string) => submitted(name, { resources: { ...needs(1000), gpus: 1 }, dialect: 3, runMsMax: 100_000_000 })
    cell.hear(long("k1"), long("k2"), long("k3")).rest(0)
    cell.hear(submitted("g", { ...gang(2), resources: { ...needs(1000), gpus: 1 } })).rest(0)
    cell.rest(agedMs + 1)
    const first = cell.said("JobDeferred").findLast(({ jobId }) => jobId === job("g"))!.heldOn!
    assert.lengthOf(first, 2)
    const gone = ["a", "b", "c"].find((name) => host(name) === first[0])!
    cell.hear(dismissed(gone)).rest(agedMs + 2)
    for (let atMs = 2; atMs < 4; atMs += 1) cell.rest(agedMs * atMs + 10)
    const held = cell.said("JobDeferred").findLast(({ jobId }) => jobId === job("g"))!.heldOn!
    assert.lengthOf(held, 2)
    assert.notInclude(held, host(gone))
  })

  it("are not begun again where some of them were settled already", () => {
    const cell = given(...gpuHost("a", 8), submitted("g", gang(2)))
    cell.rest(0)
    const [one, other] = placed(cell, "g")
    cell.hear(exited(one!), exited(other!))
    // What a round says of a workspace is cut into commits: whoever dies between two has said a part of it.
    cell.hear({ _tag: "TaskSettled", jobId: job("g"), workspace: workspace("acme"), task: 0, outcome: "succeeded", attempt: 1, cause: "exited with 0", endedBy: one!.attemptId as never })
    cell.rest(1)
    assert.strictEqual(placed(cell, "g").length, 2)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "succeeded" })
  })

  it("are told of in the demand as what begins together, and how near to each other", () => {
    const cell = given(
      submitted("g", { ...gang(4, "fabric"), resources: { ...needs(1000), gpus: 8 } }), submitted("h", { ...gang(4, "host"), resources: { ...needs(1000), gpus: 2 } }),
      submitted("k", { ...gang(3), resources: { ...needs(1000), gpus: 4 } }), submitted("m", { ...gang(3, "zone"), resources: { ...needs(1000), gpus: 4 } }),
      submitted("n", { ...gang(3, "zone"), resources: { ...needs(1000), gpus: 4 } }), submitted("p", { ...gang(2, "provider"), resources: { ...needs(1000), gpus: 4 } }),
      submitted("q", { resources: { ...needs(1000), gpus: 4 } })
    )
    cell.rest(2_000)
    const classes = cell.said("DemandChanged").at(-1)!.classes.map(({ gang, gpus, together, waiting }) => ({ gang, gpus, together, waiting }))
    const none = undefined
    assert.sameDeepMembers(classes, [
      { gang: 4, gpus: 8, together: none, waiting: 4 }, { gang: none, gpus: 8, together: none, waiting: 1 },
      { gang: none, gpus: 4, together: { members: 3, on: "anywhere" }, waiting: 3 }, { gang: none, gpus: 4, together: { members: 3, on: "zone" }, waiting: 6 },
      { gang: none, gpus: 4, together: { members: 2, on: "provider" }, waiting: 2 }, { gang: none, gpus: 4, together: none, waiting: 1 }
    ])
    // What was said is read as what it was said of, so nothing is said again.
    assert.isEmpty(cell.rest(10_000).filter(({ _tag }) => _tag === "DemandChanged"))
  })
})

describe("what is for rent", () => {
  it("is not all known where the fact holds a part of the list", () => {
    const cell = given(...gpuHost("a", 1), {
      _tag: "OffersObserved", provider: "sky" as never, observedAtMs: 0, offers: { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 1 }, count: 2, source: "s",
      rows: [{ machineType: "m", market: "on_demand", resources: { ...needs(30_000, 60_000), gpus: 1 }, gpuModel: "A10", pricePicoPerSecond: 1n, regions: [] }]
    }, submitted("j1", { resources: { ...needs(1000), gpus: 8 }, dialect: 3 }))
    cell.rest()
    assert.isEmpty(cell.said("JobRefused"))
  })

  const tookOver = (...providers: ReadonlyArray<string>): MillFact => ({
    _tag: "BrokerTookOver", term: 1, broker: Principal.make("service:broker"), codeVersion: "1", cell: "c", machinesMax: 1, spendPicoPerHourMax: 1n, answerMsMax: 1, bootMsMax: 1, idleMsMax: 1, providers: providers as never
  })
  const offersOne = (provider: string): MillFact => ({
    _tag: "OffersObserved", provider: provider as never, observedAtMs: 0, offers: { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 1 }, count: 1, source: "s",
    rows: [{ machineType: "m", market: "on_demand", resources: { ...needs(30_000, 60_000), gpus: 1 }, gpuModel: "A10", pricePicoPerSecond: 1n, regions: [] }]
  })
  const eight = (name: string) => submitted(name, { resources: { ...needs(1000), gpus: 8 }, dialect: 3 })
  const refused = (cell: Cell) => cell.said("JobRefused").map(({ jobId }) => jobId)

  it("is not all known while somebody it is bought from has not said what they offer", () => {
    const cell = given(tookOver("sky", "sea"), offersOne("sky"), eight("j1"))
    cell.rest()
    assert.isEmpty(refused(cell))
    cell.hear(offersOne("sea"), eight("j2")).rest(1)
    assert.include(refused(cell), job("j2"))
  })

  it("is known when nobody is bought from any more who has not said what they offer", () => {
    const cell = given(tookOver("sky", "sea"), offersOne("sky"), { ...tookOver("sky"), term: 2 } as MillFact, eight("j1"))
    cell.rest()
    assert.deepStrictEqual(refused(cell), [job("j1")])
  })
})
