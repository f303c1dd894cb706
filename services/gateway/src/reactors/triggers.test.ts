import { Blobs } from "@millrace/blobs"
import { assert, describe, it } from "@effect/vitest"
import { deriveId, namedId } from "@millrace/decider"
import { Journal, type JournalShape, MemoryLog, memoryJournal, readable } from "@millrace/journal"
import { type AttemptId, type FactId, type GrantId, type JobId, type MillFact, Principal, Program, type Subject, TriggerName, WorkspaceName } from "@millrace/schemas"
import { Authority, type Caller, Keyring, keyringInMemory, openValue } from "@millrace/service"
import { Clock, Context, Effect, Layer, Redacted, Schedule, Schema, type Scope } from "effect"
import { createHmac } from "node:crypto"
import { IdempotencyKey, JobRequest } from "../domain/request.ts"
import { Entrance } from "./entrance.ts"
import { Events } from "./events.ts"
import { Gate } from "./gate.ts"
import { Holdings } from "./holdings.ts"
import { Prices } from "./prices.ts"
import { secretFrom, secretText } from "./signature.ts"
import { Submissions } from "./submissions.ts"
import { TriggerWords } from "./trigger-words.ts"
import { Triggers } from "./triggers.ts"

const workspace = WorkspaceName.make("acme")
const ada: Caller["Service"] = { principal: Principal.make("user:ada"), workspace }
const viewer: Caller["Service"] = { principal: Principal.make("user:eve"), workspace }
const named = (name: string) => TriggerName.make(name)
const job = (given: object = {}): JobRequest => Schema.decodeUnknownSync(JobRequest)({ argv: ["report"], env: {}, labels: {}, ...given })
const agent = Principal.make("agent:helper")
const bound = namedId<GrantId>("grt", "that its token is bound to")
const wide = namedId<GrantId>("grt", "that it holds besides")
const granted = (grantId: GrantId, actions: ReadonlyArray<string>): MillFact => ({
  _tag: "GrantIssued", workspace, tree: grantId, grantId, holder: agent, issuer: ada.principal, durable: false, reason: "to try",
  reach: { actions, resources: ["workspace/acme/*"], constraints: { cpuMilliMax: 1000 }, notBeforeMs: 0, expiresAtMs: 4_000_000_000_000, depthMax: 1 }
} as unknown as MillFact)
const onSettled = { _tag: "fact", name: "JobSettled", where: [{ path: "outcome", is: "equal", value: "failed" }] } as const

type Rooms = Entrance | Events | Triggers | TriggerWords | Submissions | Keyring | Journal

/** One gateway's triggers over a log that may have others. Its fibers end with the scope. */
const gateway = (journal: JournalShape): Effect.Effect<Context.Context<Rooms>, unknown, Scope.Scope> =>
  Layer.build(Layer.mergeAll(Triggers.layer, Events.layer).pipe(
    Layer.provideMerge(Layer.mergeAll(TriggerWords.layer, Entrance.layer)),
    Layer.provideMerge(Layer.mergeAll(Submissions.layer, Prices.layer, Gate.layer(), Layer.succeed(Holdings, { holds: () => Effect.succeed(true) }))),
    Layer.provideMerge(Authority.layer),
    Layer.provideMerge(Layer.mergeAll(Layer.succeed(Journal, journal), sharedKeys, Blobs.memory))
  )) as never

/** Every gateway of a cell opens the same seals. */
let keys: Keyring["Service"]
const sharedKeys = Layer.effect(Keyring, Effect.sync(() => keys))

const inCell = (body: (log: MemoryLog) => Effect.Effect<void, unknown, Scope.Scope>) =>
  Effect.scoped(Effect.gen(function*() {
    keys = Context.get(yield* Layer.build(keyringInMemory), Keyring)
    const log = new MemoryLog()
    for (const [principal, role] of [["user:ada", "owner"], ["user:eve", "viewer"]] as const) {
      yield* say(log, { kind: "principal", scope: workspace }, { _tag: "RoleBound", workspace, principal: Principal.make(principal), role, boundBy: ada.principal })
    }
    yield* body(log)
  }))

