import { assert, describe, it } from "@effect/vitest"
import { findTool } from "@millrace/bootstrap"
import { Effect } from "effect"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { probeSandbox, type Proven } from "./sandbox-probe.ts"
import { provenSandbox, verifyProof } from "./sandbox-proof.ts"

const host = mkdtempSync(join(tmpdir(), "millrace-proof-"))
const tool = findTool("runsc")
const found = await Effect.runPromise(probeSandbox({ runsc: "path" in tool ? tool.path : "/nowhere/runsc", folder: host }))
const able = "ground" in found && found.memory && found.pids && found.cpu && found.disk

const kept = join(host, "sandbox-proof.json")
const calls = join(host, "calls")
const runsc = join(host, "runsc")
const options = { runsc, folder: host, agentVersion: "1" }
/** A runsc that writes down each time it is run. */
const lay = (script: string) => writeFileSync(runsc, `#!/bin/sh\necho . >> ${calls}\n${script}\n`, { mode: 0o755 })
/** The check, at once. */
const verified = (said: Parameters<typeof verifyProof>[1]) => verifyProof(options, said, 0)
const called = (): number => existsSync(calls) ? readFileSync(calls, "utf8").length : 0

afterAll(() => {
  if ("ground" in found) rmSync(found.ground.folder, { recursive: true, force: true })
  rmSync(host, { recursive: true, force: true })
})

describe("what a sandbox proved", () => {
  it.live("is not kept where it proved nothing", () => Effect.gen(function*() {
    assert.property(yield* provenSandbox({ ...options, runsc: "/bin/true" }), "why")
    assert.isFalse(existsSync(kept))
  }))

  if (able) it.live("is believed by the next start under the same circumstances alone, and thrown away when it no longer holds", () => Effect.gen(function*() {
    lay(`exec ${(found as Proven).ground.runsc} "$@"`)
    const first = yield* provenSandbox(options)
    assert.include(first, { memory: true, pids: true, cpu: true, disk: true })
    const runs = called()
    assert.isAbove(runs, 4)
    assert.deepStrictEqual(yield* provenSandbox(options), first)
    assert.strictEqual(called(), runs, "nothing was run")
    yield* verified(first)
    assert.isTrue(existsSync(kept))

    const text = readFileSync(kept, "utf8")
    lay("exit 1")
    assert.strictEqual((yield* Effect.timeoutOption(verified(first), 1_500))._tag, "None", "nothing was gone past: it looks again later")
    assert.isFalse(existsSync(kept), "and the next start proves for itself")
    lay(`[ "$1" = --version ] && exec ${(found as Proven).ground.runsc} "$@"; exit 42`)
    assert.match((yield* Effect.flip(verified(first))).message, /past its limit of processes.*start the agent again/u)
    writeFileSync(kept, text)
    lay("exit 1")
    assert.property(yield* provenSandbox(options), "why", "another runsc")
    assert.isFalse(existsSync(kept))
  }), 60_000)

  if (able) it.live("of another version of the agent, or half written, is proven anew", () => Effect.gen(function*() {
    lay(`exec ${(found as Proven).ground.runsc} "$@"`)
    yield* provenSandbox(options)
    const runs = called()
    yield* provenSandbox({ ...options, agentVersion: "2" })
    assert.isAbove(called(), runs)
    writeFileSync(kept, readFileSync(kept, "utf8").slice(0, 40))
    lay("exit 1")
    assert.property(yield* provenSandbox({ ...options, agentVersion: "2" }), "why")
  }), 60_000)
})
