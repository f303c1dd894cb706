import { assert, describe, it } from "@effect/vitest"
import { foldCommit } from "@millrace/journal"
import { Schema } from "effect"
import { admitted, cents, Desk, digestOf, firstLease, given, granted, joined, observed, offer, provider, tags, tookOver, waits, wanted } from "../testing/desk.ts"
import { broker } from "./broker.ts"
import { tokenOf } from "./decide.ts"
import { costPico } from "./money.ts"
import { sweep } from "./sweep.ts"

describe("what is bought", () => {
  it("is the cheapest for each that waits, and what is on its way is filled first", () => {
    const desk = given(observed(offer("dear", { price: 9n }), offer("small"), offer("large", { cores: 4, price: 20n })), waits(1))
    assert.deepStrictEqual(wanted(desk.decide(1)), ["small@here"])
    assert.deepStrictEqual(desk.decide(2), [])
    // Five of them on one large machine cost four cents each.
    assert.deepStrictEqual(wanted(given(observed(offer("small"), offer("large", { cores: 4, price: 20n })), waits(6)).decide(1)), ["large@here", "small@here"])
  })
  it("fits the GPU that is asked for, and is never what costs nothing", () => {
    const rows = [offer("a10", { gpus: 1, gpuModel: "A10", price: 10n }), offer("h100", { gpus: 1, gpuModel: "H100", price: 400n }), offer("free", { gpus: 1, gpuModel: "H100", price: 0n })]
    assert.deepStrictEqual(wanted(given(observed(...rows), waits(1, { gpus: 1, gpuModels: ["H100"] })).decide(1)), ["h100@here"])
  })
  it("stays within machines and dollars an hour, counting what is only asked for", () => {
    const desk = new Desk().hear(0, tookOver({ machinesMax: 2 }), observed(offer("small")), waits(9))
    assert.strictEqual(wanted(desk.decide(1)).length, 2)
    assert.deepStrictEqual(desk.decide(2), [])
    const poor = new Desk().hear(0, tookOver({ spendPicoPerHourMax: 130_000_000_000n }), observed(offer("small")), waits(9))
    assert.strictEqual(wanted(poor.decide(1)).length, 2)
  })
  it("may cost a tenth more than its market asks now where that is spot, within the bounds, and no more where it is a single offer or on demand", () => {
    const mostOf = (more: object) => given(observed(offer("small", { price: 36n }, more)), waits(1, { own: true, where: { spot: "tolerated" } })).decide(1)
      .flatMap((fact) => (fact._tag === "LeaseRequested" ? [fact.pricePicoPerSecondMax] : []))
    assert.deepStrictEqual([mostOf({ market: "spot" }), mostOf({ market: "spot", offer: "7" }), mostOf({})], [[cents(36n) * 11n / 10n], [cents(36n)], [cents(36n)]])
    const bounded = (spendPicoPerHourMax: bigint) => new Desk().hear(0, tookOver({ spendPicoPerHourMax }), observed(offer("small", { price: 36n }, { market: "spot" })), waits(9, { where: { spot: "tolerated" } }))
    const two = bounded(cents(36n) * 3_600n * 3n)
    assert.strictEqual(wanted(two.decide(1)).length, 2)
    assert.deepStrictEqual(two.decide(2), [])
  })
  it("is sought elsewhere once a provider has refused it in one place, until that is over", () => {
    const desk = given(observed(offer("small", { regions: ["here", "there"] })), waits(1))
    desk.decide(1)
    desk.hear(2, { _tag: "LeaseRefused", leaseId: firstLease(desk), provider, reason: "out_of_capacity", narrows: "type", detail: "none left", notBeforeMs: 1_000 })
    assert.deepStrictEqual(wanted(desk.decide(3)), ["small@there"])
  })
})

describe("a lease", () => {
  const asked = (): Desk => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    return desk
  }
  it("is given up when its answer is too late, and a machine that comes then is given straight back", () => {
    const desk = asked()
    assert.deepStrictEqual(tags(desk.decide(60_001)).slice(0, 1), ["LeaseWithdrawn too_late"])
    desk.hear(60_002, granted(firstLease(desk)))
    assert.include(tags(desk.decide(60_003)), "LeaseReleased came_too_late")
  })
  it("is given up when nothing waits any more", () =>
    assert.deepStrictEqual(tags(asked().hear(2, waits(0)).decide(3)), ["LeaseWithdrawn not_needed"]))
  it("is a host once the host has used its key, and goes back when that never had work", () => {
    const desk = asked()
    desk.hear(2, granted(firstLease(desk)), admitted(digestOf(desk)), joined)
    assert.deepStrictEqual(tags(desk.decide(3)), ["MachineEnrolled"])
    assert.deepStrictEqual(desk.decide(30_001), [])
    assert.deepStrictEqual(tags(desk.decide(30_002)), ["LeaseReleased unused"])
    assert.deepStrictEqual(desk.decide(30_003), [])
  })
  it("goes back when its machine has not joined in time", () => {
    const desk = asked()
    desk.hear(2, granted(firstLease(desk)))
    assert.include(tags(desk.decide(120_002)), "LeaseReleased never_enrolled")
  })
})

