import { assert, describe, it } from "@effect/vitest"
import { foldCommit, type StoredCommit } from "@millrace/journal"
import { HostId, Principal, type Resources } from "@millrace/schemas"
import { type Cell, exited } from "../testing/cell.ts"
import { interleaved, Life, live, Picks } from "../testing/life.ts"
import { grant } from "../testing/means.ts"
import { scheduler } from "./scheduler.ts"
import { noResources, plus } from "./resources.ts"
import { attemptOn, type World } from "./world.ts"

const runs = { arbitrary: { runs: 200, size: 90 } }

const folded = (commits: ReadonlyArray<StoredCommit>): World =>
  commits.reduce((world, commit) => foldCommit(scheduler, world, commit), scheduler.initial())

const saved = (world: World): unknown => scheduler.save(world)
const loaded = (world: World): World => scheduler.load(structuredClone(saved(world)) as never)

/** What would be said now, and when time alone would have more said. */
const next = (world: World, cell: Cell, atMs: number): unknown =>
  ({ says: scheduler.decide(world, cell.roundAt(atMs)), dueAtMs: scheduler.dueAtMs?.(world) })

/** Later than any pause: everything that backs off is due. */
const muchLaterMs = 10_000_000

/** What a host holds by the facts alone: what was placed there and has had no word from it. */
const heldBy = (cell: Cell, hostId: HostId): Resources => {
  const over = new Set([...cell.said("AttemptExited"), ...cell.said("AttemptRefused")].filter((word) => word.hostId === hostId).map(({ attemptId }) => attemptId))
  return cell.said("PlacementMade").filter((made) => made.hostId === hostId && !over.has(made.attemptId))
    .reduce((sum, { spec: { resources } }) => plus(sum, resources), noResources)
}

