import { assert, describe, it } from "@effect/vitest"
import { AskId, type GangTerms, type HostJoined, type JobSpec, type MillFact, Principal, type QuotaTerms } from "@millrace/schemas"
import { admitted, type Cell, exited, given, host, job, joined, needs, submitted, workspace } from "../testing/cell.ts"
import { agent, delegated, grant, issued, opened } from "../testing/means.ts"
import { scheduler } from "./scheduler.ts"

const h100 = { model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 }
const a100 = { model: "NVIDIA A100-SXM4-80GB", memoryMib: 81_920 }
const gpuHost = (name: string, gpu: typeof h100, count: number, labels: Record<string, string> = {}): ReadonlyArray<MillFact> => {
  const plain = joined(name, { ...needs(64_000, 64_000), gpus: count }) as HostJoined
  return [admitted(name), { ...plain, dialect: 3, capabilities: { ...plain.capabilities, gpus: Array.from({ length: count }, (_, index) => ({ ...gpu, index })), labels } }]
}
const offers = (provider: string, regions: ReadonlyArray<string>, more: object = {}): MillFact => ({
  _tag: "OffersObserved", provider: provider as never, observedAtMs: 0, offers: { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 1 }, count: 1, source: "s",
  rows: [{ machineType: "m", market: "on_demand", resources: { ...needs(30_000, 60_000), gpus: 2 }, gpuModel: "A10", pricePicoPerSecond: 1n, regions, ...more }]
})
let asks = 0
const quota = (node: string, terms: QuotaTerms): MillFact =>
  ({ _tag: "QuotaAsked", askId: AskId.make(`ask_${String(++asks).padStart(26, "0")}`), workspace: workspace("acme"), askedBy: Principal.make("user:ada"), decision: { rule: "role", view: {} }, node, terms })
const asking = (name: string, terms: Partial<JobSpec> & { readonly gpus?: number; readonly gpuMilli?: number } = {}, more: Parameters<typeof submitted>[1] = {}): MillFact => {
  const { gpuMilli, gpus = 0, ...rest } = terms
  const fact = submitted(name, { ...more, resources: { ...needs(1000), gpus, ...(gpuMilli === undefined ? {} : { gpuMilli }) } }) as Extract<MillFact, { _tag: "JobSubmitted" }>
  return { ...fact, spec: { ...fact.spec, dialect: 3, ...rest } }
}
const gang = (members: number, topology: GangTerms["topology"]): GangTerms => ({ members, topology, onLoss: "restart" })
const remedy = (cell: Cell, name: string) => cell.said("JobRefused").find(({ jobId }) => jobId === job(name))?.remedy
const waits = (cell: Cell, name: string) => cell.said("JobDeferred").findLast(({ jobId }) => jobId === job(name))?.reason