describe("a sweep", () => {
  const look = (desk: Desk, listed: Parameters<typeof sweep>[1]["listed"], atMs = 100_000) =>
    sweep(desk.state, { provider, cell: "test", listed, atMs, billing: { billedStepMs: 60_000, billedMsMin: 60_000 }, visibleWithinMs: 20_000 })
  const machine = { machine: "m1", region: "here", machineType: "small", stands: "running", pricePicoPerSecond: cents(6n), sinceMs: 40_000 } as const

  it("lists a machine of our cell that nobody accounts for, and only the second one has it ended", () => {
    const desk = given()
    const [first] = look(desk, [{ ...machine, cell: "test" }])
    assert.deepInclude(first?.event, { _tag: "OrphanFound", machine: "m1", sweeps: 1, costSoFarPico: costPico(cents(6n), { billedStepMs: 60_000, billedMsMin: 60_000 }, 40_000, 100_000) })
    desk.hear(100_000, first!.event)
    assert.deepStrictEqual(desk.decide(100_001), [])
    desk.hear(160_000, look(desk, [{ ...machine, cell: "test" }], 160_000)[0]!.event)
    assert.deepStrictEqual(tags(desk.decide(160_001)), ["LeaseReleased orphan"])
  })
  it("leaves machines of another cell, of none, and those that are being asked for alone", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    assert.deepStrictEqual(look(desk, [{ ...machine, cell: "another" }, { ...machine, machine: "m2" }, { ...machine, machine: "m3", cell: "test", token: tokenOf(firstLease(desk)) }]), [])
  })
  it("does not take a machine for gone because its cell has another name now", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    desk.hear(2, granted(firstLease(desk)))
    assert.deepStrictEqual(look(desk, [{ ...machine, machine: `m-${firstLease(desk)}`, cell: "before" }]), [])
  })
  it("tells a notice with the machine and the host that used its key, whether or not that has been matched to its lease", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    const lease = firstLease(desk)
    desk.hear(2, granted(lease))
    const taken = { ...machine, machine: `m-${lease}`, cell: "test", reclaimAtMs: 9_000 }
    assert.notProperty(look(desk, [taken], 3)[0]?.event, "hostId")
    desk.hear(4, admitted(digestOf(desk)))
    const hostId = desk.state.byDigest.get(digestOf(desk))!
    assert.deepStrictEqual(look(desk, [taken], 5)[0]?.event, { _tag: "ReclaimNoticed", leaseId: lease, provider, hostId, deadlineAtMs: 9_000, machine: `m-${lease}` })
  })
  it("believes an end that is listed, and a missing machine only when it was missed twice", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    const lease = firstLease(desk)
    desk.hear(2, granted(lease))
    assert.deepInclude(look(desk, [{ ...machine, machine: `m-${lease}`, cell: "test", stands: "terminated" }])[0]?.event, { _tag: "LeaseEnded", confirmed: "terminated" })
    assert.deepStrictEqual(look(desk, [], 10_000), [])
    const [missed] = look(desk, [])
    assert.deepInclude(missed?.event, { _tag: "GhostFound", sweeps: 1, costSoFarPico: costPico(cents(6n), { billedStepMs: 60_000, billedMsMin: 60_000 }, 2, 100_000) })
    desk.hear(100_000, missed!.event)
    assert.deepInclude(look(desk, [], 160_000)[0]?.event, { _tag: "LeaseEnded", confirmed: "not_there" })
  })
  it("takes no machine for ended whose host is there, however often the list misses it, until that host is lost too", () => {
    const desk = given(observed(offer("small")), waits(1))
    desk.decide(1)
    const lease = firstLease(desk)
    desk.hear(2, granted(lease), admitted(digestOf(desk)), joined)
    const host = desk.state.byDigest.get(digestOf(desk))!
    const events = (atMs: number) => look(desk, [], atMs).map(({ event }) => event)
    for (const [atMs, sweeps] of [[100_000, 1], [160_000, 2]] as const) {
      const said = events(atMs)
      assert.deepInclude(said[0], { _tag: "GhostFound", sweeps })
      desk.hear(atMs, ...said)
    }
    // It has been told; nothing is said again and again.
    assert.deepStrictEqual(events(220_000), [])
    desk.hear(230_000, { _tag: "HostDeclaredLost", hostId: host, lastHeardAtMs: 200_000, leaseEndedAtMs: 230_000 })
    assert.deepInclude(events(280_000)[0], { _tag: "LeaseEnded", confirmed: "not_there" })
  })
  it("tells that a machine was taken back also where nobody had noticed, with its host, before it tells its end", () => {
    const desk = given(observed(offer("small", {}, { market: "spot" })), waits(1, { where: { spot: "tolerated" } }))
    desk.decide(1)
    const lease = firstLease(desk)
    desk.hear(2, granted(lease), admitted(digestOf(desk)), joined)
    const hostId = desk.state.byDigest.get(digestOf(desk))!
    const said = look(desk, [{ ...machine, machine: `m-${lease}`, cell: "test", stands: "reclaimed" }]).map(({ event }) => event)
    assert.deepStrictEqual(said[0], { _tag: "ReclaimNoticed", leaseId: lease, provider, hostId, deadlineAtMs: 100_000, machine: `m-${lease}` })
    assert.deepInclude(said[1], { _tag: "LeaseEnded", confirmed: "reclaimed" })
    // What is taken back is not bought again in the same place at once.
    desk.hear(100_000, ...said, waits(1, { where: { spot: "tolerated" } }))
    assert.deepStrictEqual(wanted(desk.decide(100_001)), [])
  })
})

