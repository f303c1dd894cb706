import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { type Child, startChild } from "./testing.ts"

const FIXTURE = join(import.meta.dirname, "testing", "fixture.ts")

/** What one child has compiled need not be compiled by the next. */
const compiled = mkdtempSync(join(tmpdir(), "millrace-compiled-"))
afterAll(() => rmSync(compiled, { recursive: true, force: true }))

const start = (does: string, env: Readonly<Record<string, string>> = {}): Effect.Effect<Child, never, Scope.Scope> =>
  startChild(FIXTURE, { FIXTURE_DOES: does, NODE_COMPILE_CACHE: compiled, ...env })

const started = (child: Child) => child.line(({ message }) => message === "it has started")
const addressOf = (child: Child) =>
  Effect.map(child.line(({ message }) => message === "health is served"), ({ about }) => (about as { readonly address: string }).address)
const messages = (child: Child) => child.lines.map(({ message }) => message)
const fatal = (child: Child) => child.lines.filter(({ level }) => level === "fatal")

const get = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) })
    return { status: response.status, type: response.headers.get("content-type"), body: await response.text() }
  })

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-service-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

describe.concurrent("a service as a process", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.live(`is ready when it has started, and gives everything back when ${signal} asks, and exits with 0`, () =>
      Effect.gen(function*() {
        const child = yield* start("run")
        yield* started(child)
        assert.deepStrictEqual((yield* get(`${yield* addressOf(child)}/readyz`)).body, `{"ready":true,"reasons":[]}`)
        yield* child.signal(signal)
        assert.deepStrictEqual(yield* child.exited, { code: 0, signal: null })
        assert.deepStrictEqual(messages(child).slice(1), ["it has started", `it is stopping, as ${signal} asks`, "the door is closed", "it has stopped"])
      }))
  }

  it.live("that does not let go is left behind at the deadline, with 75", () =>
    Effect.gen(function*() {
      const child = yield* start("hold", { MILLRACE_STOP_WITHIN: "100 millis" })
      yield* started(child)
      yield* child.signal("SIGTERM")
      assert.strictEqual((yield* child.exited).code, 75)
      assert.match(String(messages(child).at(-1)), /^something did not let go within 100ms/u)
    }))

  it.live("that is told twice to stop does so at once, with 130", () =>
    Effect.gen(function*() {
      const child = yield* start("hold", { MILLRACE_STOP_WITHIN: "1 hour" })
      yield* started(child)
      yield* child.signal("SIGTERM")
      yield* child.line(({ message }) => message === "it is stopping, as SIGTERM asks")
      yield* child.signal("SIGINT")
      assert.strictEqual((yield* child.exited).code, 130)
    }))

  it.live("that cannot start says so in one sentence, with 69", () =>
    Effect.gen(function*() {
      const child = yield* start("refuse")
      assert.strictEqual((yield* child.exited).code, 69)
      assert.deepStrictEqual(fatal(child).map(({ cause, message }) => ({ cause, message })), [{
        cause: undefined,
        message: "The log refuses us: these are credentials for another service. Check MILLRACE_NATS_CREDS"
      }])
    }))

  it.live("whose worker is refused for good ends with that sentence, and 69", () =>
    Effect.gen(function*() {
      const child = yield* start("late refusal")
      assert.strictEqual((yield* child.exited).code, 69)
      assert.match(String(fatal(child)[0]?.message), /^The log refuses us/u)
      assert.include(messages(child), "the door is closed")
    }))

  for (const does of ["late bug", "thrown"]) {
    it.live(`dies of a bug with its cause logged once, and 70: ${does}`, () =>
      Effect.gen(function*() {
        const child = yield* start(does)
        assert.strictEqual((yield* child.exited).code, 70)
        assert.deepStrictEqual(fatal(child).map(({ message }) => message), ["a bug ends this process"])
        assert.match(String(fatal(child)[0]?.["cause"]), /^Error: (two and two are five|thrown in a callback)\n/u)
        assert.deepStrictEqual(child.lines.filter(({ level }) => level !== "fatal" && level !== "info"), [])
      }))
  }

  it.live("with wrong settings says each fault, with 78, before it starts anything", () =>
    Effect.gen(function*() {
      const child = yield* start("dance", { FIXTURE_GATE: "wide", MILLRACE_STOP_WITHIN: "soon" })
      assert.strictEqual((yield* child.exited).code, 78)
      assert.deepStrictEqual(messages(child).map((message) => String(message).split(" ")[0]), ["MILLRACE_STOP_WITHIN", "FIXTURE_DOES", "FIXTURE_GATE"])
    }))

  it.live("explains its settings and exit codes with --help, and needs none to do so", () =>
    Effect.gen(function*() {
      const child = yield* startChild(FIXTURE, {}, ["--help"])
      assert.strictEqual((yield* child.exited).code, 0)
      assert.match(child.stdout(), /^FIXTURE_DOES +how it behaves +one of the words .* \(must be set\)$/mu)
      assert.match(child.stdout(), /^MILLRACE_HEALTH_PORT .*default: 0$/mu)
      assert.match(child.stdout(), /^ +75 +it was asked to stop, and something did not let go in time$/mu)
    }))

  it.live("answers how it is: alive, what it waits for, and its metrics", () =>
    Effect.gen(function*() {
      const child = yield* start("wait")
      yield* started(child)
      const address = yield* addressOf(child)
      assert.match(address, /^http:\/\/127\.0\.0\.1:/u)
      assert.deepStrictEqual(yield* get(`${address}/healthz`), { status: 200, type: "application/json; charset=utf-8", body: `{"alive":true}` })
      const waiting = yield* get(`${address}/readyz`)
      const { ready, reasons } = JSON.parse(waiting.body) as { ready: boolean; reasons: Array<{ name: string; reason: string }> }
      assert.deepStrictEqual([waiting.status, ready, reasons.map(({ name, reason }) => [name, reason])], [
        503,
        false,
        [["projection fixture.rows", "it is 1200 facts behind"]]
      ])
      const metrics = yield* get(`${address}/metrics`)
      assert.strictEqual(metrics.status, 200)
      assert.match(metrics.type ?? "", /^text\/plain; version=0\.0\.4/u)
      assert.match(metrics.body, /^millrace_service_up\{service="fixture"\} 1$/mu)
      assert.match(metrics.body, /^process_resident_memory_bytes [1-9][0-9]+$/mu)
      assert.strictEqual((yield* get(`${address}/elsewhere`)).status, 404)
    }))

  it.live("whose health port is taken says which setting mends it, with 69", () =>
    Effect.gen(function*() {
      const other = createServer()
      yield* Effect.acquireRelease(
        Effect.promise(() => new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve))),
        () => Effect.promise(() => new Promise<void>((resolve) => other.close(() => resolve())))
      )
      const child = yield* start("run", { MILLRACE_HEALTH_PORT: String((other.address() as AddressInfo).port) })
      assert.strictEqual((yield* child.exited).code, 69)
      assert.match(String(fatal(child)[0]?.message), /EADDRINUSE.*MILLRACE_HEALTH_PORT/u)
    }))

  it.live("tells no secret in its log, however it got there", () =>
    Effect.gen(function*() {
      const child = yield* start("tell", { FIXTURE_PASSWORD: "open-sesame-31" })
      const line = yield* child.line(({ message }) => message === "what I know")
      assert.deepStrictEqual(line["about"], { password: "<redacted>", shown: "postgres://me:<password in an address masked>@db/mill" })
      assert.notInclude(JSON.stringify(child.lines), "sesame")
    }))
})

