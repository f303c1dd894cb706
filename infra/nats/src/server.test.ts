import { assert, describe, it } from "@effect/vitest"
import { jetstream, jetstreamManager } from "@nats-io/jetstream"
import { connect, type NatsConnection } from "@nats-io/transport-node"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { startCluster } from "./cluster.ts"
import { isAlive } from "./holder.ts"
import { startServer } from "./server.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-nats-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)
const client = (servers: string | ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.promise(() => connect({ servers: [servers].flat(), reconnectTimeWait: 50, maxReconnectAttempts: 200 })),
    (connection) => Effect.promise(() => connection.close())
  )
const store = async (connection: NatsConnection, replicas: number) => {
  await (await jetstreamManager(connection)).streams.add({ name: "T", subjects: ["t.>"], num_replicas: replicas })
  return (await jetstream(connection).publish("t.a", "kept")).seq
}
const read = async (connection: NatsConnection) =>
  (await (await jetstreamManager(connection, { checkAPI: false, timeout: 1_000 })).streams.getMessage("T", { last_by_subj: "t.a" }))?.string()

describe("startServer", () => {
  it.live("serves on loopback, keeps what was acknowledged over a kill, and ends with its scope", () =>
    Effect.gen(function*() {
      const storeDir = yield* folder
      const pid = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* startServer({ storeDir })
        const before = yield* client(server.url)
        assert.strictEqual(yield* Effect.promise(() => store(before, 1)), 1)
        const first = server.pid()
        yield* server.kill
        assert.isFalse(isAlive(first))
        yield* server.restart
        assert.notStrictEqual(server.pid(), first)
        const after = yield* client(server.url)
        assert.strictEqual(yield* Effect.promise(() => read(after)), "kept")
        return server.pid()
      }))
      assert.isFalse(isAlive(pid))
    }))

  it.live("syncs every message by default: the configuration says so, and a server that could not would refuse it", () =>
    Effect.gen(function*() {
      const storeDir = yield* folder
      yield* startServer({ storeDir })
      assert.match(readFileSync(join(storeDir, "nats-server.conf"), "utf8"), /sync_interval: always/)
      const hurried = yield* folder
      yield* startServer({ storeDir: hurried, syncAlways: false })
      assert.notMatch(readFileSync(join(hurried, "nats-server.conf"), "utf8"), /sync_interval/)
    }))

  it.live("a folder that a living process holds is refused", () =>
    Effect.gen(function*() {
      const storeDir = yield* folder
      const server = yield* startServer({ storeDir })
      const refused = yield* Effect.flip(startServer({ storeDir }))
      assert.strictEqual(refused.reason, "held_by_another")
      assert.isTrue(isAlive(server.pid()))
    }))

  it.live("a server whose holder was killed is stopped, and its folder serves again", () =>
    Effect.gen(function*() {
      const storeDir = yield* folder
      const script = `
        import { Effect } from "effect"
        import { startServer } from ${JSON.stringify(join(import.meta.dirname, "server.ts"))}
        await Effect.runPromise(Effect.scoped(Effect.andThen(startServer({ storeDir: ${JSON.stringify(storeDir)} }),
          (server) => Effect.andThen(Effect.sync(() => console.log(server.pid())), Effect.sleep("60 seconds")))))`
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: import.meta.dirname, stdio: ["ignore", "pipe", "inherit"] })
      const orphan = yield* Effect.promise(() => new Promise<number>((resolve) => child.stdout.once("data", (text) => resolve(Number(String(text))))))
      child.kill("SIGKILL")
      yield* Effect.promise(() => new Promise((gone) => child.once("exit", gone)))
      assert.isTrue(isAlive(orphan), "the kill must leave an orphan behind, or this shows nothing")
      const server = yield* startServer({ storeDir })
      assert.isFalse(isAlive(orphan))
      assert.isTrue(isAlive(server.pid()))
    }))

  it.live("a port that is taken is said so, and leaves the folder free", () =>
    Effect.gen(function*() {
      const storeDir = yield* folder
      const first = yield* startServer({ storeDir: yield* folder })
      const refused = yield* Effect.flip(startServer({ storeDir, port: first.port }))
      assert.strictEqual(refused.reason, "would_not_start")
      assert.match(refused.message, /address already in use/)
      const server = yield* startServer({ storeDir })
      yield* server.freeze
      yield* server.restart
    }))

  it.live("a server older than 2.12.3 is refused in a sentence", () =>
    Effect.gen(function*() {
      const storeDir = yield* folder
      const old = join(storeDir, "nats-server")
      writeFileSync(old, "#!/bin/sh\necho 'nats-server: v2.9.10'\n", { mode: 0o755 })
      const named = process.env["MILLRACE_NATS_SERVER"]
      process.env["MILLRACE_NATS_SERVER"] = old
      const refused = yield* Effect.flip(startServer({ storeDir })).pipe(Effect.ensuring(Effect.sync(() => {
        if (named === undefined) delete process.env["MILLRACE_NATS_SERVER"]
        else process.env["MILLRACE_NATS_SERVER"] = named
      })))
      assert.strictEqual(refused.reason, "too_old")
      assert.match(refused.message, /2\.9\.10.*older than 2\.12\.3.*Remedy/)
    }))

  it.live("a server that ends by itself is noticed", () =>
    Effect.gen(function*() {
      const server = yield* startServer({ storeDir: yield* folder })
      process.kill(server.pid(), "SIGKILL")
      const noticed = yield* Effect.flip(server.watch)
      assert.strictEqual(noticed.reason, "ended")
      assert.match(noticed.detail, /SIGKILL/)
    }))
})

describe("startCluster", () => {
  it.live("three nodes keep what was acknowledged when one is killed and comes back", () =>
    Effect.gen(function*() {
      const cluster = yield* startCluster({ nodes: 3, storeDir: yield* folder })
      assert.strictEqual(new Set(cluster.pids()).size, 3)
      const connection = yield* client(cluster.urls.slice(1))
      yield* Effect.promise(() => store(connection, 3))
      yield* cluster.kill(0)
      yield* cluster.ready([1, 2])
      // The node may have led the stream: until another does, nobody answers for it.
      const kept = yield* Effect.tryPromise(() => read(connection)).pipe(Effect.retry({ times: 20 }))
      assert.strictEqual(kept, "kept")
      yield* cluster.restart(0)
      yield* cluster.ready()
    }))
})
