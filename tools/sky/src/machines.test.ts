import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { vi } from "vitest"
import { agents } from "./machines.ts"
import { namespaceFor } from "./namespaces.ts"
import { madeUp } from "./prices.ts"
import { Site } from "./site.ts"

const folder = Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "sky-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 })))

/** Says who it is to whoever connects. */
const saying = (word: string) => Effect.acquireRelease(
  Effect.callback<{ readonly server: Server; readonly port: number }>((resume) => {
    const server = createServer((socket) => socket.end(word)).listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, port: (server.address() as { port: number }).port })))
  }),
  ({ server }) => Effect.sync(() => void server.close())
)

describe("a machine in a network namespace", () => {
  it.live("reaches what its settings name, at the same address, and nothing else: no other port of this machine, and no other machine", () => Effect.scoped(Effect.gen(function*() {
    const home = yield* folder
    const [named, other] = [yield* saying("named"), yield* saying("other")]
    const program = join(home, "asks.mjs")
    writeFileSync(program, `
      import { connect } from "node:net"
      import { networkInterfaces } from "node:os"
      const ask = (port, host) => new Promise((resolve) => {
        const socket = connect(port, host)
        let said = ""
        socket.on("data", (data) => said += data).once("end", () => resolve(said)).once("error", (error) => resolve(error.code))
      })
      console.log(JSON.stringify([await ask(${named.port}, "127.0.0.1"), await ask(${other.port}, "127.0.0.1"), await ask(80, "169.254.169.254"), Object.keys(networkInterfaces())]))
      process.exit(0)
    `)
    const { close, command: [first, ...args] } = namespaceFor(program, { home, settings: { ADDRESS: `http://127.0.0.1:${named.port}/v1` } })
    const said = yield* Effect.callback<string>((resume) => {
      let text = ""
      const child = spawn(first, args, { stdio: ["ignore", "pipe", "inherit"] })
      child.stdout.on("data", (data: Buffer) => void (text += data.toString()))
      child.once("close", () => resume(Effect.succeed(text)))
    })
    close()
    assert.deepStrictEqual(JSON.parse(said), ["named", "ECONNREFUSED", "ENETUNREACH", ["lo"]])
  })))
})

describe("a machine with a dead man", () => {
  it.live.each([[true, "terminated", "turned_off"], [false, "stopped", undefined]] as const)("that has not heard from its cell turns itself off: where that ends it (%s) it is %s", ([endsWhenOff, stands, ended]) => Effect.scoped(Effect.gen(function*() {
    const home = yield* folder
    const power = agents({ folder: join(home, "machines") })
    yield* Effect.addFinalizer(() => Effect.promise(power.allOff))
    const site = new Site({ cloud: "test", billing: { stepMs: 1_000, minMs: 0, from: "asked", until: "gone" }, power })
    const files = [
      { path: "/etc/millrace/dead-man", content: "#!/bin/sh\necho \"$@\" > told\nsystemctl poweroff\nsleep 60\n" },
      { path: "/etc/systemd/system/millrace-dead-man.service", content: "[Service]\nExecStart=/bin/sh /etc/millrace/dead-man /run/millrace-heard 90 15\n" }
    ]
    const machine = site.make({ id: "m1", name: "one", ware: { name: "small", vcpus: 1, memoryGib: 1, gpu: undefined, gpus: 0, picoPerHour: 1n, source: madeUp }, region: "here", market: "on_demand", tags: {}, userData: `#cloud-config\n${JSON.stringify({ write_files: files })}`, picoPerHour: 1n, endsWhenOff }, 0)
    site.settle(1)
    while (machine.off !== true) yield* Effect.sleep(10)
    site.settle(2)
    assert.deepStrictEqual([machine.stands, machine.ended], [stands, ended])
    assert.strictEqual(readFileSync(join(home, "machines", "m1", "told"), "utf8"), `${join(home, "machines", "m1", "heard")} 90 15\n`)
  })).pipe(Effect.timeout(20_000)))
})

describe("all machines", () => {
  it.live("are off at once where one of them had crashed: nobody waits for an end that has been", () => Effect.scoped(Effect.gen(function*() {
    const home = yield* folder
    const power = agents({ folder: join(home, "machines") })
    const site = new Site({ cloud: "test", billing: { stepMs: 1_000, minMs: 0, from: "asked", until: "gone" }, power })
    site.make({ id: "m1", name: "one", ware: { name: "small", vcpus: 1, memoryGib: 1, gpu: undefined, gpus: 0, picoPerHour: 1n, source: madeUp }, region: "here", market: "on_demand", tags: {}, userData: "#cloud-config\n{}", picoPerHour: 1n }, 0)
    site.settle(1)
    const runs = () => readdirSync("/proc").filter((pid) => /^\d+$/u.test(pid) && cwdOf(pid) === join(home, "machines", "m1"))
    while (!existsSync(join(home, "machines", "m1", "agent.log"))) yield* Effect.sleep(10)
    assert.isTrue(power.crash("m1"))
    while (runs().length > 0) yield* Effect.sleep(10)
    // The end is told after the process has gone from the system.
    yield* Effect.sleep(50)
    vi.useFakeTimers({ toFake: ["setTimeout"] })
    yield* Effect.addFinalizer(() => Effect.sync(() => vi.useRealTimers()))
    yield* Effect.promise(power.allOff)
  })).pipe(Effect.timeout(20_000)))
})

const cwdOf = (pid: string): string => {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ""
  }
}
