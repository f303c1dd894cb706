import { assert, describe, it } from "@effect/vitest"
import type { MillFact } from "@millrace/schemas"
import { cancelled, type Cell, given, needs, submitted } from "../testing/cell.ts"
import { turnMs } from "./demand.ts"
import { scheduler } from "./scheduler.ts"

/** A job of a kind of its own; kinds are known by their cores. */
const kind = (number: number, more = ""): MillFact => submitted(`k${number}${more}`, { resources: needs(1_000 + number) })
const kinds = (count: number): ReadonlyArray<MillFact> => Array.from({ length: count }, (_, number) => kind(number))

const told = (cell: Cell): ReadonlyArray<number> => cell.said("DemandChanged").at(-1)!.classes.map(({ cpuMilli }) => cpuMilli - 1_000).sort((left, right) => left - right)

/** Decides at the moment that it says of itself. */
const next = (cell: Cell): number => {
  const atMs = scheduler.dueAtMs?.(cell.world)
  assert.isDefined(atMs)
  cell.rest(atMs)
  return atMs!
}

const saidTimes = (cell: Cell): number => cell.said("DemandChanged").length

describe("demand of more kinds than are told at a time", () => {
  /** 150 kinds, of the first 40 of which two jobs wait. */
  const many = (): Cell => {
    const cell = given(...kinds(150), ...Array.from({ length: 40 }, (_, number) => kind(number, "v")))
    cell.rest(0)
    return cell
  }

  it("is told by turns, so that each kind is told in the end, and of some of which most waits always", () => {
    const cell = many()
    const always = told(cell).filter((number) => number < 32)
    assert.lengthOf(always, 32)
    const heard = new Set(told(cell))
    assert.strictEqual(heard.size, 64)
    for (let turn = 1; turn <= 3; turn += 1) {
      assert.strictEqual(next(cell), turn * turnMs)
      assert.lengthOf(told(cell), 64)
      assert.includeMembers([...told(cell)], always)
      for (const number of told(cell)) heard.add(number)
    }
    assert.strictEqual(heard.size, 150)
    // And then again, whoever was told longest ago first.
    const third = told(cell)
    next(cell)
    const first = cell.said("DemandChanged")[0]!.classes.map(({ cpuMilli }) => cpuMilli - 1_000)
    assert.includeMembers([...third, ...told(cell)], first)
  })

  it("is told the same by a scheduler that goes on from a checkpoint, in any turn", () => {
    const [cell, again] = [many(), many()]
    for (let turn = 1; turn <= 5; turn += 1) {
      again.world = scheduler.load(JSON.parse(JSON.stringify(scheduler.save(again.world))) as never)
      assert.deepStrictEqual(scheduler.save(again.world), scheduler.save(cell.world))
      assert.strictEqual(next(cell), next(again))
      assert.deepStrictEqual(told(again), told(cell))
    }
  })

  it("leaves a kind its place for its turn, whatever comes meanwhile, and gives that of one that no longer waits to the next", () => {
    const cell = many()
    const before = told(cell)
    cell.hear(...Array.from({ length: 50 }, (_, number) => kind(200 + number)))
    cell.rest(10_000)
    assert.deepStrictEqual(told(cell), before)
    const gone = before.at(-1)!
    cell.hear(cancelled(`k${gone}`))
    cell.rest(20_000)
    assert.lengthOf(told(cell), 64)
    assert.deepStrictEqual(told(cell).filter((number) => before.includes(number)), before.slice(0, -1))
  })

  it("says nothing while nothing changes and nobody has another turn", () => {
    const cell = many()
    const times = saidTimes(cell)
    cell.rest(turnMs - 1)
    assert.strictEqual(saidTimes(cell), times)
    const few = given(...kinds(64))
    few.rest(0)
    assert.isEmpty([scheduler.dueAtMs?.(few.world)].filter((atMs) => atMs !== undefined && atMs <= turnMs))
  })
})
