import { assert, describe, it } from "@effect/vitest"
import { Digest, type MillFact, SnapshotId } from "@millrace/schemas"
import { admitted, cancelled, exited, given, job, joined, needs, submitted, workspace } from "../testing/cell.ts"
import { dueAtMs } from "./decide.ts"

const here = (name: string, cores = 4): ReadonlyArray<MillFact> => [admitted(name), joined(name, needs(cores * 1000, 4000))]
const after = (name: string, on: "succeeded" | "over" = "succeeded") => ({ after: [{ jobId: job(name), on }] })

describe("a job that comes after another", () => {
  it("waits for its end, says for whom, and goes on in the very round behind it", () => {
    const cell = given(...here("a"), submitted("j1"), submitted("j2", after("j1")))
    cell.rest()
    assert.deepInclude(cell.said("JobDeferred")[0], { jobId: job("j2"), reason: "after", unblockedBy: "job" })
    cell.hear(exited(cell.placed("j1"))).rest(1)
    assert.strictEqual(cell.placed("j2").attempt, 1)
  })

  it("is refused when the other was to succeed and did not, and goes on where its end is enough", () => {
    const cell = given(...here("a"), submitted("j1"), submitted("j2", after("j1")), submitted("j3", after("j1", "over")))
    cell.rest()
    cell.hear(exited(cell.placed("j1"), { code: 1 })).rest(1)
    assert.deepInclude(cell.said("JobRefused")[0], { jobId: job("j2"), reason: "dependency_failed" })
    assert.strictEqual(cell.placed("j3").attempt, 1)
  })

  it("hears of the end of one that was over and forgotten long before", () => {
    const cell = given(...here("a"), submitted("j1"))
    cell.rest()
    cell.hear(exited(cell.placed("j1"))).rest(1)
    assert.strictEqual(cell.world.jobs.size, 0)
    cell.hear(submitted("j2", after("j1"))).rest(2)
    assert.strictEqual(cell.placed("j2").attempt, 1)
  })

  it("is refused when it names one that was not submitted before it, or in another workspace", () => {
    const cell = given(...here("a"), submitted("j2", after("j3")), submitted("j3", after("j2")), submitted("j4", { in: "other" }), submitted("j5", after("j4")))
    cell.rest()
    assert.deepStrictEqual(cell.said("JobRefused").map(({ jobId, reason }) => [jobId, reason]), [[job("j2"), "dependency_failed"], [job("j5"), "dependency_failed"], [job("j3"), "dependency_failed"]])
  })

  it("is settled at once when it is cancelled while it waits", () => {
    const cell = given(...here("a"), submitted("j1"), submitted("j2", after("j1")))
    cell.rest()
    cell.hear(cancelled("j2")).rest(1)
    assert.deepInclude(cell.said("JobSettled")[0], { jobId: job("j2"), outcome: "cancelled" })
  })
})

describe("a job's patience for a place", () => {
  it("ends it when no place was found in time", () => {
    const cell = given(submitted("j1", { queueMsMax: 5_000 }))
    cell.rest(100)
    assert.strictEqual(dueAtMs(cell.world), 5_100)
    cell.rest(5_100)
    assert.deepInclude(cell.said("JobSettled")[0], { outcome: "failed", cause: "no place was found for it within 5000 ms: no_host" })
  })

  it("does not run while it waits for another job", () => {
    const cell = given(...here("a", 1), submitted("j1"), submitted("j2", { ...after("j1"), queueMsMax: 10 }))
    cell.rest()
    cell.rest(50_000)
    cell.hear(exited(cell.placed("j1"))).rest(60_000)
    assert.strictEqual(cell.placed("j2").attempt, 1)
  })
})

const snapshotId = SnapshotId.make(`snp_${"0".repeat(26)}`)
const blob = { digest: Digest.make(`sha256:${"a".repeat(64)}`), sizeBytes: 10 }
const planned: MillFact = { _tag: "SnapshotPlanned", snapshotId, workspace: workspace("acme"), jobId: job("j0"), form: "files", retention: {}, cause: "asked" }
const available = (where = "acme"): MillFact => ({ _tag: "SnapshotAvailable", snapshotId, workspace: workspace(where), jobId: job("j0"), form: "files", blob, runtime: "sandbox" })
const expired: MillFact = { _tag: "SnapshotExpired", snapshotId, workspace: workspace("acme"), cause: "asked" }

describe("a job that starts from a snapshot", () => {
  it("waits until it is available, and its host is told the bytes", () => {
    const cell = given(...here("a"), planned, submitted("j1", { startFrom: snapshotId }))
    cell.rest()
    assert.deepInclude(cell.said("JobDeferred")[0], { reason: "snapshot", unblockedBy: "snapshot" })
    cell.hear(available()).rest(1)
    assert.deepInclude(cell.placed("j1"), { snapshot: snapshotId, from: { snapshotId, blob } })
  })

  it("is refused when it is gone, is another workspace's, or goes while the job waits for room", () => {
    const gone = given(...here("a"), available(), expired, submitted("j1", { startFrom: snapshotId }))
    gone.rest()
    assert.deepInclude(gone.said("JobRefused")[0], { reason: "snapshot_gone" })
    const foreign = given(...here("a"), available("other"), submitted("j1", { startFrom: snapshotId }))
    foreign.rest()
    assert.deepInclude(foreign.said("JobRefused")[0], { reason: "snapshot_gone" })
    const late = given(available(), submitted("j1", { startFrom: snapshotId }))
    late.rest()
    late.hear(expired, ...here("a")).rest(1)
    assert.deepInclude(late.said("JobRefused")[0], { reason: "snapshot_gone" })
  })
})

describe("what the cell wants", () => {
  it("is told when it changes, by class, and no more often than every two seconds", () => {
    const cell = given(submitted("j1"), submitted("j2", { resources: needs(2000) }))
    cell.rest(1_000)
    assert.deepStrictEqual(cell.said("DemandChanged").at(-1)?.classes.map(({ cpuMilli, oldestSinceMs, waiting }) => [cpuMilli, waiting, oldestSinceMs]), [[1000, 1, 1_000], [2000, 1, 1_000]])
    cell.hear(submitted("j3")).rest(1_500)
    assert.lengthOf(cell.said("DemandChanged"), 1)
    assert.strictEqual(dueAtMs(cell.world), 3_000)
    cell.rest(3_000)
    assert.deepStrictEqual(cell.said("DemandChanged").at(-1)?.classes.map(({ cpuMilli, waiting }) => [cpuMilli, waiting]), [[1000, 2], [2000, 1]])
    cell.hear(...here("a")).rest(5_000)
    assert.deepStrictEqual(cell.said("DemandChanged").at(-1)?.classes, [])
  })

  it("does not count what no machine could run: that is refused", () => {
    const cell = given(submitted("j1", { resources: { ...needs(1000), gpus: 1_000 } }))
    cell.rest()
    assert.deepInclude(cell.said("JobRefused")[0], { reason: "never_fits" })
    assert.isEmpty(cell.said("DemandChanged"))
  })
})