describe("what can never run", () => {
  const market = (...more: ReadonlyArray<MillFact>) => given(...gpuHost("a", h100, 8, { region: "home", fabric: "f" }), offers("sky", ["us-east-1", "eu-west-1"]), ...more)

  it("is refused where it must stand in a region that nobody has or sells, and is told which there are", () => {
    const cell = market(asking("j1", { where: { only: { regions: ["mars-1"] } } }), asking("j2", { where: { only: { regions: ["eu-west-1"] } } }), asking("j3", { where: { only: { regions: ["home"] } } }))
    cell.rest()
    assert.strictEqual(remedy(cell, "j1"), "no machine that is here or for rent stands where it may run (region mars-1) and runs process work with trust own; there is region eu-west-1, home, us-east-1")
    assert.deepStrictEqual([remedy(cell, "j2"), waits(cell, "j2"), cell.placed("j3").hostId], [undefined, "no_host", host("a")])
  })

  it("by provider and by residency", () => {
    const cell = market(asking("j1", { where: { only: { providers: ["sea"] } } }), asking("j2", { where: { only: { residency: ["jp"] } } }), asking("j3", { where: { only: { residency: ["eu"] } } }), asking("j4", { where: { only: { isolation: ["vault"] } } }))
    cell.rest()
    assert.include(remedy(cell, "j1"), "there is provider sky")
    assert.include(remedy(cell, "j2"), "there is residency eu, us")
    assert.strictEqual(waits(cell, "j3"), "no_host")
    assert.include(remedy(cell, "j4"), "(isolation vault)")
  })

  it("but not while somebody who might have it has not said what they offer, or where", () => {
    const cell = given(...gpuHost("a", h100, 1), offers("sky", []), asking("j1", { where: { only: { regions: ["mars-1"] } } }), asking("j2", { gpus: 8 }))
    cell.rest()
    assert.strictEqual(waits(cell, "j1"), "no_host")
    assert.isDefined(remedy(cell, "j2"))
    const saved = scheduler.load(structuredClone(scheduler.save(market().world)) as never)
    assert.deepStrictEqual(saved.offers, market().world.offers)
  })

  it("for a gang that one host must hold, or one fabric", () => {
    const cell = market(
      asking("j1", { gang: gang(9, "host"), gpus: 1 }), asking("j2", { gang: gang(4, "host"), gpus: 2 }), asking("j3", { gang: gang(9, "fabric"), gpus: 1 }), asking("j4", { gang: gang(9, "anywhere"), gpus: 1 }),
      asking("j5", { gang: gang(17, "host"), gpuMilli: 500 })
    )
    cell.rest()
    assert.strictEqual(remedy(cell, "j1"), "no machine that is here or for rent has 1 core, 100 MiB, 9 GPUs, for all 9 members on one host; one machine has at most 8 NVIDIA H100 80GB HBM3, 2 A10")
    assert.include(remedy(cell, "j3"), "for all 9 members on one fabric")
    assert.isDefined(remedy(cell, "j5"))
    assert.deepStrictEqual([remedy(cell, "j2"), remedy(cell, "j4")], [undefined, undefined])
    const joined = market(offers("sea", ["x"], { fabric: true }), asking("j3", { gang: gang(9, "fabric"), gpus: 1 }))
    joined.rest()
    assert.strictEqual(waits(joined, "j3"), "no_room")
  })

  it("because its quota never gives that much, even if all others were idle", () => {
    const limits = { limits: [{ dimension: "cpuMilli", nominal: 2000, borrowingMax: 1000 }] }
    const cell = market(quota("workspace/acme", { parent: "cohort/all", ...limits }), quota("cohort/all", { limits: [{ dimension: "cpuMilli", nominal: 8000 }] }))
    cell.rest()
    cell.hear(submitted("j1", { resources: needs(3000) }), submitted("j2", { resources: needs(3001) }), submitted("j3", { resources: needs(1000), gang: gang(4, "anywhere"), dialect: 3 }), submitted("j4", { in: "other", resources: needs(4000) })).rest(1)
    assert.strictEqual(remedy(cell, "j2"), "its quota never gives it that much: workspace/acme needs 3.001 cores and can have at most 3 cores, borrowed or its own; ask for less, or for a larger quota")
    assert.include(remedy(cell, "j3"), "needs 4 cores for all 4 members")
    assert.deepStrictEqual([remedy(cell, "j1"), remedy(cell, "j4")], [undefined, undefined])
  })

  it("because its quota gives none of any GPU that it would take", () => {
    const cell = market(quota("workspace/acme", { limits: [{ dimension: "gpuMilli/H100", nominal: 0, borrowingMax: 0 }] }))
    cell.rest()
    cell.hear(asking("j1", { gpus: 1, gpu: [{ model: "H100" }] }), asking("j2", { gpus: 1, gpu: [{ model: "H100" }, { model: "A10" }] })).rest(1)
    assert.include(remedy(cell, "j1"), "workspace/acme can have at most 0 H100")
    assert.strictEqual(waits(cell, "j2"), "quota")
  })
})

