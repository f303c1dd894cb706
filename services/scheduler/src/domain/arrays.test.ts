import { assert, describe, it } from "@effect/vitest"
import type { MillFact } from "@millrace/schemas"
import { admitted, cancelled, type Cell, exited, given, host, joined, needs, silent, submitted } from "../testing/cell.ts"

const here = (name: string, cores = 4): ReadonlyArray<MillFact> => [admitted(name), joined(name, needs(cores * 1000, 4000))]

const running = (cell: Cell) => {
  const over = new Set([...cell.said("AttemptExited"), ...cell.said("AttemptRefused")].map(({ attemptId }) => attemptId))
  return cell.said("PlacementMade").filter(({ attemptId }) => !over.has(attemptId))
}

/** Ends everything that runs, with codes by task. */
const end = (cell: Cell, code: (task: number) => number = () => 0): Cell => cell.hear(...running(cell).map((made) => exited(made, { code: code(made.task ?? 0) })))

const settled = (cell: Cell) => cell.said("JobSettled").at(-1)

describe("a job of many tasks", () => {
  it("begins as many as there is room for, in their order, each with its number", () => {
    const cell = given(...here("a", 3), submitted("j1", { array: { tasks: 5 } }))
    cell.rest()
    assert.deepStrictEqual(running(cell).map(({ attempt, task }) => [task, attempt]), [[0, 1], [1, 1], [2, 1]])
    assert.lengthOf(cell.said("JobDeferred"), 1)
    end(cell).rest(1)
    assert.deepStrictEqual(running(cell).map(({ task }) => task), [3, 4])
    assert.lengthOf(cell.said("JobDeferred"), 1)
  })

  it("tells the end of each task, and of the job when the last is over", () => {
    const cell = given(...here("a"), submitted("j1", { array: { tasks: 3 } }))
    cell.rest()
    end(cell, (task) => (task === 1 ? 7 : 0)).rest(1)
    assert.deepStrictEqual(cell.said("TaskSettled").map(({ exitCode, outcome, task }) => [task, outcome, exitCode]), [[0, "succeeded", 0], [1, "failed", 7], [2, "succeeded", 0]])
    assert.deepInclude(settled(cell), { outcome: "failed", tasks: { succeeded: 2, failed: 1, cancelled: 0, lost: 0, skipped: 0 } })
    assert.lengthOf(cell.said("JobSettled"), 1)
  })

  it("tries each task again by itself", () => {
    const cell = given(...here("a"), submitted("j1", { array: { tasks: 2 }, attemptsMax: 2 }))
    cell.rest()
    end(cell, (task) => task).rest(0)
    assert.deepInclude(cell.said("JobRetried")[0], { task: 1, failedAttempt: 1, notBeforeMs: 200 })
    assert.isUndefined(settled(cell))
    cell.rest(200)
    assert.deepStrictEqual(running(cell).map(({ attempt, task }) => [task, attempt]), [[1, 2]])
    end(cell).rest(300)
    assert.strictEqual(settled(cell)?.outcome, "succeeded")
  })

  it("runs no more at once than it may", () => {
    const cell = given(...here("a"), submitted("j1", { array: { tasks: 5, parallelismMax: 2 } }))
    cell.rest()
    assert.lengthOf(running(cell), 2)
    assert.isEmpty(cell.said("JobDeferred"))
    cell.hear(exited(running(cell)[0]!)).rest(1)
    assert.deepStrictEqual(running(cell).map(({ task }) => task), [1, 2])
  })

  it("begins nothing more when too many have failed, and lets what runs end", () => {
    const cell = given(...here("a", 2), submitted("j1", { array: { tasks: 10, failuresMax: 1 } }))
    cell.rest()
    end(cell, () => 1).rest(1)
    assert.isEmpty(running(cell))
    assert.deepInclude(settled(cell), { outcome: "failed", tasks: { succeeded: 0, failed: 2, cancelled: 0, lost: 0, skipped: 8 } })
  })

  it("succeeds with as many failures as it may have", () => {
    const cell = given(...here("a"), submitted("j1", { array: { tasks: 2, failuresMax: 1 } }))
    cell.rest()
    end(cell, (task) => task).rest(1)
    assert.strictEqual(settled(cell)?.outcome, "succeeded")
  })

  it("is cancelled half-way: what runs is withdrawn, what backs off ends, the rest is never begun", () => {
    const cell = given(...here("a", 2), submitted("j1", { array: { tasks: 4 }, attemptsMax: 2 }))
    cell.rest()
    cell.hear(exited(running(cell)[0]!, { code: 1 })).rest(0)
    cell.hear(cancelled("j1")).rest(1)
    const withdrawn = cell.said("PlacementWithdrawn")
    assert.deepStrictEqual(withdrawn.map(({ cause, task }) => [task, cause]), [[1, "cancelled"], [2, "cancelled"]])
    cell.hear(...running(cell).map((made) => exited(made, { cause: "withdrawn" }))).rest(2)
    assert.deepInclude(settled(cell), { outcome: "cancelled", tasks: { succeeded: 0, failed: 0, cancelled: 3, lost: 0, skipped: 1 } })
    cell.rest(10_000)
    assert.deepStrictEqual(cell.rest(100_000), [])
  })

  it("may have a million tasks, of which only those that were begun are remembered", () => {
    const cell = given(...here("a", 3), submitted("j1", { array: { tasks: 1_000_000 } }))
    cell.rest()
    for (let turn = 1; turn <= 50; turn += 1) end(cell).rest(turn)
    assert.strictEqual(cell.said("TaskSettled").length, 150)
    assert.strictEqual(cell.world.jobs.values().next().value?.tasks.size, 3)
  })

  it("goes on with a task whose host was lost, and counts each once", () => {
    const cell = given(...here("a", 1), ...here("b", 1), submitted("j1", { array: { tasks: 2 } }))
    cell.rest()
    cell.rest(20_000, [silent("a", 1_000)])
    cell.hear(exited(running(cell).find(({ hostId }) => hostId === host("b"))!)).rest(40_000)
    const again = running(cell).find(({ attempt }) => attempt === 2)
    assert.deepInclude(again, { task: 0, hostId: host("b") })
    cell.hear(exited(again!)).rest(40_001)
    assert.deepInclude(settled(cell), { outcome: "succeeded", tasks: { succeeded: 2, failed: 0, cancelled: 0, lost: 0, skipped: 0 } })
  })
})