describe("whatever happened", () => {
  const names = new Map<string, number>()
  let longest = 0
  let shared = 0

  it.prop("saying each fact twice changes nothing", [Life], ([steps]) => {
    const { log, world } = live(steps)
    longest = Math.max(longest, log.length)
    for (const { facts } of log) for (const { name } of facts) names.set(name, (names.get(name) ?? 0) + 1)
    assert.deepStrictEqual(saved(folded(log.flatMap((commit) => [commit, commit]))), saved(world))
  }, runs)

  it.prop("saying the whole history twice changes nothing", [Life], ([steps]) => {
    const { log, world } = live(steps)
    assert.deepStrictEqual(saved(folded([...log, ...log])), saved(world))
  }, runs)

  it.prop("facts of different streams may come in any order", [Life, Picks], ([steps, picks]) => {
    const cell = live(steps)
    const other = folded(interleaved(cell.log, picks))
    assert.deepStrictEqual(saved(other), saved(cell.world))
    assert.deepStrictEqual(next(other, cell, muchLaterMs), next(cell.world, cell, muchLaterMs))
  }, runs)

  it.prop("what was saved and loaded decides the same, at every round", [Life], ([steps]) => {
    live(steps, (cell, atMs) => {
      const again = loaded(cell.world)
      assert.deepStrictEqual(saved(again), saved(cell.world))
      for (const at of [atMs, muchLaterMs]) assert.deepStrictEqual(next(again, cell, at), next(cell.world, cell, at))
    })
  }, runs)

  it.prop("deciding changes nothing, and twice says the same", [Life], ([steps]) => {
    live(steps, (cell, atMs) => {
      const before = structuredClone(saved(cell.world))
      const first = next(cell.world, cell, atMs)
      assert.deepStrictEqual(next(cell.world, cell, atMs), first)
      assert.deepStrictEqual(saved(cell.world), before)
    })
  }, runs)

  it.prop("no host ever holds more than it has", [Life], ([steps]) => {
    const check = (cell: Cell) => {
      for (const { holds, joined, id } of cell.world.hosts.values()) {
        const held = heldBy(cell, id)
        assert.deepStrictEqual([...holds.values()].reduce((sum, { resources }) => plus(sum, resources), noResources), held)
        const has = joined?.capabilities.resources ?? noResources
        assert.isTrue(held.cpuMilli <= has.cpuMilli && held.memoryMib <= has.memoryMib, `${id} holds ${JSON.stringify(held)} of ${JSON.stringify(has)}`)
        const devices = new Map<number, number>()
        for (const { gpus, resources: { gpuMilli = 1_000 } } of holds.values()) for (const gpu of gpus) devices.set(gpu, (devices.get(gpu) ?? 0) + gpuMilli)
        for (const [gpu, milli] of devices) assert.isTrue(milli <= 1_000 && joined?.capabilities.gpus.some(({ index }) => index === gpu), `${id} gives ${milli} thousandths of device ${gpu}`)
        shared = Math.max(shared, ...[...holds.values()].map(({ gpus }) => gpus.length))
      }
    }
    check(live(steps, check))
  }, runs)

  it.prop("a moment comes to rest: what a few rounds have said leaves nothing more to say in it", [Life], ([steps]) => {
    live(steps, (cell, atMs) => {
      cell.rest(atMs)
      assert.deepStrictEqual(cell.decide(atMs), [])
    })
  }, runs)

  it.prop("the scheduler wakes when time has something to say, and not before", [Life], ([steps]) => {
    live(steps, (cell, atMs) => {
      cell.rest(atMs)
      const due = scheduler.dueAtMs?.(cell.world)
      if (due === undefined) {
        assert.deepStrictEqual(scheduler.decide(cell.world, cell.roundAt(muchLaterMs)), [])
      } else {
        assert.isAbove(due, atMs)
        assert.deepStrictEqual(scheduler.decide(cell.world, cell.roundAt(due - 1)), [])
        assert.isNotEmpty(scheduler.decide(cell.world, cell.roundAt(due)))
      }
    })
  }, runs)

  it.prop("every job ends at most once, and no attempt of it follows its end", [Life], ([steps]) => {
    const { log } = live(steps)
    const over = new Set<string>()
    for (const { facts } of log) {
      for (const { event } of facts) {
        if (event._tag !== "Success") continue
        const fact = event.success
        if (fact._tag === "JobSettled") {
          assert.isFalse(over.has(fact.jobId), `${fact.jobId} was settled twice`)
          over.add(fact.jobId)
        } else if (fact._tag === "PlacementMade" || fact._tag === "JobRetried" || fact._tag === "JobDeferred") {
          assert.isFalse(over.has(fact.jobId), `${fact._tag} of ${fact.jobId} after its end`)
        }
      }
    }
  }, runs)
  it.prop("nothing is placed on a rented machine that goes back", [Life], ([steps]) => {
    const cell = live(steps)
    const hostOf = new Map<string, HostId>()
    const goBack = new Set<string>()
    for (const { facts } of cell.log) {
      for (const { event } of facts) {
        if (event._tag === "Failure") continue
        const fact = event.success
        if (fact._tag === "MachineEnrolled") hostOf.set(fact.leaseId, fact.hostId)
        if (fact._tag === "LeaseReleased" || fact._tag === "ReclaimNoticed") goBack.add(fact.leaseId)
        if (fact._tag !== "PlacementMade") continue
        for (const lease of goBack) assert.notStrictEqual(fact.hostId, hostOf.get(lease), `${lease} goes back`)
      }
    }
  }, runs)

  it.prop("nothing is promised or used beyond what was lent, nor under a grant beyond its limit", [Life], ([steps]) => {
    live(steps, ({ world: { money } }) => {
      for (const { amountPico, committedPico, id, promisedPico } of money.slices.values()) {
        if (amountPico !== undefined) assert.isTrue(committedPico + promisedPico <= amountPico, `${id}: ${committedPico} used and ${promisedPico} promised of ${amountPico}`)
      }
      for (const [id, { committedPico, promisedPico }] of money.spent) {
        assert.isTrue(committedPico + promisedPico <= (id === grant("g") ? 200_000n : 100_000n), `${id}: ${committedPico} used and ${promisedPico} promised`)
      }
    })
  }, runs)

  it.prop("each task is settled at most once, and a job of many tells of all of them", [Life], ([steps]) => {
    const cell = live(steps)
    const settled = new Map<string, number>()
    for (const { jobId, task } of cell.said("TaskSettled")) {
      const key = `${jobId} ${task}`
      assert.isFalse(settled.has(key), `${key} was settled twice`)
      settled.set(key, 1)
    }
    const arrays = new Map(cell.said("JobSubmitted").map(({ jobId, spec }) => [jobId, spec.array?.tasks]))
    for (const { jobId, tasks } of cell.said("JobSettled")) {
      const sum = tasks === undefined ? undefined : Object.values(tasks).reduce((all, some) => all + some, 0)
      assert.strictEqual(sum, arrays.get(jobId), `${jobId} tells of ${sum} tasks`)
    }
  }, runs)

  it.prop("no attempt follows another before its word was heard or its lost host's lease is over", [Life], ([steps]) => {
    const { log } = live(steps)
    const open = new Map<string, string>()
    const notBefore = new Map<string, number>()
    for (const { facts, happenedAtMs } of log) {
      for (const { event } of facts) {
        if (event._tag !== "Success") continue
        const fact = event.success
        const key = "jobId" in fact ? `${fact.jobId} ${"task" in fact ? fact.task ?? 0 : 0}` : ""
        if (fact._tag === "PlacementMade") {
          assert.isUndefined(open.get(key), `attempt ${fact.attempt} of ${key} runs beside another`)
          assert.isAtLeast(happenedAtMs, notBefore.get(key) ?? 0)
          open.set(key, fact.attemptId)
        } else if ((fact._tag === "AttemptExited" || fact._tag === "AttemptRefused") && open.get(key) === fact.attemptId) open.delete(key)
        else if (fact._tag === "JobRetried") {
          if (fact.lost === true) open.delete(key)
          notBefore.set(key, fact.notBeforeMs)
        }
      }
    }
  }, runs)

  it.prop("a job that is cancelled ends as soon as its hosts have spoken", [Life], ([steps]) => {
    const cell = live(steps)
    const submitted = new Map(cell.said("JobSubmitted").map(({ jobId, workspace }) => [jobId, workspace]))
    for (const [jobId, workspace] of submitted) {
      cell.hear({ _tag: "JobCancelRequested", jobId, workspace, requestedBy: Principal.make("user:ada"), decision: { rule: "owner", view: {} } })
    }
    cell.rest(1_000_000)
    const over = new Set([...cell.said("AttemptExited"), ...cell.said("AttemptRefused")].map(attemptOn))
    cell.hear(...cell.said("PlacementMade").filter((made) => !over.has(attemptOn(made))).map((made) => exited(made, { cause: "withdrawn" })))
    cell.rest(2_000_000)
    const ended = new Set([...cell.said("JobSettled"), ...cell.said("JobRefused")].map(({ jobId }) => jobId))
    assert.deepStrictEqual([...submitted.keys()].filter((jobId) => !ended.has(jobId)), [])
    assert.strictEqual(cell.world.jobs.size, 0)
    assert.strictEqual(scheduler.dueAtMs?.(cell.world), undefined)
  }, runs)

  it("and those histories were worth the name: work is placed, waits, is tried again, withdrawn and settled in them", () => {
    assert.isAbove(longest, 40)
    assert.isAbove(shared, 0)
    for (const name of ["PlacementMade", "JobDeferred", "JobRetried", "JobSettled", "PlacementWithdrawn", "HostLeft", "TaskSettled", "JobRefused", "HostDeclaredLost", "HostReturned", "LateWordNoted", "SpendCommitted", "DecisionMade", "DemandChanged"]) {
      assert.isAbove(names.get(name) ?? 0, 5, `${name} was hardly said: ${JSON.stringify([...names])}`)
    }
  })
})
