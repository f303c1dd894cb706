import { deriveId } from "@millrace/decider"
import { headsOf, verify } from "@millrace/journal"
import { priceOf } from "@millrace/pricing"
import { contentHash, rebuildHash } from "@millrace/readmodel"
import { caughtUp } from "@millrace/readmodel/testing"
import type { AttemptId, BudgetOpened, FactId, MillFact, PlacementMade, SliceLeased, SpendCommitted } from "@millrace/schemas"
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { firstBook } from "./domain/first-book.ts"
import { metering } from "./domain/metering.ts"
import { usage } from "./projections/tables.ts"
import { acme, acmeAccount, account, ask, budgetAsked, exited, host, hostLost, job, retriedAsLost, settled, started } from "./testing/cell.ts"
import { agentToken, metered, meteredSoFar, openWorkspace, ownerToken, type Running, say, World } from "./testing/world.ts"

const isLeased = (fact: MillFact): fact is SliceLeased => fact._tag === "SliceLeased"
const spentBy = ({ attemptId }: PlacementMade) => metered((fact): fact is SpendCommitted => fact._tag === "SpendCommitted" && fact.attemptId === attemptId)

const resources = { cpuMilli: 2_000, memoryMib: 512, diskMib: 0, gpus: 0 }
const schedule = { kind: "schedule", scope: acme }
const words = { kind: "attempt", scope: host("a") }

/** Places a job on the one host there is, with a share of the first slice. */
const place = Effect.fnUntraced(function*(name: string) {
  const { slice } = yield* metered(isLeased)
  const attemptId = deriveId<AttemptId>("att", Date.now(), name)
  const fence = { epoch: 1, sequence: 1 }
  const made: PlacementMade = {
    _tag: "PlacementMade", jobId: job(name), workspace: acme, hostId: host("a"), attempt: 1, attemptId, fence,
    spec: { runtime: "process", trust: "own", resources, attemptsMax: 1, runMsMax: 60_000, onSilence: { keepMs: 0 } },
    warrant: { warrantId: deriveId("wrt", 0, attemptId), hostId: host("a"), jobId: job(name), attempt: 1, fence, resources, grantPath: [], expiresAtMs: 0, view: {} },
    signature: "none", share: { account: acmeAccount, slice, amountPico: priceOf(firstBook, resources, 60_000) }, reason: "a test"
  }
  yield* say("scheduler", { kind: "placement", scope: host("a") }, made)
  return made
})

/** Runs it for so long, by the host's own clock, and settles it. */
const run = Effect.fnUntraced(function*(made: PlacementMade, ms: number) {
  yield* say("host", words, started(made, 10_000))
  const word: FactId = yield* say("host", words, exited(made, 10_000 + ms))
  yield* say("scheduler", schedule, settled(made, word))
})

const get = Effect.fnUntraced(function*({ url }: Running, path: string, token = ownerToken) {
  return yield* Effect.promise(async () => {
    const answer = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    return { status: answer.status, body: await answer.json() as any }
  })
})

const behind = Effect.gen(function*() {
  const { log } = yield* World
  const heads = yield* Effect.provide(headsOf(["SCHEDULER", "HOSTS", "METERING"]), log)
  return Object.entries(heads).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")
})

