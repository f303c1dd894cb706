import { assert, describe, it } from "@effect/vitest"
import type { JobSpec } from "@millrace/schemas"
import { classKeyOf, classOf } from "./demand.ts"

const minute = 60_000
const job = (more: Partial<JobSpec>): JobSpec => ({
  runtime: "process", trust: "own", resources: { cpuMilli: 1000, memoryMib: 1, diskMib: 0, gpus: 0 }, attemptsMax: 1, runMsMax: 1, onSilence: { keepMs: 0 }, ...more
})

describe("the broker is told of deadlines", () => {
  it("of work that tolerates spot, to ten minutes, on the safe side, so that like work stays one class", () => {
    const soon = job({ where: { spot: "tolerated" }, deadline: { atMs: 119 * minute, workMs: 31 * minute } })
    assert.deepInclude(classOf(soon), { deadlineAtMs: 110 * minute, workLeftMs: 40 * minute })
    assert.strictEqual(classKeyOf(classOf(soon)), classKeyOf(classOf(job({ where: { spot: "tolerated" }, deadline: { atMs: 111 * minute, workMs: 35 * minute } }))))
    assert.notStrictEqual(classKeyOf(classOf(soon)), classKeyOf(classOf(job({ where: { spot: "tolerated" } }))))
    assert.strictEqual(classKeyOf(JSON.parse(classKeyOf(classOf(soon)))), classKeyOf(classOf(soon)))
  })
  it("and of no other: whatever takes none of it back keeps no deadline better", () => {
    assert.notProperty(classOf(job({ deadline: { atMs: 1, workMs: 1 } })), "deadlineAtMs")
    assert.notProperty(classOf(job({ where: { spot: "never" }, deadline: { atMs: 1, workMs: 1 } })), "workLeftMs")
  })
})
