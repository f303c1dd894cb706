import { assert, afterAll, beforeAll, describe, expect, it } from "vitest"
import { Effect, Exit, Scope } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type Cell, differingTables, dropTables, startCell, startedTwice, strangeDecisions, workersOf } from "./cell.ts"
import type { ServiceName } from "./supervisor.ts"
import { output, settled, work, wrongEnds } from "./workload.ts"

/**
 * Every place where a process may die between two effects, as the services themselves passed them. Written
 * by this test: `npx vitest run tests/faults/crash-points.test.ts -u`.
 */
const goldenFile = join(import.meta.dirname, "crash-points.json")
type Points = Readonly<Record<ServiceName, ReadonlyArray<string>>>
const golden: Points = existsSync(goldenFile)
  ? JSON.parse(readFileSync(goldenFile, "utf8")) as Points
  : { gateway: [], scheduler: [], access: [], host: [] }
/** The scheduler last: each of its starts puts a fence of 512 messages into the log, which every check reads. */
const names: ReadonlyArray<ServiceName> = ["gateway", "access", "host", "scheduler"]

/** A host enrols once, so these are walked when it comes. */
const isEnrolling = (point: string): boolean => point.startsWith("enrol ")
const enrolling = golden.host.filter(isEnrolling)

const scope = Scope.makeUnsafe()
let cell: Cell
/** What each service passes when it starts again with nothing left to do. */
const atStart: Record<ServiceName, ReadonlySet<string>> = { gateway: new Set(), scheduler: new Set(), access: new Set(), host: new Set() }
/** What the gateway passes only where it finds no tables. */
let onEmptyTables: ReadonlySet<string> = new Set()
let passed: Points

const run = <A>(effect: Effect.Effect<A, unknown, Scope.Scope>): Promise<A> => Effect.runPromise(Scope.provide(effect, scope))

beforeAll(() => run(Effect.gen(function*() {
  cell = yield* startCell({ checkpointEvery: 5, enrolDyingAt: enrolling })
  const { services } = cell
  // Everything once, then a kind end and a start with a new key to open, then everything again.
  const first = yield* work(cell, "recorded")
  yield* settled(cell, first)
  assert.strictEqual(yield* output(cell, first.jobs[0]!.jobId), "said\n")
  const key = cell.openKey()
  yield* Effect.all(names.map((name) => services[name].kill("SIGTERM")), { concurrency: 4 })
  yield* Effect.all(names.map((name) => services[name].ready), { concurrency: 4 })
  for (const name of names) atStart[name] = new Set(services[name].life().passed())
  const second = yield* work(cell, "recorded again", key)
  yield* settled(cell, second)
  assert.deepStrictEqual(wrongEnds(cell, first), [])
  assert.deepStrictEqual(wrongEnds(cell, second), [])
  const later = new Set(services.gateway.lives.slice(1).flatMap((life) => life.passed()))
  onEmptyTables = new Set(services.gateway.lives[0]!.passed().filter((point) => !later.has(point)))
  passed = Object.fromEntries(names.map((name) => [name, [...new Set(services[name].lives.flatMap((life) => life.passed()))].sort()])) as unknown as Points
})), 360_000)

afterAll(() => run(Scope.close(scope, Exit.void)), 240_000)

it("the crash points are those that are walked below", async () => {
  await expect(`${JSON.stringify(passed, null, 2)}\n`).toMatchFileSnapshot(goldenFile)
})

it("a host that dies at each step of its enrolment is admitted once", () => {
  const { host } = cell.services
  assert.deepStrictEqual(host.lives.slice(0, enrolling.length).map((life) => [life.diedAt(), life.ended()?.signal]), enrolling.map((point) => [point, "SIGKILL"]))
  const admitted = cell.log.facts("HostAdmitted").map((fact) => "hostId" in fact ? fact.hostId : undefined)
  assert.strictEqual(new Set(admitted).size, admitted.length)
})

for (const name of names) {
  describe(`${name}, killed where it passes`, () => {
    for (const point of golden[name].filter((point) => !isEnrolling(point))) {
      it(point, () => run(Effect.gen(function*() {
        const service = cell.services[name]
        const key = name === "access" ? cell.openKey() : undefined
        const before = new Map(names.map((each) => [each, cell.services[each].lives.length]))
        const emptyTables = name === "gateway" && onEmptyTables.has(point)
        let starts = 0
        const startedArmed = Effect.gen(function*() {
          starts += 1
          yield* service.stop("SIGKILL")
          if (emptyTables) yield* dropTables(cell)
          service.armed(point)
          yield* service.start
        })
        // Access takes up a new key at a start alone.
        if (key !== undefined || emptyTables || atStart[name].has(point)) yield* startedArmed
        else service.armed(point)
        let dying = service.life()
        const done = yield* work(cell, `${name} ${point}`, key)
        if (Exit.isFailure(yield* Effect.exit(service.ended(dying, 1_000)))) {
          // What all that work does not pass is passed at a start.
          yield* startedArmed
          dying = service.life()
        }
        yield* service.ended(dying)
        assert.deepStrictEqual({ at: dying.diedAt(), ...dying.ended() }, { at: point, code: null, signal: "SIGKILL" })
        yield* service.ready
        yield* settled(cell, done)
        yield* Effect.provide(cell.log.upToNow, cell.reading)
        assert.deepStrictEqual(wrongEnds(cell, done), [])
        assert.deepStrictEqual(cell.log.broken, [])
        assert.deepStrictEqual(startedTwice(cell), [])
        assert.deepStrictEqual(workersOf(cell.folder), [])
        // What a crash of these two leaves behind; the others' is looked at below, for it stays.
        if (name === "gateway") assert.deepStrictEqual(yield* differingTables(cell), [])
        if (name === "scheduler") assert.deepStrictEqual(yield* strangeDecisions(cell), [])
        // Nobody died who was not asked to.
        assert.deepStrictEqual(names.map((each) => cell.services[each].lives.length - before.get(each)!), names.map((each) => each === name ? starts + 1 : 0))
      })), 240_000)
    }

    it("has left tables that a rebuild equals, and decisions that a replay makes again", () => run(Effect.gen(function*() {
      assert.deepStrictEqual(yield* differingTables(cell), [])
      assert.deepStrictEqual(yield* strangeDecisions(cell), [])
    })), 240_000)
  })
}
