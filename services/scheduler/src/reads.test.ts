import { contentHash, rebuildHash } from "@millrace/readmodel"
import { caughtUp } from "@millrace/readmodel/testing"
import type { JobDeferred, JobSettled, MillFact, PlacementMade } from "@millrace/schemas"
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { cell } from "./projections/cell.ts"
import { admitted, enrolled, exited, host, job, joined, needs, released, submitted } from "./testing/cell.ts"
import { agentToken, ownerToken, ReadsWorld, strangerToken } from "./testing/reads-world.ts"

const get = Effect.fnUntraced(function*(path: string, token = ownerToken) {
  const { url } = yield* ReadsWorld
  return yield* Effect.promise(async () => {
    const answer = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    return { status: answer.status, body: await answer.json() as any }
  })
})

const placementOf = (name: string) => (fact: MillFact): fact is PlacementMade => fact._tag === "PlacementMade" && fact.jobId === job(name)
const waitOf = (name: string) => (fact: MillFact): fact is JobDeferred => fact._tag === "JobDeferred" && fact.jobId === job(name)
const endOf = (name: string) => (fact: MillFact): fact is JobSettled => fact._tag === "JobSettled" && fact.jobId === job(name)

layer(ReadsWorld.layer, { timeout: "120 seconds", excludeTestServices: true })("the scheduler's reads", (it) => {
  it.effect("tell why a job waits, where it runs then, and how it ended; and the same again of each moment", () => Effect.gen(function*() {
    const { cut, decided, say } = yield* ReadsWorld
    yield* say(admitted("a"), joined("a", needs(2000, 2000)), admitted("b"), joined("b", needs(500, 4000)), submitted("1", { resources: needs(1500) }))
    const first = yield* decided(placementOf("1"))
    yield* say(submitted("2", { resources: needs(1000) }))
    yield* decided(waitOf("2"))
    const waiting = yield* cut
    const why = yield* get(`/v1/jobs/${job("2")}/why?after=${waiting}`)
    assert.strictEqual(why.status, 200, JSON.stringify(why.body))
    assert.deepStrictEqual([why.body.stage, why.body.waits.reason, why.body.waits.unblockedBy, why.body.needs.cpuMilli], ["waiting", "no_room", "capacity", 1000])
    assert.strictEqual(why.body.sentence, `It waits: it needs 1 core, 100 MiB, and the nearest host, ${host("a")}, is short of 0.5 cores.`)
    assert.deepStrictEqual(why.body.nearest.map(({ fits, fitsWhenEmpty, hostId, short }: any) => [hostId, fits, fitsWhenEmpty, short.cpuMilli]), [[host("a"), false, true, 500], [host("b"), false, false, 500]])
    assert.include(why.body.changes[0], host("a"))
    const running = yield* get(`/v1/jobs/${job("1")}/why?after=${waiting}`)
    assert.deepStrictEqual([running.body.stage, running.body.waits, running.body.placed[0].hostId, running.body.placed[0].over], ["running", null, host("a"), false])
    assert.include(running.body.sentence, first.reason)

    yield* say(exited(first))
    yield* decided(endOf("1"))
    yield* decided(placementOf("2"))
    const later = yield* cut
    const ended = yield* get(`/v1/jobs/${job("1")}/why?after=${later}`)
    assert.deepStrictEqual([ended.body.stage, ended.body.ended.outcome, ended.body.ended.exitCode, ended.body.placed[0].over], ["over", "succeeded", 0, true])
    const went = yield* get(`/v1/jobs/${job("2")}/why?after=${later}`)
    assert.deepStrictEqual([went.body.stage, went.body.waits, went.body.placed[0].hostId], ["running", null, host("a")])
    const before = yield* get(`/v1/jobs/${job("2")}/why?at=${waiting}`)
    assert.deepStrictEqual(before.body, why.body)
  }))

  it.effect("say before a submission where it would go, and of GPUs and places what no host here offers", () => Effect.gen(function*() {
    const { cut } = yield* ReadsWorld
    const plan = (need: object, query = "") => get(`/v1/plan?need=${encodeURIComponent(JSON.stringify({ runtime: "process", trust: "own", ...need }))}${query}`)
    const after = yield* cut
    const small = yield* plan({ resources: needs(100), tasks: 3 }, `&after=${after}`)
    assert.strictEqual(small.status, 200, JSON.stringify(small.body))
    assert.deepInclude(small.body, { verdict: "now", changes: [] })
    assert.include(small.body.sentence, "3 of 3 tasks would be placed at once")
    const large = yield* plan({ resources: needs(2000) })
    assert.deepInclude(large.body, { verdict: "later", roomNow: 0 })
    const gpu = yield* plan({ resources: { ...needs(100), gpus: 1 }, gpu: [{ model: "H100" }], where: { only: { residency: ["eu"] } } })
    assert.strictEqual(gpu.body.verdict, "nowhere")
    assert.deepStrictEqual(gpu.body.nearest[0].lacks, ["an agent of dialect 3", "1 GPU of H100", "residency eu"])
    const gang = yield* plan({ resources: needs(1), gang: { members: 3, topology: "fabric" } })
    assert.deepStrictEqual([gang.status, gang.body.verdict, gang.body.limits], [200, "nowhere", []], JSON.stringify(gang.body))
    assert.include(gang.body.sentence, "says which fabric it is on")
    assert.strictEqual((yield* get("/v1/plan?need=%7B%7D")).status, 400)
    assert.strictEqual((yield* get(`/v1/plan?need=${encodeURIComponent(JSON.stringify({ runtime: "process", trust: "own", resources: needs(1) }))}`, agentToken)).status, 403)
  }))

  it.effect("show hosts with what they hold, of the caller's workspace by name", () => Effect.gen(function*() {
    const { cut, decided, say } = yield* ReadsWorld
    yield* say(submitted("3", { in: "other", resources: needs(500) }))
    yield* decided(placementOf("3"))
    const { body, status } = yield* get(`/v1/hosts?after=${yield* cut}`)
    assert.strictEqual(status, 200, JSON.stringify(body))
    const [a, b] = body.hosts
    assert.deepStrictEqual([a.hostId, a.state, a.takesWork, a.bootId, a.agentVersion, b.state], [host("a"), "joined", true, "boot-a", "1", "joined"])
    assert.deepStrictEqual([a.held, a.free.cpuMilli], [{ cpuMilli: 1500, memoryMib: 200, diskMib: 0, gpus: 0, attempts: 2 }, 500])
    assert.deepStrictEqual(a.capabilities.runtimes, ["noop", "process"])
    const one = yield* get(`/v1/hosts/${host("a")}`)
    assert.deepStrictEqual([one.body.attempts.map(({ jobId }: any) => jobId), one.body.attemptsElsewhere], [[job("2")], 1])
    const page = yield* get("/v1/hosts?limit=1")
    assert.deepStrictEqual([page.body.hosts.length, page.body.next], [1, host("a")])
    const next = yield* get(`/v1/hosts?limit=1&cursor=${page.body.next}`)
    assert.deepStrictEqual([next.body.hosts[0].hostId, next.body.next], [host("b"), null])
  }))

  it.effect("show which GPUs a host suspects, since when and why, until it has cleared them", () => Effect.gen(function*() {
    const { cut, say } = yield* ReadsWorld
    const suspects = Effect.gen(function*() {
      const { body } = yield* get(`/v1/hosts/${host("b")}?after=${yield* cut}`)
      return [body.host.state, (body.host.suspects ?? []).map(({ gpu, sinceMs, symptom }: any) => [gpu, symptom, typeof sinceMs])]
    })
    const suspected = (gpu: number, symptom: string): MillFact => ({ _tag: "GpuSuspected", hostId: host("b"), gpu, symptom })
    yield* say(suspected(1, "Xid 79"), suspected(0, "hot"), suspected(1, "again"))
    assert.deepStrictEqual(yield* suspects, ["joined", [[1, "Xid 79", "number"], [0, "hot", "number"]]])
    yield* say({ _tag: "GpuCleared", hostId: host("b"), gpu: 1, test: "dcgmi" }, { _tag: "GpuCleared", hostId: host("b"), gpu: 0, test: "dcgmi" })
    assert.deepStrictEqual(yield* suspects, ["joined", []])
  }))

  it.effect("count an array's tasks", () => Effect.gen(function*() {
    const { cut, decided, say } = yield* ReadsWorld
    yield* say(admitted("c"), joined("c", needs(4000)), submitted("4", { resources: needs(1000, 50), array: { tasks: 4, parallelismMax: 2 } }))
    const made = yield* decided(placementOf("4"))
    const { body } = yield* get(`/v1/jobs/${job("4")}/why?after=${yield* cut}`)
    assert.deepStrictEqual([body.stage, body.tasks.total, body.tasks.running + body.tasks.notBegun], ["running", 4, 4], JSON.stringify(body))
    yield* say(exited(made))
    yield* decided((fact): fact is Extract<MillFact, { _tag: "TaskSettled" }> => fact._tag === "TaskSettled" && fact.jobId === job("4"))
    yield* decided((fact): fact is PlacementMade => placementOf("4")(fact) && fact.task === 2)
    const after = yield* get(`/v1/jobs/${job("4")}/why?after=${yield* cut}`)
    assert.deepStrictEqual(after.body.tasks, { total: 4, notBegun: 1, running: 2, between: 0, succeeded: 1, failed: 0, cancelled: 0, lost: 0, refused: 0 })
    assert.include(after.body.sentence, "no more than 2 at once")
  }))

  it.effect("say who decides, and how the cell stands", () => Effect.gen(function*() {
    const { body, status } = yield* get("/v1/scheduler")
    assert.strictEqual(status, 200, JSON.stringify(body))
    assert.strictEqual(body.scheduler.term, 1)
    assert.isAbove(body.deciding.rounds, 0)
    assert.deepStrictEqual([body.jobs.placed, body.jobs.over, body.hosts.joined], [2, 1, 3])
  }))

  it.effect("show that a rented machine goes back", () => Effect.gen(function*() {
    const { cut, say } = yield* ReadsWorld
    const before = yield* cut
    yield* say(enrolled("c"), released("c"))
    const { body } = yield* get(`/v1/hosts/${host("c")}?after=${yield* cut}`)
    assert.deepStrictEqual([body.host.state, body.host.takesWork, body.host.cause, body.host.rented.released], ["taken_back", false, "idle", "idle"])
    const past = yield* get(`/v1/hosts/${host("c")}?at=${before}`)
    assert.deepStrictEqual([past.body.host.state, past.body.host.rented], ["joined", null])
  }))

  it.effect("tell nobody what is not theirs to know", () => Effect.gen(function*() {
    const unknown = yield* get("/v1/hosts", "mill_nobody")
    const agent = yield* get("/v1/hosts", agentToken)
    const foreign = yield* get(`/v1/jobs/${job("1")}/why`, strangerToken)
    const none = yield* get(`/v1/jobs/${job("0")}/why`)
    const noHost = yield* get(`/v1/hosts/${host("z")}`)
    const malformed = yield* get("/v1/hosts?at=yesterday")
    const unfit = yield* get("/v1/hosts?limit=0")
    assert.deepStrictEqual([unknown, agent, foreign, none, noHost, malformed, unfit].map(({ status }) => status), [401, 403, 404, 404, 404, 400, 400])
    assert.deepStrictEqual([foreign.body.code, noHost.body.code, malformed.body.code, unfit.body.code], ["job_unknown", "host_unknown", "moment_malformed", "request_malformed"])
    assert.strictEqual(agent.body.missing.action, "host.read")
    for (const { body } of [unknown, agent, foreign, none, noHost, malformed, unfit]) for (const field of ["code", "what", "where", "remedy"]) assert.isAbove(String(body[field]).length, 0)
  }))

  it.effect("come out the same when the tables are built again", () => Effect.gen(function*() {
    const { database, log } = yield* ReadsWorld
    const hashes = yield* Effect.gen(function*() {
      yield* caughtUp(cell)
      const live = yield* contentHash(cell)
      return [live.hash, (yield* rebuildHash(cell, live.cut)).hash]
    }).pipe(Effect.provide([log, database]))
    assert.strictEqual(hashes[0], hashes[1])
  }))

  it.effect("fail while Postgres is away, and work is placed as ever", () => Effect.gen(function*() {
    const { decided, say, startWithoutPostgres } = yield* ReadsWorld
    const url = yield* startWithoutPostgres
    yield* decided((fact): fact is Extract<MillFact, { _tag: "SchedulerTookOver" }> => fact._tag === "SchedulerTookOver" && fact.term === 2)
    yield* say(submitted("5", { resources: needs(10, 10) }))
    yield* decided(placementOf("5"))
    const answer = yield* Effect.promise(async () => {
      const answer = await fetch(`${url}/v1/jobs/${job("5")}/why`, { headers: { authorization: `Bearer ${ownerToken}` } })
      return { status: answer.status, body: await answer.json() as any }
    })
    assert.deepStrictEqual([answer.status, answer.body.code], [503, "read_model_unavailable"])
  }))
})
