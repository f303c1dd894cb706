import { deriveId } from "@millrace/decider"
import { Checkpoints, type Commit, Journal, runDecider, type StreamDecider } from "@millrace/journal"
import { scheduler } from "@millrace/scheduler"
import type { FactId, JobId, MillFact, Principal, WorkspaceName } from "@millrace/schemas"
import { logLayer } from "@millrace/service"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it, vi } from "vitest"
import { exitCodes } from "../exit-codes.ts"
import { millrace, startTestCell, type TestCell } from "../testing/cell.ts"

const waitMax = "20 seconds"

const submission = (name: string): Commit => {
  const jobId = `job_${name.padStart(26, "0")}` as JobId
  const id = deriveId<FactId>("fct", 0, "a submission", name)
  return {
    subject: { kind: "job", scope: "main", story: jobId },
    actor: "user:owner" as Principal,
    happenedAtMs: 0,
    facts: [{
      id,
      partOf: id,
      event: {
        _tag: "JobSubmitted",
        jobId,
        workspace: "main" as WorkspaceName,
        submittedBy: "user:owner" as Principal,
        spec: { runtime: "process", trust: "own", resources: { cpuMilli: 1000, memoryMib: 1, diskMib: 0, gpus: 0 }, attemptsMax: 1, runMsMax: 1000, onSilence: { keepMs: 0 } },
        requestDigest: `sha256:${"0".repeat(64)}` as never,
        decision: { rule: "owner", view: {} }
      }
    }]
  }
}

/** A scheduler that guesses where it should count: what it says of a job that must wait is not in the log. */
const guessing = <State>(honest: StreamDecider<State>): StreamDecider<State> => ({
  ...honest,
  decide: (state, round) =>
    honest.decide(state, round).map((said) => ({
      ...said,
      facts: said.facts.map((fact) =>
        fact.event._tag === "JobDeferred" ? { ...fact, event: { ...fact.event, arithmetic: `about ${Math.random()} cores are free` } } : fact) as unknown as typeof said.facts
    }))
})

const checkpointsOf = (cell: TestCell) => Checkpoints.layerFolder(cell.stack.env["MILLRACE_CHECKPOINTS"]!)
const kept = Checkpoints.use((checkpoints) => checkpoints.load(scheduler.name))

// Each step is a process of its own, and a busy machine starts them slowly.
vi.setConfig({ testTimeout: 90_000 })

describe("replay --verify, in a process that knows nothing but the log", () => {
  let cell: TestCell
  beforeAll(async () => void (cell = await startTestCell({ services: false })))
  afterAll(() => cell?.stop())

  /** Runs a scheduler on the real log until it has said that a job has to wait: there is no host here. */
  const decidesOn = <State>(decider: StreamDecider<State>, name: string) => {
    const log = { servers: cell.stack.natsUrl, credentials: cell.stack.credentials }
    const submits = Effect.provide(Journal.use((journal) => journal.append(submission(name), { last: "subject", sequence: 0 })), logLayer("gateway", log))
    const tookOver = (): MillFact => ({ _tag: "SchedulerTookOver", term: 1, scheduler: decider.actor, codeVersion: decider.codeVersion })
    const deferred = (after: number) => Effect.scoped(Effect.gen(function*() {
      const journal = yield* Journal
      const reader = yield* journal.read(decider.writes, { after })
      while (true) {
        const commits = yield* reader.take
        if (commits.some(({ facts }) => facts.some((fact) => fact.name === "JobDeferred"))) return
      }
    }))
    const checkpointed: Effect.Effect<void, never, Checkpoints> = Effect.suspend(() =>
      Effect.flatMap(kept, (found) => found === undefined ? Effect.andThen(Effect.sleep("20 millis"), checkpointed) : Effect.void))
    return Effect.runPromise(
      Journal.use((journal) => journal.head(decider.writes)).pipe(
        Effect.flatMap((head) => Effect.raceFirst(
          runDecider({ decider, takeOver: { subject: { kind: "fleet", scope: "cell" }, fact: tookOver }, checkpointEvery: 1 }),
          Effect.andThen(submits, Effect.andThen(deferred(head), checkpointed))
        )),
        Effect.timeout(waitMax),
        Effect.provide([logLayer("scheduler", log), checkpointsOf(cell)])
      )
    )
  }

  it("an honest log verifies; one decision that does not follow from the log is found and shown", async () => {
    await decidesOn(scheduler, "A")
    const honest = await millrace(cell.folder, ["replay", "--verify", "--decider", "scheduler"])
    assert.strictEqual(honest.code, 0, honest.stdout + honest.stderr)
    assert.match(honest.stdout, /^\d+ decisions of the scheduler made again.*\nEach of them follows from what it had seen\.\n$/u)

    await decidesOn(guessing(scheduler), "B")
    const [text, json] = await Promise.all([millrace(cell.folder, ["replay", "--verify"]), millrace(cell.folder, ["replay", "--verify", "-o", "json"])])
    assert.deepStrictEqual([text.code, json.code], [exitCodes.mismatch.code, exitCodes.mismatch.code], text.stderr)
    assert.match(text.stdout, /of them do not follow.*where {5}SCHEDULER \d+, decided .* having seen .*logged .*about 0\.\d+ cores are free.*replayed .*no host/su)
    const { mismatches } = JSON.parse(json.stdout) as { mismatches: ReadonlyArray<{ stream: string; logged: unknown; replayed: unknown }> }
    assert.isAtLeast(mismatches.length, 1)
    assert.strictEqual(mismatches[0]!.stream, "SCHEDULER")
    assert.notDeepEqual(mismatches[0]!.logged, mismatches[0]!.replayed)
  })

  it("a checkpoint that agrees with a rebuild from fact one is good, and one that does not is found", async () => {
    const good = await millrace(cell.folder, ["replay", "--verify", "--checkpoint"])
    assert.match(good.stdout, /The checkpoint \(code .*\): a rebuild from fact one comes to the same state\./u)

    const forge = Effect.flatMap(kept, (found) => {
      const state = scheduler.save(scheduler.initial())
      return Checkpoints.use((checkpoints) => checkpoints.save({ ...found!, state }))
    })
    await Effect.runPromise(Effect.provide(forge, checkpointsOf(cell)))
    const forged = await millrace(cell.folder, ["replay", "--verify", "--checkpoint"])
    assert.strictEqual(forged.code, exitCodes.mismatch.code)
    assert.include(forged.stdout, "a rebuild from fact one comes to another state")
  })

  it("replay wants to be told what to do", async () => {
    const ran = await millrace(cell.folder, ["replay"])
    assert.strictEqual(ran.code, exitCodes.usage.code)
    assert.include(ran.stderr, "millrace replay --verify")
  })
})
