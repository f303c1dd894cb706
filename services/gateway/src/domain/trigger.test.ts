import type { FactId, JobId, MillFact, TriggerDefined, TriggerName, WorkspaceName } from "@millrace/schemas"
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { chainMax, dueBy, dueText, type Happening, kindsTelling, matches, pathBehind, seenFromOutside, timetable, TriggerBook } from "./trigger.ts"

const workspace = "acme" as WorkspaceName
const named = (trigger: string, on: TriggerDefined["on"], perMinuteMax = 60): TriggerDefined => ({
  _tag: "TriggerDefined",
  workspace,
  trigger: trigger as TriggerName,
  on,
  spec: { runtime: "noop", trust: "own", resources: { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 }, attemptsMax: 1, runMsMax: 1, onSilence: { keepMs: 1 } },
  definedBy: "user:ada" as never,
  perMinuteMax,
  requestDigest: `sha256:${"0".repeat(64)}` as never,
  decision: { rule: "role", view: {} }
})
const onFact = (name: string, ...where: Extract<TriggerDefined["on"], { _tag: "fact" }>["where"]) => ({ _tag: "fact", name, where }) as const
const happening = (name: string, body: unknown): Happening => ({ key: "k", factId: "fct_0" as FactId, name, body })
const job = (n: number) => `job_${n}` as JobId

describe("what a trigger waits for", () => {
  it("is a fact of that name whose fields are so", () => {
    const trigger = { on: onFact("JobSettled", { path: "outcome", is: "equal", value: "failed" }, { path: "tasks.failed", is: "exists" }) }
    assert.isTrue(matches(trigger, happening("JobSettled", { outcome: "failed", tasks: { failed: 3 } })))
    assert.isFalse(matches(trigger, happening("JobSettled", { outcome: "failed" })))
    assert.isFalse(matches(trigger, happening("JobSettled", { outcome: "succeeded", tasks: { failed: 0 } })))
    assert.isFalse(matches(trigger, happening("JobRefused", { outcome: "failed", tasks: { failed: 3 } })))
  })

  it("never looks at what an object only inherits", () =>
    assert.isFalse(matches({ on: onFact("JobSettled", { path: "constructor.name", is: "exists" }) }, happening("JobSettled", {}))))

  it("is an event by the names that its sender knows", () => {
    const event = { _tag: "EventReceived", workspace, source: "/git", eventId: "7", eventType: "push", json: JSON.stringify({ ref: "refs/heads/main" }) } as never
    const trigger = { on: { _tag: "event", type: "push", where: [{ path: "data.ref", is: "prefix", value: "refs/heads/" }, { path: "source", is: "equal", value: "/git" }] } as const }
    assert.isTrue(matches(trigger, happening("EventReceived", event)))
    assert.isFalse(matches({ on: { ...trigger.on, type: "pull" } }, happening("EventReceived", event)))
    assert.deepStrictEqual(seenFromOutside({ ...(event as object), json: "no JSON" } as never), { id: "7", source: "/git", type: "push", data: "no JSON" })
  })
})

const at = (storedAtMs: number) => ({ sequence: storedAtMs, storedAtMs })
const fired = (trigger: TriggerDefined, event: string): MillFact => ({ _tag: "TriggerFired", workspace, trigger: trigger.trigger, event, jobId: job(1) })
const refused = (trigger: TriggerDefined, event: string, reason: "rate" | "not_allowed"): MillFact => ({ _tag: "TriggerRefused", workspace, trigger: trigger.trigger, event, reason, detail: "" })

