import type { AttemptId, HostId, JobId } from "@millrace/schemas"
import { Effect, Exit, Scope } from "effect"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, it } from "vitest"
import { type Agent, type Cell, keeperOf, startCell, startedTwice, workersOf } from "./cell.ts"
import { billedOnce, chargedOnce, endedTruly, livedOnce, neverTwoAtOnce, settledOnce } from "./laws.ts"
import { billOf } from "./many-jobs.ts"
import { differingTables, strangeDecisions } from "./replays.ts"
import { trouble } from "./trouble.ts"
import { within } from "./within.ts"
import { settled, submit } from "./workload.ts"

/** Longer than an agent takes to begin again on a busy machine, and shorter than anybody's patience. */
const leaseMs = 6_000
const patienceMs = 90_000

const scope = Scope.makeUnsafe()
let cell: Cell

const run = <A>(effect: Effect.Effect<A, unknown, Scope.Scope>): Promise<A> => 
  Effect.runPromise(Effect.scoped(effect).pipe(Effect.onError(() => Effect.sync(() => console.error(trouble(cell))))))

beforeAll(async () => {
  cell = await Effect.runPromise(Scope.provide(startCell({ checkpointEvery: 50, hosts: 2, settings: { MILLRACE_LEASE_MS: String(leaseMs) } }), scope))
}, 240_000)

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 240_000)

/** Work that notes its start and, unless the file is there already, waits for it: 100 s at most. */
const waitsFor = (name: string, keepMs: number) =>
  Effect.gen(function*() {
    const file = join(cell.folder, name)
    // The lock is held for as long as any process of the attempt lives; a second attempt that finds it taken says so.
    const script = [
      `exec 9>"${file}.lock"`,
      `flock -n 9 || echo "$MILLRACE_ATTEMPT" >> ${file}.overlaps`,
      `echo "$MILLRACE_JOB $MILLRACE_ATTEMPT" >> ${cell.startsFile}`,
      `n=0; while [ ! -e ${file} ] && [ $n -lt 1000 ]; do sleep 0.1; n=$((n+1)); done`
    ].join("\n")
    const jobId = yield* Effect.promise(() => submit(cell, name, { runtime: "process", argv: ["/bin/sh", "-c", script], attemptsMax: 3, keepMs, runMsMax: 120_000 }))
    const starts = () => readFileSync(cell.startsFile, "utf8").split("\n").filter((line) => line.startsWith(jobId)).length
    const isTold = () => cell.log.facts("AttemptStarted").some((fact) => fact.jobId === jobId)
    yield* within(patienceMs, () => starts() > 0 && isTold(), () => `${name} did not begin`)
    return { jobId, starts, overlaps: () => existsSync(`${file}.overlaps`), letEnd: () => writeFileSync(file, "") }
  })

const placementsOf = (jobId: JobId) => cell.log.facts("PlacementMade").filter((fact) => fact.jobId === jobId)
const lossesOf = (hostId: HostId) => cell.log.facts("HostDeclaredLost").filter((fact) => fact.hostId === hostId).length
const exitsOf = (attemptId: AttemptId) => cell.log.facts("AttemptExited").filter((fact) => fact.attemptId === attemptId)

/** The agent of a host, by what it remembers of its enrolment. */
const agentOf = (hostId: HostId): Agent => cell.agents.find(({ folder }) => readFileSync(join(folder, "host.json"), "utf8").includes(hostId))!

const ended = (jobId: JobId) => settled(cell, { jobs: [{ what: "the job", jobId, outcomes: ["succeeded"] }], admitted: undefined })

const outcomeOf = (jobId: JobId) => cell.log.settled(jobId).map(({ attempt, outcome }) => ({ attempt, outcome }))

