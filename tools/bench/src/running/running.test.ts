import { assert, it } from "@effect/vitest"
import { Checkpoints } from "@millrace/journal"
import { scheduler } from "@millrace/scheduler"
import { Effect } from "effect"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Cell } from "./many.ts"

const jobs = 10_000
/** A million of them must leave room in 4 GiB for everything else; 1,800 were measured. */
const bytesEachMax = 2_600
/** 420 were measured. */
const keptBytesEachMax = 700

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void
const heap = (): number => {
  collect()
  collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const within = Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-running-"))), (folder) => Effect.sync(() => rmSync(folder, { recursive: true })))

const filled = (): { readonly cell: Cell; readonly bytesEach: number } => {
  const cell = new Cell()
  cell.hosts(jobs / 100)
  // What is compiled and learnt on the way is no job's.
  cell.jobs(0, 1_000)
  const before = heap()
  cell.jobs(1_000, jobs)
  return { cell, bytesEach: (heap() - before) / (jobs - 1_000) }
}

it.effect("many running jobs: so many bytes each in memory and in a checkpoint, from which another goes on as the first would", () =>
  Effect.gen(function*() {
    const folder = yield* within
    const { bytesEach, cell } = filled()
    assert.strictEqual(cell.placed, jobs)
    assert.isBelow(bytesEach, bytesEachMax)
    const checkpoints = yield* Effect.provide(Checkpoints, Checkpoints.layerFolder(folder))
    yield* checkpoints.save({ fold: scheduler.name, codeVersion: scheduler.codeVersion, epoch: 1, saw: { ...cell.saw }, state: scheduler.saveLong?.(cell.world) })
    assert.isBelow(statSync(join(folder, `${scheduler.name}.checkpoint`)).size / jobs, keptBytesEachMax)
    const kept = yield* checkpoints.load(scheduler.name)
    const again = new Cell(scheduler.load(kept?.state as never), kept?.saw)
    assert.deepStrictEqual(scheduler.save(again.world), scheduler.save(cell.world))
    cell.went()
    // The tail of one log, which the second hears from it.
    cell.tail = []
    cell.jobs(jobs, jobs + 500, true)
    for (const message of cell.tail) again.fold(message)
    cell.went()
    for (const one of [cell, again]) one.jobs(jobs + 500, jobs + 600, true)
    assert.strictEqual(again.went(), cell.went())
    assert.strictEqual(again.placed, 100)
  }), 120_000)
