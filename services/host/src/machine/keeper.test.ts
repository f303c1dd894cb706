import { assert, describe, it } from "@effect/vitest"
import type { AttemptId } from "@millrace/schemas"
import { Effect, Fiber } from "effect"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { placement } from "../testing/placement.ts"
import { Keeper, type Order } from "./keeper.ts"
import { KeptAttempt } from "./keeper-attempt.ts"
import { keeperFiles, startOf } from "./keeper-files.ts"
import { monotonicMs } from "./keeper-words.ts"

const withFolder = <A, E>(body: (folder: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-keeper-"))),
    body,
    (folder) => Effect.gen(function*() {
      yield* Keeper.use(({ end }) => end).pipe(Effect.provide(Keeper.layer(join(folder, "host"), { atClose: "end" })))
      rmSync(folder, { recursive: true, force: true })
    })
  )

let numbered = 0
const fresh = (): AttemptId => placement(`k${process.pid}${numbered += 1}`).attemptId

const order = (folder: string, script: string, { attemptId = fresh(), leftMs = 60_000, ...rest }: Partial<Order> & { readonly leftMs?: number } = {}): Order => ({
  attemptId,
  argv: ["/bin/sh", "-c", script],
  env: { PATH: "/usr/bin:/bin", MILLRACE_ATTEMPT: attemptId },
  cwd: folder,
  folder: join(folder, "kept", attemptId),
  outputBytesMax: 1_000,
  deadlineMs: monotonicMs() + leftMs,
  ...rest
})

/** One agent's life with the keeper of a host. */
const agent = <A, E>(folder: string, body: (keeper: Keeper["Service"]) => Effect.Effect<A, E>) =>
  Keeper.use(body).pipe(Effect.provide(Keeper.layer(join(folder, "host"), { atClose: "leave" })))

const forever = "while :; do sleep 0.05; done"

const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), until(holds)))

const keeperPid = (folder: string): number => (JSON.parse(readFileSync(keeperFiles(join(folder, "host")).identity, "utf8")) as { pid: number }).pid

const alive = (pid: number): boolean => startOf(pid) !== undefined

