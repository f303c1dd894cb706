import { assert, describe, it } from "@effect/vitest"
import { configText } from "@millrace/infra-nats"
import { Effect } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { prepareCell } from "./cell-folder.ts"
import { generated } from "./generated.ts"
import { keyFiles, parts } from "./parts.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => join(mkdtempSync(join(tmpdir(), "millrace-prepare-")), "cell")),
  (path) => Effect.sync(() => rmSync(join(path, ".."), { recursive: true, force: true }))
)

const account = { uid: process.getuid!(), gid: process.getgid!() }
const program = new URL("./prepare.ts", import.meta.url).pathname

const filesIn = (cell: string): Readonly<Record<string, string>> =>
  Object.fromEntries(readdirSync(cell, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).toSorted().map((path) => [path, readFileSync(path, "utf8")]))

describe("a prepared folder", () => {
  it.live("has every file and folder that a container is given, secrets for their owner alone", () =>
    Effect.gen(function*() {
      const cell = yield* folder
      yield* prepareCell({ folder: cell, account })
      for (const { from, name } of keyFiles) {
        const { mode } = statSync(join(cell, from))
        assert.strictEqual(mode & 0o777, from.endsWith(".pub") ? 0o644 : 0o600, name)
        assert.isAbove(statSync(join(cell, from)).size, 0, name)
      }
      for (const { from } of parts.flatMap(({ state }) => state)) assert.strictEqual(statSync(join(cell, from)).mode & 0o777, 0o700, from)
      assert.strictEqual(statSync(join(cell, "keys/token")).mode & 0o777, 0o600)
      for (const name of ["compose.yaml", "kubernetes.yaml", "kustomization.yaml"] as const) assert.strictEqual(readFileSync(join(cell, name), "utf8"), generated()[name])
    }).pipe(Effect.scoped))

  it.live("stays as it is when it is prepared again", () =>
    Effect.gen(function*() {
      const cell = yield* folder
      yield* prepareCell({ folder: cell, account })
      const before = filesIn(cell)
      yield* prepareCell({ folder: cell, account })
      assert.deepStrictEqual(filesIn(cell), before)
    }).pipe(Effect.scoped))

  it.live("is finished by the next run, wherever one was killed, and loses no key that was made", () =>
    Effect.gen(function*() {
      const cell = yield* folder
      const kept = new Map<string, string>()
      let killed = 0
      // Killed as soon as the next of these is there, each time a little further.
      for (const name of ["keys/cell.pem", "keys/one-time-key", "keys/database/access.password"]) {
        const child = spawn(process.execPath, [program, "--folder", cell], { stdio: "ignore" })
        const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once("exit", (_, signal) => resolve(signal)))
        yield* Effect.promise(async () => {
          while (!existsSync(join(cell, name)) && child.exitCode === null) await new Promise((wake) => setTimeout(wake, 1))
          child.kill("SIGKILL")
          if ((await ended) === "SIGKILL") killed += 1
        })
        for (const [path, text] of kept) assert.strictEqual(readFileSync(path, "utf8"), text, path)
        for (const one of ["cell.pem", "session.pem", "token", "one-time-key", "broker-key"]) {
          const path = join(cell, "keys", one)
          if (existsSync(path)) kept.set(path, readFileSync(path, "utf8"))
        }
      }
      assert.isAbove(killed, 0)
      yield* prepareCell({ folder: cell, account })
      for (const [path, text] of kept) assert.strictEqual(readFileSync(path, "utf8"), text, path)
      for (const { from } of keyFiles) assert.isAbove(statSync(join(cell, from)).size, 0, from)
    }).pipe(Effect.scoped))

  it.live("is made by one command, which tells where the owner's token lies and never the token", () =>
    Effect.gen(function*() {
      const cell = yield* folder
      const said = execFileSync(process.execPath, [program, "--folder", cell], { encoding: "utf8" })
      const token = readFileSync(join(cell, "keys/token"), "utf8").trim()
      assert.match(token, /^mill_[\w-]{43}$/u)
      assert.include(said, join(cell, "keys/token"))
      assert.notInclude(said, token)
      assert.notInclude(readFileSync(join(cell, "keys/owner.json"), "utf8"), token)
    }).pipe(Effect.scoped))
})

describe("the log's configuration", () => {
  const config = { name: "n", port: 4222, storeDir: "/data", syncAlways: true, maxPayloadBytes: 1_000, monitorPort: 8222 }

  it("opens the clients' listener alone, and only where it is told to", () => {
    const listeners = (text: string) => text.split("\n").filter((line) => /^(listen|http):/u.test(line))
    assert.deepStrictEqual(listeners(configText(config)), ['listen: "127.0.0.1:4222"', 'http: "127.0.0.1:8222"'])
    assert.deepStrictEqual(listeners(configText({ ...config, listen: "0.0.0.0" })), ['listen: "0.0.0.0:4222"', 'http: "127.0.0.1:8222"'])
  })
})
