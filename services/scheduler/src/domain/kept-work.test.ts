import { assert, describe, it } from "@effect/vitest"
import { type BlobRef, type JobSubmitted, type MillFact, type PlacementMade, SnapshotId } from "@millrace/schemas"
import { admitted, type Cell, exited, given, host, joined, needs, refused, silent, submitted } from "../testing/cell.ts"
import { scheduler } from "./scheduler.ts"
import { keptWaitMs, snapshotAtEndOf } from "./snapshots.ts"

const blob: BlobRef = { digest: `sha256:${"a".repeat(64)}` as BlobRef["digest"], sizeBytes: 5 }
const planned = (made: PlacementMade): MillFact => {
  const { attemptId, hostId, jobId, workspace } = made
  return { _tag: "SnapshotPlanned", snapshotId: snapshotAtEndOf(attemptId), workspace, jobId, hostId, attemptId, form: "files", retention: {}, cause: "finished" }
}
const available = ({ attemptId, jobId, workspace }: PlacementMade, snapshotId = snapshotAtEndOf(attemptId)): MillFact =>
  ({ _tag: "SnapshotAvailable", snapshotId, workspace, jobId, attemptId, form: "files", blob, runtime: "sandbox" })
const abandoned = ({ attemptId, jobId, workspace }: PlacementMade): MillFact =>
  ({ _tag: "SnapshotAbandoned", snapshotId: snapshotAtEndOf(attemptId), workspace, jobId, cause: "not_written", detail: "as it says" })
const keeping = (fact: MillFact): MillFact => ({ ...(fact as JobSubmitted), spec: { ...(fact as JobSubmitted).spec, snapshotAtEnd: "files" } })
const here = (name: string, cpuMilli = 1000): ReadonlyArray<MillFact> => [admitted(name), { ...joined(name, needs(cpuMilli, 100_000)), dialect: 3 } as MillFact]
const gaveWay = (cell: Cell) => cell.said("PlacementWithdrawn").map(({ cause, jobId }) => `${cause} ${jobId.slice(-1)}`)

/** A job that keeps its files gave way to another, which has ended since. */
const displaced = (): { readonly cell: Cell; readonly first: PlacementMade } => {
  const cell = given(...here("a"), keeping(submitted("1", { priority: 20, runMsMax: 1e9 })))
  cell.rest(0)
  const first = cell.placed("1")
  cell.hear(planned(first), submitted("2", { priority: 80 }))
  cell.rest(100_000)
  cell.hear(exited(first, { cause: "withdrawn" }))
  cell.rest(100_001)
  cell.hear(exited(cell.placed("2")))
  cell.rest(102_000)
  return { cell, first }
}