/** What must be true of a cell whenever it has come to rest. */
const sound = Effect.gen(function*() {
  yield* Effect.provide(cell.log.upToNow, cell.reading)
  yield* within(patienceMs, () => chargedOnce(cell.log.history).length === 0 && livedOnce(cell.log.history).length === 0, () => [...chargedOnce(cell.log.history), ...livedOnce(cell.log.history)].join(", "))
  const rows = yield* Effect.promise(() => billOf(cell))
  const { history } = cell.log
  for (const law of [settledOnce, endedTruly, neverTwoAtOnce(leaseMs), billedOnce(rows)]) assert.deepStrictEqual(law(history), [])
  assert.deepStrictEqual(cell.log.broken, [])
  assert.deepStrictEqual(startedTwice(cell), [])
  assert.deepStrictEqual(workersOf(cell.folder), [])
  assert.deepStrictEqual(yield* differingTables(cell), [])
  assert.deepStrictEqual(yield* strangeDecisions(cell), [])
  return rows
})

/** What was lost of an attempt is on the bill, apart and for nothing; what its successor ran is charged for. */
const assertLostApart = (rows: Effect.Success<typeof sound>, lost: AttemptId, next: AttemptId): void => {
  const of = (attemptId: AttemptId) => rows.filter((row) => row.attemptId === attemptId)
  assert.isTrue(of(lost).some(({ ms, phase }) => phase === "lost" && ms > 0), JSON.stringify(of(lost)))
  assert.isTrue(of(lost).every(({ amountPico }) => amountPico === "0"), JSON.stringify(of(lost)))
  assert.isTrue(of(next).some(({ amountPico, phase }) => phase === "running" && BigInt(amountPico) > 0n), JSON.stringify(of(next)))
}

it("work of an agent that stands still past its lease is ended by its keeper, runs elsewhere, and is done once when the agent goes on", () => run(Effect.gen(function*() {
  const work = yield* waitsFor("agent-frozen", 0)
  const [first] = placementsOf(work.jobId)
  const agent = agentOf(first!.hostId)
  const losses = lossesOf(first!.hostId)
  agent.signal("SIGSTOP")
  // Nobody but the keeper can do this: the agent stands still, and the scheduler reaches no process.
  yield* within(patienceMs, () => placementsOf(work.jobId).length === 2, () => "it was not placed again")
  assert.deepStrictEqual(lossesOf(first!.hostId), losses + 1)
  yield* within(patienceMs, () => work.starts() === 2, () => "it did not begin again")
  assert.isFalse(work.overlaps())
  const [, second] = placementsOf(work.jobId)
  assert.notStrictEqual(second!.hostId, first!.hostId)
  work.letEnd()
  yield* ended(work.jobId)
  agent.signal("SIGCONT")
  yield* within(patienceMs, () => cell.log.facts("LateWordNoted").some(({ attempt, jobId }) => jobId === work.jobId && attempt === 1), () => "what it said late was not noted")
  yield* Effect.provide(cell.log.upToNow, cell.reading)
  assert.deepStrictEqual(outcomeOf(work.jobId), [{ attempt: 2, outcome: "succeeded" }])
  assert.deepStrictEqual(exitsOf(first!.attemptId).map(({ cause }) => cause), ["lease_ended"])
  yield* within(patienceMs, () => cell.log.facts("HostReturned").some(({ hostId }) => hostId === first!.hostId), () => "its host is not back")
  assertLostApart(yield* sound, first!.attemptId, second!.attemptId)
})), 360_000)

it("a machine that dies whole is declared lost, and what it ran runs on the other one", () => run(Effect.gen(function*() {
  const work = yield* waitsFor("machine-dead", 0)
  const [first] = placementsOf(work.jobId)
  const agent = agentOf(first!.hostId)
  const keeper = keeperOf(agent)
  assert.isDefined(keeper)
  yield* agent.stop("SIGKILL")
  process.kill(keeper!, "SIGKILL")
  // With the keeper dies what it kept, though nobody is left to end it.
  yield* within(patienceMs, () => workersOf(cell.folder).length === 0, () => "its work outlived it")
  yield* within(patienceMs, () => work.starts() === 2, () => "it did not begin again")
  const [, second] = placementsOf(work.jobId)
  assert.notStrictEqual(second!.hostId, first!.hostId)
  work.letEnd()
  yield* ended(work.jobId)
  assert.deepStrictEqual(outcomeOf(work.jobId), [{ attempt: 2, outcome: "succeeded" }])
  const returns = cell.log.facts("HostReturned").length
  yield* agent.start
  yield* agent.ready
  yield* within(patienceMs, () => cell.log.facts("HostReturned").length > returns, () => "its host is not back")
  assertLostApart(yield* sound, first!.attemptId, second!.attemptId)
})), 360_000)

