import { assert, describe, it } from "@effect/vitest"
import { foldCommit, type StoredCommit } from "@millrace/journal"
import { deriveId } from "@millrace/decider"
import { AttemptId, type BlobRef, type MillFact, type SnapshotId, WorkspaceName } from "@millrace/schemas"
import { admitted, cancelled, Cell, exited, job, joined, needs, submitted } from "../testing/cell.ts"
import { interleaved, Life, live, Picks, type Step } from "../testing/life.ts"
import { schedulerRemembering } from "./scheduler.ts"
import type { World } from "./world.ts"

/** Of two jobs the memory is gone when two more have ended, a tenth of a second later. */
const forgetful = schedulerRemembering({ lotMax: 2, lotsMin: 1, forMs: 100, goneMax: 2 })
const inCell = (): Cell => new Cell("few", forgetful).hear(admitted("a"), joined("a", needs(4000, 4000)))

const folded = (commits: ReadonlyArray<StoredCommit>): World => commits.reduce((world, commit) => foldCommit(forgetful, world, commit), forgetful.initial())
const saved = (world: World): unknown => forgetful.save(world)

/** Jobs that begin and end, one after the other, so many ms apart. */
const pass = (cell: Cell, names: ReadonlyArray<string>, fromMs: number, stepMs = 100): void => {
  for (const [at, name] of names.entries()) {
    cell.hear(submitted(name))
    cell.rest(fromMs + at * stepMs)
    cell.hear(exited(cell.placed(name)))
    cell.rest(fromMs + at * stepMs)
  }
}

const remembered = ({ world }: Cell): ReadonlyArray<string> => world.outcomes.lots.flatMap(({ ended }) => [...ended.keys()].map((id) => id.slice(-2)))
const ended = (cell: Cell, name: string): ReadonlyArray<string> =>
  [...cell.said("JobSettled").map(({ jobId, outcome }) => [jobId, outcome] as const), ...cell.said("JobRefused").map(({ jobId, reason }) => [jobId, reason] as const)].flatMap(([jobId, how]) => (jobId === job(name) ? [how] : []))

describe("how jobs ended", () => {
  it("is forgotten in lots, the oldest first, when enough have ended since and enough time has passed", () => {
    const cell = inCell()
    pass(cell, ["J1", "J2", "J3", "J4"], 0, 10)
    assert.deepStrictEqual(remembered(cell), ["J1", "J2", "J3", "J4"])
    pass(cell, ["J5"], 1_000)
    assert.deepStrictEqual(remembered(cell), ["J3", "J4", "J5"])
    pass(cell, ["J6", "J7"], 2_000)
    assert.deepStrictEqual(remembered(cell), ["J5", "J6", "J7"])
  })

  it("is known to those that named it before, and to nobody else", () => {
    const cell = inCell().hear(submitted("B1", { resources: needs(100_000, 100) }), submitted("K1", { queueMsMax: 1e9 }))
    cell.rest(0)
    cell.hear(exited(cell.placed("K1")))
    cell.rest(0)
    // It comes after one that is over and one that goes on for long.
    cell.hear(submitted("W1"), submitted("D1", { after: [{ jobId: job("K1"), on: "succeeded" }, { jobId: job("W1"), on: "succeeded" }] }))
    cell.rest(0)
    pass(cell, ["J1", "J2", "J3", "J4"], 1_000)
    assert.notInclude(remembered(cell), "K1")
    cell.hear(submitted("D2", { after: [{ jobId: job("K1"), on: "succeeded" }] }))
    cell.rest(2_000)
    assert.deepStrictEqual(ended(cell, "D2"), ["dependency_failed"])
    assert.include(cell.said("JobRefused").at(-1)?.remedy, "how is not remembered")
    assert.sameMembers([...cell.world.outcomes.pinned.keys()], [job("K1")])
    const again = forgetful.load(structuredClone(saved(cell.world)) as never)
    assert.deepStrictEqual(saved(again), saved(cell.world))
    cell.hear(exited(cell.placed("W1")))
    cell.rest(3_000)
    cell.hear(exited(cell.placed("D1")))
    cell.rest(3_000)
    assert.deepStrictEqual(ended(cell, "D1"), ["succeeded"])
    assert.isEmpty(cell.world.outcomes.pinned)
  })

  it("leaves nothing behind when somebody speaks of a job that is forgotten", () => {
    const cell = inCell()
    pass(cell, ["J1", "J2", "J3", "J4", "J5"], 0)
    assert.notInclude(remembered(cell), "J1")
    const jobs = [...cell.world.jobs.keys()]
    cell.hear(cancelled("J1"), exited(cell.placed("J1"), { code: 1 }))
    assert.deepStrictEqual([...cell.world.jobs.keys()], jobs)
    assert.isEmpty(cell.rest(10_000))
  })

  it("is forgotten once the submissions of those jobs were heard, and wakes none of them before", () => {
    const cell = inCell()
    pass(cell, ["J1", "J2", "J3", "J4", "J5", "J6", "J7"], 0)
    const own = cell.log.filter(({ place }) => place.stream === "SCHEDULER")
    const others = cell.log.filter(({ place }) => place.stream !== "SCHEDULER")
    const other = folded([...own, ...others])
    assert.isEmpty(other.jobs)
    assert.deepStrictEqual(saved(other), saved(cell.world))
  })
})