describe("what bounds a trigger", () => {
  it("an event that is called as a due time is moves no clock", () => {
    const book = new TriggerBook()
    const [pushed, hourly] = [named("t", { _tag: "event", type: "push", where: [] }), named("t", { _tag: "cron", expression: "0 * * * *", timeZone: "UTC" })]
    book.hear(pushed, at(1))
    book.hear(fired(pushed, dueText(4_000_000_000_000)), at(2))
    book.hear(hourly, at(3))
    assert.strictEqual(book.lastDueMs(hourly), 3)
    book.hear(fired(hourly, dueText(3_600_000)), at(4))
    assert.strictEqual(book.lastDueMs(hourly), 3_600_000)
  })

  it("a trigger behind a job that it started is a loop, over children too", () => {
    const book = new TriggerBook()
    const again = named("again", onFact("JobSettled"))
    const origin = { trigger: "again" as TriggerName, firedBy: "fct_1" as FactId, path: ["first" as TriggerName] }
    const path = pathBehind([{}, { origin }])
    assert.deepStrictEqual(path, ["first", "again"] as unknown as ReadonlyArray<TriggerName>)
    assert.strictEqual(book.refuses(again, path, 3)?.reason, "loop")
    assert.isUndefined(book.refuses(again, pathBehind([{}]), 3))
  })

  it("a chain of different triggers has an end", () => {
    const book = new TriggerBook()
    const chain = Array.from({ length: chainMax }, (_, n) => `t${n}` as TriggerName)
    assert.strictEqual(book.refuses(named("last", onFact("JobSettled")), chain, 0)?.reason, "loop")
    assert.isUndefined(book.refuses(named("last", onFact("JobSettled")), chain.slice(1), 0))
  })

  it("no more than so many a minute, and what is not allowed counts", () => {
    const book = new TriggerBook()
    const rare = named("rare", onFact("JobSettled"), 2)
    book.hear(fired(rare, "a"), at(1_000))
    book.hear(refused(rare, "b", "rate"), at(1_500))
    assert.isUndefined(book.refuses(rare, [], 1_600))
    book.hear(refused(rare, "c", "not_allowed"), at(2_000))
    assert.strictEqual(book.refuses(rare, [], 3_000)?.reason, "rate")
    assert.isUndefined(book.refuses(rare, [], 61_500))
  })

  it("its own words start nothing, and what no story tells has no kind", () => {
    assert.deepStrictEqual(kindsTelling("TriggerRefused"), [])
    assert.deepStrictEqual(kindsTelling("NeverSaid"), [])
    assert.deepStrictEqual(kindsTelling("JobSettled").map(({ kind }) => kind), ["schedule"])
    assert.deepStrictEqual(kindsTelling("DecisionMade").map(({ stream }) => stream), ["GATEWAY", "SCHEDULER", "HOSTS", "ACCESS"])
  })

  it("what is removed is gone, a definition takes the place of the one before it, and what came of an event is known", () => {
    const book = new TriggerBook()
    const trigger = named("t", onFact("JobSettled"))
    book.hear(trigger, at(0))
    book.hear(named("t", onFact("JobRefused")), at(5))
    assert.deepStrictEqual(book.of(workspace).map(({ defined, sequence }) => [defined.on._tag === "fact" && defined.on.name, sequence]), [["JobRefused", 5]])
    book.hear(fired(trigger, "e"), at(6))
    assert.isTrue(book.hasTold(trigger, "e"))
    assert.isFalse(book.hasTold(trigger, "f"))
    book.hear({ _tag: "TriggerRemoved", workspace, trigger: trigger.trigger, removedBy: "user:ada" as never, decision: { rule: "role", view: {} } }, at(7))
    assert.deepStrictEqual(book.of(workspace), [])
  })
})

describe("time tables", () => {
  const cron = (expression: string, zone = "UTC") => Result.getOrThrow(timetable(expression, zone))
  const ms = (text: string) => Date.parse(text)

  it("say what is wrong with them", () => {
    for (const [expression, zone, detail] of [["* * * * * *", "UTC", "five fields"], ["61 * * * *", "UTC", "no time table"], ["0 9 * * *", "Mars/Olympus", "time zone"]] as const) {
      const read = timetable(expression, zone)
      assert.include(Result.isFailure(read) ? read.failure.message : "it was read", detail)
    }
  })

  it("fire once for what is due, and count what nobody saw", () => {
    const hourly = cron("0 * * * *")
    assert.deepStrictEqual(dueBy(hourly, ms("2026-01-01T00:00:00Z"), ms("2026-01-01T00:59:59Z")), { fires: undefined, missed: undefined, nextAtMs: ms("2026-01-01T01:00:00Z") })
    assert.deepStrictEqual(dueBy(hourly, ms("2026-01-01T00:00:00Z"), ms("2026-01-01T03:00:10Z")), {
      fires: ms("2026-01-01T03:00:00Z"),
      missed: { newestMs: ms("2026-01-01T02:00:00Z"), count: 2 },
      nextAtMs: ms("2026-01-01T04:00:00Z")
    })
    assert.deepStrictEqual(dueBy(cron("0 9 * * *"), ms("2026-01-01T09:00:00Z"), ms("2026-01-03T20:00:00Z")), {
      fires: undefined,
      missed: { newestMs: ms("2026-01-03T09:00:00Z"), count: 2 },
      nextAtMs: ms("2026-01-04T09:00:00Z")
    })
  })

  it("a year's gap ends, and the newest time still fires", () => {
    const due = dueBy(cron("* * * * *"), ms("2025-01-01T00:00:00Z"), ms("2026-01-01T00:00:30Z"))
    assert.strictEqual(due.fires, ms("2026-01-01T00:00:00Z"))
    assert.strictEqual(due.nextAtMs, ms("2026-01-01T00:01:00Z"))
  })

  it("follow the zone's clock when it is put forward and back", () => {
    const nine = cron("0 9 * * *", "Europe/Berlin")
    assert.strictEqual(dueBy(nine, ms("2026-03-28T08:00:00Z"), ms("2026-03-28T08:00:00Z")).nextAtMs, ms("2026-03-29T07:00:00Z"))
    assert.strictEqual(dueBy(nine, ms("2026-10-24T07:00:00Z"), ms("2026-10-24T07:00:00Z")).nextAtMs, ms("2026-10-25T08:00:00Z"))
  })

  it("remember what fired by the text that names it", () => {
    const book = new TriggerBook()
    const daily = named("daily", { _tag: "cron", expression: "0 9 * * *", timeZone: "UTC" })
    book.hear(daily, at(ms("2026-01-01T00:00:00Z")))
    assert.strictEqual(book.lastDueMs(daily), ms("2026-01-01T00:00:00Z"))
    book.hear({ _tag: "TriggerFired", workspace, trigger: daily.trigger, event: dueText(ms("2026-01-01T09:00:00Z")), jobId: job(1) }, at(ms("2026-01-01T09:00:05Z")))
    assert.strictEqual(book.lastDueMs(daily), ms("2026-01-01T09:00:00Z"))
  })
})
