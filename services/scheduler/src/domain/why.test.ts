import { assert, describe, it } from "@effect/vitest"
import type { Resources } from "@millrace/schemas"
import { needs } from "../testing/cell.ts"
import { type HostRoom, hostStateOf, nearest, type Said, takesWork } from "./nearest.ts"
import { explain, type JobKnown } from "./why.ts"

const room = (hostId: string, free: Resources, more: Partial<HostRoom> & { readonly all?: Resources; readonly runtimes?: ReadonlyArray<"noop" | "process" | "sandbox"> } = {}): HostRoom => ({
  hostId, free, state: "joined", takesWork: true,
  capabilities: { resources: more.all ?? needs(4000, 4000), runtimes: more.runtimes ?? ["process"], trusts: ["own"] },
  ...more
})

const need = { resources: needs(2000, 1000), runtime: "process", trust: "own" }
const names = (hosts: ReadonlyArray<HostRoom>) => nearest(need, hosts).map(({ hostId }) => hostId)

const said = (what: NonNullable<JobKnown["said"]>["what"], more: Partial<NonNullable<JobKnown["said"]>> = {}): JobKnown["said"] => ({
  what, reason: undefined, words: undefined, unblockedBy: undefined, dueAtMs: undefined, outcome: undefined, hostId: undefined, attempt: undefined, ...more
})
const job = (more: Partial<JobKnown> = {}): JobKnown => ({ need, cancelled: false, parallelismMax: undefined, said: undefined, placed: [], tasks: undefined, after: [], ...more })
const noTasks = { total: 4, notBegun: 0, running: 0, between: 0, succeeded: 0, failed: 0, cancelled: 0, lost: 0, refused: 0 }

describe("the nearest hosts", () => {
  it("are those with the least that is short, and among equals the first by id", () => {
    assert.deepStrictEqual(names([room("c", needs(500)), room("b", needs(1500, 900)), room("a", needs(1500, 900))]), ["a", "b", "c"])
  })

  it("are named before those that only another end than time would let fit", () => {
    const small = room("small", needs(1900, 4000), { all: needs(1900, 4000) })
    const draining = room("draining", needs(4000), { state: "draining", takesWork: false })
    const other = room("other", needs(4000), { runtimes: ["noop"] })
    assert.deepStrictEqual(names([other, small, draining, room("full", needs(0, 0))]), ["full", "draining", "small", "other"])
  })

  it("offer nothing to what their agent does not understand", () => {
    const [old, new_] = nearest({ ...need, dialect: 2 }, [room("a", needs(4000, 4000)), room("b", needs(0), { dialect: 2 })]).toReversed()
    assert.deepStrictEqual([old!.hostId, old!.fits, old!.lacks, new_!.lacks], ["a", false, ["an agent of dialect 2"], []])
  })

  it("are never those that are gone or never joined", () => {
    assert.deepStrictEqual(names([room("left", needs(4000), { state: "left", takesWork: false }), room("gone", needs(4000), { state: "dismissed", takesWork: false }), room("new", needs(0), { capabilities: undefined })]), [])
  })

  it("say what is short, and never less than nothing", () => {
    const [near] = nearest(need, [room("a", needs(500, 9000))])
    assert.deepStrictEqual([near!.short, near!.fits, near!.fitsWhenEmpty], [needs(1500, 0), false, true])
  })
})

describe("a host's state", () => {
  const known: Said = { admitted: true, dismissed: false, said: "joined", judged: undefined, takenBack: false }
  it.each([
    [{}, "joined", true], [{ judged: "returned" }, "returned", true], [{ said: "draining" }, "draining", false], [{ said: "left", takenBack: true }, "left", false],
    [{ judged: "lost", said: "draining" }, "lost", false], [{ takenBack: true }, "taken_back", false], [{ dismissed: true, judged: "lost" }, "dismissed", false],
    [{ said: undefined }, "admitted", false], [{ admitted: false }, "joined", false]
  ] as const)("%j is %s", (more, state, takes) => {
    assert.deepStrictEqual([hostStateOf({ ...known, ...more }), takesWork({ ...known, ...more })], [state, takes])
  })
})