describe("a full quota of one model of GPU", () => {
  const two = { limits: [{ dimension: "gpuMilli/H100", nominal: 1_000, borrowingMax: 0 }] }
  const wishes = { gpus: 1, gpu: [{ model: "H100" }, { model: "A100" }] }

  it("sends a job on to a later wish that is free, and says so", () => {
    const cell = given(...gpuHost("a", h100, 4), ...gpuHost("b", a100, 1), quota("workspace/acme", two))
    cell.rest()
    cell.hear(asking("j1", wishes), asking("j2", wishes), asking("j3", wishes)).rest(1)
    assert.deepStrictEqual([cell.placed("j1").hostId, cell.placed("j2").hostId], [host("a"), host("b")])
    assert.include(cell.placed("j2").reason, "its quota gives no more of H100")
    assert.strictEqual(waits(cell, "j3"), "quota")
    cell.hear(exited(cell.placed("j1"))).rest(2)
    assert.strictEqual(cell.placed("j3").hostId, host("a"))
  })

  it("and a gang", () => {
    const cell = given(...gpuHost("a", h100, 4), ...gpuHost("b", a100, 2), quota("workspace/acme", two))
    cell.rest()
    cell.hear(asking("g", { ...wishes, gang: gang(2, "anywhere") })).rest(1)
    assert.deepStrictEqual(cell.said("PlacementMade").map(({ hostId }) => hostId), [host("b"), host("b")])
  })
})

describe("members that share devices of one host", () => {
  it("are placed whole, each on a device with room for its part", () => {
    const cell = given(...gpuHost("a", h100, 1), ...gpuHost("b", h100, 2), asking("g", { gang: gang(4, "host"), gpuMilli: 500 }))
    cell.rest()
    assert.deepStrictEqual(cell.said("PlacementMade").map(({ hostId }) => hostId), [host("b"), host("b"), host("b"), host("b")])
    assert.deepStrictEqual(cell.said("PlacementMade").flatMap(({ gpus }) => [...gpus ?? []]).sort(), [0, 0, 1, 1])
  })
})

describe("the GPUs that a grant allows", () => {
  const under = { by: agent, grant: grant("h") }
  const granted = () => given(...gpuHost("a", h100, 8), ...opened, issued("g", { gpusMax: 4 }), delegated("h", "g", { gpusMax: 3 }))

  it("are summed over all that runs under it, and what is more waits its turn", () => {
    const cell = granted().hear(asking("j1", { gpus: 2 }, under), asking("j2", { gpus: 2 }, under), asking("j3", { gpus: 1 }, under))
    cell.rest()
    assert.strictEqual(waits(cell, "j2"), "quota")
    assert.include(cell.said("JobDeferred")[0]?.arithmetic, "may have 3 GPUs at once, and 2 run under it: 2 more are needed")
    assert.isDefined(cell.placed("j3"))
    cell.hear(exited(cell.placed("j1"))).rest(1)
    assert.isDefined(cell.placed("j2"))
  })

  it("along the whole path, by parts of devices, and again after what was saved is loaded", () => {
    const cell = granted().hear(asking("j1", { gpus: 3 }, { by: agent, grant: grant("g") }), asking("j2", { gpuMilli: 600 }, under), asking("j3", { gpuMilli: 600 }, under))
    cell.rest()
    assert.isDefined(cell.placed("j2"))
    assert.strictEqual(waits(cell, "j3"), "quota")
    assert.deepStrictEqual(scheduler.load(structuredClone(scheduler.save(cell.world)) as never).index.runningGpuMilli, cell.world.index.runningGpuMilli)
  })

  it("are counted for all members of a gang at once", () => {
    const cell = granted().hear(asking("j1", { gpus: 1 }, under)).hear(asking("g", { gpus: 1, gang: gang(3, "anywhere") }, under), asking("h", { gpus: 1, gang: gang(4, "anywhere") }, under))
    cell.rest()
    assert.strictEqual(waits(cell, "g"), "quota")
    assert.isDefined(remedy(cell, "h"))
    cell.hear(exited(cell.placed("j1"))).rest(1)
    assert.lengthOf(cell.said("PlacementMade").filter(({ jobId }) => jobId === job("g")), 3)
  })
})
