import {
  type Buyable, chooseGreedily, chooseQuickly, chooseThoroughly, faultsOf, type Plan, type PlanInputs, problemOf, programOf, Solver, usualWeights
} from "@millrace/broker/planning"
import { Effect, type Scope } from "effect"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { rounded } from "../figures.ts"
import type { Bench } from "../main.ts"
import { seeded } from "../seeded.ts"
import { readTable } from "../table.ts"
import { demandLines, makeDemand, readDemand } from "./demand.ts"
import { readCatalogue } from "./offers.ts"

/** How long the optimum may be looked for, and how close to it counts as proven. */
const proofMsMax = 120_000
const proofGap = 1e-5

/** How many of each column there are: nobody publishes it, so it comes from a seed, 0 to `most`. */
const stocked = (columns: ReadonlyArray<Buyable>, seed: number, most: number): ReadonlyArray<Buyable> => {
  const random = seeded(seed)
  return columns.map((column) => ({ ...column, stock: Math.floor(random() * (most + 1)) }))
}

/** What a plan costs over a catalogue: greedy, ours at once and at the next interval, and the proven optimum. */
export const bench = ({ arbitrage: options, quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const catalogue = readCatalogue(readTable(readFileSync(options.offers ?? "offers.csv", "utf8")), options.providers)
    const columns = stocked(catalogue.columns, options.stockSeed, options.stockMax)
    const made = options.demand === undefined || !existsSync(options.demand)
    const demand = made ? { classes: makeDemand(columns, options.demandSeed, options.classes), leftOut: 0 } : readDemand(readTable(readFileSync(options.demand!, "utf8")))
    if (made && options.demand !== undefined) writeFileSync(options.demand, `${demandLines(demand.classes)}\n`)
    say(`${columns.length} columns of ${catalogue.providers.length} providers; ${demand.classes.length} classes ${made ? `made from seed ${options.demandSeed}` : `read from ${options.demand}`}`)
    const inputs: PlanInputs = { classes: demand.classes, columns, buffers: [], quotas: [], shares: [] }

    const beganMs = performance.now()
    const solver = yield* Solver
    // As in a broker that runs: its solver is loaded, and it has planned before, if only for a tenth of this.
    const tenth = { ...inputs, columns: columns.filter((_, at) => at % 10 === 0), classes: makeDemand(columns, options.demandSeed + 1, 10) }
    for (let round = 0; round < 2; round += 1) yield* solver.choose(chooseQuickly(tenth, usualWeights))
    const warmedUpMs = performance.now() - beganMs

    const timed = <A>(effect: Effect.Effect<A>) => Effect.suspend(() => {
      const beganMs = performance.now()
      return Effect.map(effect, (value) => ({ value, ms: performance.now() - beganMs }))
    })
    // The first answer is measured first: nobody has looked at these inputs before.
    const first = yield* timed(solver.choose(chooseQuickly(inputs, usualWeights)))
    say(`first answer after ${Math.round(first.ms)} ms`)
    const greedy = yield* timed(Effect.sync(() => chooseGreedily(inputs, usualWeights)))
    const next = yield* timed(solver.choose(chooseThoroughly(inputs, usualWeights)))
    say(`next interval after ${Math.round(next.ms)} ms; looking for the proof`)
    const proof = yield* prove(solver, inputs, quick ? 10_000 : proofMsMax)
    const best = Math.max(proof.bound, next.value.boundObjective ?? -Infinity)
    const report = reportOn(inputs, best)
    const optimum = report(proof.plan)
    return {
      catalogue: { rows: catalogue.rows, columns: columns.length, providers: catalogue.providers.length, leftOut: catalogue.leftOut, guessed: catalogue.guessed },
      stock: { seed: options.stockSeed, perColumnMax: options.stockMax, machines: columns.reduce((sum, { stock }) => sum + stock, 0) },
      demand: {
        from: made ? `seed ${options.demandSeed}` : options.demand,
        classes: demand.classes.length,
        leftOut: demand.leftOut,
        gpus: demand.classes.reduce((sum, { needs, units }) => sum + units * (needs.gpus + (needs.gpuMilli ?? 0) / 1000), 0),
        gangs: demand.classes.filter(({ gang }) => gang > 1).length
      },
      warmUpMs: rounded(warmedUpMs),
      greedy: { ...report(greedy.value), ms: rounded(greedy.ms) },
      first: { ...report(first.value), ms: rounded(first.ms) },
      next: { ...report(next.value), ms: rounded(next.ms) },
      // Proven where it is as good as its bound; else the optimum lies between the two.
      optimum: { ...optimum, ...proof.told, proven: optimum.gapPercent <= proofGap * 200 },
      savedAgainstGreedyPercent: { first: saved(greedy.value, first.value), next: saved(greedy.value, next.value) },
      unmet: next.value.unmet
    }
  }).pipe(Effect.provide(Solver.layer))

const saved = (greedy: Plan, ours: Plan): number => (greedy.objective === 0 ? 0 : rounded(((greedy.objective - ours.objective) / greedy.objective) * 100))

const reportOn = (inputs: PlanInputs, bound: number) => (plan: Plan) => {
  const dollars = Number(plan.costPicoPerHour) / 1e12
  // What is not met is counted with a penalty far above any price: a gap is told against the machines alone.
  const gap = plan.objective - bound
  return {
    method: plan.method,
    dollarsPerHour: Number(dollars.toFixed(4)),
    objective: Number(plan.objective.toFixed(4)),
    gapPercent: dollars === 0 ? 0 : Number(((Math.max(0, gap) / dollars) * 100).toFixed(4)),
    machines: plan.targets.reduce((sum, { wanted }) => sum + wanted, 0),
    columns: plan.targets.length,
    unmetUnits: plan.unmet.reduce((sum, { units }) => sum + units, 0),
    faults: faultsOf(inputs, plan, usualWeights.shareFloorGpus)
  }
}

/**
 * The optimum: the linear program over all columns as it is, then whole machines for as long as it takes. The bound is the solver's own, over all
 * columns; what it is a bound for was laid out on machines and is checked like every other plan.
 */
const prove = (solver: Solver["Service"], inputs: PlanInputs, msMax: number) => Effect.gen(function*() {
  const { program } = programOf(problemOf(inputs, usualWeights))
  const relaxed = yield* solver.solve({ program, relaxed: true, gap: 0, msMax })
  const beganMs = performance.now()
  const plan = yield* solver.choose(chooseThoroughly(inputs, usualWeights, { msMax, gap: proofGap, few: false }))
  const bound = Math.max(relaxed.status === "optimal" ? relaxed.objective : -Infinity, plan.boundObjective ?? -Infinity)
  return {
    plan,
    bound,
    told: {
      variables: program.cost.length,
      rows: program.rowLower.length,
      nonZeros: program.values.length,
      linearBound: Number(relaxed.objective.toFixed(4)),
      linearMs: rounded(relaxed.tookMs),
      bound: Number(bound.toFixed(4)),
      integerMs: rounded(performance.now() - beganMs)
    }
  }
})
