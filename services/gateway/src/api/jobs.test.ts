import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { Journal, memoryJournal, MemoryLog, readable } from "@millrace/journal"
import { testDatabase } from "@millrace/infra-postgres"
import { Database } from "@millrace/readmodel"
import { type AttemptId, type FactId, type GrantId, type HostId, type JobId, type MillFact, Principal, type Subject, type WarrantId, type WorkspaceName } from "@millrace/schemas"
import { Authority, digestOfToken, keyringInMemory, warrantBearer, warrantPair, WarrantSigner } from "@millrace/service"
import { assert, describe, layer } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Redacted } from "effect"
import { createServer, type IncomingMessage, request } from "node:http"
import { createServer as createSocket } from "node:net"
import { GatewayService } from "../service.ts"

const acme = "acme" as WorkspaceName
const other = "other" as WorkspaceName
const farMs = 4_000_000_000_000

const agentsGrant = namedId<GrantId>("grt", "for the agent")
const poorGrant = namedId<GrantId>("grt", "for five cents")

const roleOf = (workspace: WorkspaceName, name: string, role: "owner" | "viewer"): ReadonlyArray<readonly [Subject, MillFact]> => [
  [{ kind: "principal", scope: workspace }, { _tag: "RoleBound", workspace, principal: Principal.make(`user:${name}`), role, boundBy: Principal.make(`user:${name}`) }],
  tokenOf(workspace, `user:${name}`, name)
]
const tokenOf = (workspace: WorkspaceName, principal: string, token: string, grant?: GrantId): readonly [Subject, MillFact] => [
  { kind: "principal", scope: workspace },
  {
    _tag: "CredentialIssued",
    workspace,
    principal: Principal.make(principal),
    credentialDigest: digestOfToken(token),
    expiresAtMs: farMs,
    issuedBy: Principal.make("user:owner"),
    ...(grant === undefined ? {} : { grant })
  }
]
const grantOf = (grantId: GrantId, holder: string, constraints: object, depthMax = 1): readonly [Subject, MillFact] => [
  { kind: "grant", scope: acme, story: grantId },
  {
    _tag: "GrantIssued",
    workspace: acme,
    tree: grantId,
    grantId,
    holder: Principal.make(holder),
    issuer: Principal.make("user:owner"),
    reach: { actions: ["job.*"] as never, resources: ["workspace/acme/*"] as never, constraints, notBeforeMs: 0, expiresAtMs: farMs, depthMax },
    durable: false,
    reason: "to help"
  } as MillFact
]
/** The owner under a grant that gives everything, and another one of the same holder. */
const boundGrant = namedId<GrantId>("grt", "for what the owner runs")
const widerGrant = namedId<GrantId>("grt", "for the owner's other work")
const everything = (fact: readonly [Subject, MillFact]): readonly [Subject, MillFact] => {
  const [subject, issued] = fact as readonly [Subject, Extract<MillFact, { _tag: "GrantIssued" }>]
  return [subject, { ...issued, reach: { ...issued.reach, actions: ["*"] as never, resources: ["workspace/acme", "workspace/acme/*"] as never } }]
}
const world: ReadonlyArray<readonly [Subject, MillFact]> = [
  ...roleOf(acme, "owner", "owner"),
  ...roleOf(acme, "reader", "viewer"),
  ...roleOf(other, "stranger", "owner"),
  grantOf(agentsGrant, "agent:helper", { cpuMilliMax: 1000, runMsMax: 3_600_000 }),
  tokenOf(acme, "agent:helper", "agent", agentsGrant),
  tokenOf(acme, "agent:bare", "bare"),
  grantOf(poorGrant, "agent:poor", { spendPicoMax: 50_000_000_000n }),
  tokenOf(acme, "agent:poor", "poor", poorGrant),
  everything(grantOf(boundGrant, "user:owner", { cpuMilliMax: 1000 })),
  everything(grantOf(widerGrant, "user:owner", {})),
  tokenOf(acme, "user:owner", "bound", boundGrant)
]

let said = 0
/** Says a fact as the service would that owns it. */
const say = (log: MemoryLog, [subject, event]: readonly [Subject, MillFact], more: { readonly causedBy?: FactId } = {}) =>
  Effect.gen(function*() {
    const atMs = yield* Clock.currentTimeMillis
    const journal = memoryJournal(log)
    const id = deriveId<FactId>("fct", atMs, "test", said++)
    const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
    const { stream, ...place } = yield* Effect.orDie(journal.append({ subject, actor: Principal.make("service:access"), happenedAtMs: atMs, facts: [{ id, partOf: id, event, ...more }] }, { last: "subject", sequence }))
    return { id, cut: { [stream]: place.sequence } }
  })