describe.concurrent("crash points", () => {
  it.live("kill the process at the passing that was asked for, with nothing said or given back", () =>
    Effect.gen(function*() {
      const log = join(yield* folder, "points")
      const child = yield* start("pass", { MILLRACE_FAULTS: "1", MILLRACE_CRASH_AT: "append A before#2", MILLRACE_CRASH_LOG: log })
      assert.deepStrictEqual(yield* child.exited, { code: null, signal: "SIGKILL" })
      assert.deepStrictEqual(messages(child).slice(1), ["at append A before", "at append A after", "at append A before"])
      assert.strictEqual(readFileSync(log, "utf8"), "append A before\nappend A after\ndied at append A before\n")
    }))

  it.live("do nothing without MILLRACE_FAULTS=1", () =>
    Effect.gen(function*() {
      const log = join(yield* folder, "points")
      const child = yield* start("pass", { MILLRACE_CRASH_AT: "append A before", MILLRACE_CRASH_LOG: log })
      yield* started(child)
      yield* child.signal("SIGTERM")
      assert.strictEqual((yield* child.exited).code, 0)
      assert.include(messages(child), "all points are passed")
      assert.isFalse(existsSync(log))
    }))
})

describe("planted bugs", () => {
  it.live("cannot be planted from outside a process", () =>
    Effect.gen(function*() {
      const child = yield* start("planted", {
        MILLRACE_FAULTS: "1",
        MILLRACE_PLANTED_BUGS: "forget-acks",
        PLANTED_BUGS: "forget-acks",
        "millrace/PlantedBugs": "forget-acks"
      })
      yield* child.line(({ message }) => message === "planted: false")
    }))
})