describe("snapshots that are gone", () => {
  const snapshot = (atMs: number) => deriveId<SnapshotId>("snp", atMs, "one")
  const workspace = WorkspaceName.make("acme")
  const blob: BlobRef = { digest: `sha256:${"a".repeat(64)}` as BlobRef["digest"], sizeBytes: 5 }
  const attemptId = AttemptId.make(`att_${"0".repeat(26)}`)
  const available = (snapshotId: SnapshotId): MillFact => ({ _tag: "SnapshotAvailable", snapshotId, workspace, jobId: job("J1"), attemptId, form: "files", blob, runtime: "sandbox" })
  const expired = (snapshotId: SnapshotId): MillFact => ({ _tag: "SnapshotExpired", snapshotId, workspace, cause: "retention" })

  it("are remembered by name, the newest, and what held their work is not; a job that starts from any of them is refused", () => {
    const cell = inCell()
    const ids = [1_000, 2_000, 3_000, 4_000].map(snapshot)
    cell.hear(...ids.map(available), available(snapshot(500)), ...ids.map(expired))
    assert.deepStrictEqual([...cell.world.gone.ids], [snapshot(3_000), snapshot(4_000)])
    assert.deepStrictEqual([...cell.world.snapshots.keys()], [snapshot(500)])
    assert.deepStrictEqual([...cell.world.index.keptOf.values()].map((held) => [...held]), [[snapshot(500)]])
    cell.hear(submitted("A1", { startFrom: snapshot(1_000) }), submitted("A2", { startFrom: snapshot(4_000) }), submitted("A3", { startFrom: snapshot(5_000) }), submitted("A4", { startFrom: snapshot(500) }))
    cell.rest(0)
    assert.deepStrictEqual(["A1", "A2", "A3", "A4"].map((name) => ended(cell, name)), [["snapshot_gone"], ["snapshot_gone"], [], []])
    assert.strictEqual(cell.said("JobDeferred").find(({ jobId }) => jobId === job("A3"))?.reason, "snapshot")
    assert.isDefined(cell.placed("A4"))
    const again = forgetful.load(structuredClone(saved(cell.world)) as never)
    assert.deepStrictEqual(saved(again), saved(cell.world))
  })
})

describe("whatever happened and was forgotten", () => {
  const runs = { arbitrary: { runs: 200, size: 90 } }
  let forgot = 0
  let pinned = 0
  const lived = (steps: ReadonlyArray<Step>): Cell =>
    live(steps, ({ world }) => {
      forgot += Number(world.outcomes.forgottenAtMs !== undefined)
      pinned += world.outcomes.pinned.size
    }, new Cell("few", schedulerRemembering({ lotMax: 1, lotsMin: 0, forMs: 1, goneMax: 2 })))

  it.prop("the same is remembered in whatever order streams are read", [Life, Picks], ([steps, picks]) => {
    const cell = lived(steps)
    const other = interleaved(cell.log, picks).reduce((world, commit) => foldCommit(cell.decider, world, commit), cell.decider.initial())
    assert.deepStrictEqual(saved(other), saved(cell.world))
    const atMs = 10_000_000
    assert.deepStrictEqual(cell.decider.decide(other, cell.roundAt(atMs)), cell.decider.decide(cell.world, cell.roundAt(atMs)))
  }, runs)

  it.prop("and what was saved and loaded decides the same", [Life], ([steps]) => {
    const cell = lived(steps)
    const again = cell.decider.load(structuredClone(saved(cell.world)) as never)
    assert.deepStrictEqual(saved(again), saved(cell.world))
    const atMs = 10_000_000
    assert.deepStrictEqual(cell.decider.decide(again, cell.roundAt(atMs)), cell.decider.decide(cell.world, cell.roundAt(atMs)))
  }, runs)

  it("was worth a law", () => {
    assert.isAbove(forgot, 50)
    assert.isAbove(pinned, 0, `pinned ${pinned} forgot ${forgot}`)
  })
})