const Steps = Schema.Array(Schema.Struct({
  what: Schema.Literals(["waits", "waits", "offers", "grants", "grants", "refuses", "admits", "joins", "decides", "decides", "decides"]),
  much: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 9 })))
})).pipe(Schema.check(Schema.isMinLength(5), Schema.isMaxLength(60)))

/** A history as it may be: providers say yes and no, hosts come, time passes. */
const lived = (steps: typeof Steps.Type): Desk => {
  const desk = given()
  let atMs = 1
  for (const { much, what } of steps) {
    atMs += much * 4_000
    const open = [...desk.state.leases.values()].filter(({ granted, requested }) => requested !== undefined && granted === undefined)
    const lease = open[much % Math.max(1, open.length)]
    if (what === "waits") desk.hear(atMs, waits(much))
    if (what === "offers") desk.hear(atMs, observed(offer("small", { price: BigInt(much) }), offer("large", { cores: 4, price: 20n, regions: much % 2 === 0 ? [] : ["there"] })))
    if (what === "grants" && lease !== undefined) desk.hear(atMs, granted(lease.id))
    if (what === "refuses" && lease !== undefined) desk.hear(atMs, { _tag: "LeaseRefused", leaseId: lease.id, provider, reason: "out_of_capacity", narrows: "type", detail: "", notBeforeMs: atMs + much * 1_000 })
    if (what === "admits" && lease?.requested !== undefined) desk.hear(atMs, admitted(lease.requested.fact.oneTimeKeyDigest))
    if (what === "joins") desk.hear(atMs, joined)
    if (what === "decides") desk.decide(atMs)
  }
  desk.decide(atMs)
  return desk
}

describe("whatever happened", () => {
  const runs = { arbitrary: { runs: 150 } }
  let requested = 0

  it.prop("saying each fact twice changes nothing", [Steps], ([steps]) => {
    const { log, state } = lived(steps)
    requested += log.filter(({ facts }) => facts.some(({ name }) => name === "LeaseRequested")).length
    const twice = log.flatMap((commit) => [commit, commit]).reduce((folded, commit) => foldCommit(broker, folded, commit), broker.initial())
    assert.deepStrictEqual(broker.save(twice), broker.save(state))
  }, runs)

  it.prop("what was saved and loaded decides the same, and deciding changes nothing", [Steps], ([steps]) => {
    const { saw, state } = lived(steps)
    const again = broker.load(structuredClone(broker.save(state)) as never)
    for (const atMs of [1_000, 10_000_000]) {
      const round = { atMs, epoch: 1, saw, silences: [] } as never
      const before = structuredClone(broker.save(state))
      assert.deepStrictEqual(broker.decide(again, round), broker.decide(state, round))
      assert.deepStrictEqual(broker.save(state), before)
    }
  }, runs)

  it.prop("no more machines are open than the bounds allow", [Steps], ([steps]) => {
    assert.isAtMost(lived(steps).state.leases.size, 10)
  }, runs)

  it("and those histories were worth the name", () => assert.isAbove(requested, 50))
})
