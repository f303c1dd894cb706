import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { placement } from "../testing/placement.ts"
import { Keeper } from "./keeper.ts"
import { processRuntime } from "./process.ts"
import type { Ended } from "./runtime.ts"

const withKeptFolder = <A, E>(body: (folder: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-process-"))),
    body,
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

/** A folder for work, with a keeper that serves all of this file's. */
const withFolder = <A, E>(body: (folder: string) => Effect.Effect<A, E, Keeper>) =>
  Effect.scoped(Effect.gen(function*() {
    const context = yield* keeping
    return yield* withKeptFolder((folder) => Effect.provide(body(folder), context))
  }))

const keeperScope = Scope.makeUnsafe()
const keeperFolder = mkdtempSync(join(tmpdir(), "millrace-process-keeper-"))
const keeping = Effect.runSync(Effect.cached(Scope.provide(Layer.build(Keeper.layer(keeperFolder, { atClose: "end" })), keeperScope)))
afterAll(async () => {
  await Effect.runPromise(Scope.close(keeperScope, Exit.void))
  rmSync(keeperFolder, { recursive: true, force: true })
})

const runtimeIn = (folder: string) => Effect.map(Keeper, (keeper) => processRuntime(folder, keeper))
const deadlineMs = Number.MAX_SAFE_INTEGER

let numbered = 0
/** An attempt of its own for each start: orphans are found by it. */
const fresh = () => placement(`p${process.pid}${numbered += 1}`)

const start = (folder: string, argv: ReadonlyArray<string>, env: Record<string, string> = {}, made = fresh()) =>
  Effect.flatMap(runtimeIn(folder), (runtime) => runtime.start({ made, program: { argv, env, labels: {} }, deadlineMs }))

const run = (argv: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  withFolder((folder) => Effect.flatMap(start(folder, argv, env), ({ ended }) => ended))

const shell = (script: string, env: Record<string, string> = {}) => run(["/bin/sh", "-c", script], env)

const textOf = ({ output }: Ended, name: string): string | undefined => {
  const found = output.find((stream) => stream.name === name)
  return found && Buffer.from(found.bytes).toString("utf8")
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // A zombie has ended, and waits only for its parent to look.
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

/** Looks again until it is so; the test's own time limit is the bound. */
const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), until(holds)))

const readWhole = (path: string) => Effect.as(until(() => existsSync(path) && readFileSync(path, "utf8").endsWith("\n")), path).pipe(
  Effect.map((path) => readFileSync(path, "utf8").trim())
)

describe("a plain process", () => {
  it.live("tells its exit code", () =>
    Effect.gen(function*() {
      for (const code of [0, 1, 7, 255]) assert.deepInclude(yield* shell(`exit ${code}`), { code, output: [] })
    }))

  it.live("tells the signal that ended it, and then no code", () =>
    Effect.map(shell("kill -KILL $$"), (ended) => {
      assert.strictEqual(ended.signal, "SIGKILL")
      assert.isUndefined(ended.code)
    }))

  it.live("a program that no system could start, by a zero byte in a word or a name, is refused and breaks nothing", () =>
    Effect.gen(function*() {
      for (const [argv, env] of [[["tr\0ue"], {}], [["/bin/echo", "a\0b"], {}], [["/bin/true"], { "A\0B": "" }], [[""], {}]] as const) {
        assert.strictEqual((yield* Effect.flip(run(argv, env)))._tag, "CannotStart")
      }
    }))

  it.live("a job cannot give itself another attempt's name, by which it would not be found", () =>
    withFolder((folder) => Effect.gen(function*() {
      const made = fresh()
      const { ended } = yield* start(folder, ["/bin/sh", "-c", "printf $MILLRACE_ATTEMPT"], { MILLRACE_ATTEMPT: "another's" }, made)
      assert.strictEqual(textOf(yield* ended, "stdout"), made.attemptId)
    })))

  it.live("what it says is kept, apart by stream, to the last byte", () =>
    Effect.map(shell("printf out; printf err >&2; printf more"), (ended) => {
      assert.strictEqual(textOf(ended, "stdout"), "outmore")
      assert.strictEqual(textOf(ended, "stderr"), "err")
    }))

  it.live("what it says beyond 1 MiB is counted and dropped", () =>
    Effect.map(shell("head -c 1500000 /dev/zero; head -c 10 /dev/zero >&2"), ({ output }) => {
      const [stdout, stderr] = output
      assert.deepStrictEqual([stdout?.name, stdout?.bytes.length, stdout?.droppedBytes], ["stdout", 1_048_576, 451_424])
      assert.deepStrictEqual([stderr?.name, stderr?.bytes.length, stderr?.droppedBytes], ["stderr", 10, 0])
    }))

  it.live("finds nothing in its environment but what the job names", () =>
    withFolder((folder) => Effect.gen(function*() {
      const made = fresh()
      const { ended } = yield* start(folder, ["/usr/bin/env"], { COLOUR: "blue" }, made)
      const found = textOf(yield* ended, "stdout")!.trim().split("\n").map((line) => line.split("=")[0]).sort()
      assert.deepStrictEqual(found, ["COLOUR", "HOME", "MILLRACE_ATTEMPT", "MILLRACE_JOB", "PATH"])
      assert.isAbove(Object.keys(process.env).length, 5)
    })))

  it.live("works in a folder of its own, which is gone when its end was told", () =>
    withFolder((folder) => Effect.gen(function*() {
      const made = fresh()
      const { ended, release } = yield* start(folder, ["/bin/sh", "-c", "pwd; echo x > here; ls"], {}, made)
      assert.strictEqual(textOf(yield* ended, "stdout"), `${join(folder, made.attemptId, "work")}\nhere\n`)
      yield* release
      assert.deepStrictEqual(readdirSync(folder), [])
    })))

  it.live("a program that is not here cannot start, and neither can nothing", () =>
    withFolder((folder) => Effect.gen(function*() {
      const missing = yield* Effect.flip(start(folder, ["no-such-program"]))
      assert.strictEqual(missing._tag, "CannotStart")
      assert.include(missing.message, "there is no program no-such-program here")
      const nothing = yield* Effect.flip(start(folder, []))
      assert.include(nothing.message, "argv is empty")
      assert.deepStrictEqual(readdirSync(folder), [])
    })))

  it.live("is asked to end, and may end in its own way", () =>
    withFolder((folder) => Effect.gen(function*() {
      const ready = join(folder, "ready")
      const { ended, stop } = yield* start(folder, ["/bin/sh", "-c", `trap 'echo bye; exit 3' TERM; echo up > ${ready}; while :; do sleep 0.01; done`])
      yield* readWhole(ready)
      yield* stop
      const over = yield* ended
      assert.strictEqual(over.code, 3)
      assert.strictEqual(textOf(over, "stdout"), "bye\n")
      yield* stop
    })))

  it.live("is ended when it does not listen, and stopping twice is stopping once", () =>
    withFolder((folder) => Effect.gen(function*() {
      const ready = join(folder, "ready")
      const { ended, stop } = yield* start(folder, ["/bin/sh", "-c", `trap '' TERM; echo up > ${ready}; while :; do sleep 0.01; done`])
      yield* readWhole(ready)
      yield* Effect.all([stop, stop], { concurrency: 2 })
      assert.strictEqual((yield* ended).signal, "SIGKILL")
    })))

  it.live("what it has started ends with it", () =>
    withFolder((folder) => Effect.gen(function*() {
      const pidFile = join(folder, "pid")
      const { ended } = yield* start(folder, ["/bin/sh", "-c", `(trap '' TERM HUP; echo up; while :; do sleep 0.01; done) & echo $! > ${pidFile}`])
      const pid = Number(yield* readWhole(pidFile))
      assert.strictEqual((yield* ended).code, 0)
      yield* until(() => !isAlive(pid))
    })))

  it.live("what it has started ends with it, even where it left the group, and so does the attempt", () =>
    withFolder((folder) => Effect.gen(function*() {
      const pidFile = join(folder, "pid")
      const forever = `echo $$ > ${pidFile}; while :; do sleep 0.01; done`
      const { ended } = yield* start(folder, ["/bin/sh", "-c", `setsid /bin/sh -c '${forever}' & while [ ! -s ${pidFile} ]; do sleep 0.01; done; exit 4`])
      assert.strictEqual((yield* ended).code, 4)
      const pid = Number(yield* readWhole(pidFile))
      yield* until(() => !isAlive(pid))
    })))

  it.live("one that hides from its host does not hold up the end of the attempt", () =>
    withFolder((folder) => Effect.gen(function*() {
      const pidFile = join(folder, "pid")
      const hidden = `echo $$ > ${pidFile}; while :; do sleep 0.01; done`
      const { ended } = yield* start(folder, ["/bin/sh", "-c", `env -i setsid /bin/sh -c '${hidden}' & while [ ! -s ${pidFile} ]; do sleep 0.01; done; exit 4`])
      assert.strictEqual((yield* ended).code, 4)
      const pid = Number(yield* readWhole(pidFile))
      assert.isTrue(isAlive(pid), "it isolates nothing, and says so")
      process.kill(pid, "SIGKILL")
      yield* until(() => !isAlive(pid))
    })))

  it.live("is ended with the agent that started it, when that one is stopped", () =>
    withFolder((folder) => Effect.gen(function*() {
      const pidFile = join(folder, "pid")
      yield* Effect.gen(function*() {
        const runtime = yield* runtimeIn(join(folder, "work"))
        yield* runtime.start({ made: fresh(), program: { argv: ["/bin/sh", "-c", `echo $$ > ${pidFile}; while :; do sleep 0.01; done`], env: {}, labels: {} }, deadlineMs })
        assert.isTrue(isAlive(Number(yield* readWhole(pidFile))))
      }).pipe(Effect.provide(Keeper.layer(join(folder, "keeper"), { atClose: "end" })))
      assert.isFalse(isAlive(Number(readFileSync(pidFile, "utf8"))))
    })))

  it.live("is found by what is in its environment when its agent is gone, and nothing else is touched", () =>
    withFolder((folder) => Effect.gen(function*() {
      const [lost, other] = [fresh(), fresh()]
      const waiting = ["/bin/sh", "-c", "while :; do sleep 0.01; done"]
      const [orphan, neighbour] = [yield* start(folder, waiting, {}, lost), yield* start(folder, waiting, {}, other)]
      const neighbourEnded = yield* Effect.forkChild(neighbour.ended)
      const runtime = yield* runtimeIn(folder)
      yield* runtime.endOrphan(lost.attemptId)
      assert.strictEqual((yield* orphan.ended).signal, "SIGKILL")
      assert.isUndefined(neighbourEnded.pollUnsafe())
      yield* neighbour.stop
      yield* Fiber.join(neighbourEnded)
      yield* runtime.endOrphan(fresh().attemptId)
    })))
})
