import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { Remembered } from "../domain/attempt.ts"
import { factId, placement } from "../testing/placement.ts"
import { Ledger } from "./ledger.ts"

const [a, b] = [placement("a", { sequence: 7 }), placement("b", { sequence: 8 })]
const story = { causedBy: factId("cause"), partOf: factId("part") }
const begun = (made: typeof a): Remembered => ({ state: "begun", made, ...story })

const withFile = <A, E>(body: (path: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-ledger-"))),
    (folder) => body(join(folder, "host", "ledger.jsonl")),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

/** One life of an agent: opens the file, does something, and is gone. */
const agent = <A, E>(path: string, body: (ledger: Ledger["Service"]) => Effect.Effect<A, E>) =>
  Ledger.use(body).pipe(Effect.provide(Ledger.layerFile(path)))

const states = (path: string) =>
  agent(path, ({ attempts }) => Effect.sync(() => Object.fromEntries([...attempts].map(([attempt, { state }]) => [attempt, state]))))

const linesOf = (path: string): number => readFileSync(path, "utf8").split("\n").length - 1

describe("a host's ledger", () => {
  it.effect("what was begun, withdrawn and told is known to the next agent, with the highest fences", () =>
    withFile((path) => Effect.gen(function*() {
      yield* agent(path, ({ remember }) => Effect.all([
        remember(a.attemptId, begun(a)),
        remember(b.attemptId, begun(b)),
        remember(b.attemptId, { state: "told", made: b })
      ]))
      assert.deepStrictEqual(yield* states(path), { [a.attemptId]: "begun", [b.attemptId]: "told" })
      const fences = yield* agent(path, ({ fences }) => Effect.sync(() => [...fences]))
      assert.deepStrictEqual(fences, [[a.jobId, a.fence], [b.jobId, b.fence]])
    })))

  it.effect("a placement that money stands behind is read back to the pico-dollar", () =>
    withFile((path) => Effect.gen(function*() {
      const paid = { ...placement("a", {}), share: { account: "acc_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D", slice: "slc_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D", amountPico: 12_345_678_901_234_567_890n } as never }
      yield* agent(path, ({ remember }) => remember(paid.attemptId, begun(paid)))
      const [read] = yield* agent(path, ({ attempts }) => Effect.sync(() => [...attempts.values()]))
      assert.deepStrictEqual(read?.state === "begun" ? read.made.share : read, paid.share)
    })))

  it.effect("what the first release wrote is read, for an upgraded agent may find its work running", () =>
    withFile((path) => Effect.gen(function*() {
      mkdirSync(dirname(path))
      const line = (remembered: unknown) => `${JSON.stringify({ attempt: a.attemptId, remembered })}\n`
      writeFileSync(path, line(begun(a)) + line({ ...begun(a), state: "running" }))
      assert.deepStrictEqual(yield* states(path), { [a.attemptId]: "running" })
    })))

  it.effect("a whole last line that cannot be understood is not taken for one cut short", () =>
    withFile((path) => Effect.gen(function*() {
      mkdirSync(dirname(path))
      writeFileSync(path, `${JSON.stringify({ attempt: a.attemptId, remembered: { state: "running", made: { odd: 1 }, ...story } })}\n`)
      const exit = yield* Effect.exit(states(path))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "line 1 cannot be read")
    })))

  it.effect("a lower fence does not take the place of a higher one", () =>
    withFile((path) => agent(path, ({ fences, remember }) => Effect.gen(function*() {
      yield* remember(a.attemptId, begun(a))
      const older = placement("a", { attempt: 2, sequence: 3 })
      yield* remember(older.attemptId, { state: "told", made: older })
      assert.deepStrictEqual(fences.get(a.jobId), a.fence)
    }))))

  it.effect("the sealed program is not copied into it, and nobody else may read it", () =>
    withFile((path) => Effect.gen(function*() {
      const sealed = placement("a", { spec: { program: { key: "acme/1", nonce: "bm9uY2U", sealed: "cHJvZ3JhbQ" } } })
      yield* agent(path, ({ remember }) => remember(sealed.attemptId, begun(sealed)))
      const text = readFileSync(path, "utf8")
      assert.include(text, sealed.attemptId)
      assert.notInclude(text, "cHJvZ3JhbQ")
      assert.strictEqual(statSync(path).mode & 0o077, 0)
    })))

  it.effect("a last line that was torn by a kill speaks of nothing that had begun", () =>
    withFile((path) => Effect.gen(function*() {
      yield* agent(path, ({ remember }) => remember(a.attemptId, begun(a)))
      appendFileSync(path, `{"attempt":"${b.attemptId}","remem`)
      assert.deepStrictEqual(yield* states(path), { [a.attemptId]: "begun" })
      yield* agent(path, ({ remember }) => remember(b.attemptId, begun(b)))
      assert.deepStrictEqual(yield* states(path), { [a.attemptId]: "begun", [b.attemptId]: "begun" })
    })))

  it.effect("a broken line in the middle is not passed over: the agent says which, and what to do", () =>
    withFile((path) => Effect.gen(function*() {
      yield* agent(path, ({ remember }) => remember(a.attemptId, begun(a)))
      appendFileSync(path, "half a li\n")
      appendFileSync(path, `${JSON.stringify({ attempt: b.attemptId, remembered: { state: "withdrawn" } })}\n`)
      const before = readFileSync(path, "utf8")
      const end = yield* Effect.exit(states(path))
      assert.isTrue(Exit.isFailure(end))
      if (Exit.isFailure(end)) assert.include(Cause.pretty(end.cause), `${path} line 2 cannot be read. Move the file away to begin with an empty ledger`)
      assert.strictEqual(readFileSync(path, "utf8"), before)
    })))

  it.effect("it is written anew at each start, one line an attempt", () =>
    withFile((path) => Effect.gen(function*() {
      yield* agent(path, ({ remember }) => Effect.forEach(Array.from({ length: 500 }), () => remember(a.attemptId, { state: "told", made: a }), { discard: true }))
      assert.strictEqual(linesOf(path), 500)
      assert.deepStrictEqual(yield* states(path), { [a.attemptId]: "told" })
      assert.strictEqual(linesOf(path), 1)
    })))

  it.effect("it does not grow without end while one agent lives", () =>
    withFile((path) => agent(path, ({ attempts, remember }) => Effect.gen(function*() {
      const remembered = { state: "withdrawn" } as const
      for (let index = 0; index <= 200_000; index += 1) yield* remember(a.attemptId, remembered)
      assert.isBelow(linesOf(path), 10)
      yield* remember(b.attemptId, begun(b))
      assert.deepStrictEqual([...attempts.keys()], [a.attemptId, b.attemptId])
    })).pipe(Effect.andThen(Effect.map(states(path), (found) => assert.deepStrictEqual(found, { [a.attemptId]: "withdrawn", [b.attemptId]: "begun" }))))))

  it.effect("ends that were told are forgotten behind 50,000 newer ones, and what runs never is", () =>
    withFile((path) => agent(path, ({ attempts, fences, remember }) => Effect.gen(function*() {
      yield* remember(a.attemptId, begun(a))
      for (let index = 0; index <= 50_000; index += 1) {
        const other = { ...b, attemptId: `${b.attemptId}${index}` as typeof b.attemptId, jobId: `${b.jobId}${index}` as typeof b.jobId }
        yield* remember(other.attemptId, { state: "told", made: other })
      }
      assert.strictEqual(attempts.size, 50_000)
      assert.strictEqual(attempts.get(a.attemptId)?.state, "begun")
      assert.isAtMost(fences.size, 50_001)
    }))))
})