let said = 0
const say = (log: MemoryLog, subject: Subject, event: MillFact, causedBy?: FactId) =>
  Effect.gen(function*() {
    const journal = memoryJournal(log)
    const atMs = yield* Clock.currentTimeMillis
    const id = deriveId<FactId>("fct", atMs, "test", said++)
    const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
    yield* Effect.orDie(journal.append({ subject, actor: ada.principal, happenedAtMs: atMs, facts: [{ id, partOf: id, event, ...(causedBy === undefined ? {} : { causedBy }) }] }, { last: "subject", sequence }))
    return id
  })

const settled = (jobId: string, outcome: "failed" | "succeeded" = "failed"): MillFact =>
  ({ _tag: "JobSettled", jobId, workspace, outcome, attempt: 1, cause: "exited with 1" }) as MillFact
const schedule = { kind: "schedule", scope: workspace }
const jobId = (n: number) => `job_01K9${String(n).padStart(22, "0")}`

const facts = (log: MemoryLog, stream = "GATEWAY") => log.after(stream, 0, undefined, 10_000).commits.flatMap((commit) => [...readable(commit).facts])
const names = (log: MemoryLog) => facts(log).map(({ event }) => event._tag).filter((name) => name !== "DecisionMade")

/** Waits until the log says so many facts of a name. */
const until = (log: MemoryLog, name: string, count: number) =>
  Effect.suspend(() => {
    const found = facts(log).filter(({ event }) => event._tag === name)
    return found.length >= count ? Effect.succeed(found) : Effect.fail(`${found.length} of ${count} ${name}: ${names(log).join(", ")}`)
  }).pipe(Effect.retry({ times: 400, schedule: Schedule.spaced("10 millis") }), Effect.orDie)

