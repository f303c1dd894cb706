import { assert, describe, it } from "@effect/vitest"
import type { LeaseId, MillFact, ProviderName } from "@millrace/schemas"
import { admitted, Desk, digestOf, firstLease, given, granted, joined, joinedAs, observed, offer, provider, tags, tookOver, waits, wanted } from "../testing/desk.ts"
import { blockedUntilMs } from "./blocks.ts"
import { shortfallOf } from "./boot-check.ts"
import { chanceOf } from "./chances.ts"
import { dueAfterMs } from "./decide.ts"
import { drainsForMs } from "./ending.ts"
import { nextLookMs, sweep } from "./sweep.ts"

const column = { region: "here", machineType: "small", market: "on_demand" } as const
const refused = (leaseId: LeaseId, more: object): MillFact =>
  ({ _tag: "LeaseRefused", leaseId, provider, reason: "out_of_capacity", narrows: "type", detail: "none left", notBeforeMs: 1_000_000, ...more })
const ended = (leaseId: LeaseId, confirmed: "terminated" | "reclaimed" = "terminated"): MillFact => ({ _tag: "LeaseEnded", leaseId, provider, confirmed, endedAtMs: 1, costPico: 0n })
const suspended: MillFact = { _tag: "ProviderSuspended", provider, reason: "outage", detail: "it does not answer", untilMs: 100_000 }
const other = "another" as ProviderName
const alsoAt = (more = {}): MillFact => ({ ...observed(offer("small", { price: 9n, regions: ["there"], ...more })), provider: other })
const asked = (facts: ReadonlyArray<MillFact>) => facts.flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact] : []))

describe("what a refusal narrows", () => {
  it("is a zone's type, or a market's, and leaves the next zone and the other market", () => {
    const rows = ["a", "b"].flatMap((zone) => (["on_demand", "spot"] as const).map((market) => offer("small", { price: market === "spot" ? 2n : 6n }, { zone, market })))
    const tolerant = waits(1, { where: { spot: "tolerated" } })
    const zones = (facts: ReadonlyArray<MillFact>) => asked(facts).map(({ column: { market, zone } }) => `${market}@${zone}`)
    const after = (narrows: string) => {
      const desk = given(observed(...rows), tolerant)
      assert.deepStrictEqual(zones(desk.decide(1)), ["spot@a"])
      return zones(desk.hear(2, refused(firstLease(desk), { narrows })).decide(3))
    }
    assert.deepStrictEqual([after("market"), after("zone"), after("type"), after("provider")], [["spot@b"], ["spot@b"], [], []])
  })
  it("is a single offer, which is asked for once and by its own id", () => {
    const desk = given(observed(offer("small", {}, { offer: "o1" }), offer("small", { price: 7n }, { offer: "o2" })), waits(3))
    assert.deepStrictEqual(asked(desk.decide(1)).map((one) => one.column.offer), ["o1", "o2"])
    assert.deepStrictEqual(asked(desk.decide(2)), [])
  })
  it("holds longer with each refusal in a row, up to what its meaning bears, and at least as long as was said", () => {
    const of = (inARow: number, more: object = {}) => blockedUntilMs({ reason: "out_of_capacity", narrows: "zone", ...more }, column, inARow, 0) / 60_000
    assert.deepStrictEqual([of(0), of(1), of(3), of(9), of(0, { untilMs: 300_000 }), of(0, { reason: "quota" }), of(9, { reason: "offer_gone" })], [2, 4, 16, 60, 5, 10, 23 * 60])
  })
})

describe("what is learnt", () => {
  it("of a column that refuses or never boots makes it dearer than one that works", () => {
    const desk = given(observed(offer("small", { price: 10n }), offer("other", { price: 11n })), waits(1))
    assert.deepStrictEqual(wanted(desk.decide(1)), ["small@here"])
    desk.hear(2, refused(firstLease(desk), { notBeforeMs: 3, narrows: "market" }))
    assert.deepStrictEqual(wanted(desk.decide(4)), ["other@here"])
    assert.deepInclude(chanceOf(desk.state.chances, provider, column, 4), { tries: 1, permille: 600 })
  })
  it("is bounded, and of each hour by itself once that has been tried enough", () => {
    const desk = given(observed(offer("small")), waits(1))
    const hours = (hour: number) => hour * 3_600_000
    for (let day = 0; day < 5; day += 1) {
      desk.decide(hours(24 * day + 3))
      desk.hear(hours(24 * day + 3) + 1, refused(firstLease(desk), { notBeforeMs: 0 }))
      desk.decide(hours(24 * day + 5))
      desk.hear(hours(24 * day + 5) + 1, granted(firstLease(desk)), ended(firstLease(desk)))
    }
    const { chances } = desk.state
    assert.isBelow(chanceOf(chances, provider, column, hours(3)).permille, chanceOf(chances, provider, column, hours(8)).permille)
    assert.isAtMost(chances.size, 3)
  })
})

