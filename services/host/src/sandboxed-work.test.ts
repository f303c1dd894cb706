import { assert, it } from "@effect/vitest"
import { findTool } from "@millrace/bootstrap"
import { Blobs } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { Beats, Journal, memoryJournal, MemoryLog } from "@millrace/journal"
import { type FactId, type JobSpec, type MillFact, Principal, Program } from "@millrace/schemas"
import { Keyring, keyringInMemory, sealValue, WarrantSigner, warrantPair } from "@millrace/service"
import { Context, Effect, Layer, Result } from "effect"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Doors } from "./machine/doors.ts"
import { Keeper } from "./machine/keeper.ts"
import { Ledger } from "./machine/ledger.ts"
import { Machine } from "./machine/machine.ts"
import { Runtimes } from "./machine/runtime.ts"
import { sandboxRuntime } from "./machine/sandbox.ts"
import { probeSandbox, withSandbox } from "./machine/sandbox-probe.ts"
import { snapshotAtEndOf } from "./domain/snapshot.ts"
import { HostService } from "./service.ts"
import { capabilities, hostId, placement, workspace } from "./testing/placement.ts"

const tool = findTool("runsc")
const runsc = "path" in tool ? tool.path : "/nowhere/runsc"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-host-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** What the host said of one attempt of others' work, in order. */
let numbered = 0
const told = Effect.fnUntraced(function*(script: string, terms: Partial<JobSpec>) {
  const home = yield* folder
  const found = yield* probeSandbox({ runsc, folder: home })
  if ("ground" in found) yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(found.ground.folder, { recursive: true, force: true })))
  const log = new MemoryLog()
  const journal = memoryJournal(log)
  const common = yield* Layer.build(Layer.mergeAll(keyringInMemory, warrantPair, Blobs.memory, Keeper.layer(join(home, "keeper"), { atClose: "end" })))
  const runtimes = "ground" in found
    ? [yield* sandboxRuntime(found.ground, Context.get(common, Keeper)).pipe(Effect.provideService(Blobs, Context.get(common, Blobs)))]
    : []
  yield* Layer.build(HostService.pipe(Layer.provide([
    Layer.succeed(Journal, journal),
    Layer.succeedContext(common),
    Ledger.layerFile(join(home, "ledger.jsonl")),
    Machine.layer(hostId, withSandbox(capabilities, found)),
    Doors.none,
    Layer.succeed(Beats, { beat: () => Effect.succeed({ term: 1, leaseMs: 15_000, lost: false }), answer: () => Effect.void }),
    Layer.succeed(Runtimes, new Map(runtimes.map((runtime) => [runtime.name, runtime])))
  ])))
  const made = placement(`w${process.pid}x${numbered += 1}`, { spec: { runtime: "sandbox", trust: "others", ...terms, resources: { cpuMilli: 500, memoryMib: 64, diskMib: 16, gpus: 0 } } })
  const warrant = { ...made.warrant, expiresAtMs: Date.now() + 60_000 }
  const program: Program = { argv: ["/bin/sh", "-c", script], env: {}, labels: {} }
  const sealed = yield* sealValue(Program)(workspace, program, `${made.jobId}/program`).pipe(Effect.provideService(Keyring, Context.get(common, Keyring)))
  const event: MillFact = { ...made, warrant, spec: { ...made.spec, program: sealed }, signature: Context.get(common, WarrantSigner).sign(warrant) }
  const id = deriveId<FactId>("fct", 0, "placed")
  yield* journal.append({ subject: { kind: "placement", scope: hostId }, actor: Principal.make("service:scheduler"), happenedAtMs: 0, facts: [{ id, partOf: id, event }] }, { last: "stream", sequence: 0 })
  const said = Effect.map(journal.story({ kind: "attempt", scope: hostId }), (commits) => commits.flatMap(({ facts }) => facts.map(({ event }) => Result.getOrThrow(event))))
  const ended = (facts: ReadonlyArray<MillFact>) => facts.some(({ _tag }) => _tag === "AttemptExited" || _tag === "AttemptRefused")
  const wait: typeof said = Effect.flatMap(said, (facts) => ended(facts) ? Effect.succeed(facts) : Effect.andThen(Effect.sleep("20 millis"), wait))
  const facts = yield* wait
  // What it took is given back after its end was told.
  const cleared: Effect.Effect<void> = Effect.suspend(() => "ground" in found && readdirSync(found.ground.folder).includes(made.attemptId) ? Effect.andThen(Effect.sleep("20 millis"), cleared) : Effect.void)
  yield* cleared
  return { facts, made, offered: withSandbox(capabilities, found) }
})

it.live("the work of others runs in a sandbox, and its words, artefacts and files are told before its end; or it is refused", () =>
  Effect.scoped(Effect.gen(function*() {
    const { facts, made, offered } = yield* told("echo said; echo made > /artefacts/a; echo kept > b; exit 3", { snapshotAtEnd: "files" })
    const names = facts.map((fact) => fact._tag === "ArtefactKept" ? `${fact._tag} ${fact.name}` : fact._tag).filter((name) => name !== "PhaseEntered")
    if (!offered.trusts.includes("others")) {
      console.warn(`No sandbox with limits on this machine, so the work was refused: ${offered.labels["sandbox"]}`)
      return assert.deepStrictEqual(names, ["AttemptRefused"])
    }
    assert.deepStrictEqual(names, ["AttemptStarted", "ArtefactKept stdout", "ArtefactKept a", "SnapshotWritten", "AttemptExited"])
    assert.deepInclude(facts.find(({ _tag }) => _tag === "SnapshotWritten"), { snapshotId: snapshotAtEndOf(made), form: "files" })
    assert.deepInclude(facts.at(-1), { code: 3, cause: "exited" })
  })), 60_000)

it.live("what does nothing there for too long is ended as idle, and what computes without a word or a wait is not", () =>
  Effect.scoped(Effect.gen(function*() {
    const [idle, busy] = yield* Effect.all([
      told("sleep 50", { idleMsMax: 2_000 }),
      told("perl -e '$end = time + 4; 1 while time < $end; exit 4'", { idleMsMax: 2_000 })
    ])
    if (!idle.offered.trusts.includes("others")) return
    assert.deepInclude(idle.facts.at(-1), { _tag: "AttemptExited", cause: "idle_timed_out" })
    assert.deepInclude(busy.facts.at(-1), { _tag: "AttemptExited", cause: "exited", code: 4 })
  })), 60_000)
