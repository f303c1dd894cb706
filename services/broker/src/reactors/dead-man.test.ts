import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, existsSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { deadManOf } from "./dead-man.ts"
import { userDataOf } from "./one-time-key.ts"

const folder = Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "dead-man-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true })))

/** A dead man in a real shell, beside a `systemctl` and a `sleep` that write down what they were asked for; `during` happens in each of its pauses. */
const lives = Effect.fnUntraced(function*(silentS: number, during: (pause: number, heard: string) => void) {
  const home = yield* folder
  const [heard, calls, turn] = [join(home, "heard"), join(home, "calls"), join(home, "turn")]
  const program = (name: string, text: string) => writeFileSync(join(home, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  program("systemctl", `echo "$@" >> ${calls}\n[ "$#" = 1 ] || kill -9 $PPID`)
  // Waits for the test, which lets each pause end when it has seen it.
  program("sleep", `echo "$1" >> ${calls}\nwhile [ ! -e ${turn} ]; do /bin/sleep 0.01; done\nrm ${turn}`)
  const script = join(home, "dead-man")
  writeFileSync(script, deadManOf(1_000).files[0]!.content)
  const child = spawn("/bin/sh", [script, heard, String(silentS), "15"], { env: { PATH: `${home}:/bin:/usr/bin` }, stdio: "ignore", detached: true })
  yield* Effect.addFinalizer(() => Effect.sync(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, "SIGKILL")
  }))
  const lines = (): ReadonlyArray<string> => (existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : [])
  for (let pause = 1; pause <= 40; pause += 1) {
    while (lines().length < pause && child.exitCode === null) yield* Effect.sleep(5)
    if (lines().includes("poweroff")) break
    during(pause, heard)
    writeFileSync(turn, "")
    while (existsSync(turn) && child.exitCode === null) yield* Effect.sleep(5)
  }
  return lines()
})

describe("a machine that does not hear from its cell", () => {
  it.live("turns itself off when its agent never came", () => Effect.scoped(Effect.gen(function*() {
    const calls = yield* lives(60, () => undefined)
    // One pause to see that there is nothing, and four that change nothing.
    assert.deepStrictEqual(calls.slice(0, 6), ["15", "15", "15", "15", "15", "poweroff"])
  })))

  it.live("turns itself off so long after it has last heard, and not sooner", () => Effect.scoped(Effect.gen(function*() {
    const calls = yield* lives(60, (pause, heard) => pause <= 10 ? writeFileSync(heard, `${pause}\n`) : undefined)
    assert.strictEqual(calls.indexOf("poweroff"), 10 + 4)
  })))

  it("is told so with its user data, before its agent starts, and only where turning off ends it", () => {
    const configOf = (text: string) => JSON.parse(text.slice(text.indexOf("\n"))) as { write_files: ReadonlyArray<{ path: string; content: string }>; runcmd: ReadonlyArray<ReadonlyArray<string>> }
    const key = Redacted.make("k")
    const [with_, without] = [configOf(userDataOf("A=1\n", key, 90_000)), configOf(userDataOf("A=1\n", key))]
    assert.deepStrictEqual(with_.runcmd.map((command) => command.at(-1)), ["millrace-dead-man", "millrace-host"])
    assert.include(with_.write_files.find(({ path }) => path.endsWith(".service"))?.content, "ExecStart=/bin/sh /etc/millrace/dead-man /run/millrace-heard 90 15")
    assert.strictEqual(with_.write_files.find(({ path }) => path.endsWith("host.env"))?.content, "A=1\nMILLRACE_DEAD_MAN_FILE=/run/millrace-heard\n")
    assert.deepStrictEqual([without.runcmd.length, without.write_files.length], [1, 2])
  })
})
