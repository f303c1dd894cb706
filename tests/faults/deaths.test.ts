import { findTool } from "@millrace/bootstrap"
import { Chance } from "@millrace/sim"
import type { MillFact } from "@millrace/schemas"
import { Effect, Exit, Fiber, Scope } from "effect"
import { writeFileSync } from "node:fs"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { type Cell, startCell, startedTwice, workersOf } from "./cell.ts"
import {
  billedOnce, type BillRow, chargedOnce, endedTruly, type History, type Law, livedOnce, neverTwoAtOnce, settledOnce, withinGrants, withinLimits, withinSlices
} from "./laws.ts"
import { leftSandboxes } from "./leftovers.ts"
import { billOf, manyJobs, type ManyJobs, type Told, untoldEnds } from "./many-jobs.ts"
import { strike, strokes } from "./nemesis.ts"
import { differingTables, strangeDecisions } from "./replays.ts"
import { trouble } from "./trouble.ts"
import { within } from "./within.ts"
import { settled, wrongEnds } from "./workload.ts"

/** Another one finds other ways to die: `MILLRACE_FAULTS_SEED=7 npx vitest run tests/faults/deaths.test.ts`. */
const seed = process.env["MILLRACE_FAULTS_SEED"] ?? "1"
const historyFile = process.env["MILLRACE_FAULTS_HISTORY"]
const leaseMs = 4_000
/** Jobs that somebody waits for at once. */
const askedAtOnce = 6
const settleMsMax = 240_000

const scope = Scope.makeUnsafe()
let cell: Cell
let many: ManyJobs
let jobs: ReadonlyArray<Told>
let rows: ReadonlyArray<BillRow>

const run = <A>(effect: Effect.Effect<A, unknown, Scope.Scope>): Promise<A> => Effect.runPromise(Scope.provide(effect, scope))

beforeAll(() => run(Effect.gen(function*() {
  const chance = new Chance(`deaths ${seed}`)
  const isolates = "path" in findTool("runsc")
  cell = yield* startCell({ checkpointEvery: 200, hosts: 2, sandbox: true, settings: { MILLRACE_LEASE_MS: String(leaseMs) } })
  many = yield* Effect.promise(() => manyJobs(cell, chance.fork("jobs"), isolates))
  const dying = yield* Effect.forkChild(strike(cell, strokes(cell, chance.fork("strokes"), 1)))
  jobs = (yield* Effect.forEach(many.all, (job) => Effect.promise(job), { concurrency: askedAtOnce })).flat()
  yield* Fiber.join(dying)
  yield* Effect.forEach([...Object.values(cell.services), ...cell.agents], ({ ready }) => ready, { concurrency: "unbounded", discard: true })
  yield* settled(cell, { jobs, admitted: undefined }, settleMsMax)
  // Children were acknowledged to their parents, not to us.
  yield* within(settleMsMax, () => settledOnce(cell.log.history).every((said) => !said.endsWith("0 times")), () => settledOnce(cell.log.history).join(", "))
  yield* within(settleMsMax, () => chargedOnce(cell.log.history).length === 0 && livedOnce(cell.log.history).length === 0, () => [...chargedOnce(cell.log.history), ...livedOnce(cell.log.history)].join(", "))
  yield* Effect.provide(cell.log.upToNow, cell.reading)
  rows = yield* Effect.promise(() => billOf(cell))
  // For whoever looks into a run: each fact on a line.
  if (historyFile !== undefined) writeFileSync(historyFile, cell.log.history.map((one) => JSON.stringify(one, (_, value: unknown) => typeof value === "bigint" ? String(value) : value)).join("\n"))
}).pipe(Effect.onError(() => Effect.sync(() => console.error(trouble(cell)))))), 1_200_000)

afterAll(() => run(Scope.close(scope, Exit.void)), 240_000)

const law = (name: string, law: () => Law) => it(name, () => assert.deepStrictEqual(law()(cell.log.history), []))