it("a scheduler that stood still for longer than a lease calls nobody lost when it goes on", () => run(Effect.gen(function*() {
  const work = yield* waitsFor("scheduler-frozen", 60_000)
  const losses = cell.log.facts("HostDeclaredLost").length
  const { scheduler } = cell.services
  scheduler.signal("SIGSTOP")
  yield* Effect.sleep(leaseMs * 1.5)
  scheduler.signal("SIGCONT")
  // It has looked: whoever was silent would be lost by the time that this is placed and over.
  const after = yield* waitsFor("scheduler-thawed", 60_000)
  yield* Effect.sleep(leaseMs / 2)
  after.letEnd()
  work.letEnd()
  yield* ended(after.jobId)
  yield* ended(work.jobId)
  assert.strictEqual(cell.log.facts("HostDeclaredLost").length, losses)
  assert.deepStrictEqual(outcomeOf(work.jobId), [{ attempt: 1, outcome: "succeeded" }])
  yield* sound
})), 360_000)

it("a scheduler that stood still does not call its only host lost either", () => run(Effect.gen(function*() {
  const [only, other] = cell.agents
  yield* other!.stop("SIGTERM")
  const work = yield* waitsFor("only-host", 60_000)
  assert.strictEqual(agentOf(placementsOf(work.jobId)[0]!.hostId), only)
  const losses = cell.log.facts("HostDeclaredLost").length
  const { scheduler } = cell.services
  scheduler.signal("SIGSTOP")
  yield* Effect.sleep(leaseMs * 1.5)
  scheduler.signal("SIGCONT")
  const after = yield* waitsFor("only-host-after", 60_000)
  yield* Effect.sleep(leaseMs / 2)
  after.letEnd()
  work.letEnd()
  yield* ended(after.jobId)
  yield* ended(work.jobId)
  assert.strictEqual(cell.log.facts("HostDeclaredLost").length, losses)
  assert.deepStrictEqual(outcomeOf(work.jobId), [{ attempt: 1, outcome: "succeeded" }])
  yield* other!.start
  yield* other!.ready
  yield* sound
})), 360_000)

/** An agent that needs longer than a lease to begin again, on a very busy machine, shows nothing of what is asked here: it is asked again. */
const agentsTries = 4

it("an agent that was killed takes up what runs when it begins again: one attempt, charged whole", () => run(Effect.gen(function*() {
  for (let attempt = 0; attempt < agentsTries; attempt += 1) {
    const lost = cell.log.facts("HostDeclaredLost").length
    const work = yield* waitsFor(`agent-killed-${attempt}`, 60_000)
    const [first] = placementsOf(work.jobId)
    const agent = agentOf(first!.hostId)
    const workers = workersOf(cell.folder)
    assert.isAtLeast(workers.length, 1)
    yield* agent.kill("SIGKILL")
    assert.isTrue(workersOf(cell.folder).some((pid) => workers.includes(pid)), "its work outlives it")
    yield* agent.ready
    work.letEnd()
    yield* ended(work.jobId)
    yield* Effect.provide(cell.log.upToNow, cell.reading)
    yield* sound
    if (cell.log.facts("HostDeclaredLost").length > lost) continue
    assert.deepStrictEqual(outcomeOf(work.jobId), [{ attempt: 1, outcome: "succeeded" }])
    assert.deepStrictEqual(exitsOf(first!.attemptId).map(({ cause, code }) => ({ cause, code })), [{ cause: "exited", code: 0 }])
    assert.strictEqual(work.starts(), 1)
    return
  }
  assert.fail(`the agent was gone for longer than a lease ${agentsTries} times`)
})), 360_000)