const freePort = Effect.callback<number>((resume) => {
  const probe = createSocket().listen(0, "127.0.0.1", () => {
    const address = probe.address()
    probe.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A service beside the gateway, which answers what it was asked. */
const neighbour = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly server: ReturnType<typeof createServer> }>((resume) => {
    const server = createServer((asked, answer) => {
      if (asked.url === "/openapi.json") return void answer.end(JSON.stringify({ paths: { "/v1/usage": { get: { summary: "Read usage" } }, "/v1/own": { get: {} } }, components: { schemas: { Cut: {} } } }))
      answer.writeHead(asked.url?.startsWith("/v1/usage/none") === true ? 404 : 200, { "content-type": "application/json", "x-own": "kept", connection: "x-hop", "x-hop": "dropped" })
      answer.end(JSON.stringify({ url: asked.url, authorization: asked.headers.authorization, hop: asked.headers["proxy-authorization"] ?? null, length: asked.headers["content-length"] ?? null }))
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, server })))
  }),
  ({ server }) => Effect.sync(() => void server.close())
)

/** A gateway on a free port, over a log in memory and a real Postgres. */
class Gateway extends Context.Service<Gateway, { readonly url: string; readonly log: MemoryLog; readonly warrant: (parent: JobId, more?: object) => string }>()("test/Gateway") {
  static readonly layer = Layer.effect(this, Effect.gen(function*() {
    const url = yield* testDatabase()
    const log = new MemoryLog()
    for (const fact of world) yield* say(log, fact)
    const port = yield* freePort
    const { url: metering } = yield* neighbour
    const { url: gone } = { url: `http://127.0.0.1:${yield* freePort}` }
    const journal = Layer.succeed(Journal, memoryJournal(log))
    const keys = yield* Layer.build(warrantPair)
    yield* Layer.build(GatewayService({ host: "127.0.0.1", port, rate: { perSecond: 1_000_000, burst: 1_000_000 }, routing: { upstreams: { metering, broker: gone } } }).pipe(
      Layer.provide(Authority.layer),
      Layer.provide([
        journal,
        Database.layer({ url: Redacted.make(url) }),
        Blobs.memory,
        keyringInMemory,
        Layer.succeedContext(keys)
      ])))
    const warrant = (jobId: JobId, more: object = {}) => {
      const one = {
        warrantId: namedId<WarrantId>("wrt", jobId),
        hostId: namedId<HostId>("hst", "one"),
        jobId,
        attempt: 1,
        attemptId: namedId<AttemptId>("att", jobId),
        fence: { epoch: 1, sequence: 1 },
        resources: { cpuMilli: 1, memoryMib: 1, diskMib: 0, gpus: 0 },
        grantPath: [agentsGrant],
        expiresAtMs: farMs,
        view: {},
        workspace: acme,
        holder: Principal.make("agent:helper"),
        ...more
      }
      return `Warrant ${warrantBearer(one, Context.get(keys, WarrantSigner).sign(one))}`
    }
    return { url: `http://127.0.0.1:${port}`, log, warrant }
  }))
}

interface Answer {
  readonly status: number
  readonly body: any
  readonly headers: Headers
}

const ask = Effect.fnUntraced(function*(method: string, path: string, { body, headers = {}, token = "owner" }: {
  readonly body?: unknown
  readonly headers?: Record<string, string>
  readonly token?: string
} = {}) {
  const { url } = yield* Gateway
  return yield* Effect.promise(async (): Promise<Answer> => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) })
    })
    const text = await answer.text()
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text), headers: answer.headers }
  })
})

const cutText = (cut: Record<string, number>) => Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")
const after = (cut: Record<string, number>) => `after=${cutText(cut)}`

/** Every error says what, where, one remedy and a stable code. */
const assertRefused = ({ body, status }: Answer, wanted: number, code: string) => {
  assert.strictEqual(status, wanted, JSON.stringify(body))
  assert.strictEqual(body.code, code, JSON.stringify(body))
  for (const field of ["what", "where", "remedy"]) assert.isAbove(String(body[field]).length, 0, field)
}

const submitted = Effect.fnUntraced(function*(body: object = {}, token = "owner") {
  const answer = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], ...body }, token })
  assert.strictEqual(answer.status, 200, JSON.stringify(answer.body))
  return answer.body as { jobId: JobId; cut: Record<string, number> }
})

const factsIn = (log: MemoryLog, filter: string) => log.after("GATEWAY", 0, filter, 10_000).commits.flatMap((commit) => readable(commit).facts)

