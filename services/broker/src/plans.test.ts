import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import { Effect, Result, Schema } from "effect"
import { broker, comparable } from "./domain/broker.ts"
import { faultsOf } from "./domain/plan/check.ts"
import { chooseGreedily } from "./domain/plan/choose.ts"
import { usualWeights } from "./domain/plan/inputs.ts"
import { planInputsOf } from "./domain/plan-inputs.ts"
import { limitsIn, ProviderFile } from "./providers/all.ts"
import type { BuyingOptions } from "./service.ts"
import { living, small } from "./testing/life.ts"
import { admitted, Desk, digestOf, firstLease, granted, joined, observed, offer, provider, tookOver, waits, wanted } from "./testing/desk.ts"
import { Solver } from "./solver/solver.ts"

const waitsMax = 600

describe("a plan of what to have", () => {
  it.live("is solved from what waits and what is offered, and said with its reasons and inputs", () =>
    Effect.gen(function*() {
      const solver = yield* Solver
      yield* living({ plans: { solver, everyMs: 50 } }, (life) => Effect.gen(function*() {
        yield* life.waits({ ...small, waiting: 3 })
        for (let waited = 0; waited < waitsMax && life.said("PlanChosen").length === 0; waited += 1) yield* Effect.sleep(50)
        const [plan] = life.said("PlanChosen")
        assert.isDefined(plan)
        assert.strictEqual(plan!.unmet, 0)
        assert.isAbove(plan!.targets.reduce((sum, { wanted }) => sum + wanted, 0), 0)
        for (const { reason } of plan!.targets) assert.isNotEmpty(reason)
        assert.isAbove(plan!.inputs.sizeBytes, 100)
        const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
        assert.deepStrictEqual(verdict.mismatches, [])
      }))
    }).pipe(Effect.provide(Solver.layer)), 60_000)

  it.live("says of work that has no place why, and who was asked: of a GPU that nobody has, and of a size that nobody sells", () =>
    Effect.gen(function*() {
      const solver = yield* Solver
      yield* living({ plans: { solver, everyMs: 50 } }, (life) => Effect.gen(function*() {
        yield* life.waits({ ...small, gpus: 1, gpuModels: ["Z900"], waiting: 2 }, { ...small, cpuMilli: 9_000_000 })
        for (let waited = 0; waited < waitsMax && life.said("PlanChosen").length === 0; waited += 1) yield* Effect.sleep(50)
        const [plan] = life.said("PlanChosen")
        assert.strictEqual(plan?.unmet, 3)
        assert.deepStrictEqual(plan?.unmetBecause?.map(({ reason, units }) => [units, reason]).sort(), [
          [1, "no machine with so much is large enough for one unit; asked was lambda"], [2, "nobody offers Z900; asked was lambda"]
        ])
      }))
    }).pipe(Effect.provide(Solver.layer)), 60_000)

  it.live("holds what the file of providers limits and reserves, from its text to what is solved and said", () =>
    Effect.gen(function*() {
      const solver = yield* Solver
      const { providers } = Result.getOrThrow(Schema.decodeUnknownResult(Schema.fromJsonString(ProviderFile))(JSON.stringify({ providers: [{
        name: "lambda", speaks: "lambda", endpoint: "http://sky", keyFile: "/none",
        quotas: [{ machineType: "cpu_*", coresMax: 8 }, { machineType: "gpu_*", machinesMax: 0 }], sharePermilleMax: 1000,
        reserved: [{ region: "us-west-1", machineType: "cpu_4x_small", machines: 1 }]
      }] })))
      const planOf = (limits: BuyingOptions["bounds"]["limits"]) =>
        living({ machinesMax: 50, ...(limits === undefined ? {} : { limits }), works: false, plans: { solver, everyMs: 50 } }, (life) => Effect.gen(function*() {
          yield* life.waits({ ...small, cpuMilli: 3500, waiting: 6 })
          for (let waited = 0; waited < waitsMax && life.said("PlanChosen").length === 0; waited += 1) yield* Effect.sleep(50)
          const [plan] = life.said("PlanChosen")
          return { unmet: plan!.unmet, wanted: plan!.targets.filter(({ wanted }) => wanted > 0), asked: life.said("LeaseRequested").map(({ column }) => column) }
        }))
      assert.deepInclude(yield* planOf(undefined), { unmet: 0 })
      const { asked, unmet, wanted } = yield* planOf(limitsIn(providers).limits)
      // Two machines of four cores are all that may be had, one of them paid for: the rest has no place, and nobody asks for it.
      assert.strictEqual(unmet, 4)
      assert.deepStrictEqual(wanted.map(({ column: { machineType, market }, wanted }) => [machineType, market, wanted]).sort(), [["cpu_4x_small", "on_demand", 1], ["cpu_4x_small", "reserved", 1]])
      assert.isTrue(asked.every(({ machineType }) => machineType === "cpu_4x_small") && asked.length === 2 && asked.some(({ market }) => market === "reserved"), JSON.stringify(asked))
    }).pipe(Effect.provide(Solver.layer)), 60_000)

  it.live("is solved anew at once where what waits was said again meanwhile, though it is made of the same", () =>
    Effect.gen(function*() {
      const solver = yield* Solver
      let moved = false
      let again: Effect.Effect<unknown, unknown> = Effect.void
      const interrupted: Solver["Service"] = {
        ...solver,
        choose: (asked) => Effect.andThen(solver.choose(asked), (plan) => moved ? Effect.succeed(plan) : Effect.suspend(() => {
          moved = true
          return Effect.as(Effect.orDie(again), plan)
        }))
      }
      yield* living({ plans: { solver: interrupted, everyMs: 50 } }, (life) => Effect.gen(function*() {
        const one = { ...small, gpus: 8, gpuModels: ["H100"], waiting: 1_000 }
        // The broker hears of it before it may say its plan.
        again = Effect.andThen(life.waits(one), Effect.sleep(200))
        yield* life.waits(one)
        for (let waited = 0; waited < waitsMax && life.said("PlanChosen").length === 0; waited += 1) yield* Effect.sleep(25)
        assert.isTrue(moved)
        assert.strictEqual(life.said("PlanChosen").length, 1)
      }))
    }).pipe(Effect.provide(Solver.layer)), 60_000)

  it("keeps ready what demand for a kind of GPU grows by while a machine is on its way, where that is wanted", () => {
    const window = 600_000
    const h100 = (waiting: number) => waits(waiting, { gpus: 8, gpuModels: ["H100"] })
    const rows = observed(offer("h100", { gpus: 8, gpuModel: "H100", cores: 64, price: 400n }))
    const grown = (more: object) => {
      const desk = new Desk().hear(0, tookOver(more), rows)
      for (let at = 0; at < 5; at += 1) desk.hear(at * window + 1, h100(at === 3 ? 2 : 1)).hear(at * window + 2, waits(0))
      return desk
    }
    assert.deepStrictEqual(planInputsOf(grown({}).state, 5 * window).buffers, [])
    const desk = grown({ bufferPermille: 500 })
    const inputs = planInputsOf(desk.state, 5 * window)
    assert.deepStrictEqual(inputs.buffers, [{ gpuModel: "H100", gpus: 8 }])
    const { targets } = chooseGreedily(inputs, usualWeights)
    assert.deepStrictEqual(targets.map(({ wanted }) => wanted), [1])
    const demand = desk.state.demand!.factId
    const chosen = { _tag: "PlanChosen", method: "greedy", inputs: { digest: `sha256:${"0".repeat(64)}`, sizeBytes: 1 }, unmet: 0, costPicoPerHour: 1n, tookMs: 1, targets: targets.map(({ parts: _, ...target }) => target) } as const
    desk.hear(5 * window, chosen as never)
    desk.state.plan = { ...desk.state.plan!, demand }
    assert.deepStrictEqual(wanted(desk.decide(5 * window + 1)), ["h100@here"])
    assert.deepStrictEqual(desk.decide(5 * window + 2), [])
  })

  it("is made of all that is offered by place, what is blocked as none, what runs idle or at work, and each class as it waits", () => {
    const desk = new Desk().hear(0, tookOver(), observed(offer("small", { regions: ["here", "there"] }), offer("h100", { gpus: 8, gpuModel: "H100", cores: 64, price: 400n }, { market: "spot", fabric: true })), waits(1))
    desk.decide(1)
    desk.hear(2, granted(firstLease(desk)), admitted(digestOf(desk)), joined)
    desk.hear(3, waits(4, { gpus: 8, gpuModels: ["H100"], gang: 2, where: { spot: "tolerated", only: { regions: ["here"] } } }))
    desk.state.blocked.set(`${provider}/there`, 1_000)
    const inputs = planInputsOf(desk.state, 10)
    assert.deepStrictEqual(inputs.columns.map(({ column, idle, rooms, stock }) => [column.machineType, column.region, idle, rooms.length, stock > 0]),
      [["small", "here", 1, 0, true], ["small", "there", 0, 0, false], ["h100", "here", 0, 0, true]])
    assert.deepInclude(inputs.classes[0], { units: 4, gang: 2, spot: true, containers: false, regions: ["here"], gpuModels: ["H100"] })
    const plan = chooseGreedily(inputs, usualWeights)
    assert.deepStrictEqual(faultsOf(inputs, plan, usualWeights.shareFloorGpus), [])
    assert.deepStrictEqual(plan.targets.filter(({ wanted }) => wanted > 0).map(({ column, wanted }) => [column.machineType, wanted]), [["h100", 4]])
  })
})
