import { assert, describe, it } from "@effect/vitest"
import type { ProviderName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { Solver } from "../../solver/solver.ts"
import { faultsOf } from "./check.ts"
import { chooseGreedily, chooseQuickly, chooseThoroughly } from "./choose.ts"
import { askedKind, gpuKind, nameOf, satisfies } from "./gpu-name.ts"
import { type Buyable, PlanInputs, PlanKept, usualWeights, type WorkClass } from "./inputs.ts"
import { pack } from "./pack.ts"
import { areaOf, within } from "./place.ts"
import type { Plan } from "./plan.ts"
import { type Amounts, problemOf } from "./problem.ts"
import type { Answer } from "./program.ts"

const hour = (dollars: number): bigint => BigInt(Math.round((dollars * 1e12) / 3600))

const column = (provider: string, machineType: string, gpuModel: string, gpus: number, dollars: number, more: Partial<Buyable> = {}): Buyable => ({
  provider: provider as ProviderName,
  column: { region: "us-east-1", machineType, market: "on_demand" },
  resources: { cpuMilli: gpus * 8000, memoryMib: gpus * 65_536, diskMib: 0, gpus },
  gpuModel,
  pricePicoPerSecond: hour(dollars),
  stock: 4, idle: 0, rooms: [], prepaid: false, riskPermille: 0, fabric: gpus >= 8, container: false,
  ...more
})

const work = (id: string, units: number, gpus: number, gpuModels: ReadonlyArray<string>, more: Partial<WorkClass> = {}): WorkClass => ({
  id, units, needs: { gpus, cpuMilli: 0, memoryMib: 0, diskMib: 0 }, gpuModels, gang: 1, spot: false, containers: false, regions: [], providers: [], weightPermille: 1000, ...more
})

const inputsOf = (columns: ReadonlyArray<Buyable>, classes: ReadonlyArray<WorkClass>, more: Partial<PlanInputs> = {}): PlanInputs =>
  ({ columns, classes, buffers: [], quotas: [], shares: [], ...more })

const wantedOf = (plan: Plan): Record<string, number> => Object.fromEntries(plan.targets.map(({ column: { machineType }, wanted }) => [machineType, wanted]))
const thoroughly = (inputs: PlanInputs) => Solver.use((solver) => solver.choose(chooseThoroughly(inputs, usualWeights, { msMax: 20_000, gap: 1e-6, few: false })))

describe("names", () => {
  it("one card has one name, however its seller writes it", () => {
    const same = [["NVIDIA H100 80GB HBM3", undefined], ["H100", 80], ["h100_sxm5_80gb", undefined], ["H100-80GB", 79.6]] as const
    assert.deepStrictEqual(same.map(([name, memory]) => nameOf(gpuKind(name, memory))), ["H100-80GB", "H100-80GB", "H100-80GB", "H100-80GB"])
    assert.deepStrictEqual(["H100-PCIe", "H100-NVL", "A100-80GB-PCIe", "RTXA6000", "V100-32GB", "L40S", "RTX6000Ada"].map((name) => nameOf(gpuKind(name))),
      ["H100-PCIE", "H100-NVL", "A100-PCIE-80GB", "A6000-48GB", "V100-32GB", "L40S-48GB", "RTX6000ADA-48GB"])
  })

  it("who asks for memory gets no less, who does not takes any", () => {
    const takes = (asked: string, offered: string, memory?: number) => satisfies(gpuKind(offered, memory), askedKind(asked))
    assert.deepStrictEqual([takes("A100", "A100", 40), takes("A100-80GB", "A100", 40), takes("A100-80GB", "A100-80GB"), takes("H100-PCIe", "H100", 80), takes("A10", "A100", 40)], [true, false, true, false, false])
  })

  it("work that may not leave a place does not go where nobody knows where it is", () => {
    assert.deepStrictEqual(["us-east-1", "eastus2", "US-TX", "FIN-01", "europe-west2", "uksouth", "NORWAY-1", "japaneast", "*"].map(areaOf), ["us", "us", "us", "eu", "uk", "uk", "eu", "as", undefined])
    assert.deepStrictEqual([within("*", []), within("*", ["us"]), within("NA", ["NA"]), within("eu-north1", ["us", "eu"])], [true, false, true, true])
  })
})

describe("packing", () => {
  it("finds the one way in which everything fits, where first-fit does not", () => {
    const has: Amounts = [4000, 32_000, 58_982, 1e9]
    const sizes: ReadonlyArray<Amounts> = [[2000, 8000, 0, 0], [1000, 4000, 32_768, 0]]
    assert.isDefined(pack(has, sizes, [6, 3], 5))
    assert.isUndefined(pack(has, sizes, [6, 4], 4))
  })
})

it.layer(Solver.layer, { excludeTestServices: true })("a plan", (it) => {
  it.effect("fills one large machine where that is cheaper than what each class would choose alone", () => Effect.gen(function*() {
    const inputs = inputsOf(
      [column("a", "one", "H100", 1, 3), column("b", "eight", "H100", 8, 16)],
      [work("first", 3, 1, ["H100"]), work("second", 1, 4, ["H100"])]
    )
    assert.deepStrictEqual(wantedOf(yield* thoroughly(inputs)), { eight: 1 })
    assert.strictEqual((yield* thoroughly(inputs)).costPicoPerHour, hour(16) * 3600n)
  }))

  it.effect("keeps a gang on one column, and tells why one has no place", () => Effect.gen(function*() {
    const columns = [column("a", "few", "H100", 8, 8, { stock: 2 }), column("b", "many", "H100", 8, 20, { stock: 4 })]
    const plan = yield* thoroughly(inputsOf(columns, [work("gang", 3, 8, ["H100"], { gang: 3 })]))
    assert.deepStrictEqual(wantedOf(plan), { many: 3 })
    const none = yield* thoroughly(inputsOf(columns, [work("gang", 5, 8, ["H100"], { gang: 5 })]))
    assert.deepStrictEqual(none.unmet, [{ class: "gang", units: 5, reason: "no single column has 5 of them in stock" }])
  }))

  it.effect("keeps running machines where others are hardly cheaper, and gives back what nobody needs", () => Effect.gen(function*() {
    const columns = [column("a", "runs", "L4", 1, 1, { idle: 2 }), column("b", "cheaper", "L4", 1, 0.98)]
    const one = yield* thoroughly(inputsOf(columns, [work("w", 1, 1, ["L4"])]))
    assert.deepStrictEqual(wantedOf(one), { runs: 1 })
    assert.include(one.targets[0]!.reason, "1 to give back")
    assert.deepStrictEqual(wantedOf(yield* thoroughly(inputsOf([columns[0]!, column("b", "half", "L4", 1, 0.5)], [work("w", 1, 1, ["L4"])]))), { runs: 0, half: 1 })
  }))

  it.effect("uses room on machines that stay, and what is paid for, before it buys", () => Effect.gen(function*() {
    const columns = [
      column("a", "busy", "L4", 4, 4, { stock: 0, rooms: [{ cpuMilli: 16_000, memoryMib: 99_999, diskMib: 0, gpus: 2 }] }),
      column("a", "reserved", "L4", 2, 2, { stock: 1, prepaid: true }),
      column("b", "fresh", "L4", 1, 0.1)
    ]
    const plan = yield* thoroughly(inputsOf(columns, [work("w", 5, 1, ["L4"])]))
    assert.deepStrictEqual(wantedOf(plan), { busy: 1, reserved: 1, fresh: 1 })
    assert.strictEqual(plan.costPicoPerHour, (hour(4) + hour(0.1)) * 3600n)
  }))

  it.effect("holds whole machines in hand, never on spot", () => Effect.gen(function*() {
    const spot = column("a", "spot", "H100", 8, 1, { column: { region: "r", machineType: "spot", market: "spot" } })
    const plan = yield* thoroughly(inputsOf([spot, column("b", "safe", "H100", 8, 16), column("c", "small", "H100", 2, 5)], [], { buffers: [{ gpuModel: "H100", gpus: 10 }] }))
    assert.deepStrictEqual(wantedOf(plan), { safe: 1, small: 1 })
  }))

  it.effect("names the limit that keeps work waiting", () => Effect.gen(function*() {
    const columns = [column("a", "m", "H100", 8, 16)]
    const quota = yield* thoroughly(inputsOf(columns, [work("w", 3, 8, ["H100"])], { quotas: [{ provider: "a" as ProviderName, gpusMax: 16 }] }))
    assert.deepStrictEqual(quota.unmet, [{ class: "w", units: 1, reason: "the quota of a (16 GPUs) is reached" }])
    const reasons = yield* Effect.forEach([
      work("model", 1, 1, ["B300"]), work("size", 1, 9, ["H100"]), work("region", 1, 1, ["H100"], { regions: ["eu"] }), work("provider", 1, 1, ["H100"], { providers: ["z"] })
    ], (one) => Effect.map(thoroughly(inputsOf(columns, [one])), ({ unmet }) => unmet[0]?.reason))
    assert.deepStrictEqual(reasons, ["nobody offers B300", "no machine with H100 is large enough for one unit", "nobody offers it within eu", "none of z offers it"])
    assert.deepStrictEqual((yield* thoroughly(inputsOf([], [work("w", 1, 1, [])]))).unmet, [{ class: "w", units: 1, reason: "nothing is offered at all" }])
  }))

  it.effect("takes no offer for nothing, and no work is no plan", () => Effect.gen(function*() {
    const free = column("a", "free", "L4", 1, 0)
    assert.deepStrictEqual(wantedOf(yield* thoroughly(inputsOf([free, column("b", "paid", "L4", 1, 1)], [work("w", 1, 1, ["L4"])]))), { paid: 1 })
    assert.deepStrictEqual((yield* thoroughly(inputsOf([column("b", "paid", "L4", 1, 1)], []))).targets, [])
  }))

  it.effect("can be solved again from what was kept, with other weights", () => Effect.gen(function*() {
    const risky = column("a", "spot", "L4", 1, 0.9, { riskPermille: 500, column: { region: "r", machineType: "spot", market: "spot" } })
    const inputs = inputsOf([risky, column("b", "safe", "L4", 1, 1)], [work("w", 1, 1, ["L4"], { spot: true })])
    const kept = JSON.stringify(Schema.encodeSync(PlanKept)({ inputs, weights: usualWeights }))
    const { inputs: again, weights } = Schema.decodeUnknownSync(PlanKept)(JSON.parse(kept))
    const solve = (risk: number) => Solver.use((solver) => solver.choose(chooseThoroughly(again, { ...weights, riskPermille: risk })))
    assert.deepStrictEqual([wantedOf(yield* solve(1000)), wantedOf(yield* solve(0))], [{ safe: 1 }, { spot: 1 }])
  }))

  it.effect("breaks no promise, is no dearer than greedy and no cheaper than its bound, whatever is offered and asked", () => Effect.gen(function*() {
    for (const inputs of fc.sample(anyInputs, { numRuns: 40, seed: 20_261_122 })) {
      const greedy = chooseGreedily(inputs, usualWeights)
      const quick = yield* Solver.use((solver) => solver.choose(chooseQuickly(inputs, usualWeights)))
      const best = yield* thoroughly(inputs)
      for (const plan of [greedy, quick, best]) assert.deepStrictEqual(faultsOf(inputs, plan, usualWeights.shareFloorGpus), [], JSON.stringify(Schema.encodeSync(PlanInputs)(inputs)))
      for (const plan of [greedy, quick, best]) assert.isTrue(canBePacked(inputs, plan), "every column's work lies on its machines")
      assert.isAtMost(quick.objective, greedy.objective + 1e-6)
      assert.isAtMost(best.objective, greedy.objective + 1e-6)
      if (best.boundObjective !== undefined) assert.isAtLeast(best.objective, best.boundObjective - 1e-4)
    }
  }))

  it.effect("is the same for the same answers of the solver", () => Effect.gen(function*() {
    const { solve } = yield* Solver
    const [inputs] = fc.sample(anyInputs, { numRuns: 1, seed: 7 })
    const answers: Array<Answer> = []
    const choosing = chooseThoroughly(inputs!, usualWeights)
    let step = choosing.next()
    while (step.done !== true) {
      answers.push(yield* solve(step.value))
      step = choosing.next(answers.at(-1)!)
    }
    assert.isNotEmpty(answers)
    const again = chooseThoroughly(inputs!, usualWeights)
    let replayed = again.next()
    for (const answer of answers) replayed = again.next(answer)
    assert.deepStrictEqual(replayed, step)
  }))
})

const models = ["H100", "A100-80GB", "L4"]
const anyColumn = (at: number) => fc.record({
  provider: fc.constantFrom("a", "b", "c"), region: fc.constantFrom("us-east-1", "eu-north1", "*"), spot: fc.boolean(), model: fc.constantFrom(...models), gpus: fc.constantFrom(1, 2, 4, 5, 8),
  dollars: fc.integer({ min: 0, max: 40 }), stock: fc.nat({ max: 4 }), idle: fc.nat({ max: 2 }), room: fc.option(fc.integer({ min: 1, max: 4 })), container: fc.boolean()
}).map(({ container, dollars, gpus, idle, model, provider, region, room, spot, stock }): Buyable =>
  column(provider, `m${at}`, model, gpus, (gpus * dollars) / 10, {
    column: { region, machineType: `m${at}`, market: spot ? "spot" : "on_demand" }, stock, idle: dollars === 0 ? 0 : idle, container, riskPermille: spot ? 100 : 0,
    rooms: room === null || dollars === 0 ? [] : [{ cpuMilli: 4000 * room, memoryMib: 9_000 * room, diskMib: 0, gpus: Math.min(room, gpus) }]
  }))
const anyWork = (at: number) => fc.record({
  units: fc.nat({ max: 9 }), gpus: fc.constantFrom(0, 1, 1, 2, 3, 4, 8), wanted: fc.subarray(models), gang: fc.constantFrom(1, 1, 1, 2, 3), spot: fc.boolean(), containers: fc.boolean(),
  regions: fc.constantFrom([], [], ["us"], ["eu", "us"]), cpu: fc.constantFrom(0, 2000, 12_000), memory: fc.constantFrom(0, 8_000, 40_000)
}).map(({ containers, cpu, gang, gpus, memory, regions, spot, units, wanted }): WorkClass =>
  work(`w${at}`, units, gpus, wanted, { gang, spot, containers, regions, needs: { gpus, cpuMilli: gpus === 0 ? Math.max(cpu, 1000) : cpu, memoryMib: memory, diskMib: 0 } }))
const anyInputs: fc.Arbitrary<PlanInputs> = fc.record({
  columns: fc.integer({ min: 1, max: 12 }).chain((count) => fc.tuple(...Array.from({ length: count }, (_, at) => anyColumn(at)))),
  classes: fc.integer({ min: 0, max: 7 }).chain((count) => fc.tuple(...Array.from({ length: count }, (_, at) => anyWork(at)))),
  quota: fc.option(fc.nat({ max: 20 })), share: fc.option(fc.integer({ min: 100, max: 900 })), machines: fc.option(fc.integer({ min: 8, max: 30 })), buffer: fc.nat({ max: 9 })
}).map(({ buffer, classes, columns, machines, quota, share }) => inputsOf(columns, classes, {
  quotas: quota === null ? [] : [{ provider: "a" as ProviderName, gpusMax: quota }, { provider: "b" as ProviderName, gpuModel: "H100", machinesMax: quota }],
  shares: share === null ? [] : [{ provider: "c" as ProviderName, permilleMax: share }],
  buffers: [{ gpuModel: "L4", gpus: buffer }],
  ...(machines === null ? {} : { machinesMax: machines + columns.reduce((sum, { rooms }) => sum + rooms.length, 0) })
}))

/** Whether the parts of every target without rooms of others lie on that many machines, by an exact search. */
const canBePacked = (inputs: PlanInputs, plan: Plan): boolean => {
  const { columns, works } = problemOf(inputs, usualWeights)
  return plan.targets.every(({ column: { machineType }, parts, wanted }) => {
    const column = columns.find(({ from }) => from.column.machineType === machineType)!
    if (column.rooms.length > 0) return true
    const there = parts.map(({ class: id, units }) => ({ work: works.find((one) => one.id === id)!, units }))
    const held = there.filter(({ work: { whole } }) => whole).reduce((sum, { units }) => sum + units / column.gpus, 0)
    const items = there.filter(({ work: { whole } }) => !whole)
    return items.length === 0 || pack(column.has, items.map(({ work: { needs } }) => needs), items.map(({ units }) => units), wanted - held) !== undefined
  })
}