describe("a machine", () => {
  const held = (resources = { cpuMilli: 1000, memoryMib: 900, gpus: 0 }): Desk => {
    const desk = given(observed(offer("small", { regions: ["here", "there"] })), waits(1))
    desk.decide(1)
    desk.hear(2, granted(firstLease(desk)), admitted(digestOf(desk)), joinedAs("one", resources))
    return desk
  }
  it("that has less than was bought goes back at once, and another kind is sought", () => {
    assert.includeMembers(tags(held({ cpuMilli: 400, memoryMib: 900, gpus: 0 }).decide(3)), ["MachineEnrolled", "LeaseReleased unhealthy", "LeaseRequested"])
    assert.deepStrictEqual(tags(held().decide(3)), ["MachineEnrolled"])
    const bought = { resources: { cpuMilli: 8000, memoryMib: 1000, diskMib: 0, gpus: 2 }, gpuModel: "H100 SXM5" }
    const has = (gpus: number, ...models: ReadonlyArray<string>) => shortfallOf(bought, { cpuMilli: 8000, memoryMib: 900, gpus, models })
    assert.deepStrictEqual([has(2, "NVIDIA H100 80GB HBM3"), has(1, "NVIDIA H100 80GB HBM3"), has(2, "NVIDIA A100-SXM4-80GB")],
      [undefined, "2 GPUs were bought, 1 are there", "H100 SXM5 was bought, NVIDIA A100-SXM4-80GB is there"])
  })
  it("that ends before anybody was there is a refusal that came late", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    desk.hear(2, granted(firstLease(desk)), ended(firstLease(desk)))
    assert.deepStrictEqual(tags(desk.decide(3)), [])
    assert.deepStrictEqual(wanted(desk.decide(2 + 120_001)), ["small@here"])
  })
  it("that is handed over and of no use again and again is sought after longer and longer, until one of its kind has worked", () => {
    const desk = given(observed(offer("small")), waits(1))
    const fails = (atMs: number) => {
      assert.deepStrictEqual(wanted(desk.decide(atMs)), ["small@here"])
      desk.hear(atMs, granted(firstLease(desk)), ended(firstLease(desk)))
    }
    const minutes = (of: number) => of * 60_000
    fails(0)
    assert.deepStrictEqual(wanted(desk.decide(minutes(2) - 1)), [])
    fails(minutes(2))
    assert.deepStrictEqual(wanted(desk.decide(minutes(6) - 1)), [])
    fails(minutes(6))
    assert.deepStrictEqual(wanted(desk.decide(minutes(14) - 1)), [])
    assert.deepStrictEqual(wanted(desk.decide(minutes(14))), ["small@here"])
    const lease = firstLease(desk)
    desk.hear(minutes(14), granted(lease), { _tag: "LeaseReleased", leaseId: lease, provider, cause: "idle" }, ended(lease))
    fails(minutes(15))
    assert.deepStrictEqual(wanted(desk.decide(minutes(17))), ["small@here"])
  })
  it("that will be taken back is told once, counts no more, and goes back when it has nothing to do", () => {
    const desk = held()
    desk.decide(3)
    const lease = firstLease(desk)
    const listed = [{ machine: `m-${lease}`, region: "here", machineType: "small", stands: "running", pricePicoPerSecond: 1n, cell: "test", reclaimAtMs: 90_000 } as const]
    const look = (atMs: number) => sweep(desk.state, { provider, cell: "test", listed, atMs, billing: { billedStepMs: 1, billedMsMin: 1 }, visibleWithinMs: 0 })
    const [notice] = look(60_000)
    assert.deepInclude(notice?.event, { _tag: "ReclaimNoticed", deadlineAtMs: 90_000 })
    desk.hear(60_000, notice!.event)
    assert.deepStrictEqual(look(61_000), [])
    const said = desk.decide(60_001)
    assert.includeMembers(tags(said), ["LeaseReleased reclaimed"])
    assert.deepStrictEqual(wanted(said), ["small@there"])
  })
  it("is looked at several times within the notice that its provider gives, where it may be taken back", () => {
    const desk = given(observed(offer("small", {}, { market: "spot" })), waits(1, { where: { spot: "tolerated" } }))
    desk.decide(1)
    assert.strictEqual(nextLookMs(desk.state, provider, 120_000, 60_000), 60_000)
    desk.hear(2, granted(firstLease(desk)))
    assert.deepStrictEqual([nextLookMs(desk.state, provider, 120_000, 60_000), nextLookMs(desk.state, provider, undefined, 60_000)], [30_000, 60_000])
  })
  it("whose host is there before its provider's answer is kept, whatever else waits", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    desk.hear(2, admitted(digestOf(desk)), joined, waits(0))
    assert.deepStrictEqual(tags(desk.decide(3)), ["MachineEnrolled"])
    desk.hear(61_000, granted(firstLease(desk)))
    assert.deepStrictEqual(tags(desk.decide(61_001)), ["LeaseReleased unused"])
  })
  it("that was given up is ended when what was placed there meanwhile has ended", () => {
    const desk = held()
    desk.decide(3)
    desk.decide(30_002)
    const lease = desk.state.leases.get(firstLease(desk))!
    assert.deepStrictEqual([drainsForMs(desk.state, lease, 30_002), drainsForMs(desk.state, lease, 33_000)], [2_000, 0])
    desk.state.hosts.get(lease.hostId!)!.running.add("att_x" as never)
    assert.isAbove(drainsForMs(desk.state, lease, 33_000), 60_000)
  })
})

