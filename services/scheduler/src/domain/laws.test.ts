import { assert, describe, it } from "@effect/vitest"
import { foldCommit, type StoredCommit } from "@millrace/journal"
import { HostId, type Resources } from "@millrace/schemas"
import { Schema } from "effect"
import type { Cell } from "../testing/cell.ts"
import { Life, live } from "../testing/life.ts"
import { scheduler } from "./scheduler.ts"
import { noResources, plus } from "./resources.ts"
import type { World } from "./world.ts"

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

/** Another order of the same facts: `picks` says from which stream the next one comes. */
const interleaved = (log: ReadonlyArray<StoredCommit>, picks: ReadonlyArray<number>): ReadonlyArray<StoredCommit> => {
  const streams = [...new Map(log.map(({ place }) => [place.stream, log.filter((commit) => commit.place.stream === place.stream)])).values()].map((commits) => [...commits])
  const mixed: Array<StoredCommit> = []
  for (let index = 0; mixed.length < log.length; index += 1) {
    const left = streams.filter(({ length }) => length > 0)
    // A run of several from one stream, so that streams fall far behind each other.
    const pick = picks[index % picks.length] ?? 0
    mixed.push(...left[pick % left.length]!.splice(0, 1 + (pick >> 3)))
  }
  return mixed
}

const Picks = Schema.Array(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 127 })))).pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(40)))

/** What a host holds by the facts alone: what was placed there and has had no word from it. */
const heldBy = (cell: Cell, hostId: HostId): Resources => {
  const over = new Set([...cell.said("AttemptExited"), ...cell.said("AttemptRefused")].filter((word) => word.hostId === hostId).map(({ attemptId }) => attemptId))
  return cell.said("PlacementMade").filter((made) => made.hostId === hostId && !over.has(made.attemptId))
    .reduce((sum, { spec: { resources } }) => plus(sum, resources), noResources)
}

describe("whatever happened", () => {
  const names = new Map<string, number>()
  let longest = 0

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
      for (const { joined, id, used } of cell.world.hosts.values()) {
        const held = heldBy(cell, id)
        assert.deepStrictEqual(used, held)
        const has = joined?.capabilities.resources ?? noResources
        assert.isTrue(held.cpuMilli <= has.cpuMilli && held.memoryMib <= has.memoryMib, `${id} holds ${JSON.stringify(held)} of ${JSON.stringify(has)}`)
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
  it("and those histories were worth the name: work is placed, waits, is tried again, withdrawn and settled in them", () => {
    assert.isAbove(longest, 40)
    for (const name of ["PlacementMade", "JobDeferred", "JobRetried", "JobSettled", "PlacementWithdrawn", "HostLeft"]) {
      assert.isAbove(names.get(name) ?? 0, 20, `${name} was hardly said: ${JSON.stringify([...names])}`)
    }
  })
})