describe("triggers", () => {
  it.live("a fact that matches starts one job from the template, in its definer's name, with what happened in its environment", () =>
    inCell((log) => Effect.gen(function*() {
      const cell = yield* gateway(memoryJournal(log))
      yield* say(log, schedule, settled(jobId(0)))
      yield* Context.get(cell, Triggers).define(ada, named("on-failure"), { on: onSettled, job: job({ env: { TONE: "grave" } }), perMinuteMax: 60 })
      yield* Effect.sleep("5 millis")
      yield* say(log, schedule, settled(jobId(1), "succeeded"))
      const cause = yield* say(log, schedule, settled(jobId(2)))
      const [fired] = yield* until(log, "TriggerFired", 1)
      const [submitted, ...others] = facts(log).filter(({ event }) => event._tag === "JobSubmitted")
      assert.deepStrictEqual(others, [])
      const event = submitted!.event as Extract<MillFact, { _tag: "JobSubmitted" }>
      assert.strictEqual(event.submittedBy, ada.principal)
      assert.deepStrictEqual(event.origin, { trigger: named("on-failure"), firedBy: cause, path: [] })
      assert.strictEqual(submitted!.causedBy, cause)
      assert.deepInclude(fired!.event, { event: cause, jobId: event.jobId })
      const program = yield* Effect.provideService(openValue(Program)(event.spec.program!, `${event.jobId}/program`), Keyring, Context.get(cell, Keyring))
      assert.strictEqual(program.env["TONE"], "grave")
      assert.strictEqual(JSON.parse(program.env["MILLRACE_EVENT"]!).jobId, jobId(2))
    })))

  it.live("two gateways, and one that starts anew, fire once for each event", () =>
    inCell((log) => Effect.gen(function*() {
      const one = yield* gateway(memoryJournal(log))
      const other = yield* gateway(memoryJournal(log))
      yield* Context.get(one, Triggers).define(ada, named("twice"), { on: onSettled, job: job(), perMinuteMax: 1000 })
      yield* Effect.sleep("50 millis")
      for (let n = 1; n <= 20; n += 1) yield* say(log, schedule, settled(jobId(n)))
      yield* until(log, "TriggerFired", 20)
      yield* Effect.scoped(gateway(memoryJournal(log)))
      yield* Effect.sleep("100 millis")
      assert.isDefined(other)
      assert.strictEqual(names(log).filter((name) => name === "JobSubmitted").length, 20)
      assert.strictEqual(names(log).filter((name) => name === "TriggerFired").length, 20)
    })))

  it.live("a gateway that falls between the job and its word tells the word later, of the same job", () =>
    inCell((log) => Effect.gen(function*() {
      const bare = memoryJournal(log)
      yield* Effect.scoped(Effect.gen(function*() {
        const silent: JournalShape = {
          ...bare,
          append: (commit, expect) => commit.facts[0].event._tag === "TriggerFired" ? Effect.never : bare.append(commit, expect)
        }
        const cell = yield* gateway(silent)
        yield* Context.get(cell, Triggers).define(ada, named("falls"), { on: onSettled, job: job(), perMinuteMax: 60 })
        yield* Effect.sleep("20 millis")
        yield* say(log, schedule, settled(jobId(1)))
        yield* until(log, "JobSubmitted", 1)
      }))
      yield* gateway(bare)
      yield* until(log, "TriggerFired", 1)
      assert.strictEqual(names(log).filter((name) => name === "JobSubmitted").length, 1)
    })))

  it.live("what a trigger caused does not fire it, and the refusal says why; too many are refused too", () =>
    inCell((log) => Effect.gen(function*() {
      const cell = yield* gateway(memoryJournal(log))
      yield* Context.get(cell, Triggers).define(ada, named("again"), { on: onSettled, job: job(), perMinuteMax: 2 })
      yield* Effect.sleep("20 millis")
      yield* say(log, schedule, settled(jobId(1)))
      const [fired] = yield* until(log, "TriggerFired", 1)
      yield* say(log, schedule, settled((fired!.event as { jobId: string }).jobId))
      const [loop] = yield* until(log, "TriggerRefused", 1)
      assert.deepInclude(loop!.event, { reason: "loop" })
      for (const n of [2, 3, 4]) yield* say(log, schedule, settled(jobId(n)))
      const refused = yield* until(log, "TriggerRefused", 3)
      assert.deepStrictEqual(refused.map(({ event }) => (event as { reason: string }).reason), ["loop", "rate", "rate"])
      assert.strictEqual(names(log).filter((name) => name === "JobSubmitted").length, 2)
    })))

  it.live("it fires with no more than its definer has by then", () =>
    inCell((log) => Effect.gen(function*() {
      const cell = yield* gateway(memoryJournal(log))
      yield* Context.get(cell, Triggers).define(ada, named("late"), { on: onSettled, job: job(), perMinuteMax: 60 })
      yield* say(log, { kind: "principal", scope: workspace }, { _tag: "RoleUnbound", workspace, principal: ada.principal, role: "owner", unboundBy: ada.principal })
      yield* Effect.sleep("20 millis")
      yield* say(log, schedule, settled(jobId(1)))
      const [refused] = yield* until(log, "TriggerRefused", 1)
      assert.deepInclude(refused!.event, { reason: "not_allowed" })
      assert.notInclude(names(log), "JobSubmitted")
    })))

  it.live("who may not define one is refused, and one that waits for what is never said is unfit", () =>
    inCell((log) => Effect.gen(function*() {
      const triggers = Context.get(yield* gateway(memoryJournal(log)), Triggers)
      assert.strictEqual((yield* Effect.flip(triggers.define(viewer, named("t"), { on: onSettled, job: job(), perMinuteMax: 60 })))._tag, "NotAllowed")
      for (const name of ["TriggerFired", "NeverSaid"]) {
        assert.strictEqual((yield* Effect.flip(triggers.define(ada, named("t"), { on: { ...onSettled, name }, job: job(), perMinuteMax: 60 })))._tag, "TriggerUnfit")
      }
      assert.strictEqual((yield* Effect.flip(triggers.remove(ada, named("t"))))._tag, "TriggerUnknown")
    })))

  it.live("whoever defines one may submit its job itself, under a grant that it reaches, and read what it waits for", () =>
    inCell((log) => Effect.gen(function*() {
      for (const [grantId, actions] of [[bound, ["trigger.*", "job.*"]], [wide, ["*"]]] as const) yield* say(log, { kind: "grant", scope: workspace, story: grantId }, granted(grantId, actions))
      const triggers = Context.get(yield* gateway(memoryJournal(log)), Triggers)
      const helper: Caller["Service"] = { principal: agent, workspace, grant: bound }
      const define = (caller: Caller["Service"], given: object, on: object = onSettled) => triggers.define(caller, named("t"), { on: on as never, job: job(given), perMinuteMax: 60 })
      const denied = (trial: ReturnType<typeof define>) => Effect.map(Effect.flip(trial), (error) => error._tag === "NotAllowed" ? [error.action, error.rule] : error)
      assert.deepStrictEqual(yield* denied(define(helper, { grant: wide })), ["job.submit", "token-bound"])
      assert.deepStrictEqual(yield* denied(define(helper, { trust: "own" })), ["job.submit", "agents-vouch-for-nothing"])
      assert.deepStrictEqual(yield* denied(define(helper, { runtime: "process" })), ["job.submit", "others-are-isolated"])
      assert.deepStrictEqual(yield* denied(define(helper, { resources: { cpuMilli: 2000, memoryMib: 1, diskMib: 0, gpus: 0 } })), ["job.submit", "link-limit"])
      assert.deepStrictEqual(yield* denied(define(helper, {}, { _tag: "fact", name: "CredentialIssued", where: [] })), ["principal.read", "link-action"])
      assert.notInclude(names(log), "TriggerDefined")
      yield* define(helper, {})
      assert.include(names(log), "TriggerDefined")
    })))

  it.live("one that a program defined starts what lies as deep as what the program submits itself", () =>
    inCell((log) => Effect.gen(function*() {
      yield* say(log, { kind: "grant", scope: workspace, story: bound }, granted(bound, ["trigger.*", "job.*"]))
      const cell = yield* gateway(memoryJournal(log))
      const entrance = Context.get(cell, Entrance)
      const inside = (of: JobId): Caller["Service"] => ({ principal: agent, workspace, grant: bound, parent: { jobId: of, attemptId: namedId<AttemptId>("att", of) } })
      const root = yield* entrance.enter({ principal: agent, workspace, grant: bound }, IdempotencyKey.make("root"), job())
      yield* Context.get(cell, Triggers).define(inside(root.jobId), named("deep"), { on: onSettled, job: job(), perMinuteMax: 60 })
      yield* Effect.sleep("20 millis")
      yield* say(log, schedule, settled(jobId(1)))
      const [fired] = yield* until(log, "TriggerFired", 1)
      const started = (fired!.event as { jobId: JobId }).jobId
      const origin = facts(log).flatMap(({ event }) => (event._tag === "JobSubmitted" && event.jobId === started ? [event.origin] : []))
      assert.strictEqual(origin[0]?.depth, 1)
      const below = yield* Effect.flip(entrance.enter(inside(started), IdempotencyKey.make("below"), job()))
      assert.deepInclude(below, { _tag: "NotAllowed", rule: "link-depth" }, "its grant is handed on once, and no further by way of a trigger")
    })))

  it.live("one that is removed starts nothing more, and defining the same again changes nothing", () =>
    inCell((log) => Effect.gen(function*() {
      const triggers = Context.get(yield* gateway(memoryJournal(log)), Triggers)
      const define = triggers.define(ada, named("t"), { on: onSettled, job: job(), perMinuteMax: 60 })
      yield* define
      yield* Effect.sleep("20 millis")
      yield* define
      assert.deepStrictEqual(names(log), ["TriggerDefined"])
      yield* triggers.remove(ada, named("t"))
      yield* Effect.sleep("50 millis")
      yield* say(log, schedule, settled(jobId(1)))
      yield* Effect.sleep("100 millis")
      assert.deepStrictEqual(names(log), ["TriggerDefined", "TriggerRemoved"])
    })))

  it.live("the clock fires what was due while nobody was there once, and tells the rest as missed", () =>
    inCell((log) => Effect.gen(function*() {
      const bare = memoryJournal(log)
      const nowMs = yield* Clock.currentTimeMillis
      const sinceMs = nowMs - 150_000
      yield* Effect.scoped(Effect.gen(function*() {
        const triggers = Context.get(yield* gateway(bare), Triggers)
        yield* triggers.define(ada, named("minutely"), { on: { _tag: "cron", expression: "* * * * *", timeZone: "Europe/Berlin" }, job: job(), perMinuteMax: 60 })
      }))
      // The same log, as if its definition had been stored two and a half minutes ago.
      const older: JournalShape = {
        ...bare,
        read: (stream, options) => Effect.map(bare.read(stream, options), (reader) => ({
          ...reader,
          take: Effect.map(reader.take, (commits) => commits.map((commit) => commit.facts[0]?.name === "TriggerDefined" ? { ...commit, place: { ...commit.place, storedAtMs: sinceMs } } : commit))
        }))
      }
      yield* gateway(older)
      const [fired] = yield* until(log, "TriggerFired", 1)
      const [missed] = yield* until(log, "TriggerRefused", 1)
      assert.match((fired!.event as { event: string }).event, /^due .*:00\.000Z$/u)
      assert.match((missed!.event as { detail: string }).detail, /^[12] due times? passed/u)
      assert.strictEqual(names(log).filter((name) => name === "JobSubmitted").length, 1)
    })))
})