describe("a second attempt", () => {
  const late = (): Desk => {
    const desk = given(observed(offer("small")), alsoAt(), waits(1))
    assert.deepStrictEqual(wanted(desk.decide(0)), ["small@here"])
    return desk.hear(1, granted(firstLease(desk)))
  }
  it("is made elsewhere when the first is later than usual, once, and what is there first stays", () => {
    const desk = late()
    const first = firstLease(desk)
    assert.strictEqual(dueAfterMs(desk.state, 1), 90_000)
    assert.deepStrictEqual(asked(desk.decide(89_999)), [])
    const [hedge] = asked(desk.decide(90_000))
    assert.deepInclude(hedge, { provider: other, insteadOf: first })
    assert.deepStrictEqual(tags(desk.decide(90_001)), [])
    const second = hedge!.leaseId
    desk.hear(95_000, granted(second, { provider: other }), admitted(digestOf(desk, second), "two"), joinedAs("two", { cpuMilli: 1000, memoryMib: 900, gpus: 0 }))
    assert.deepStrictEqual(desk.decide(95_001).map((fact) => "leaseId" in fact ? [fact._tag, fact.leaseId, "detail" in fact ? fact.detail : ""] : []),
      [["LeaseReleased", first, "the other attempt was there first"], ["MachineEnrolled", second, ""]])
  })
  it("is given back when the first comes after all", () => {
    const desk = late()
    const [hedge] = asked(desk.decide(90_000))
    desk.hear(95_000, admitted(digestOf(desk)), joined)
    assert.includeDeepMembers(desk.decide(95_001).map((fact) => "leaseId" in fact ? [fact._tag, fact.leaseId] : []), [["LeaseWithdrawn", hedge!.leaseId]])
  })
})

describe("an outage", () => {
  it("has what waits sought elsewhere at once, and lets the provider back little by little", () => {
    const desk = given(observed(offer("small")), alsoAt(), waits(9))
    assert.strictEqual(asked(desk.decide(1)).length, 9)
    const said = desk.hear(2, suspended).decide(3)
    assert.strictEqual(tags(said).filter((tag) => tag === "LeaseWithdrawn not_needed").length, 9)
    // Nine are withdrawn and may still come: the bound of ten counts them.
    assert.deepStrictEqual(asked(desk.decide(4)).map((one) => one.provider), [other])
    const shares = [100_000, 160_000, 220_000, 280_000].map((atMs) => desk.decide(atMs).flatMap((fact) => (fact._tag === "ProviderResumed" ? [fact.sharePermilleMax] : [])))
    assert.deepStrictEqual(shares, [[100], [250], [500], [1000]])
  })
  it("of nothing that is asked leaves all that waits to the others", () => {
    const desk = given(observed(offer("small")), alsoAt(), waits(5), suspended)
    assert.deepStrictEqual([...new Set(asked(desk.decide(3)).map((one) => one.provider))], [other])
    const back = given(observed(offer("small")), waits(30)).hear(1, tookOver({ machinesMax: 100 }), suspended)
    back.decide(100_000)
    assert.strictEqual([...back.state.leases.values()].filter((lease) => lease.provider === provider).length, 0)
    back.decide(100_001)
    assert.strictEqual(back.state.leases.size, 4)
  })
})