const hostId = namedId<HostId>("hst", "one")
const settled = (jobId: JobId): readonly [Subject, MillFact] => [{ kind: "schedule", scope: acme }, { _tag: "JobSettled", jobId, workspace: acme, outcome: "succeeded", attempt: 1, exitCode: 0, cause: "exited with 0" }]
const deferred = (jobId: JobId): readonly [Subject, MillFact] => [{ kind: "schedule", scope: acme }, { _tag: "JobDeferred", jobId, workspace: acme, reason: "no_room", arithmetic: "8 cores are needed, 4 are free", unblockedBy: "capacity" }]

layer(Gateway.layer, { timeout: "60 seconds", excludeTestServices: true })("the API", (it) => {
  describe("jobs", () => {
    it.effect("a job that was submitted is read back at its own cut", () => Effect.gen(function*() {
      const { cut, jobId } = yield* submitted({ name: "first-try" })
      const { body, status } = yield* ask("GET", `/v1/jobs/${jobId}?${after(cut)}`)
      assert.strictEqual(status, 200, JSON.stringify(body))
      assert.deepInclude(body.job, { state: "queued", submittedBy: "user:owner", name: "first-try" })
      const story = yield* ask("GET", `/v1/jobs/${jobId}/story?${after(cut)}`)
      assert.deepStrictEqual(story.body.lines.map(({ name }: { name: string }) => name), ["JobSubmitted"])
      assert.match(story.body.lines[0].text, /allowed by role\.owner/u)
    }))

    it.effect("one idempotency key submits once, and another request under it is refused", () => Effect.gen(function*() {
      const headers = { "idempotency-key": "nightly-7" }
      const first = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers })
      const again = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers })
      assert.deepStrictEqual([again.body.jobId, again.body.repeated, again.body.cut], [first.body.jobId, true, first.body.cut])
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["false"] }, headers }), 409, "idempotency_mismatch")
    }))

    it.effect("a job of another workspace is not found, never forbidden", () => Effect.gen(function*() {
      const { cut, jobId } = yield* submitted()
      yield* ask("GET", `/v1/jobs/${jobId}?${after(cut)}`)
      for (const path of ["", "/story", "/tasks", "/events", "/output/stdout"]) {
        assertRefused(yield* ask("GET", `/v1/jobs/${jobId}${path}`, { token: "stranger" }), 404, "job_unknown")
      }
      assertRefused(yield* ask("POST", `/v1/jobs/${jobId}/cancel`, { token: "stranger" }), 404, "job_unknown")
      assertRefused(yield* ask("POST", "/v1/jobs", { token: "stranger", body: { argv: ["true"], after: [{ jobId, on: "over" }] } }), 400, "dependency_unknown")
    }))

    it.effect("a cancel is in the story, and asking again adds nothing", () => Effect.gen(function*() {
      const { jobId } = yield* submitted()
      const first = yield* ask("POST", `/v1/jobs/${jobId}/cancel`)
      const again = yield* ask("POST", `/v1/jobs/${jobId}/cancel`)
      assert.deepStrictEqual(again.body, first.body)
      const story = yield* ask("GET", `/v1/jobs/${jobId}/story?${after(first.body.cut)}`)
      assert.deepStrictEqual(story.body.lines.map(({ name }: { name: string }) => name), ["JobSubmitted", "JobCancelRequested"])
    }))

    it.effect("a job is shown as it was at a cut, and at a moment", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const { cut, jobId } = yield* submitted()
      const waits = { ...cut, ...(yield* say(log, deferred(jobId))).cut }
      yield* Effect.sleep(5)
      const moment = new Date(yield* Clock.currentTimeMillis).toISOString()
      yield* Effect.sleep(5)
      const over = { ...cut, ...(yield* say(log, settled(jobId))).cut }
      const stateAt = (query: string) => Effect.map(ask("GET", `/v1/jobs/${jobId}?${query}`), ({ body }) => [body.job?.state, body.job?.because])
      assert.deepStrictEqual(yield* stateAt(after(over)), ["succeeded", "exited with 0"])
      assert.deepStrictEqual(yield* stateAt(`at=${cutText(cut)}`), ["queued", null])
      assert.deepStrictEqual(yield* stateAt(`at=${cutText(waits)}`), ["waiting", "8 cores are needed, 4 are free"])
      assert.deepStrictEqual(yield* stateAt(`at=${moment}`), ["waiting", "8 cores are needed, 4 are free"])
      assertRefused(yield* ask("GET", `/v1/jobs/${jobId}?at=GATEWAY=${cut["GATEWAY"]! - 1}`), 404, "job_unknown")
      assertRefused(yield* ask("GET", `/v1/jobs/${jobId}?at=yesterday`), 400, "moment_malformed")
      const waiting = (at: string) => Effect.map(ask("GET", `/v1/jobs?state=waiting&limit=1000&${at}`), ({ body }) => body.jobs.some((job: { jobId: string }) => job.jobId === jobId))
      assert.deepStrictEqual([yield* waiting(`at=${cutText(waits)}`), yield* waiting(after(over))], [true, false])
    }))

    it.effect("what the tables say now is what the past says at the newest cut", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const heads = Object.fromEntries(["GATEWAY", "SCHEDULER", "HOSTS", "METERING", "ACCESS", "SNAPSHOTS"].map((stream) => [stream, log.head(stream)]))
      const now = yield* ask("GET", `/v1/jobs?limit=1000&${after(heads)}`)
      const past = yield* ask("GET", `/v1/jobs?limit=1000&at=${cutText(heads)}`)
      assert.isAbove(now.body.jobs.length, 3)
      assert.deepStrictEqual(past.body.jobs, now.body.jobs)
    }))

    it.effect("pages hold every job once, whatever comes meanwhile", () => Effect.gen(function*() {
      const jobs = []
      for (let job = 0; job < 5; job += 1) jobs.push(yield* submitted({ name: "paged" }))
      const seen: Array<string> = []
      let query = `name=paged&limit=2&${after(jobs.at(-1)!.cut)}`
      for (let page = 0; page < 3; page += 1) {
        const { body } = yield* ask("GET", `/v1/jobs?${query}`)
        seen.push(...body.jobs.map(({ jobId }: { jobId: string }) => jobId))
        assert.strictEqual(body.next === undefined, page === 2)
        query = `name=paged&limit=2&cursor=${body.next}`
        if (page === 0) yield* submitted({ name: "paged" })
      }
      assert.deepStrictEqual([...seen].sort(), jobs.map(({ jobId }) => jobId as string).sort())
      assertRefused(yield* ask("GET", "/v1/jobs?cursor=x"), 400, "cursor_malformed")
    }))

    it.effect("an array's tasks are counted and listed, each where it stands", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const { cut, jobId } = yield* submitted({ array: { tasks: 5 } })
      const done = yield* say(log, [{ kind: "schedule", scope: acme }, { _tag: "TaskSettled", jobId, workspace: acme, task: 3, outcome: "failed", attempt: 1, exitCode: 2, cause: "exited with 2" }])
      const { body } = yield* ask("GET", `/v1/jobs/${jobId}/tasks?${after({ ...cut, ...done.cut })}`)
      assert.deepStrictEqual(body.counts, { failed: 1, queued: 4 })
      assert.deepInclude(body.tasks[0], { task: 3, state: "failed", exitCode: 2 })
    }))

    it.effect("the story of a job that was tried again names the host that was lost, and what it cost", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const { jobId } = yield* submitted()
      const lost = yield* say(log, [{ kind: "fleet", scope: "cell" }, { _tag: "HostDeclaredLost", hostId, lastHeardAtMs: 1_000, leaseEndedAtMs: 16_000 }])
      yield* say(log, [{ kind: "schedule", scope: acme }, { _tag: "JobRetried", jobId, workspace: acme, failedAttempt: 1, cause: "its host is lost", notBeforeMs: 0, lost: true }], { causedBy: lost.id })
      const spent = yield* say(log, [{ kind: "budget", scope: acme, story: "acc_1" }, {
        _tag: "SpendCommitted", workspace: acme, account: namedId("acc", "acme"), slice: namedId("slc", "one"), jobId, attempt: 2, attemptId: namedId("att", "two"), amountPico: 123_000_000n, settledBy: lost.id
      }])
      const { body } = yield* ask("GET", `/v1/jobs/${jobId}/story?${after({ SCHEDULER: log.head("SCHEDULER"), ...spent.cut })}`)
      assert.deepStrictEqual(body.lines.map(({ name }: { name: string }) => name).sort(), ["HostDeclaredLost", "JobRetried", "JobSubmitted", "SpendCommitted"])
      const texts = body.lines.map(({ text }: { text: string }) => text)
      assert.isBelow(texts.findIndex((text: string) => text.includes("declared lost")), texts.findIndex((text: string) => text.includes("was lost with its host")))
      assert.match(texts.at(-1), /attempt 2 cost \$0\.000123/u)
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}`)).body.job.spentPico, "123000000")
    }))

    it.effect("a follower hears each line once, also across a break, and the end last", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const { jobId } = yield* submitted()
      const first = yield* events(jobId, undefined, (heard) => heard.some(({ event }) => event === "line"))
      yield* say(log, deferred(jobId))
      yield* say(log, settled(jobId))
      const rest = yield* events(jobId, first.at(-1)!.id, (heard) => heard.at(-1)?.event === "over")
      assert.deepStrictEqual([...first, ...rest].map(({ data, event }) => (event === "line" ? data.name : event)), ["JobSubmitted", "JobDeferred", "JobSettled", "over"])
      assertRefused(yield* ask("GET", `/v1/jobs/${jobId}/events?from=x`), 400, "place_malformed")
    }))
  })

  describe("refusals", () => {
    it.effect("an unknown token opens nothing", () => Effect.gen(function*() {
      assertRefused(yield* ask("GET", "/v1/jobs", { token: "guess" }), 401, "token_unknown")
    }))

    it.effect("what a role does not give is refused, and the audit holds the refusal before the answer", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const answer = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, token: "reader" })
      assertRefused(answer, 403, "capability_missing")
      assert.strictEqual(answer.body.missing.action, "job.submit")
      const denial = factsIn(log, "mill.decision.gateway").map(({ event }) => event).find((event) => event._tag === "DecisionMade" && event.request.principal === "user:reader")
      assert.deepInclude(denial, { verdict: "deny", rule: "default-deny" })
    }))

    it.effect("an agent without a grant is denied, and one with a grant is told the limit that is too small", () => Effect.gen(function*() {
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, token: "bare" }), 403, "capability_missing")
      const { jobId } = yield* submitted({}, "agent")
      const { log } = yield* Gateway
      const [fact] = factsIn(log, `mill.job.acme.${jobId}`)
      assert.deepInclude(fact?.event as object, { submittedBy: "agent:helper", grant: agentsGrant })
      assert.deepInclude((fact?.event as { spec: object }).spec, { trust: "others", runtime: "sandbox" })
      const wide = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], resources: { cpuMilli: 4000, memoryMib: 1 } }, token: "agent" })
      assertRefused(wide, 403, "capability_missing")
      assert.deepInclude(wide.body.missing, { limit: "cpuMilliMax", needs: "4000", has: "1000", narrowedBy: agentsGrant })
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], trust: "own" }, token: "agent" }), 403, "trust_not_given")
    }))

    it.effect("more money than the grant may spend is refused at the door, once there are prices", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const dear = { argv: ["true"], resources: { cpuMilli: 64_000, memoryMib: 1024 }, array: { tasks: 10 } }
      yield* say(log, [{ kind: "pricebook", scope: "cell" }, {
        _tag: "PriceBookPublished",
        priceBook: {
          book: "standard", version: 1, side: "sell", currency: "USD", effectiveFromMs: 0,
          prices: [{ priceId: "cpu", sku: "cpu", unit: "core_second", picoPerUnit: 13_100_000n, billedMsMin: 0, billedStepMs: 1 }]
        },
        digest: digestOfToken("book"),
        publishedBy: Principal.make("service:metering")
      }])
      yield* Effect.sleep(20)
      const refused = yield* ask("POST", "/v1/jobs", { body: dear, token: "poor" })
      assertRefused(refused, 403, "capability_missing")
      assert.strictEqual(refused.body.missing.limit, "spendPicoMax")
      assert.match(refused.body.what, /\$30\.18[0-9]* is needed, \$0\.05 is given/u)
      yield* submitted({ runMsMax: 1000 }, "poor")
    }))

    it.effect("a program inside a sandbox submits under its attempt's warrant, as deep as the grant lets it", () => Effect.gen(function*() {
      const { log, warrant } = yield* Gateway
      const root = yield* submitted({}, "agent")
      const child = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers: { authorization: warrant(root.jobId) } })
      assert.strictEqual(child.status, 200, JSON.stringify(child.body))
      const [fact] = factsIn(log, `mill.job.acme.${child.body.jobId}`)
      assert.deepInclude(fact?.event as object, { parent: { jobId: root.jobId, attemptId: namedId("att", root.jobId), depth: 1 }, submittedBy: "agent:helper" })
      const grandchild = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers: { authorization: warrant(child.body.jobId) } })
      assertRefused(grandchild, 403, "capability_missing")
      assert.strictEqual(grandchild.body.missing.limit, "depthMax")
    }))

    it.effect("a malformed request names the field, and so does one with a field that nobody knows", () => Effect.gen(function*() {
      const answer = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], resources: { cpuMilli: -1, memoryMib: 1 } } })
      assertRefused(answer, 400, "request_malformed")
      assert.match(answer.body.what, /cpuMilli/u)
      const misspelt = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], resuorces: {} } })
      assertRefused(misspelt, 400, "request_malformed")
      assert.match(misspelt.body.what, /resuorces/u)
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers: { "idempotency-key": "a b*" } }), 400, "idempotency_key_malformed")
      assertRefused(yield* ask("GET", "/v1/jobs?colour=red"), 400, "request_malformed")
    }))

    it.effect("names that would reach into subjects are refused", () => Effect.gen(function*() {
      for (const name of ["a.b", "a*", ">", "a b", "a\u0000b", "a\nb", "../x"]) {
        assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], name } }), 400, "request_malformed")
        const { status } = yield* ask("GET", `/v1/jobs/${encodeURIComponent(name)}`)
        assert.include([400, 404], status, name)
      }
    }))

    it.effect("what looks like a credential is refused in the open, with the way to pass it, and taken in env", () => Effect.gen(function*() {
      const key = `AKIA${"ABCDEFGHIJKLMNOP"}`
      for (const plain of [{ argv: ["run", `--key=${key}`] }, { argv: ["run"], labels: { key } }]) {
        const refused = yield* ask("POST", "/v1/jobs", { body: plain })
        assertRefused(refused, 400, "credential_in_plain")
        assert.notInclude(JSON.stringify(refused.body), key)
        assert.match(refused.body.remedy, /env/u)
      }
      yield* submitted({ env: { KEY: key } })
    }))

    it.effect("bytes that the workspace does not hold start no job", () => Effect.gen(function*() {
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], files: [{ path: "/in", blob: { digest: digestOfToken("x"), sizeBytes: 1 } }] } }), 400, "blob_unknown")
    }))

    it.effect("a program that is too large for a fact is refused, and so is a body that is too large to read", () => Effect.gen(function*() {
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["x".repeat(20_000)] } }), 413, "program_too_large")
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["x".repeat(2_000_000)] } }), 413, "body_too_large")
      const chunked = yield* sentInPieces("/v1/jobs", "x".repeat(2_000_000))
      assert.include([400, 413], chunked)
      const put = yield* ask("PUT", "/v1/blobs", { body: "x".repeat(2_000_000), headers: { "content-type": "application/octet-stream" } })
      assert.strictEqual(put.status, 200, JSON.stringify(put.body))
    }))

    it.effect("nothing that was refused is in the log as a job", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const jobs = factsIn(log, "mill.job.acme.*").filter(({ name }) => name === "JobSubmitted")
      const { body } = yield* ask("GET", `/v1/jobs?limit=1000&${after({ GATEWAY: log.head("GATEWAY") })}`)
      assert.strictEqual(body.jobs.length, jobs.length)
    }))
  })

  describe("asks", () => {
    const terms = { holder: "agent:new", reach: { actions: ["job.*"], lifeMs: 60_000 }, reason: "to try" }
    /** Plays the owner: answers the next ask with a fact of its own. */
    const answering = (log: MemoryLog, answer: (askId: never) => readonly [Subject, MillFact]) =>
      Effect.gen(function*() {
        const seen = log.head("GATEWAY")
        while (true) {
          const asked = log.after("GATEWAY", seen, "mill.ask.acme", 10).commits.flatMap((commit) => readable(commit).facts)[0]?.event
          if (asked !== undefined && "askId" in asked) return yield* say(log, answer(asked.askId as never))
          yield* Effect.sleep(2)
        }
      })

    it.effect("an ask is answered by its owner's fact, once for one key", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const headers = { "idempotency-key": "grant-1" }
      const [answer] = yield* Effect.all([
        ask("POST", "/v1/grants", { body: terms, headers }),
        answering(log, (answers) => [{ kind: "answer", scope: "access", story: acme }, { _tag: "AskFoundDone", answers, workspace: acme, detail: "it is so" }])
      ], { concurrency: 2 })
      assert.strictEqual(answer.status, 200, JSON.stringify(answer.body))
      assert.deepInclude(answer.body, { repeated: false, answer: { name: "AskFoundDone", body: { answers: answer.body.askId, workspace: acme, detail: "it is so" } } })
      const head = log.head("GATEWAY")
      const again = yield* ask("POST", "/v1/grants", { body: terms, headers })
      assert.deepStrictEqual([again.body.askId, again.body.repeated, again.body.answer], [answer.body.askId, true, answer.body.answer])
      assert.strictEqual(log.head("GATEWAY"), head)
      assertRefused(yield* ask("POST", "/v1/grants", { body: { ...terms, holder: "agent:else" }, headers }), 409, "idempotency_mismatch")
      const shown = yield* ask("GET", `/v1/asks/${answer.body.askId}`)
      assert.deepInclude(shown.body, { name: "GrantAsked", askedBy: "user:owner", answer: answer.body.answer })
      assertRefused(yield* ask("GET", `/v1/asks/${answer.body.askId}`, { token: "stranger" }), 404, "ask_unknown")
    }))

    it.effect("an owner's refusal is answered with its remedy and what is missing", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const missing = { action: "job.submit", resource: "workspace/acme/x", limit: "cpuMilliMax", needs: "2", has: "1" }
      const [answer] = yield* Effect.all([
        ask("POST", "/v1/grants", { body: terms }),
        answering(log, (answers) => [{ kind: "answer", scope: "access", story: acme }, { _tag: "AskRefused", answers, workspace: acme, reason: "wider_than_parent", detail: "it reaches further", remedy: "ask for less", missing } as never])
      ], { concurrency: 2 })
      assertRefused(answer, 403, "ask_wider_than_parent")
      assert.deepStrictEqual([answer.body.remedy, answer.body.missing], ["ask for less", missing])
    }))

    it.effect("a token is shown once, and only its digest is in the log", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const headers = { "idempotency-key": "token-1" }
      const request = { body: { principal: "agent:new" }, headers }
      const [answer] = yield* Effect.all([
        ask("POST", "/v1/credentials", request),
        answering(log, (answers) => [{ kind: "answer", scope: "access", story: acme }, { _tag: "AskFoundDone", answers, workspace: acme, detail: "" }])
      ], { concurrency: 2 })
      assert.match(answer.body.secret, /^mill_/u)
      const [asked] = factsIn(log, "mill.ask.acme").filter(({ name }) => name === "CredentialAsked")
      assert.deepInclude(asked?.event, { credentialDigest: digestOfToken(answer.body.secret) })
      assert.isUndefined((yield* ask("POST", "/v1/credentials", request)).body.secret)
    }))

    it.effect("who may not ask is refused before anything is asked", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const asks = factsIn(log, "mill.ask.acme").length
      assertRefused(yield* ask("POST", "/v1/grants", { body: terms, token: "reader" }), 403, "capability_missing")
      assertRefused(yield* ask("POST", "/v1/grants", { body: { ...terms, reach: { actions: ["job.*"] } } }), 400, "end_missing")
      assert.lengthOf(factsIn(log, "mill.ask.acme"), asks)
    }))
  })

  describe("a token that is bound to a grant, and a warrant", () => {
    const reach = (constraints: object) => ({ holder: "agent:new", reach: { actions: ["job.*"], lifeMs: 60_000, depthMax: 0, constraints } })

    it.effect("give nothing by the roles of their principal", () => Effect.gen(function*() {
      const { log, warrant } = yield* Gateway
      const asks = factsIn(log, "mill.ask.acme").length
      const { jobId } = yield* submitted()
      for (const headers of [{}, { authorization: warrant(jobId, { holder: "user:owner", grantPath: [boundGrant] }) }]) {
        assertRefused(yield* ask("POST", "/v1/grants", { body: reach({}), token: "bound", headers }), 403, "acts_under_grant")
        assertRefused(yield* ask("POST", "/v1/credentials", { body: { principal: "user:owner" }, token: "bound", headers }), 403, "acts_under_grant")
        assertRefused(yield* ask("POST", "/v1/roles", { body: { principal: "user:new", role: "owner" }, token: "bound", headers }), 403, "acts_under_grant")
      }
      assert.lengthOf(factsIn(log, "mill.ask.acme"), asks)
    }))

    it.effect("hand on nothing of another grant, though their principal holds it", () => Effect.gen(function*() {
      const { log, warrant } = yield* Gateway
      const asks = factsIn(log, "mill.ask.acme").length
      const { jobId } = yield* submitted()
      for (const headers of [{}, { authorization: warrant(jobId, { holder: "user:owner", grantPath: [boundGrant] }) }]) {
        assertRefused(yield* ask("POST", `/v1/grants/${widerGrant}/delegate`, { body: reach({}), token: "bound", headers }), 403, "capability_missing")
      }
      assert.lengthOf(factsIn(log, "mill.ask.acme"), asks)
    }))

    it.effect("a warrant hands on no more than it has itself, though its grant has more", () => Effect.gen(function*() {
      const { log, warrant } = yield* Gateway
      const asks = factsIn(log, "mill.ask.acme").length
      const { jobId } = yield* submitted()
      const authorization = warrant(jobId, { holder: "user:owner", grantPath: [boundGrant], constraints: { cpuMilliMax: 500 } })
      const refused = yield* ask("POST", `/v1/grants/${boundGrant}/delegate`, { body: reach({ cpuMilliMax: 1000 }), headers: { authorization } })
      assertRefused(refused, 403, "capability_missing")
      assert.deepInclude(refused.body.missing, { limit: "cpuMilliMax", needs: "1000", has: "500" })
      assert.lengthOf(factsIn(log, "mill.ask.acme"), asks)
      const answering = ask("POST", `/v1/grants/${boundGrant}/delegate`, { body: reach({ cpuMilliMax: 500 }), headers: { authorization } })
      yield* Effect.timeoutOption(answering, 500)
      assert.lengthOf(factsIn(log, "mill.ask.acme"), asks + 1)
    }))
  })

  describe("one origin", () => {
    it.effect("reads of other services come through as they are, with the caller's own word", () => Effect.gen(function*() {
      const answer = yield* ask("GET", "/v1/usage/jobs?from=1", { headers: { "proxy-authorization": "own" } })
      assert.deepStrictEqual([answer.status, answer.body], [200, { url: "/v1/usage/jobs?from=1", authorization: "Bearer owner", hop: null, length: null }])
      assert.deepStrictEqual([answer.headers.get("x-own"), answer.headers.get("x-hop")], ["kept", null])
      assert.strictEqual((yield* ask("GET", "/v1/usage/none")).status, 404)
    }))

    it.effect("nothing but what is mounted is reached, and no body is announced that does not follow", () => Effect.gen(function*() {
      const raw = (path: string, headers: Record<string, string> = {}) => Effect.flatMap(Gateway, ({ url }) =>
        Effect.callback<string>((resume) => {
          const { port } = new URL(url)
          const sent = request({ host: "127.0.0.1", port, path, headers: { authorization: "Bearer owner", ...headers } }, (answer) => {
            let text = ""
            answer.on("data", (chunk) => void (text += String(chunk)))
            answer.on("end", () => resume(Effect.succeed(text)))
          })
          sent.end(headers["content-length"] === undefined ? undefined : "12345")
        }))
      assert.deepInclude(JSON.parse(yield* raw("/v1/usage/../own")), { code: "path_malformed" })
      assert.deepInclude(JSON.parse(yield* raw("/v1/usage/jobs", { "content-length": "5" })), { url: "/v1/usage/jobs", length: null })
    }))

    it.effect("a service that is not there is named in an error of ours", () => Effect.gen(function*() {
      assertRefused(yield* ask("GET", "/v1/leases"), 502, "upstream_unreachable")
      assertRefused(yield* ask("GET", "/v1/hosts"), 503, "not_mounted")
    }))

    it.effect("one document tells of all, but for what is not mounted", () => Effect.gen(function*() {
      const { body } = yield* ask("GET", "/openapi.json")
      assert.isDefined(body.paths["/v1/jobs"].post)
      assert.deepStrictEqual(body.paths["/v1/usage"].get, { summary: "Read usage" })
      assert.isUndefined(body.paths["/v1/own"])
      assert.deepStrictEqual(body["x-millrace-absent"], ["broker"])
    }))
  })
})

/** Sends a body that does not say how long it is. */
const sentInPieces = (path: string, body: string) =>
  Effect.flatMap(Gateway, ({ url }) =>
    Effect.callback<number>((resume) => {
      const sent = request(`${url}${path}`, { method: "POST", headers: { authorization: "Bearer owner", "content-type": "application/json", "transfer-encoding": "chunked" } }, (answer) => {
        answer.resume()
        resume(Effect.succeed(answer.statusCode ?? 0))
      })
      sent.on("error", () => undefined)
      sent.end(body)
    }))

interface Heard {
  readonly id: string
  readonly event: string
  readonly data: any
}

/** Follows until it has heard enough, then hangs up. */
const events = (jobId: string, lastEventId: string | undefined, enough: (heard: ReadonlyArray<Heard>) => boolean) =>
  Effect.flatMap(Gateway, ({ url }) =>
    Effect.callback<ReadonlyArray<Heard>>((resume) => {
      const heard: Array<Heard> = []
      let text = ""
      const sent = request(`${url}/v1/jobs/${jobId}/events`, { headers: { authorization: "Bearer owner", ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }) } }, (answer: IncomingMessage) => {
        answer.setEncoding("utf8")
        answer.on("error", () => undefined)
        answer.on("data", (chunk: string) => {
          text += chunk
          const blocks = text.split("\n\n")
          text = blocks.pop()!
          for (const block of blocks) {
            const field = (name: string) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
            const event = field("event")
            if (event !== undefined) heard.push({ id: field("id")!, event, data: JSON.parse(field("data")!) })
          }
          if (enough(heard)) {
            sent.destroy()
            resume(Effect.succeed(heard))
          }
        })
      })
      sent.on("error", () => undefined)
      sent.end()
      return Effect.sync(() => void sent.destroy())
    }))
