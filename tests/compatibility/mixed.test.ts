import { startStack } from "@millrace/dev/stack"
import { Journal } from "@millrace/journal"
import type { JobId } from "@millrace/schemas"
import { Effect } from "effect"
import { hash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "vitest"
import { within } from "../faults/within.ts"
import { asking, bystander, cellFolder, saying } from "./cell.ts"
import { type Release, released, thisRelease } from "./release.ts"
import { running } from "./running.ts"

const waitMsMax = 40_000

it("services of the first release and of this one run one cell, and what the older ones do not know waits for the newer", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const folder = yield* cellFolder
  const first = yield* released("0.1.0")
  const stack = yield* startStack({ folder, freePorts: true })
  // Where the first release's gateway looks for whom it lets in.
  const tokens = join(folder, "keys", "tokens.json")
  const digest = hash("sha256", readFileSync(stack.tokenFile, "utf8").trim(), "hex")
  writeFileSync(tokens, JSON.stringify({ tokens: [{ digest, principal: "user:owner", workspace: "main", rights: ["read", "submit", "cancel"] }] }), { mode: 0o600 })
  const env = { ...stack.env, MILLRACE_TOKENS: tokens, MILLRACE_CHECKPOINT_EVERY: "5", MILLRACE_LEASE_MS: "2000" }
  const { journal, log } = yield* bystander(stack)
  const { states, submit } = asking({ ...stack, env })
  const started: Array<{ readonly what: string; readonly said: ReadonlyArray<string> }> = []
  const run = (release: Release, service: string) =>
    Effect.tap(running({ release, service, env, folder }), ({ said }) => Effect.sync(() => started.push({ what: `${service} of ${release.root}`, said })))
  const settle = (...jobs: ReadonlyArray<JobId>) =>
    within(waitMsMax, () => jobs.every((jobId) => log.settled(jobId).length > 0), () =>
      jobs.filter((jobId) => log.settled(jobId).length === 0).flatMap((jobId) => [
        `${jobId} is not settled:`,
        ...log.history.filter(({ event }) => "jobId" in event && event.jobId === jobId).map(({ event }) => event._tag)
      ]).concat(started.flatMap(({ said, what }) => [what, ...said.slice(-6)])).join("\n"))

  const placed = (...jobs: ReadonlyArray<JobId>) => log.facts("PlacementMade").filter(({ jobId }) => jobs.includes(jobId))

  // The scheduler and the agent are still the first release's; everything else is this one's.
  const [scheduler, gateway] = [yield* run(first, "scheduler"), yield* run(thisRelease, "gateway")]
  const access = yield* run(thisRelease, "access")
  yield* Effect.all([scheduler, gateway, access].map(({ ready }) => ready), { concurrency: "unbounded" })
  const host = yield* run(first, "host")
  yield* host.ready
  const plain = yield* submit("plain", saying("plain"))
  yield* settle(plain)
  const array = yield* submit("array", { ...saying("$MILLRACE_TASK"), array: { tasks: 3 } })
  const after = yield* submit("after", { ...saying("after"), after: [{ jobId: plain, on: "succeeded" }] })
  const behind = yield* submit("behind", saying("behind"))
  yield* within(waitMsMax, () => scheduler.said.some((line) => line.includes("facts that it cannot read; their scopes are frozen")), () => `the older scheduler says nothing of what it cannot read:\n${scheduler.said.join("\n")}`)
  yield* Effect.provideService(log.upToNow, Journal, journal)
  assert.deepStrictEqual(placed(array, after), [], "an older scheduler places nothing that it would misjudge")

  // A newer scheduler takes over, from the older one's folder of checkpoints. The older agent gets what it
  // understands, and is not taken for lost because it sends no beats.
  yield* scheduler.stop()
  const newer = yield* run(thisRelease, "scheduler")
  yield* newer.ready
  yield* settle(after, behind)
  yield* within(waitMsMax, () => log.deferred(array), () => "an older agent is given what it does not understand")
  assert.deepStrictEqual(placed(array), [])

  // An older gateway beside the newer scheduler.
  yield* gateway.stop()
  const oldGateway = yield* run(first, "gateway")
  yield* oldGateway.ready
  const byBoth = yield* submit("by-both", saying("both"))
  yield* settle(byBoth)
  yield* states({ [byBoth]: "succeeded", [behind]: "succeeded" })
  assert.deepStrictEqual(log.facts("HostDeclaredLost"), [])

  // From here on there is money, which the older agent cannot write down: it is given nothing more.
  const metering = yield* run(thisRelease, "metering")
  yield* metering.ready
  yield* within(waitMsMax, () => log.facts("SliceLeased").length > 0, () => "nothing was lent to the scheduler")
  const paid = yield* submit("paid", saying("paid"))
  yield* within(waitMsMax, () => log.deferred(paid), () => "the older agent is given what it cannot write down")

  // With a newer agent on the machine what waited for one runs, each task once.
  yield* host.stop()
  const newHost = yield* run(thisRelease, "host")
  yield* newHost.ready
  yield* settle(array, paid)
  yield* Effect.provideService(log.upToNow, Journal, journal)
  assert.deepStrictEqual([plain, array, after, behind, byBoth, paid].map((jobId) => log.settled(jobId).map(({ outcome }) => outcome)), Array.from({ length: 6 }, () => ["succeeded"]))
  assert.deepStrictEqual(placed(array).map(({ task }) => task).sort(), [0, 1, 2])
  assert.deepStrictEqual([plain, after, behind, byBoth, paid].map((jobId) => placed(jobId).length), [1, 1, 1, 1, 1])
  assert.deepStrictEqual(log.broken, [])
}))), 240_000)
