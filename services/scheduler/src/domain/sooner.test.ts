import { assert, describe, it } from "@effect/vitest"
import { type BlobRef, type JobSubmitted, type MillFact } from "@millrace/schemas"
import { admitted, type Cell, exited, given, host, joined, needs, submitted } from "../testing/cell.ts"
import { scheduler } from "./scheduler.ts"

/** A hundred seconds of loading, at what is believed of a host that has measured nothing. */
const model: BlobRef = { digest: `sha256:${"a".repeat(64)}` as BlobRef["digest"], sizeBytes: 104_858 * 100_000 }
const here = (name: string): ReadonlyArray<MillFact> => [admitted(name), { ...joined(name, needs(1000, 100_000)), dialect: 3 } as MillFact]
const holds = (name: string): MillFact => ({ _tag: "StateResident", hostId: host(name), snapshots: [], images: [], blobs: [model.digest] })
const reading = (name: string, runMsMax = 60_000): MillFact => {
  const said = submitted(name, { runMsMax }) as JobSubmitted
  return { ...said, spec: { ...said.spec, reads: { blobs: [model] } } }
}
/** One host holds the model and is busy for so long at most, and another is empty and holds nothing. */
const busyFor = (runMsMax: number): Cell => {
  const cell = given(...here("a"), holds("a"), submitted("1", { runMsMax }))
  cell.rest(0)
  return cell.hear(...here("b"))
}

describe("a job that could begin from what a busy host holds", () => {
  it("waits for it where waiting and loading take less than loading elsewhere, and is told so", () => {
    const cell = busyFor(40_000)
    cell.hear(reading("2"))
    cell.rest(10_000)
    assert.isUndefined(cell.placed("2"))
    assert.deepInclude(cell.said("JobDeferred")[0], {
      reason: "backing_off", dueAtMs: 40_000,
      arithmetic: `what it reads is ready on ${host("a")}, where there is room soon: it begins there within 30000 ms, and elsewhere only after loading for 100000 ms`
    })
    // Nobody rents a machine for that, and nobody gives way.
    assert.isEmpty(cell.said("DemandChanged").flatMap(({ classes }) => classes))
    cell.hear(exited(cell.placed("1")))
    cell.rest(20_000)
    assert.strictEqual(cell.placed("2").hostId, host("a"))
  })

  it("loads elsewhere where that is sooner, or where nothing says how long the wait would be", () => {
    const cell = busyFor(200_000)
    cell.hear(reading("2"))
    cell.rest(10_000)
    assert.strictEqual(cell.placed("2").hostId, host("b"))
  })

  it("goes on when what should have ended has not, at that moment and not before", () => {
    const cell = busyFor(40_000)
    cell.hear(reading("2"))
    cell.rest(10_000)
    assert.strictEqual(scheduler.dueAtMs?.(cell.world), 40_000)
    cell.rest(39_999)
    assert.isUndefined(cell.placed("2"))
    cell.rest(40_000)
    assert.strictEqual(cell.placed("2").hostId, host("b"))
  })

  it("waits no longer than the loading would have taken, whoever goes first there", () => {
    const cell = busyFor(90_000)
    cell.hear(reading("2"))
    cell.rest(0)
    for (let atMs = 50_000, next = 3; atMs <= 100_000; atMs += 25_000, next += 1) {
      assert.isUndefined(cell.placed("2"))
      // Somebody more urgent begins where it would have.
      cell.hear(submitted(`${next}`, { runMsMax: 60_000, priority: 95 }), exited(cell.placed(`${next === 3 ? 1 : next - 1}`)))
      cell.rest(atMs)
      if (cell.placed("2") !== undefined) break
    }
    assert.strictEqual(cell.placed("2").hostId, host("b"))
  })

  it("has those that are alike and read something else go round it", () => {
    const cell = busyFor(40_000)
    cell.hear(reading("2"), submitted("3"))
    cell.rest(10_000)
    assert.strictEqual(cell.placed("3").hostId, host("b"))
    assert.isUndefined(cell.placed("2"))
  })
})