describe("a keeper", () => {
  it.live("says how to end work before it runs, and no longer where it cannot be started", () =>
    withFolder((folder) => Effect.promise(async () => {
      const ends = join(folder, "ends")
      mkdirSync(ends)
      const [asked, absent] = [order(folder, forever), order(folder, "", { argv: ["/no/such/program"] })]
      const starting = KeptAttempt.start(asked, ends)
      assert.deepStrictEqual(readdirSync(ends), [asked.attemptId], "it has begun, and nothing of it was heard yet")
      const kept = await starting
      await KeptAttempt.start(absent, ends).then(() => assert.fail("it started"), () => undefined)
      assert.deepStrictEqual(readdirSync(ends), [asked.attemptId])
      assert.match(readFileSync(join(ends, asked.attemptId), "utf8"), new RegExp(`^group ${kept.listed.pid} `, "u"))
      await kept.stop(0)
      assert.deepStrictEqual(readdirSync(ends), [])
    })), 30_000)

  it.live("keeps what work says and how it ended, in the files of its folder", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, "printf out; printf err >&2; exit 3")
      yield* keeper.spawn(asked)
      const exit = yield* keeper.wait(asked.attemptId)
      assert.deepInclude(exit, { code: 3, cause: "exited", stdout: { bytes: 3, droppedBytes: 0 }, stderr: { bytes: 3, droppedBytes: 0 } })
      assert.strictEqual(readFileSync(join(asked.folder, "stdout"), "utf8"), "out")
      assert.strictEqual(readFileSync(join(asked.folder, "stderr"), "utf8"), "err")
      assert.deepStrictEqual(JSON.parse(readFileSync(join(asked.folder, "exit.json"), "utf8")), exit)
      yield* keeper.forget(asked.attemptId)
      assert.isUndefined(yield* keeper.wait(asked.attemptId))
      assert.isTrue(existsSync(join(asked.folder, "stdout")))
    }))))

  it.live("what is said beyond the limit is counted and dropped", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, "head -c 300000 /dev/zero")
      yield* keeper.spawn(asked)
      assert.deepStrictEqual((yield* keeper.wait(asked.attemptId))?.stdout, { bytes: 1_000, droppedBytes: 299_000 })
      assert.strictEqual(statSync(join(asked.folder, "stdout")).size, 1_000)
    }))))

  it.live("an attempt is started once, however often it is asked for", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, `echo x >> ${join(folder, "starts")}; ${forever}`)
      const [first, second] = yield* Effect.all([keeper.spawn(asked), keeper.spawn(asked)], { concurrency: 2 })
      assert.strictEqual(first.pid, second.pid)
      yield* until(() => existsSync(join(folder, "starts")))
      yield* keeper.stop(asked.attemptId, 0)
      assert.strictEqual(readFileSync(join(folder, "starts"), "utf8"), "x\n")
    }))))

  it.live("at its deadline work is killed, by nobody's asking", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, `trap '' TERM; ${forever}`, { leftMs: 200 })
      yield* keeper.spawn(asked)
      const exit = yield* keeper.wait(asked.attemptId)
      assert.deepInclude(exit, { signal: "SIGKILL", cause: "lease_ended" })
      assert.isAtLeast(exit!.endedAtMs, asked.deadlineMs)
    }))))

  it.live("what is asked for after its deadline is not begun", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const refused = yield* Effect.flip(keeper.spawn(order(folder, `touch ${join(folder, "begun")}`, { leftMs: 0 })))
      assert.include(refused.message, "the host's lease was over before it began")
      assert.isFalse(existsSync(join(folder, "begun")))
    }))))

  it.live("a deadline moves away when it is extended, and never nearer", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, forever, { leftMs: 400 })
      yield* keeper.spawn(asked)
      yield* keeper.extend([{ attemptId: asked.attemptId, deadlineMs: asked.deadlineMs + 400 }])
      yield* keeper.extend([{ attemptId: asked.attemptId, deadlineMs: asked.deadlineMs - 400 }])
      const exit = yield* keeper.wait(asked.attemptId)
      assert.isAtLeast(exit!.endedAtMs, asked.deadlineMs + 400)
    }))))

  it.live("is asked to stop work, which may end in its own way, or is ended after the grace", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const kind = order(folder, `trap 'exit 7' TERM; echo up; ${forever}`)
      const deaf = order(folder, `trap '' TERM; echo up; ${forever}`)
      for (const asked of [kind, deaf]) {
        yield* keeper.spawn(asked)
        yield* until(() => statSync(join(asked.folder, "stdout")).size > 0)
      }
      assert.deepInclude(yield* keeper.stop(kind.attemptId), { code: 7, cause: "stopped" })
      assert.deepInclude(yield* keeper.stop(deaf.attemptId, 50), { signal: "SIGKILL", cause: "stopped" })
    }))))

  it.live("outlives its agent, and the next one finds what runs and hears its end", () =>
    withFolder((folder) => Effect.gen(function*() {
      const asked = order(folder, `echo up; while [ ! -e ${join(folder, "go")} ]; do sleep 0.02; done; exit 5`)
      const first = yield* agent(folder, (keeper) => keeper.spawn(asked))
      yield* agent(folder, (keeper) => Effect.gen(function*() {
        const [kept] = yield* keeper.list
        assert.deepInclude(kept, { attemptId: asked.attemptId, pid: first.pid, startedAtMs: first.startedAtMs })
        const waiting = yield* Effect.forkChild(keeper.wait(asked.attemptId))
        yield* Effect.sync(() => rmSync(join(folder, "go"), { force: true }))
        assert.isTrue(alive(first.pid))
        yield* Effect.promise(() => import("node:fs/promises").then(({ writeFile }) => writeFile(join(folder, "go"), "")))
        assert.deepInclude(yield* Fiber.join(waiting), { code: 5, cause: "exited" })
      }))
    })))

  it.live("when it is killed all that it kept ends with it, though it left its group, and whoever waited is told", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, `echo $$ > ${join(folder, "leader")}; setsid /bin/sh -c 'echo $$ > ${join(folder, "apart")}; ${forever}' & ${forever}`)
      yield* keeper.spawn(asked)
      const pids = ["leader", "apart"].map((name) => join(folder, name))
      yield* until(() => pids.every((path) => existsSync(path) && readFileSync(path, "utf8").endsWith("\n")))
      const waiting = yield* Effect.forkChild(Effect.flip(keeper.wait(asked.attemptId)))
      yield* Effect.yieldNow
      process.kill(keeperPid(folder), "SIGKILL")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "KeeperLost")
      yield* until(() => pids.every((path) => !alive(Number(readFileSync(path, "utf8")))))
      // The next work has another keeper.
      const next = order(folder, "exit 0")
      yield* keeper.spawn(next)
      assert.deepInclude(yield* keeper.wait(next.attemptId), { code: 0 })
    }))))

  it.live("one that stands still is ended by the next agent, and its work with it", () =>
    withFolder((folder) => Effect.gen(function*() {
      const asked = order(folder, forever)
      const { pid } = yield* agent(folder, (keeper) => keeper.spawn(asked))
      const still = keeperPid(folder)
      process.kill(still, "SIGSTOP")
      yield* agent(folder, (keeper) => Effect.gen(function*() {
        assert.deepStrictEqual(yield* keeper.list, [])
        assert.isFalse(alive(pid))
        assert.notStrictEqual(keeperPid(folder), still)
      }))
    })), 20_000)

  it.live("leaves nothing behind when it is to end, itself included", () =>
    withFolder((folder) => Effect.gen(function*() {
      const asked = order(folder, forever)
      const host = join(folder, "host")
      const [work, keeper] = yield* Keeper.use((keeper) => Effect.map(keeper.spawn(asked), ({ pid }) => [pid, keeperPid(folder)] as const)).pipe(
        Effect.provide(Keeper.layer(host, { atClose: "end" }))
      )
      assert.isFalse(alive(work))
      yield* until(() => !alive(keeper))
      assert.isFalse(existsSync(keeperFiles(host).socket))
      assert.deepInclude(JSON.parse(readFileSync(join(asked.folder, "exit.json"), "utf8")), { cause: "stopped" })
    })))

  it.live("nobody else may speak to it, and its command line and environment hold nothing of the work", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, forever, { env: { SECRET: "hush-hush" } })
      yield* keeper.spawn(asked)
      assert.strictEqual(statSync(keeperFiles(join(folder, "host")).socket).mode & 0o077, 0)
      const seen = ["cmdline", "environ"].map((what) => readFileSync(`/proc/${keeperPid(folder)}/${what}`, "latin1")).join(" ")
      assert.notInclude(seen, "hush-hush")
      assert.notInclude(seen, asked.attemptId)
    }))))

  it.live("whoever speaks nonsense is hung up on, and the work goes on", () =>
    withFolder((folder) => agent(folder, (keeper) => Effect.gen(function*() {
      const asked = order(folder, forever)
      const { pid } = yield* keeper.spawn(asked)
      yield* Effect.promise(() => new Promise<void>((resolve) => {
        const socket = connect(keeperFiles(join(folder, "host")).socket, () => socket.write("{\"ask\":\"everything\"}\n"))
        socket.once("close", () => resolve())
      }))
      assert.isTrue(alive(pid))
      assert.lengthOf(yield* keeper.list, 1)
    }))))
})
