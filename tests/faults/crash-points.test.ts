import { assert, afterAll, beforeAll, describe, expect, it } from "vitest"
import { Effect, Exit, Scope } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type Cell, dropTables, startCell, startedTwice, workersOf } from "./cell.ts"
import { differingTables, strangeDecisions } from "./replays.ts"
import { type Life, type ServiceName, serviceNames } from "./supervisor.ts"
import { output, settled, work, type Work, wrongEnds } from "./workload.ts"

/**
 * Every place where a process may die between two effects, as the services themselves passed them. Written
 * by this test: `npx vitest run tests/faults/crash-points.test.ts -u`.
 */
const goldenFile = join(import.meta.dirname, "crash-points.json")
type Points = Readonly<Record<ServiceName, ReadonlyArray<string>>>
const each = <A>(make: (name: ServiceName) => A): Record<ServiceName, A> =>
  Object.fromEntries(serviceNames.map((name) => [name, make(name)])) as Record<ServiceName, A>
const golden: Points = { ...each(() => []), ...(existsSync(goldenFile) ? JSON.parse(readFileSync(goldenFile, "utf8")) as Partial<Points> : {}) }

/** What a cell passes once is walked when it begins: a host enrols, the workspace is opened, the prices are published. */
const atBirth: Partial<Record<ServiceName, ReadonlyArray<string>>> = {
  host: golden.host.filter((point) => point.startsWith("enrol ")),
  access: ["append WorkspaceKeyTurned before", "append WorkspaceOpened before", "append WorkspaceOpened after"],
  metering: ["append PriceBookPublished before", "append PriceBookPublished after"]
}
/** Of one commit that is said once, whoever died behind its first fact's point cannot pass the others'. */
const saidWithAnother = ["append WorkspaceKeyTurned after"]
/** What only a host that is told to end passes. */
const atEnd: ReadonlySet<string> = new Set(["append HostLeft before", "append HostLeft after"])
const isOfBirth = (service: ServiceName, point: string): boolean => saidWithAnother.includes(point) || (atBirth[service] ?? []).includes(point)

const scope = Scope.makeUnsafe()
let cell: Cell
/** What each service passes only where it finds no tables. */
let onEmptyTables: Readonly<Record<ServiceName, ReadonlySet<string>>>
let passed: Points

const run = <A>(effect: Effect.Effect<A, unknown, Scope.Scope>): Promise<A> => Effect.runPromise(Scope.provide(effect, scope))

beforeAll(() => run(Effect.gen(function*() {
  cell = yield* startCell({ checkpointEvery: 5, bornDyingAt: atBirth })
  const { services } = cell
  // Everything once, then a kind end and a start with a new key to open, then everything again.
  const first = yield* work(cell, "recorded")
  yield* settled(cell, first)
  assert.strictEqual(yield* output(cell, first.jobs[0]!.jobId), "said\n")
  const key = cell.openKey()
  const livesBefore = each((name) => services[name].lives.length)
  yield* Effect.all(serviceNames.map((name) => services[name].kill("SIGTERM")), { concurrency: "unbounded" })
  yield* Effect.all(serviceNames.map((name) => services[name].ready), { concurrency: "unbounded" })
  const second = yield* work(cell, "recorded again", key)
  yield* settled(cell, second)
  assert.deepStrictEqual(wrongEnds(cell, first), [])
  assert.deepStrictEqual(wrongEnds(cell, second), [])
  onEmptyTables = each((name) => {
    const passedIn = (lives: ReadonlyArray<Life>) => lives.flatMap((life) => life.passed())
    const later = new Set(passedIn(services[name].lives.slice(livesBefore[name])))
    return new Set(passedIn(services[name].lives.slice(0, livesBefore[name])).filter((point) => point.startsWith("commit ") && !later.has(point)))
  })
  passed = each((name) => [...new Set(services[name].lives.flatMap((life) => life.passed()))].sort())
})), 360_000)

afterAll(() => run(Scope.close(scope, Exit.void)), 240_000)

it("the crash points are those that are walked below", async () => {
  await expect(`${JSON.stringify(passed, null, 2)}\n`).toMatchFileSnapshot(goldenFile)
})

it("a cell whose parts die at each step of its beginning begins once", () => {
  for (const [name, points] of Object.entries(atBirth)) {
    const { lives } = cell.services[name as ServiceName]
    assert.deepStrictEqual(lives.flatMap((life) => life.diedAt() ?? []).sort(), [...points].sort())
  }
  assert.deepStrictEqual((["WorkspaceOpened", "PriceBookPublished"] as const).map((name) => cell.log.facts(name).length), [1, 1])
  const admitted = cell.log.facts("HostAdmitted").map(({ hostId }) => hostId)
  assert.strictEqual(new Set(admitted).size, admitted.length)
})

