import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { headOf, plainDatagram, question } from "./datagram.ts"
import { keepSwitch } from "./switch.ts"
import { framed, type PortHello, words } from "./switch-words.ts"

const network = "0011223344556677"

/** A member's port that says what it is told to, and counts what it hears. */
const portOf = (socket: string, rank: number, hosts: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly line: Socket; readonly heard: Promise<"heard" | "closed"> }>((resume) => {
      const line = connect(socket)
      line.on("error", () => undefined)
      const heard = new Promise<"heard" | "closed">((told) => {
        line.once("close", () => told("closed"))
        line.on("data", words((word) => void (headOf(word)?.kind === "plain" && told("heard"))))
      })
      line.once("connect", () => {
        line.write(framed(Buffer.from(JSON.stringify({ kind: "port", network, rank, hosts } satisfies PortHello))))
        resume(Effect.succeed({ line, heard }))
      })
    }),
    ({ line }) => Effect.sync(() => void line.destroy())
  )

it.live("goes on for everybody when a placement names a host where no datagram can be sent", () =>
  Effect.gen(function*() {
    const folder = mkdtempSync(join(tmpdir(), "millrace-switch-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
    const { at, socket } = yield* keepSwitch(folder, "127.0.0.1")
    const hosts = [at!, at!, "127.0.0.1:70000", "127.0.0.1:0", "no such host:7000"]
    const [first, second] = yield* Effect.all([portOf(socket, 0, hosts), portOf(socket, 1, hosts)])
    for (const to of [2, 3, 4]) first.line.write(framed(question({ network, to, from: 0 }, "asked", 100)))
    // Both ports greet on lines of their own, so it is said until it is heard; a switch that has died closes the line.
    const saying = setInterval(() => first.line.write(framed(plainDatagram({ network, to: 1, from: 0 }, Buffer.from("still there")))), 20)
    yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(saying)))
    assert.strictEqual(yield* Effect.promise(() => second.heard), "heard")
  }).pipe(Effect.scoped), 30_000)

const switchesIn = (folder: string): ReadonlyArray<number> =>
  readdirSync("/proc").filter((pid) => /^\d+$/u.test(pid)).map(Number).filter((pid) => {
    try {
      const [, main = "", at] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
      return main.endsWith("switch-main.ts") && at === folder
    } catch {
      return false
    }
  })

it.live("gives way to another one where it stands still, with the ports that it had", () =>
  Effect.gen(function*() {
    const folder = mkdtempSync(join(tmpdir(), "millrace-switch-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => {
      for (const pid of switchesIn(folder)) process.kill(pid, "SIGKILL")
      rmSync(folder, { recursive: true, force: true })
    }))
    const agent = yield* Scope.make()
    const first = yield* keepSwitch(folder, "127.0.0.1").pipe(Scope.provide(agent))
    const port = yield* portOf(first.socket, 0, [first.at!])
    yield* Scope.close(agent, Exit.void)
    const before = switchesIn(folder)
    process.kill(before[0]!, "SIGSTOP")
    const second = yield* keepSwitch(folder, "127.0.0.1")
    assert.strictEqual(second.at, first.at)
    assert.strictEqual(yield* Effect.promise(() => port.heard), "closed")
    const after = switchesIn(folder)
    assert.deepStrictEqual([before.length, after.length, after.includes(before[0]!)], [1, 1, false])
  }).pipe(Effect.scoped), 60_000)
