import { findTool } from "@millrace/bootstrap"
import { testDatabase } from "@millrace/infra-postgres"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import postgres from "postgres"
import { prepareCell } from "./cell-folder.ts"
import { processes, serverPorts, serving, usualPorts } from "./places.ts"
import { freePorts } from "@millrace/infra-ports"
import { accountHere, contain, type Contained, type Loopback, passable, removeContained, type Running, runPart } from "./testing/contained.ts"

const patienceMs = 150_000

/** Asks until an answer is the wanted one. What it never becomes is told. */
const until = async <A>(what: string, ask: () => Promise<A | undefined>, detail: () => string): Promise<A> => {
  for (const endMs = Date.now() + patienceMs; Date.now() < endMs;) {
    const found = await ask().catch(() => undefined)
    if (found !== undefined) return found
    await new Promise((wake) => setTimeout(wake, 50))
  }
  throw new Error(`${what} did not come within ${patienceMs} ms:\n${detail()}`)
}

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-deploy-"))),
  (path) => Effect.sync(() => removeContained(path))
)

/** The roles that the prepared folder asks for, made as PostgreSQL's image makes them: by running the file. */
const makeRoles = (url: string, sql: string) =>
  Effect.promise(async () => {
    const client = postgres(url, { max: 1, onnotice: () => {} })
    try {
      for (const statement of sql.split(";\n").filter((text) => text.trim() !== "")) await client.unsafe(statement)
    } finally {
      await client.end({ timeout: 2 })
    }
  })

/** A child that is gone when the scope closes, whatever happened. */
const child = (start: () => ChildProcess) =>
  Effect.acquireRelease(Effect.sync(start), (running) =>
    Effect.promise(async () => {
      if (running.exitCode !== null || running.signalCode !== null) return
      const ended = new Promise((resolve) => running.once("exit", resolve))
      running.kill("SIGKILL")
      await ended
    }))

const running = (contained: Contained) =>
  Effect.acquireRelease(Effect.sync(() => runPart(contained)), (process) => Effect.promise(() => (process.stop("SIGKILL"), process.ended)))

it.live("a prepared cell serves: every process starts with its container's files and environment alone, settles a job, and stops", () =>
  Effect.gen(function*() {
    const into = yield* folder
    const account = accountHere()
    const cell = yield* prepareCell({ folder: join(into, "cell"), account })
    passable(into, cell.folder, join(cell.folder, "state"), join(cell.folder, "state/checkpoints"))
    const database = new URL(yield* testDatabase())
    yield* makeRoles(database.href, readFileSync(join(cell.folder, "keys/database/roles.sql"), "utf8"))

    const [natsPort = 0, monitorPort = 0, ...rest] = yield* freePorts(2 + serving.length + processes.length)
    const portOf = new Map<number, number>([[serverPorts.nats, natsPort], [serverPorts.postgres, Number(database.port)], [serverPorts.natsMonitor, monitorPort], ...serving.map((name, at) => [usualPorts[name], rest[at]!] as const)])
    const healthPort = (name: string) => rest[serving.length + processes.findIndex((one) => one === name)]!
    const loopback: Loopback = {
      healthPort,
      text: (text) => text
        .replace(/((?:nats|https?):\/\/|@)(?:nats|postgres|gateway|access|metering|scheduler|broker|snapshots):(\d+)/gu, (_, before: string, port: string) => `${before}127.0.0.1:${portOf.get(Number(port))}`)
        .replace(/^0\.0\.0\.0$/u, "127.0.0.1")
        .replace(/^\d{4}$/u, (port) => String(portOf.get(Number(port)) ?? port))
    }
    const containers = join(into, "containers")

    // The log's server, by the text that its container reads, on loopback.
    const store = join(cell.folder, "state/nats")
    const config = join(into, "nats-server.conf")
    writeFileSync(config, readFileSync(join(cell.folder, "keys/nats-server.conf"), "utf8")
      .replaceAll('"/data', `"${store}`)
      .replace(`"0.0.0.0:${serverPorts.nats}"`, `"127.0.0.1:${natsPort}"`)
      .replace(`:${serverPorts.natsMonitor}"`, `:${monitorPort}"`))
    mkdirSync(store, { recursive: true })
    yield* child(() => spawn(findTool("natsServer").path, ["-c", config], { stdio: "ignore" }))

    const provision = yield* running(contain(cell.folder, containers, "provision", account, loopback))
    assert.strictEqual(yield* Effect.promise(() => provision.ended), 0, provision.said())

    const contained = processes.map((name) => contain(cell.folder, containers, name, account, loopback))
    const touchedMs = contained.map((one) => one.keysTouchedMs())
    const ready = ({ ended, name, said }: Running) =>
      Promise.race([
        until(`${name} ready`, async () => (await fetch(`http://127.0.0.1:${healthPort(name)}/readyz`)).ok ? true : undefined, said),
        ended.then((code) => Promise.reject(new Error(`${name} ended with ${code} before it was ready:\n${said()}`)))
      ])
    const all: Array<Running> = []
    // As compose does: who waits for others of them is started when those are ready.
    const waits = ({ part }: Contained) => part.waitsFor.some((name) => (processes as ReadonlyArray<string>).includes(name))
    for (const wave of [contained.filter((one) => !waits(one)), contained.filter(waits)]) {
      const started = yield* Effect.forEach(wave, running)
      all.push(...started)
      yield* Effect.promise(() => Promise.all(started.map(ready)))
    }

    const api = `http://127.0.0.1:${portOf.get(usualPorts.gateway)}`
    const headers = { authorization: `Bearer ${readFileSync(cell.tokenFile, "utf8").trim()}`, "content-type": "application/json" }
    const told = () => all.map(({ name, said }) => `--- ${name}\n${said()}`).join("\n")
    const { jobId } = yield* Effect.promise(() => until("a job", async () => {
      const answer = await fetch(`${api}/v1/jobs`, {
        method: "POST",
        headers: { ...headers, "idempotency-key": "the-first" },
        body: JSON.stringify({ runtime: "noop", trust: "own", resources: { cpuMilli: 100, memoryMib: 16, diskMib: 0, gpus: 0 }, argv: ["true"], env: {}, labels: {}, attemptsMax: 1, runMsMax: 10_000, onSilence: { keepMs: 60_000 } })
      })
      if (!answer.ok) throw new Error(await answer.text())
      return await answer.json() as { readonly jobId: string }
    }, told))
    const settled = yield* Effect.promise(() => until("its end", async () => {
      const { job } = await (await fetch(`${api}/v1/jobs/${jobId}`, { headers })).json() as { readonly job: { readonly state: string } }
      return job.state === "queued" || job.state === "placed" || job.state === "running" || job.state === "submitted" ? undefined : job.state
    }, told))
    assert.strictEqual(settled, "succeeded")

    // Whose reads the router mounts: each answered by the part that serves it, through its own address and tables.
    for (const path of ["/v1/principals", "/v1/usage", "/v1/leases", "/v1/snapshots"]) {
      assert.strictEqual(yield* Effect.promise(async () => (await fetch(`${api}${path}`, { headers })).status), 200, path)
    }

    for (const { stop } of all) stop()
    const codes = yield* Effect.promise(() => Promise.all(all.map(async ({ ended, name }) => [name, await ended] as const)))
    assert.deepStrictEqual(codes, all.map(({ name }) => [name, 0] as const), told())
    assert.deepStrictEqual(contained.map((one) => one.keysTouchedMs()), touchedMs, "a key's folder was written, which a container cannot")
  }).pipe(Effect.scoped), 300_000)
