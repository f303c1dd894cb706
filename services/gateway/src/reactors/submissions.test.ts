import { assert, describe, it } from "@effect/vitest"
import { Journal, type JournalShape, MemoryLog, memoryJournal } from "@millrace/journal"
import { JobId, type MillFact, Principal, Program, WorkspaceName } from "@millrace/schemas"
import { type Keyring, keyringInMemory, openValue } from "@millrace/service"
import { Effect, Layer, Result, Schema } from "effect"
import { IdempotencyKey, jobIdOf, JobRequest } from "../domain/request.ts"
import type { Acting } from "./gate.ts"
import { Submissions } from "./submissions.ts"

const acting = (workspace: string): Acting => ({ principal: Principal.make("user:ada"), workspace: WorkspaceName.make(workspace), decision: { rule: "role.owner", view: {} } })
const ada = acting("acme")
const key = IdempotencyKey.make("nightly-1")
const asking = (given: object = {}): JobRequest => Schema.decodeUnknownSync(JobRequest)({ argv: ["greet"], env: {}, labels: {}, ...given })

/** A log of its own for each test, and the submissions that write into it. */
const inCell = <A, E>(body: (submissions: Submissions["Service"], log: MemoryLog) => Effect.Effect<A, E, Keyring>, through: (journal: JournalShape) => JournalShape = (journal) => journal) =>
  Effect.suspend(() => {
    const log = new MemoryLog()
    return Effect.flatMap(Submissions, (submissions) => body(submissions, log)).pipe(
      Effect.provide(Layer.provideMerge(Submissions.layer, Layer.merge(Layer.succeed(Journal, through(memoryJournal(log))), keyringInMemory)))
    )
  })

const factsIn = (log: MemoryLog): ReadonlyArray<MillFact> =>
  log.after("GATEWAY", 0, undefined, 1000).commits.flatMap(({ facts }) => facts.map(({ event }) => Result.getOrThrow(event)))

const namesIn = (log: MemoryLog): ReadonlyArray<string> => factsIn(log).map(({ _tag }) => _tag)

/** Every byte that the log stored, headers and bodies. */
const bytesOf = (body: (log: MemoryLog) => Effect.Effect<unknown, unknown>) =>
  Effect.suspend(() => {
    const stored: Array<Buffer> = []
    class Watched extends MemoryLog {
      override put(...[stream, subject, message, storedAtMs]: Parameters<MemoryLog["put"]>): number {
        stored.push(Buffer.from(subject), Buffer.from(JSON.stringify(message.headers)), Buffer.from(message.body))
        return super.put(stream, subject, message, storedAtMs)
      }
    }
    return Effect.as(body(new Watched()), stored).pipe(Effect.map((parts) => Buffer.concat(parts).toString("latin1")))
  })