describe("what gave way and keeps its files", () => {
  it("waits until they are stored, and goes on from them", () => {
    const { cell, first } = displaced()
    assert.include(cell.said("JobRetried")[0]!.cause, "it goes on from the files that it leaves")
    assert.strictEqual(cell.placed("1").attempt, 1)
    cell.hear(available(first))
    cell.rest(102_001)
    assert.deepInclude(cell.placed("1"), { attempt: 2, snapshot: snapshotAtEndOf(first.attemptId), from: { snapshotId: snapshotAtEndOf(first.attemptId), blob } })
  })

  it("waits so for ten minutes where nobody says what became of them, and then goes on from what it kept before, and says so", () => {
    const { cell, first } = displaced()
    const dueMs = cell.said("JobRetried")[0]!.notBeforeMs + keptWaitMs
    assert.strictEqual(scheduler.dueAtMs?.(cell.world), dueMs)
    assert.strictEqual(scheduler.dueAtMs?.(scheduler.load(JSON.parse(JSON.stringify(scheduler.save(cell.world))) as never)), dueMs)
    cell.rest(dueMs - 1)
    assert.strictEqual(cell.placed("1").attempt, 1)
    cell.rest(dueMs)
    assert.deepInclude(cell.placed("1"), { attempt: 2 })
    assert.notProperty(cell.placed("1"), "from")
    assert.include(cell.placed("1").reason, `(${snapshotAtEndOf(first.attemptId)}) were not said to be stored within 10 minutes: it begins anew`)
    // One that has gone on without does not wait for the same once more when it loses its host.
    cell.hear(...here("b"))
    cell.rest(dueMs + 60_000, [silent("a", dueMs + 30_000)])
    cell.rest(dueMs + 60_000)
    assert.deepInclude(cell.placed("1"), { attempt: 3, hostId: host("b") })
  })

  it("waits for room like any other once that time is over, and takes the files should they come after all", () => {
    const { cell, first } = displaced()
    const dueMs = cell.said("JobRetried")[0]!.notBeforeMs + keptWaitMs
    cell.hear(submitted("3", { priority: 80, runMsMax: 1e9 }))
    cell.rest(dueMs)
    assert.strictEqual(cell.placed("1").attempt, 1)
    assert.include(cell.said("JobDeferred").at(-1), { jobId: first.jobId, reason: "no_room" })
    cell.hear(available(first), exited(cell.placed("3")))
    cell.rest(dueMs + 1)
    assert.deepInclude(cell.placed("1"), { attempt: 2, from: { snapshotId: snapshotAtEndOf(first.attemptId), blob } })
    assert.notInclude(cell.placed("1").reason, "not said to be stored")
  })

  it("of a gang begins whole once that time is over, from what all members kept before", () => {
    const cell = given(...here("a"), ...here("b"), keeping(submitted("g", { gang: { members: 2, topology: "anywhere", onLoss: "end" }, dialect: 3, priority: 20, runMsMax: 1e9 })))
    cell.rest(0)
    const members = cell.said("PlacementMade")
    cell.hear(submitted("2", { priority: 80 }))
    cell.rest(100_000)
    cell.hear(...members.map((made) => exited(made, { cause: "withdrawn" })))
    cell.rest(100_001)
    cell.hear(exited(cell.placed("2")), available(members[0]!))
    const dueMs = cell.said("JobRetried").at(-1)!.notBeforeMs + keptWaitMs
    cell.rest(dueMs - 1)
    assert.lengthOf(cell.said("PlacementMade").filter(({ attempt }) => attempt === 2), 0)
    cell.rest(dueMs)
    assert.deepStrictEqual(cell.said("PlacementMade").filter(({ attempt }) => attempt === 2).map(({ from, gang, reason }) => [gang!.rank, from, reason.includes("begins anew")]), [[0, undefined, false], [1, undefined, true]])
  })

  it("does so too when its next attempt loses its host, and begins anew when that fails by itself", () => {
    const { cell, first } = displaced()
    cell.hear(available(first), ...here("b"))
    cell.rest(102_001)
    const { hostId } = cell.placed("1")
    cell.rest(200_000, [silent(hostId === host("a") ? "a" : "b", 150_000)])
    cell.rest(200_000)
    assert.deepInclude(cell.placed("1"), { attempt: 3, from: { snapshotId: snapshotAtEndOf(first.attemptId), blob } })
    const failing = given(...here("a"), keeping(submitted("1", { attemptsMax: 3 })))
    failing.rest(0)
    const failed = failing.placed("1")
    failing.hear(planned(failed), exited(failed, { code: 1 }), available(failed))
    failing.rest(0)
    failing.rest(10_000)
    assert.deepInclude(failing.placed("1"), { attempt: 2 })
    assert.notProperty(failing.placed("1"), "from")
  })

  it("begins anew where they were not kept: that was said, too", () => {
    const { cell, first } = displaced()
    cell.hear(abandoned(first))
    cell.rest(102_001)
    assert.deepInclude(cell.placed("1"), { attempt: 2 })
    assert.notProperty(cell.placed("1"), "from")
  })

  it("waits as well when what was decided is read anew, or from a checkpoint, or in another order of streams", () => {
    const { cell, first } = displaced()
    const saved = JSON.parse(JSON.stringify(scheduler.save(cell.world)))
    const again = scheduler.load(saved as never)
    assert.isEmpty(scheduler.decide(again, cell.roundAt(200_000)).filter(({ facts }) => facts.some(({ event }) => event._tag === "PlacementMade")))
    // Stored before the retry was heard of.
    const early = given(...here("a"), available(first), keeping(submitted("1", { priority: 20, runMsMax: 1e9 })))
    early.rest(0)
    early.hear(submitted("2", { priority: 80 }))
    early.rest(100_000)
    early.hear(exited(first, { cause: "withdrawn" }))
    early.rest(100_001)
    early.hear(exited(early.placed("2")))
    early.rest(100_002)
    assert.deepInclude(early.placed("1"), { attempt: 2, from: { snapshotId: snapshotAtEndOf(first.attemptId), blob } })
  })

  it("of a gang goes on from what all members had, or none does", () => {
    const outcomes = (...last: ReadonlyArray<(made: PlacementMade) => MillFact>) => {
      const cell = given(...here("a"), ...here("b"), keeping(submitted("g", { gang: { members: 2, topology: "anywhere", onLoss: "end" }, dialect: 3, priority: 20, runMsMax: 1e9 })))
      cell.rest(0)
      const members = cell.said("PlacementMade")
      cell.hear(submitted("2", { priority: 80 }))
      cell.rest(100_000)
      cell.hear(...members.map((made) => exited(made, { cause: "withdrawn" })))
      cell.rest(100_001)
      cell.hear(exited(cell.placed("2")), last[0]!(members[0]!))
      cell.rest(100_002)
      assert.strictEqual(cell.placed("g").attempt, 1)
      cell.hear(last[1]!(members[1]!))
      cell.rest(102_001)
      return cell.said("PlacementMade").filter(({ attempt }) => attempt === 2).map(({ from }) => from?.snapshotId)
    }
    assert.notInclude(outcomes(available, available), undefined)
    assert.deepStrictEqual(outcomes(available, abandoned), [undefined, undefined])
  })

  it("goes on from what it kept before, where what it did last was not kept", () => {
    const { cell, first } = displaced()
    cell.hear(available(first))
    cell.rest(102_001)
    const second = cell.placed("1")
    cell.hear(submitted("3", { priority: 80 }))
    cell.rest(300_000)
    cell.hear(refused(second), abandoned(second))
    cell.rest(300_001)
    cell.hear(exited(cell.placed("3")))
    cell.rest(302_000)
    assert.deepInclude(cell.placed("1"), { attempt: 3, from: { snapshotId: snapshotAtEndOf(first.attemptId), blob } })
  })

  it("of a gang goes on from what all members had at the same time, where one has kept less", () => {
    const cell = given(...here("a"), ...here("b"), keeping(submitted("g", { gang: { members: 2, topology: "anywhere", onLoss: "end" }, dialect: 3, priority: 20, runMsMax: 1e9 })))
    const round = (atMs: number, other: string, ...last: ReadonlyArray<(made: PlacementMade) => MillFact>): ReadonlyArray<PlacementMade> => {
      cell.rest(atMs)
      const members = cell.said("PlacementMade").filter(({ gang }) => gang !== undefined).slice(-2)
      cell.hear(submitted(other, { priority: 80 }))
      cell.rest(atMs + 100_000)
      cell.hear(...members.map((made) => exited(made, { cause: "withdrawn" })))
      cell.rest(atMs + 100_001)
      cell.hear(exited(cell.placed(other)), ...members.map((made, rank) => last[rank]!(made)))
      cell.rest(atMs + 102_001)
      return members
    }
    const members = round(0, "2", available, available)
    round(200_000, "3", available, abandoned)
    assert.deepStrictEqual(cell.said("PlacementMade").filter(({ attempt }) => attempt === 3).map(({ from }) => from?.snapshotId), members.map(({ attemptId }) => snapshotAtEndOf(attemptId)))
  })

  it("is not waited for when its host had refused it", () => {
    const cell = given(...here("a"), keeping(submitted("1", { attemptsMax: 2 })))
    cell.rest(0)
    cell.hear(refused(cell.placed("1")))
    cell.rest(0)
    cell.rest(10_000)
    assert.strictEqual(cell.placed("1").attempt, 2)
  })
})

describe("what ending work throws away", () => {
  it("is what it did since it was last kept: who was kept just now gives way before who began later", () => {
    const twice = (seen: boolean): ReadonlyArray<string> => {
      const one = given(...here("a", 2000), submitted("1", { priority: 20, runMsMax: 1e9 }))
      one.rest(0)
      one.hear(submitted("2", { priority: 20, runMsMax: 1e9 }))
      one.rest(100_000)
      if (seen) one.hearAt(290_000, available(one.placed("1"), SnapshotId.make(`snp_${"0".repeat(25)}1`)))
      one.hear(submitted("3", { priority: 80 }))
      one.rest(300_000)
      return gaveWay(one)
    }
    assert.deepStrictEqual(twice(false), ["preempted 2"])
    assert.deepStrictEqual(twice(true), ["preempted 1"])
  })
})