layer(World.layer, { timeout: "120 seconds", excludeTestServices: true })("metering", (it) => {
  it.effect("follows an attempt from its share to its bill", () => Effect.gen(function*() {
    const world = yield* World
    yield* openWorkspace
    const running = yield* world.start()
    const made = yield* place("bzzk1")
    const before = yield* behind
    yield* run(made, 700)
    const { amountPico } = yield* spentBy(made)
    assert.strictEqual(amountPico, priceOf(firstBook, resources, 700))
    const { body, status } = yield* get(running, `/v1/usage?job=${made.jobId}&by=phase&after=${yield* behind}`)
    assert.strictEqual(status, 200, JSON.stringify(body))
    const ran = body.rows.find(({ phase }: { phase: string }) => phase === "running")
    assert.deepStrictEqual([ran.ms, ran.amountPico, ran.rates, ran.settled, ran.account], [700, String(amountPico), "standard/1", true, acmeAccount])
    assert.deepStrictEqual([body.total.amountPico, body.total.chargedMs, body.total.lostMs, body.total.unsettledPico], [String(amountPico), 700, 0, "0"])
    const past = yield* get(running, `/v1/usage?job=${made.jobId}&at=${before}`)
    assert.deepStrictEqual([past.body.total.attempts, past.body.total.amountPico, past.body.total.unsettledPico], [0, "0", "0"], JSON.stringify(past.body))
    const budgets = yield* get(running, `/v1/budgets?after=${yield* behind}`)
    const [own] = budgets.body.accounts
    assert.deepStrictEqual([own.account, own.limitPico, own.committedPico, own.dollars.limit], [acmeAccount, "100000000000000", String(amountPico), "100.00"])
    assert.strictEqual(BigInt(own.committedPico) + BigInt(own.lentPico) + BigInt(own.availablePico), BigInt(own.limitPico))
    const prices = yield* get(running, "/v1/prices")
    assert.deepStrictEqual([prices.body.rates, prices.body.prices[0].dollarsPerHour, prices.body.books.length], ["standard/1", "0.04716", 1])
    yield* running.stop
  }))

  it.effect("loses no pico-dollar between two times that follow each other, wherever they meet", () => Effect.gen(function*() {
    const running = yield* (yield* World).start()
    const made = yield* place("cut1")
    yield* run(made, 900)
    const { amountPico } = yield* spentBy(made)
    const after = `job=${made.jobId}&after=${yield* behind}`
    const [ran] = (yield* get(running, `/v1/usage?${after}`)).body.rows.filter(({ phase }: { phase: string }) => phase === "running")
    for (const ms of [1, 450, 899]) {
      const sums = yield* Effect.forEach(["to", "from"], (bound) => Effect.map(get(running, `/v1/usage?${after}&${bound}=${ran.fromMs + ms}`), ({ body }) => BigInt(body.total.amountPico)))
      assert.isTrue(sums.every((sum) => sum > 0n), `${sums}`)
      assert.strictEqual(sums[0]! + sums[1]!, amountPico, `${ms} ms after it began`)
    }
    yield* running.stop
  }))

  it.effect("shows the time on a lost host apart, and charges nothing for it", () => Effect.gen(function*() {
    const running = yield* (yield* World).start()
    const made = yield* place("lost1")
    yield* say("host", words, started(made, 20_000))
    yield* say("scheduler", { kind: "fleet", scope: "cell" }, hostLost(host("a"), Date.now() + 15_000))
    yield* say("scheduler", schedule, retriedAsLost(made))
    assert.strictEqual((yield* spentBy(made)).amountPico, 0n)
    yield* say("host", words, exited(made, 99_000))
    const { body } = yield* get(running, `/v1/usage?job=${made.jobId}&by=job&after=${yield* behind}`)
    assert.deepStrictEqual([body.total.amountPico, body.total.lostAttempts, body.total.chargedMs, body.groups.length], ["0", 1, 0, 1])
    assert.isAbove(body.total.lostMs, 10_000)
    yield* running.stop
  }))

  it.effect.each([["append SpendCommitted before"], ["append SpendCommitted after"], ["round metering decided"], ["round metering sent"], ["checkpoint metering before"], ["append MeteringTookOver after"]])(
    "charges an attempt once though it dies at: %s", ([point = ""]) => Effect.gen(function*() {
      const world = yield* World
      const dying = yield* world.start(point)
      const made = yield* place(`crash${point.replaceAll(/[^a-z]/gu, "")}`.slice(0, 24))
      yield* run(made, 300)
      yield* Effect.timeout(dying.died, "20 seconds")
      yield* dying.stop
      const running = yield* world.start()
      yield* spentBy(made)
      const next = yield* place(`next${point.replaceAll(/[^a-z]/gu, "")}`.slice(0, 24))
      yield* run(next, 300)
      yield* spentBy(next)
      const spends = (yield* meteredSoFar).filter((fact): fact is SpendCommitted => fact._tag === "SpendCommitted")
      assert.strictEqual(new Set(spends.map(({ attemptId }) => attemptId)).size, spends.length)
      yield* running.stop
    }))

  it.effect("answers what is asked through the gateway", () => Effect.gen(function*() {
    const running = yield* (yield* World).start()
    yield* say("gateway", { kind: "ask", scope: acme }, budgetAsked("agent", 50_000_000_000n))
    const opened = yield* metered((fact): fact is BudgetOpened => fact._tag === "BudgetOpened" && fact.answers === ask("bagent"))
    assert.deepStrictEqual([opened.account, opened.terms.parent], [account("agent"), acmeAccount])
    yield* running.stop
  }))

  it.effect("tells nobody what is not theirs to know", () => Effect.gen(function*() {
    const running = yield* (yield* World).start()
    const unknown = yield* get(running, "/v1/usage", "mill_nobody")
    const agent = yield* get(running, "/v1/usage", agentToken)
    const malformed = yield* get(running, "/v1/usage?from=yesterday")
    assert.deepStrictEqual([unknown.status, agent.status, malformed.status], [401, 403, 400], JSON.stringify([unknown.body, agent.body, malformed.body]))
    assert.strictEqual(agent.body.missing.action, "usage.read")
    for (const { body } of [unknown, agent, malformed]) for (const field of ["code", "what", "where", "remedy"]) assert.isAbove(String(body[field]).length, 0)
    yield* running.stop
  }))

  it.effect("is replayed to the same decisions and the same tables", () => Effect.gen(function*() {
    const { database, log, start } = yield* World
    const running = yield* start()
    const verdict = yield* Effect.provide(verify(metering), log)
    assert.deepStrictEqual(verdict.mismatches, [])
    assert.isAbove(verdict.decisions, 5)
    const hashes = yield* Effect.gen(function*() {
      yield* caughtUp(usage)
      const live = yield* contentHash(usage)
      return [live.hash, (yield* rebuildHash(usage, live.cut)).hash]
    }).pipe(Effect.provide([log, database]))
    assert.deepStrictEqual(hashes[0], hashes[1])
    yield* running.stop
  }))
})
