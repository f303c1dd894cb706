import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { Choosing } from "../domain/plan/choose.ts"
import type { Plan } from "../domain/plan/plan.ts"
import type { Answer, Ask } from "../domain/plan/program.ts"
import { Solver } from "./solver.ts"

/** min 3a + 2b, a + b >= 3.5, b <= 2. */
const ask = (relaxed: boolean): Ask => ({
  relaxed, gap: 0, msMax: 2_000,
  program: {
    cost: Float64Array.of(3, 2), lower: Float64Array.of(0, 0), upper: Float64Array.of(10, 2), whole: Uint8Array.of(1, 1),
    rowLower: Float64Array.of(3.5), rowUpper: Float64Array.of(Infinity), starts: Int32Array.of(0, 2), indices: Int32Array.of(0, 1), values: Float64Array.of(1, 1)
  }
})

it.layer(Solver.layer, { excludeTestServices: true })("the solver", (it) => {
  it.effect("answers with whole numbers, and with a bound where they need not be whole", () => Effect.gen(function*() {
    const { solve } = yield* Solver
    const relaxed = yield* solve(ask(true))
    const whole = yield* solve(ask(false))
    assert.deepStrictEqual([relaxed.objective, whole.objective, [...whole.values]], [8.5, 10, [2, 2]])
    assert.deepStrictEqual([relaxed.status, whole.status], ["optimal", "optimal"])
  }))

  it.effect("starts again after its thread has died, and says so to whoever waited", () => Effect.gen(function*() {
    const { solve, thread } = yield* Solver
    yield* solve(ask(true))
    const before = yield* thread
    const waiting = yield* Effect.forkChild(Effect.flip(solve(endless)))
    yield* atWork
    yield* Effect.promise(() => before!.terminate())
    assert.include((yield* Fiber.join(waiting)).message, "its thread ended")
    assert.strictEqual((yield* solve(ask(true))).objective, 8.5)
    assert.notStrictEqual(yield* thread, before)
    const between = yield* thread
    yield* Effect.promise(() => between!.terminate())
    assert.strictEqual((yield* solve(ask(true))).objective, 8.5)
  }))

  it.effect("goes on without an answer where the solver gives none", () => Effect.gen(function*() {
    const { choose, solve, thread } = yield* Solver
    yield* solve(ask(true))
    const heard: Array<Answer["status"]> = []
    const choosing = function*(): Choosing {
      heard.push((yield endless).status)
      heard.push((yield ask(true)).status)
      return plan
    }
    const waiting = yield* Effect.forkChild(choose(choosing()))
    yield* atWork
    const worker = yield* thread
    yield* Effect.promise(() => worker!.terminate())
    assert.strictEqual(yield* Fiber.join(waiting), plan)
    assert.deepStrictEqual(heard, ["none", "optimal"])
  }))

  it.effect("stops when it was told to", () => Effect.gen(function*() {
    const answer = yield* Solver.use(({ solve }) => solve({ ...endless, msMax: 300 }))
    assert.notStrictEqual(answer.status, "optimal")
  }))
})

/** The asker has had its turn: what it asked is with the thread. */
const atWork = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 100)))

const plan: Plan = { method: "greedy", targets: [], unmet: [], costPicoPerHour: 0n, boundPicoPerHour: undefined, objective: 0, boundObjective: undefined, started: 0 }

/** Equations over many yes-or-no variables that no search ends within minutes (market split, Cornuejols and Dawande). */
const endless: Ask = (() => {
  const wide = 50
  const rows = 6
  const value = (row: number, at: number): number => ((row * 7919 + at * 104_729 + (row + 1) * (at + 1) * 31_337) % 100)
  const sums = Array.from({ length: rows }, (_, row) => Math.floor(Array.from({ length: wide }, (__, at) => value(row, at)).reduce((a, b) => a + b, 0) / 2))
  return {
    relaxed: false, gap: 0, msMax: 20_000,
    program: {
      // Slack on both sides of each equation is what costs.
      cost: Float64Array.from({ length: wide + 2 * rows }, (_, at) => (at < wide ? 0 : 1)),
      lower: new Float64Array(wide + 2 * rows), upper: Float64Array.from({ length: wide + 2 * rows }, (_, at) => (at < wide ? 1 : 10_000)),
      whole: Uint8Array.from({ length: wide + 2 * rows }, (_, at) => (at < wide ? 1 : 0)),
      rowLower: Float64Array.from(sums), rowUpper: Float64Array.from(sums),
      starts: Int32Array.from({ length: rows + 1 }, (_, row) => row * (wide + 2)),
      indices: Int32Array.from({ length: rows * (wide + 2) }, (_, at) => {
        const row = Math.floor(at / (wide + 2))
        const which = at % (wide + 2)
        return which < wide ? which : wide + 2 * row + (which - wide)
      }),
      values: Float64Array.from({ length: rows * (wide + 2) }, (_, at) => {
        const which = at % (wide + 2)
        return which < wide ? value(Math.floor(at / (wide + 2)), which) : which === wide ? 1 : -1
      })
    }
  }
})()