describe("submissions", () => {
  it.effect("the same key with the same request is the same job, and stands in the log once", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const first = yield* submissions.submit(ada, key, asking({ env: { A: "1", B: "2" } }))
      const again = yield* submissions.submit(ada, key, asking({ env: { B: "2", A: "1" } }))
      assert.deepStrictEqual(again, { ...first, repeated: true })
      assert.isFalse(first.repeated)
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted"])
    })))

  it.effect("the same key with another request is told what the key names, and nothing is added", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const { jobId } = yield* submissions.submit(ada, key, asking())
      for (const other of [asking({ argv: ["greet", "bob"] }), asking({ env: { A: "1" } }), asking({ attemptsMax: 2 }), asking({ labels: { team: "x" } })]) {
        const refusal = yield* Effect.flip(submissions.submit(ada, key, other))
        assert.deepInclude(refusal, { _tag: "IdempotencyMismatch", key, jobId })
      }
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted"])
    })))

  it.effect("a key is a workspace's own", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const here = yield* submissions.submit(ada, key, asking())
      const there = yield* submissions.submit(acting("other"), key, asking({ argv: ["else"] }))
      assert.notStrictEqual(here.jobId, there.jobId)
      assert.lengthOf(namesIn(log), 2)
    })))

  it.effect("of many who submit one key at once one is first, and all are told the same job", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const answers = yield* Effect.all(Array.from({ length: 20 }, () => submissions.submit(ada, key, asking())), { concurrency: "unbounded" })
      assert.strictEqual(new Set(answers.map(({ cut, jobId }) => JSON.stringify([jobId, cut]))).size, 1)
      assert.lengthOf(answers.filter(({ repeated }) => !repeated), 1)
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted"])
    }), slowly))

  it.effect("of two requests that race for one key one is submitted, and the other is told so", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const [first, second] = yield* Effect.all([
        Effect.result(submissions.submit(ada, key, asking())),
        Effect.result(submissions.submit(ada, key, asking({ argv: ["else"] })))
      ], { concurrency: 2 })
      assert.deepStrictEqual([first, second].filter(Result.isSuccess).length, 1)
      const refused = [first, second].find(Result.isFailure)
      assert.strictEqual(refused?.failure._tag, "IdempotencyMismatch")
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted"])
    }), slowly))

  it.effect("the program is sealed: no byte of it is in the log, and whoever holds the key can open it", () =>
    Effect.gen(function*() {
      const secret = "s3cr3t-of-ada"
      const bytes = yield* bytesOf((log) =>
        Effect.gen(function*() {
          const submissions = yield* Submissions
          const { jobId } = yield* submissions.submit(ada, key, asking({ argv: ["greet", `--${secret}`], env: { HIDDEN_NAME: secret }, labels: { [`label-${secret}`]: "x" } }))
          const [submitted] = factsIn(log)
          if (submitted?._tag !== "JobSubmitted") return assert.fail("it was not submitted")
          const opened = yield* openValue(Program)(submitted.spec.program!, `${jobId}/program`)
          assert.deepStrictEqual(opened.env, { HIDDEN_NAME: secret })
          const elsewhere = yield* Effect.flip(openValue(Program)(submitted.spec.program!, `${JobId.make(`job_${"0".repeat(26)}`)}/program`))
          assert.strictEqual(elsewhere._tag, "SealBroken")
        }).pipe(Effect.provide(Layer.provideMerge(Submissions.layer, Layer.merge(Layer.succeed(Journal, memoryJournal(log)), keyringInMemory)))))
      assert.include(bytes, "JobSubmitted")
      assert.include(bytes, "acme")
      for (const word of [secret, "HIDDEN_NAME", "greet", Buffer.from(secret).toString("base64url").slice(0, 16)]) assert.notInclude(bytes, word)
    }))

  it.effect("cancelling twice adds one fact, and both are told the same place", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const { jobId } = yield* submissions.submit(ada, key, asking())
      const first = yield* submissions.cancel(ada, jobId)
      assert.deepStrictEqual(yield* submissions.cancel(ada, jobId), first)
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted", "JobCancelRequested"])
    })))

  it.effect("many who cancel at once add one fact", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const { jobId } = yield* submissions.submit(ada, key, asking())
      const cuts = yield* Effect.all(Array.from({ length: 10 }, () => submissions.cancel(ada, jobId)), { concurrency: "unbounded" })
      assert.strictEqual(new Set(cuts.map((cut) => JSON.stringify(cut))).size, 1)
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted", "JobCancelRequested"])
    }), slowly))

  it.effect("a job of another workspace is unknown, and so is one that nobody submitted", () =>
    inCell((submissions, log) => Effect.gen(function*() {
      const { jobId } = yield* submissions.submit(ada, key, asking())
      for (const attempt of [submissions.cancel(acting("other"), jobId), submissions.cancel(ada, jobIdOf(ada.workspace, IdempotencyKey.make("never")))]) {
        assert.strictEqual((yield* Effect.flip(attempt))._tag, "JobUnknown")
      }
      assert.deepStrictEqual(namesIn(log), ["JobSubmitted"])
    })))
})

/** A log across a network: between asking and storing, and between storing and hearing of it, others have their turn. */
function slowly(journal: JournalShape): JournalShape {
  const later = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.andThen(Effect.yieldNow, Effect.tap(effect, () => Effect.yieldNow))
  return { ...journal, append: (commit, expect) => later(journal.append(commit, expect)), story: (subject) => later(journal.story(subject)) }
}
