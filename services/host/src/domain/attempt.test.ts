import { assert, describe, it } from "@effect/vitest"
import { type AttemptId, type Fence, HostId, type JobId, type PlacementMade } from "@millrace/schemas"
import { capabilities, factId, hostId, job, placement } from "../testing/placement.ts"
import { exchange, holdingOf, isOlder, judge, type Local, nothingHeld, type Remembered } from "./attempt.ts"

const made = placement("a")
const story = { causedBy: factId("cause"), partOf: factId("part") }

const knowing = (attempts: ReadonlyArray<readonly [AttemptId, Remembered]> = [], fences: ReadonlyArray<readonly [JobId, Fence]> = [], nowMs = 0): Local => ({
  hostId, capabilities, attempts: new Map(attempts), fences: new Map(fences), nowMs,
  held: attempts.reduce((held, [, remembered]) => exchange(held, nothingHeld, holdingOf(remembered)), nothingHeld)
})

const assertRefuses = (local: Local, placement: PlacementMade, reason: string, detail: string) => {
  const judgement = judge(local, placement)
  assert.strictEqual(judgement.verdict, "refuse")
  if (judgement.verdict === "refuse") assert.deepStrictEqual([judgement.reason, judgement.detail], [reason, detail])
}

describe("a host judges a placement", () => {
  it("what breaks no rule is started", () => assert.deepStrictEqual(judge(knowing(), made), { verdict: "start" }))

  it("what it has begun, runs or has told is known, whatever its warrant says by now", () => {
    for (const state of ["begun", "running", "told"] as const) {
      assert.deepStrictEqual(judge(knowing([[made.attemptId, { state, made, ...story }]], [], 999_999), made), { verdict: "known" })
    }
  })

  it("what was withdrawn before it was heard of is not begun, and that is looked at first", () =>
    assert.deepStrictEqual(judge(knowing([[made.attemptId, { state: "withdrawn" }]], [], 999_999), made), { verdict: "withdrawn" }))

  it("a warrant for another host, job or attempt is none", () => {
    const other = HostId.make(`hst_${"1".repeat(26)}`)
    for (const warrant of [{ ...made.warrant, hostId: other }, { ...made.warrant, jobId: job("b") }, { ...made.warrant, attempt: 2 }]) {
      assertRefuses(knowing(), { ...made, warrant }, "warrant_invalid", `the warrant names ${warrant.hostId}, ${warrant.jobId}, attempt ${warrant.attempt}`)
    }
    assertRefuses(knowing(), { ...made, hostId: other }, "warrant_invalid", `the warrant names ${hostId}, ${job("a")}, attempt 1`)
  })

  it("a fence that the warrant does not bear is none, higher or lower", () => {
    for (const sequence of [0, 2]) {
      assertRefuses(knowing(), { ...made, fence: { epoch: 1, sequence } }, "warrant_invalid", `the placement's fence 1/${sequence} is not its warrant's, 1/1`)
    }
  })

  it("a placement cannot ask for more than its warrant allows", () =>
    assertRefuses(knowing(), { ...made, spec: { ...made.spec, resources: { ...made.spec.resources, memoryMib: 101 } } }, "warrant_invalid",
      "the placement asks for more than its warrant allows"))

  it("a warrant is over at its last millisecond", () => {
    assert.strictEqual(judge(knowing([], [], 99_999), made).verdict, "start")
    assertRefuses(knowing([], [], 100_000), made, "warrant_expired", "it ended at 100000 ms")
  })

  it("an older fence than was seen for the job is void, and another job's is its own", () => {
    const seen = [[made.jobId, { epoch: 1, sequence: 5 }]] as const
    assertRefuses(knowing([], seen), placement("a", { sequence: 4 }), "fence_old", "fence 1/4 came after 1/5")
    assert.strictEqual(judge(knowing([], seen), placement("a", { sequence: 5 })).verdict, "start")
    assert.strictEqual(judge(knowing([], seen), placement("b", { sequence: 4 })).verdict, "start")
    assert.isTrue(isOlder({ epoch: 1, sequence: 9 }, { epoch: 2, sequence: 1 }))
    assert.isFalse(isOlder({ epoch: 2, sequence: 1 }, { epoch: 1, sequence: 9 }))
  })

  it("it runs only what it can run", () =>
    assertRefuses(knowing(), placement("a", { spec: { runtime: "sandbox" } }), "runtime_missing", "this host does not run sandbox"))

  it("the work of others is not run where nothing isolates it", () =>
    assertRefuses(knowing(), placement("a", { spec: { trust: "others" } }), "not_isolated", "this host runs only work with trust own"))

  it("the work of others is no plain process, not even where sandboxes isolate it", () => {
    const isolating = { ...knowing(), capabilities: { ...capabilities, runtimes: ["noop", "process", "sandbox"] as const, trusts: ["own", "others"] as const } }
    assertRefuses(isolating, placement("a", { spec: { trust: "others" } }), "not_isolated", "a plain process isolates nothing: the work of others runs in a sandbox alone")
    for (const runtime of ["sandbox", "noop"] as const) assert.strictEqual(judge(isolating, placement("a", { spec: { trust: "others", runtime } })).verdict, "start")
  })

  it("room is counted by the host itself: what it has begun or runs holds some, what is told does not", () => {
    const large = { cpuMilli: 2500, memoryMib: 100, diskMib: 0, gpus: 0 }
    const [first, second] = [placement("b", { spec: { resources: large } }), placement("c", { spec: { resources: large } })]
    for (const state of ["begun", "running"] as const) {
      assertRefuses(knowing([[first.attemptId, { state, made: first, ...story }]]), second, "no_room", "1500 milli-cores, 3900 MiB and 0 GPUs are free")
    }
    assert.strictEqual(judge(knowing([[first.attemptId, { state: "told", made: first }]]), second).verdict, "start")
  })
})
