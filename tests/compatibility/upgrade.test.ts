import { startStack } from "@millrace/dev/stack"
import { tables } from "@millrace/gateway"
import { Journal, verify } from "@millrace/journal"
import { contentHash, Database, rebuildHash } from "@millrace/readmodel"
import { caughtUp } from "@millrace/readmodel/testing"
import { comparable, scheduler } from "@millrace/scheduler"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import { assert, it } from "vitest"
import { within } from "../faults/within.ts"
import { asking, bystander, cellFolder, saying, serversOf } from "./cell.ts"
import { released, thisRelease } from "./release.ts"
import { running } from "./running.ts"

const oldServices = ["access", "gateway", "scheduler", "host"] as const
const newServices = ["access", "gateway", "scheduler", "metering", "host"] as const

it("a cell that the first release leaves behind in the middle of its work goes on under this one", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const folder = yield* cellFolder
  const first = yield* released("0.1.0")

  // The first release's own life: jobs that end, one that runs, one that waits, and then the power goes.
  const life = yield* Scope.make()
  const left = yield* Effect.gen(function*() {
    const servers = yield* serversOf(first, folder)
    const services = yield* Effect.forEach(oldServices, (service) => running({ release: first, service, env: servers.env, folder }))
    yield* Effect.all(services.map(({ ready }) => ready), { concurrency: "unbounded" })
    const { states, submit } = asking(servers)
    const done = yield* submit("done", saying("done"))
    const failed = yield* submit("failed", { ...saying("failed"), argv: ["/bin/sh", "-c", "exit 3"], attemptsMax: 2 })
    yield* states({ [done]: "succeeded", [failed]: "failed" })
    const runs = yield* submit("runs", { ...saying("runs"), argv: ["/bin/sh", "-c", "exec sleep 60"], attemptsMax: 1 })
    yield* states({ [runs]: "running" })
    yield* services[2]!.stop("SIGKILL")
    const waits = yield* submit("waits", saying("waits"))
    yield* Effect.forEach(services, ({ stop }) => stop("SIGKILL"), { concurrency: "unbounded" })
    return { done, failed, runs, waits, all: [done, failed, runs, waits] }
  }).pipe(Scope.provide(life))
  yield* Scope.close(life, Exit.void)

  const stack = yield* startStack({ folder, freePorts: true })
  const context = yield* Layer.build(Layer.orDie(Database.layer({ url: Redacted.make(stack.databaseUrl) })))
  const { journal, log } = yield* bystander(stack)
  const reading = Layer.merge(Layer.succeedContext(context), Layer.succeed(Journal, journal))
  const services = yield* Effect.forEach(newServices, (service) => running({ release: thisRelease, service, env: stack.env, folder }))
  yield* Effect.all(services.map(({ ready }) => ready), { concurrency: "unbounded" })
  const { shown, submit } = asking(stack)
  const array = yield* submit("array", { ...saying("$MILLRACE_TASK"), array: { tasks: 2 } })
  const again = yield* submit("done", saying("done"))
  assert.strictEqual(again, left.done, "a key that the first release took still names its job")
  yield* within(40_000, () => [...left.all, array].every((jobId) => log.settled(jobId).length > 0), () => {
    const open = [...left.all, array].filter((jobId) => log.settled(jobId).length === 0)
    return `${JSON.stringify(left)}: not settled are ${open.join(", ")}\n${services.flatMap(({ said }) => said.slice(-8)).join("\n")}`
  })
  const outcome = (jobId: typeof array) => log.settled(jobId).map(({ outcome }) => outcome)
  assert.deepStrictEqual(left.all.map(outcome), [["succeeded"], ["failed"], ["lost"], ["succeeded"]])
  assert.deepStrictEqual(outcome(array), ["succeeded"])

  // What happened before is told, listed and kept as if it had happened under this release.
  const { lines } = yield* shown(`/v1/jobs/${left.done}/story`)
  assert.deepStrictEqual(lines.map(({ name }: { readonly name: string }) => name), ["JobSubmitted", "PlacementMade", "AttemptStarted", "ArtefactKept", "AttemptExited", "JobSettled"])
  const { jobs } = yield* shown("/v1/jobs?limit=10")
  assert.deepStrictEqual(jobs.map(({ jobId }: { readonly jobId: string }) => jobId).sort(), [...left.all, array].sort())

  yield* Effect.provide(Effect.gen(function*() {
    yield* log.upToNow
    assert.deepStrictEqual(log.broken, [])
    yield* caughtUp(tables, 20_000)
    const { cut, hash } = yield* contentHash(tables)
    assert.strictEqual((yield* rebuildHash(tables, cut)).hash, hash)
    const verdict = yield* verify(scheduler, { comparable })
    assert.deepStrictEqual(verdict.mismatches, [])
    assert.isAbove(verdict.byOtherCode, 0, "what the first release decided is told apart")
    assert.isAbove(verdict.decisions, 0, "what this one decided follows from the whole log")
  }), reading)
}))), 240_000)