describe(`200 jobs while everything dies again and again, with the seed ${seed}`, () => {
  it("everything that was asked for was acknowledged, and ended as it should, once", () => {
    assert.isAtLeast(jobs.reduce((sum, { tasks }) => sum + tasks, 0), 190)
    assert.deepStrictEqual(wrongEnds(cell, { jobs, admitted: undefined }), [])
    assert.deepStrictEqual(untoldEnds(cell, many, jobs), [])
    assert.deepStrictEqual(cell.log.broken, [])
  })
  law("what the log acknowledged is over, once", () => settledOnce)
  law("hosts say once how an attempt began, and once how it ended", () => livedOnce)
  law("jobs ended as their last attempts did", () => endedTruly)
  law("no attempt is placed before the one before it is over, or its lease", () => neverTwoAtOnce(leaseMs))
  it("no program of a task ran while another one of it was alive, and none began twice", () => {
    assert.deepStrictEqual(many.overlaps(), [])
    assert.deepStrictEqual(startedTwice(cell), [])
  })
  law("each attempt is charged once, and no more than was promised", () => chargedOnce)
  law("each millisecond is billed once, and the bill is what was charged", () => billedOnce(rows))
  law("no account holds more than its limit at any moment", () => withinLimits)
  law("no slice gave more than it held", () => withinSlices)
  law("no grant was overdrawn at any moment", () => withinGrants)
  it("the tables of every service equal a rebuild from the first fact", () => run(Effect.gen(function*() {
    assert.deepStrictEqual(yield* differingTables(cell), [])
  })), 240_000)
  it("every decision of every decider is made again by a replay", () => run(Effect.gen(function*() {
    assert.deepStrictEqual(yield* strangeDecisions(cell), [])
  })), 240_000)
  it("nothing runs any more that belongs to a job", () => run(Effect.gen(function*() {
    assert.deepStrictEqual(workersOf(cell.folder), [])
    assert.deepStrictEqual(leftSandboxes(cell), [])
  })))
})

/** The same history with one fact changed, said twice or left out. */
const planted = <Name extends MillFact["_tag"]>(name: Name, change: (one: History[number] & { readonly event: Extract<MillFact, { readonly _tag: Name }> }, all: History) => History | undefined): History => {
  const history = [...cell.log.history]
  for (const [index, one] of history.entries()) {
    const changed = one.event._tag === name ? change(one as never, history) : undefined
    if (changed !== undefined) return [...history.slice(0, index), ...changed, ...history.slice(index + 1)]
  }
  throw new Error(`nothing in this history is a ${name} that could be changed so`)
}

describe("each law sees the fault that it is there for", () => {
  const sees = (name: string, law: () => Law, plant: () => History) => it(name, () => assert.notDeepEqual(law()(plant()), []))
  sees("a second end", () => settledOnce, () => planted("JobSettled", (one) => [one, one]))
  sees("an end that is missing", () => settledOnce, () => planted("JobSettled", () => []))
  sees("a second start", () => livedOnce, () => planted("AttemptStarted", (one) => [one, one]))
  sees("a success that was none", () => endedTruly, () => planted("JobSettled", (one) => one.event.outcome === "failed" ? [{ ...one, event: { ...one.event, outcome: "succeeded" } }] : undefined))
  sees("an attempt that nobody gave up", () => neverTwoAtOnce(leaseMs), () => planted("JobRetried", (one, all) =>
    all.some(({ event, sequence }) => event._tag === "PlacementMade" && event.jobId === one.event.jobId && sequence > one.sequence) ? [] : undefined))
  sees("an attempt that comes too soon", () => neverTwoAtOnce(leaseMs * 100), () => cell.log.history)
  sees("a second charge", () => chargedOnce, () => planted("SpendCommitted", (one) => [one, one]))
  sees("a charge beyond the share", () => chargedOnce, () => planted("SpendCommitted", (one) => [{ ...one, event: { ...one.event, amountPico: 10n ** 15n } }]))
  sees("a millisecond that is billed twice", () => {
    const longer = rows.findIndex((row) => rows.some(({ attemptId, fromMs }) => attemptId === row.attemptId && fromMs > row.fromMs))
    assert.isAtLeast(longer, 0, "no attempt of this history was in two phases")
    return billedOnce(rows.with(longer, { ...rows[longer]!, ms: rows[longer]!.ms + 1 }))
  }, () => cell.log.history)
  sees("a limit that was passed", () => withinLimits, () => planted("SliceLeased", (one) => [{ ...one, event: { ...one.event, amountPico: 10n ** 18n } }]))
  sees("a slice that gave too much", () => withinSlices, () => planted("SpendCommitted", (one) => [{ ...one, event: { ...one.event, amountPico: 10n ** 18n } }]))
  sees("a grant that is overdrawn", () => withinGrants, () => planted("GrantIssued", (one) => [{ ...one, event: { ...one.event, reach: { ...one.event.reach, constraints: { concurrencyMax: 1 } } } }]))
})