describe("what may be bought for whom", () => {
  const types = (waiting: MillFact, ...rows: ReadonlyArray<ReturnType<typeof offer>>) => asked(given(observed(...rows), waiting).decide(1)).map((one) => one.column.machineType)
  it("is spot where it is tolerated, and a container for work that is our own", () => {
    const rows = [offer("spot", { price: 1n }, { market: "spot" }), offer("box", { price: 2n }, { sells: "containers" }), offer("small")]
    assert.deepStrictEqual([types(waits(1), ...rows), types(waits(1, { where: { spot: "tolerated" } }), ...rows), types(waits(1, { own: true }), ...rows)], [["small"], ["spot"], ["box"]])
  })
  it("is the kind of GPU that was wished for most, then the next, by model and memory", () => {
    const rows = [offer("a100", { gpus: 8, gpuModel: "A100 SXM4", price: 10n, cores: 64 }, { gpuMemoryMib: 81_920 }), offer("h100", { gpus: 8, gpuModel: "H100 SXM5", price: 40n, cores: 64 }, { gpuMemoryMib: 81_920 })]
    const wish = (...gpu: ReadonlyArray<object>) => waits(1, { gpus: 1, gpu: gpu as never })
    assert.deepStrictEqual([types(wish({ model: "H100" }, { model: "A100-80GB" }), ...rows), types(wish({ memoryMibMin: 40_960 }), ...rows), types(wish({ model: "B200" }), ...rows)], [["h100"], ["a100"], []])
    // Twelve thirds of a device are four devices, of which one machine has eight.
    assert.deepStrictEqual(types(waits(12, { gpuMilli: 333 }), ...rows), ["a100"])
  })
  it("stands where the work may be", () =>
    assert.deepStrictEqual(asked(given(observed(offer("small", { regions: ["us-east-1", "eu-west-1"] })), waits(1, { where: { only: { residency: ["eu"] } } })).decide(1)).map((one) => one.column.region), ["eu-west-1"]))
  it("is all machines of a gang on one fabric, or none", () => {
    const node = (name: string, more = {}) => offer(name, { gpus: 8, gpuModel: "H100", cores: 64, price: 100n }, more)
    const gang = waits(4, { gpus: 8, gpuModels: ["H100"], gang: 4, cpuMilli: 1000 })
    assert.deepStrictEqual(types(gang, node("lone"), node("joined", { fabric: true, pricePicoPerSecond: 10n ** 12n / 3600n })), ["joined", "joined", "joined", "joined"])
    // Whoever places the gang knows by that which machines are joined.
    assert.deepStrictEqual(asked(given(observed(node("joined", { fabric: true })), gang).decide(1)).map(({ fabric }) => fabric), [true, true, true, true])
    assert.deepStrictEqual(asked(given(observed(node("lone", { fabric: false })), waits(1, { gpus: 8, gpuModels: ["H100"], cpuMilli: 1000 })).decide(1)).map(({ fabric }) => fabric), [undefined])
    const poor = new Desk().hear(0, tookOver({ machinesMax: 3 }), observed(node("joined", { fabric: true })), gang)
    assert.deepStrictEqual(asked(poor.decide(1)), [])
  })
  it("is nothing in a dry run", () => {
    assert.deepStrictEqual(new Desk().hear(0, tookOver({ dryRun: true }), observed(offer("small")), waits(3)).decide(1), [])
  })
})

describe("a plan", () => {
  const plan = (wantedOf: number): MillFact => ({
    _tag: "PlanChosen", method: "integer", inputs: { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 1 }, unmet: 0, costPicoPerHour: 1n, tookMs: 1,
    targets: [{ provider, column: { ...column, machineType: "dear" }, wanted: wantedOf, running: 0, reason: "it is the better buy" }]
  })
  it("says which of what would do is bought, and how many", () => {
    const desk = given(observed(offer("small"), offer("dear", { price: 9n })), plan(2), waits(3))
    assert.deepStrictEqual(wanted(desk.decide(1)), ["dear@here", "dear@here", "small@here"])
  })
  it("keeps a machine that has nothing to do for as long as it wants it, and is not followed when it is old", () => {
    const desk = given(observed(offer("dear")), waits(1))
    desk.decide(1)
    desk.hear(2, granted(firstLease(desk)), admitted(digestOf(desk)), joined)
    desk.decide(3)
    desk.hear(20_000, waits(0), plan(1))
    assert.deepStrictEqual(tags(desk.decide(40_000)), [])
    assert.deepStrictEqual(tags(desk.decide(111_000)), ["LeaseReleased unused"])
  })
})