describe("events from outside", () => {
  const push = { id: "7", source: "/git", type: "push", data: "{\"ref\":\"main\"}" }

  it.live("are told once, and start what waits for them", () =>
    inCell((log) => Effect.gen(function*() {
      const cell = yield* gateway(memoryJournal(log))
      yield* Context.get(cell, Triggers).define(ada, named("on-push"), { on: { _tag: "event", type: "push", where: [{ path: "data.ref", is: "equal", value: "main" }] }, job: job(), perMinuteMax: 60 })
      yield* Effect.sleep("20 millis")
      const events = Context.get(cell, Events)
      assert.isFalse((yield* events.tell(ada, push)).repeated)
      assert.isTrue((yield* events.tell(ada, push)).repeated)
      yield* events.tell(ada, { ...push, id: "8", data: "{\"ref\":\"other\"}" })
      yield* until(log, "TriggerFired", 1)
      assert.strictEqual(names(log).filter((name) => name === "EventReceived").length, 2)
      assert.strictEqual(names(log).filter((name) => name === "JobSubmitted").length, 1)
    })))

  it.live("come in through a hook when they are signed, and its secret lies in no fact", () =>
    inCell((log) => Effect.gen(function*() {
      const cell = yield* gateway(memoryJournal(log))
      const events = Context.get(cell, Events)
      const secret = secretText(Buffer.from("0123456789abcdef0123456789abcdef"))
      yield* events.open(ada, named("git"), Redacted.make(secret))
      yield* Effect.sleep("50 millis")
      const body = Buffer.from("{}")
      const seconds = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      const signed = (by: string) => ({
        "webhook-id": "m",
        "webhook-timestamp": String(seconds),
        "webhook-signature": `v1,${createHmac("sha256", secretFrom(by)).update(`m.${seconds}.`).update(body).digest("base64")}`
      })
      assert.deepInclude(yield* events.speaker(workspace, named("git"), signed(secret), body), { principal: ada.principal, workspace })
      assert.strictEqual((yield* Effect.flip(events.speaker(workspace, named("git"), signed(secretText(Buffer.from("other"))), body)))._tag, "SignatureRefused")
      // Strangers learn of no hook whether it is there: it is refused as one whose secret is another.
      const refused = (hook: string, by: string, where = workspace) => Effect.flip(events.speaker(where, named(hook), signed(by), body))
      const wrong = yield* refused("git", secretText(Buffer.from("other")))
      assert.deepStrictEqual(yield* refused("svn", secret), wrong)
      assert.deepStrictEqual(yield* refused("git", secret, WorkspaceName.make("other")), wrong)
      assert.deepStrictEqual(yield* Effect.flip(events.speaker(workspace, named("svn"), {}, body)), yield* Effect.flip(events.speaker(workspace, named("git"), {}, body)))
      assert.notInclude(JSON.stringify(facts(log).map(({ event }) => event)), "0123456789abcdef")
      yield* events.close(ada, named("git"))
      yield* Effect.sleep("50 millis")
      assert.deepStrictEqual(yield* refused("git", secret), wrong)
    })))
})
