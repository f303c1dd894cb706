import { Effect, Exit, Fiber, Scope } from "effect"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, it } from "vitest"
import { freePort } from "@millrace/infra-ports"
import { type Cell, startCell, startedTwice, workersOf } from "./cell.ts"
import { differingTables, strangeDecisions } from "./replays.ts"
import { supervised } from "./supervisor.ts"
import { within } from "./within.ts"
import { settled, statusOf, work, wrongEnds } from "./workload.ts"

const scope = Scope.makeUnsafe()
let cell: Cell

const run = <A>(effect: Effect.Effect<A, unknown, Scope.Scope>): Promise<A> => Effect.runPromise(Effect.scoped(effect))

beforeAll(async () => {
  cell = await Effect.runPromise(Scope.provide(startCell({ checkpointEvery: 50 }), scope))
}, 240_000)

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 240_000)

/** What must be true of a cell whenever it has come to rest. */
const sound = Effect.gen(function*() {
  yield* Effect.provide(cell.log.upToNow, cell.reading)
  assert.deepStrictEqual(cell.log.broken, [])
  assert.deepStrictEqual(startedTwice(cell), [])
  assert.deepStrictEqual(workersOf(cell.folder), [])
  assert.deepStrictEqual(yield* differingTables(cell), [])
  assert.deepStrictEqual(yield* strangeDecisions(cell), [])
})

const count = (name: Parameters<Cell["log"]["facts"]>[0]) => cell.log.facts(name).length

it("the log's server killed in the middle of work loses nothing that was acknowledged", () => run(Effect.gen(function*() {
  const { nats } = cell.stack
  const placements = count("PlacementMade")
  const going = yield* Effect.forkChild(work(cell, "server dies"))
  yield* within(60_000, () => count("PlacementMade") > placements, () => "nothing was placed")
  yield* nats.kill
  const meanwhile = yield* Effect.forkChild(work(cell, "server is down"))
  yield* nats.restart
  for (const done of [yield* Fiber.join(going), yield* Fiber.join(meanwhile)]) {
    yield* settled(cell, done)
    assert.deepStrictEqual(wrongEnds(cell, done), [])
  }
  yield* sound
})), 360_000)

it("jobs are submitted, run and settled while PostgreSQL is down, and its tables catch up behind", () => run(Effect.gen(function*() {
  yield* cell.postgres.kill
  const done = yield* work(cell, "without tables", undefined, { asks: false })
  yield* settled(cell, done)
  assert.deepStrictEqual(wrongEnds(cell, done), [])
  assert.strictEqual(yield* statusOf(cell, done.jobs[0]!.jobId), 503)
  yield* cell.postgres.start
  yield* sound
  assert.strictEqual(yield* statusOf(cell, done.jobs[0]!.jobId), 200)
})), 360_000)

it("a scheduler that was paused while another took over appends nothing on what it knew", () => run(Effect.gen(function*() {
  const { env, folder, log, services } = cell
  const paused = services.scheduler.life()
  const anew = () => paused.said.filter((line) => line.includes("scheduler is started anew") && line.includes("Overtaken")).length
  const refusals = anew()
  const terms = count("SchedulerTookOver")
  process.kill(paused.pid, "SIGSTOP")
  const lives = join(folder, "lives", "second")
  mkdirSync(lives)
  const second = yield* supervised({ service: "scheduler", folder: lives, env: { ...env, MILLRACE_SCHEDULER_PORT: String(yield* freePort) } })
  yield* within(60_000, () => count("SchedulerTookOver") > terms, () => `the second scheduler has not taken over; it said\n${second.life().said.join("\n")}`)
  const done = yield* work(cell, "under the second")
  yield* settled(cell, done)
  // It wakes with all of that unheard, and with a world in which nobody else has decided.
  process.kill(paused.pid, "SIGCONT")
  yield* within(60_000, () => anew() > refusals, () => `the paused scheduler was not refused; it said\n${paused.said.join("\n")}`)
  yield* second.stop("SIGKILL")
  const after = yield* work(cell, "under the first again")
  yield* settled(cell, after)
  assert.deepStrictEqual([...wrongEnds(cell, done), ...wrongEnds(cell, after)], [])
  yield* sound
  assert.deepStrictEqual(log.broken, [])
})), 360_000)