/** Where each service dies while it works. */
const dying = serviceNames.map((service) => ({ service, points: golden[service].filter((point) => !isOfBirth(service, point)) })).filter(({ points }) => points.length > 0)

/** So often all that work is done, until every service has died wherever it was to. */
const turnsMax = 8
/** New work passes at once what the work before it has not; what was not acknowledged comes again after 2 s. */
const patienceMs = (points: ReadonlyArray<string>): number => points.some((point) => point.startsWith("ack ")) ? 4_000 : 1_500

describe("services, killed where they pass", () => {
  it("die at each of their points, in whichever order they pass them, while the same work goes on", () => run(Effect.gen(function*() {
    const { services } = cell
    const before = each((name) => services[name].lives.length)
    const starts = each(() => 0)
    const deaths = (service: ServiceName) => services[service].lives.slice(before[service] - 1).flatMap((life) => life.diedAt() ?? [])
    const left = ({ points, service }: typeof dying[number]) => {
      const died = new Set(deaths(service))
      return points.filter((point) => !died.has(point))
    }
    const isYetToDie = (one: typeof dying[number]) => left(one).length > 0
    const startedArmed = ({ service, points }: typeof dying[number]) =>
      Effect.gen(function*() {
        starts[service] += 1
        yield* services[service].stop("SIGKILL")
        if (points.some((point) => onEmptyTables[service].has(point))) yield* dropTables(cell, service)
        services[service].armed(...points)
        yield* services[service].start
      })
    const all: Array<Work> = []
    for (let turn = 0; turn < turnsMax && dying.some(isYetToDie); turn += 1) {
      // Access takes up a new key at a start alone; what all that work does not pass is passed at a start.
      const key = dying.some((one) => one.service === "access" && isYetToDie(one)) ? cell.openKey() : undefined
      yield* Effect.forEach(dying.filter(isYetToDie), (one) => startedArmed({ service: one.service, points: left(one) }), { concurrency: "unbounded" })
      const done = yield* work(cell, `turn ${turn}`, key)
      all.push(done)
      yield* Effect.forEach(dying, (one) =>
        Effect.gen(function*() {
          // Only a host with nothing to do leaves.
          while (left(one).some((point) => atEnd.has(point))) {
            const ends = left(one).length
            yield* Effect.andThen(settled(cell, done), services[one.service].kill("SIGTERM"))
            // It left with something still to do, and has begun again.
            if (left(one).length === ends) {
              starts[one.service] += 1
              return
            }
            yield* services[one.service].ready
          }
          while (isYetToDie(one)) {
            const life = services[one.service].life()
            yield* services[one.service].ready
            if (Exit.isFailure(yield* Effect.exit(services[one.service].ended(life, patienceMs(left(one)))))) return
          }
        }), { concurrency: "unbounded" })
    }
    for (const one of dying) {
      const died = deaths(one.service)
      assert.deepStrictEqual(died.filter((point, at) => !one.points.includes(point) || died.indexOf(point) !== at), [], `${one.service} died where it was not to`)
      assert.deepStrictEqual(left(one), [], `${one.service} did not pass everything`)
      services[one.service].armed()
    }
    yield* Effect.forEach(dying, ({ service }) => services[service].ready, { concurrency: "unbounded", discard: true })
    for (const done of all) yield* settled(cell, done)
    yield* Effect.provide(cell.log.upToNow, cell.reading)
    assert.deepStrictEqual(all.flatMap((done) => wrongEnds(cell, done)), [])
    assert.deepStrictEqual(cell.log.broken, [])
    assert.deepStrictEqual(startedTwice(cell), [])
    assert.deepStrictEqual(workersOf(cell.folder), [])
    // Nobody died who was not asked to.
    const asked = each((name) => deaths(name).length + starts[name])
    assert.deepStrictEqual(each((name) => services[name].lives.length - before[name]), asked)
  })), 900_000)

  for (const service of serviceNames) {
    it(`${service} has left tables that a rebuild equals, and decisions that a replay makes again`, () => run(Effect.gen(function*() {
      assert.deepStrictEqual(yield* differingTables(cell, service), [])
      assert.deepStrictEqual(yield* strangeDecisions(cell, service), [])
    })), 240_000)
  }
})