describe("why", () => {
  it("nothing was said of a job yet", () => {
    assert.strictEqual(explain(job(), []).stage, "submitted")
  })

  it("a job waits: the nearest host, and what would change it", () => {
    const { changes, sentence } = explain(job({ said: said("deferred", { reason: "no_room", words: "as it was" }) }), [room("a", needs(500, 4000)), room("b", needs(4000, 4000), { state: "draining", takesWork: false })])
    assert.strictEqual(sentence, "It waits: it needs 2 cores, 1000 MiB, and the nearest host, a, is short of 1.5 cores.")
    assert.deepStrictEqual(changes, ["the end of enough of what runs on a", "b taking work again: it is draining", "another host with at least 2 cores, 1000 MiB that runs process work with trust own"])
  })

  it("a job waits for what no host offers", () => {
    const { sentence } = explain(job({ said: said("deferred", { reason: "no_host" }) }), [room("a", needs(4000), { runtimes: ["noop"] })])
    assert.strictEqual(sentence, "It waits: no host offers runtime process.")
  })

  it("a job waits for more than any host has", () => {
    const { changes, sentence } = explain(job({ said: said("deferred", { reason: "no_room" }) }), [room("a", needs(1000, 4000), { all: needs(1000, 4000) })])
    assert.include(sentence, "too small even when empty")
    assert.include(changes.join(), "asking for less")
  })

  it("a job waits though a host has room by now", () => {
    assert.include(explain(job({ said: said("deferred", { reason: "no_room" }) }), [room("a", needs(4000, 4000))]).sentence, "a has room for it now")
  })

  it("a job waits for money or its grant, in the scheduler's own arithmetic, whatever room there is", () => {
    for (const reason of ["budget", "quota"]) {
      const { nearest, sentence } = explain(job({ said: said("deferred", { reason, words: "3 of 2" }) }), [room("a", needs(4000))])
      assert.deepStrictEqual([sentence, nearest], ["It waits: 3 of 2.", []])
    }
  })

  it("a job waits for a busy host that would begin it sooner, and says until when", () => {
    const { changes, nearest, sentence } = explain(job({ said: said("deferred", { reason: "backing_off", words: "what it reads is ready on a", dueAtMs: 1_000 }) }), [room("a", needs(0))])
    assert.deepStrictEqual([sentence, nearest], ["It waits: what it reads is ready on a.", []])
    assert.include(changes.join(), "1970-01-01T00:00:01.000Z")
  })

  it("a job runs, ended, backs off or is being cancelled", () => {
    const placed = [{ hostId: "a", task: undefined, attempt: 2, reason: "the first host with room", over: false }]
    assert.strictEqual(explain(job({ said: said("placed"), placed }), []).sentence, "It was placed on a as attempt 2: the first host with room.")
    assert.strictEqual(explain(job({ said: said("settled", { outcome: "failed", words: "exit code 3", attempt: 2, hostId: "a" }) }), []).sentence, "It failed on a in attempt 2: exit code 3.")
    assert.strictEqual(explain(job({ said: said("refused", { outcome: "refused", reason: "never_fits", words: "ask for less" }) }), []).sentence, "It was refused (never_fits): ask for less.")
    assert.strictEqual(explain(job({ said: said("retried", { words: "exit code 1", attempt: 1, dueAtMs: 1_000 }) }), []).sentence, "Attempt 1 is over (exit code 1), and the next begins no earlier than 1970-01-01T00:00:01.000Z.")
    assert.include(explain(job({ cancelled: true, said: said("placed"), placed }), []).sentence, "asked for its end")
  })

  it("of an array some run and others wait, or may not begin yet", () => {
    const deferred = said("placed", { reason: "no_room", words: "as it was" })
    const waiting = explain(job({ said: deferred, tasks: { ...noTasks, running: 1, notBegun: 3 } }), [room("a", needs(0, 4000))])
    assert.deepStrictEqual([waiting.stage, waiting.waits, waiting.nearest.length], ["running", true, 1])
    assert.strictEqual(waiting.sentence, "Of 4 tasks 1 run, 3 have not begun; the rest waits: it needs 2 cores, 1000 MiB, and the nearest host, a, is short of 2 cores.")
    const limited = explain(job({ said: deferred, parallelismMax: 1, tasks: { ...noTasks, running: 1, notBegun: 3 } }), [])
    assert.deepStrictEqual([limited.waits, limited.sentence], [false, "Of 4 tasks 1 run, 3 have not begun; no more than 1 at once, as it asked."])
    assert.strictEqual(explain(job({ said: said("deferred", { reason: "quota", words: "2 run" }), tasks: { ...noTasks, notBegun: 4 } }), []).stage, "waiting")
  })
})
