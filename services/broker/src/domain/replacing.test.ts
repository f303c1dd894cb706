import { assert, describe, it } from "@effect/vitest"
import { namedId } from "@millrace/decider"
import type { AttemptId, HostId, LeaseId, MillFact, Offer } from "@millrace/schemas"
import { admitted, Desk, digestOf, firstLease, granted, joinedAs, observed, offer, provider, tags, tookOver, waits } from "../testing/desk.ts"
import { planInputsOf } from "./plan-inputs.ts"

const hour = 3_600_000
const hostOf = (name: string) => namedId<HostId>("hst", name)
const attempt = (name: string) => namedId<AttemptId>("att", name)
const placed = (host: string, name: string): MillFact => ({ _tag: "PlacementMade", hostId: hostOf(host), attemptId: attempt(name) }) as never
const exited = (host: string, name: string): MillFact => ({ _tag: "AttemptExited", hostId: hostOf(host), attemptId: attempt(name) }) as never
const plan: MillFact = { _tag: "PlanChosen", method: "greedy", inputs: { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 1 }, unmet: 0, costPicoPerHour: 1n, tookMs: 1, targets: [] }
const size = { cpuMilli: 1000, memoryMib: 900, gpus: 0 }

/** A machine at 60 cents an hour has had work for an hour, of ten minutes at most a piece, and now this is offered besides. */
const atWork = (others: ReadonlyArray<Offer>, { pieces = 30, until = hour, limit = {} }: { readonly pieces?: number; readonly until?: number; readonly limit?: object } = {}): Desk => {
  const desk = new Desk().hear(0, tookOver(limit), observed(offer("dear", { price: 60n })), waits(1))
  desk.decide(1)
  desk.hear(2, granted(firstLease(desk), { pricePicoPerSecond: desk.state.leases.get(firstLease(desk))!.requested!.fact.pricePicoPerSecondMax }), admitted(digestOf(desk), "old"), joinedAs("old", size), waits(0))
  desk.decide(3)
  for (let at = 0; at < pieces; at += 1) desk.hear(10 + at, placed("old", `${at}`), exited("old", `${at}`))
  desk.hear(until - 2, placed("old", "now"), observed(offer("dear", { price: 60n }), ...others))
  desk.decide(until - 1)
  return desk.hear(until, plan)
}
const asked = (facts: ReadonlyArray<MillFact>) => facts.flatMap((fact) => (fact._tag === "LeaseRequested" ? [[fact.column.machineType, fact.replaces]] : []))
const cheap = offer("cheap", { price: 20n })

describe("a machine at work", () => {
  it("is replaced by a cheaper one that does as much, once that is there and its own work has ended", () => {
    const desk = atWork([cheap])
    const old = firstLease(desk)
    assert.deepStrictEqual(asked(desk.decide(hour + 1)), [["cheap", old]])
    const successor = [...desk.state.leases.keys()].find((id) => id !== old) as LeaseId
    // It is asked for once, it is no room for what waits, and it is not given up because nothing waits.
    assert.deepStrictEqual(desk.hear(hour + 2, plan).decide(hour + 3), [])
    desk.hear(hour + 4, granted(successor), admitted(digestOf(desk, successor), "new"))
    assert.deepStrictEqual(tags(desk.decide(hour + 5)), ["MachineEnrolled"])
    desk.hear(hour + 6, joinedAs("new", size))
    const [retiring] = desk.decide(hour + 7).filter(({ _tag }) => _tag === "MachineRetiring")
    assert.deepStrictEqual(retiring, { _tag: "MachineRetiring", leaseId: old, provider, hostId: hostOf("old"), by: successor })
    assert.deepStrictEqual(desk.decide(hour + 8), [])
    assert.deepStrictEqual(planInputsOf(desk.state, hour + 8).columns.map(({ column, idle, rooms }) => [column.machineType, idle, rooms.length]), [["dear", 0, 0], ["cheap", 1, 0]])
    desk.hear(hour + 9, placed("new", "next"), exited("old", "now"))
    assert.deepStrictEqual(tags(desk.decide(hour + 10)), ["LeaseReleased replaced"])
    assert.deepStrictEqual(desk.hear(hour + 11, plan).decide(hour + 12), [])
  })

  it("stays where a move costs more than it saves: little cheaper, not there for long, or with work that takes long", () => {
    assert.deepStrictEqual(asked(atWork([offer("hardly", { price: 55n })]).decide(hour + 1)), [])
    assert.deepStrictEqual(asked(atWork([cheap], { until: 120_000 }).decide(120_001)), [])
    assert.deepStrictEqual(asked(atWork([cheap], { pieces: 4 }).decide(hour + 1)), [])
    assert.deepStrictEqual(asked(atWork([cheap], { pieces: 2 }).decide(hour + 1)), [])
  })

  it("stays where what is cheaper does less: smaller, taken back at any time, a container, under another law", () => {
    const less = [
      { ...cheap, resources: { ...cheap.resources, memoryMib: 1 } }, offer("cheap", { price: 20n }, { market: "spot" }), offer("cheap", { price: 20n }, { sells: "containers" }), offer("cheap", { price: 20n, regions: ["eu-west-1"] })
    ]
    for (const one of less) assert.deepStrictEqual(asked(atWork([one]).decide(hour + 1)), [], JSON.stringify(one, (_, value: unknown) => String(value)))
  })

  it("stays without a plan, beyond the bounds, and where nothing is to be bought", () => {
    const desk = atWork([cheap])
    assert.deepStrictEqual(asked(desk.decide(hour + 100_000)), [])
    assert.deepStrictEqual(asked(atWork([cheap], { limit: { machinesMax: 1 } }).decide(hour + 1)), [])
    assert.deepStrictEqual(asked(atWork([cheap]).hear(hour, tookOver({ term: 2, dryRun: true })).decide(hour + 1)), [])
  })
})
