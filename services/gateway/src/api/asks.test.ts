import { MemoryLog, readable } from "@millrace/journal"
import { namedId } from "@millrace/decider"
import type { GrantId, MillFact, Subject } from "@millrace/schemas"
import { digestOfToken } from "@millrace/service"
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { createHmac } from "node:crypto"
import { request } from "node:http"
import { acme, ask, assertRefused, boundGrant, factsIn, Gateway, say, strangeGrant, submitted, widerGrant } from "../testing/api-cell.ts"

layer(Gateway.layer, { timeout: "60 seconds", excludeTestServices: true })("the API", (it) => {
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

  describe("asks", () => {
    const terms = { holder: "agent:new", reach: { actions: ["job.*"], lifeMs: 60_000 }, reason: "to try" }

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

  describe("what is not theirs", () => {
    it.effect("a grant of another workspace is refused as one that there is not, also where its holder bears the asker's name", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const asks = factsIn(log, "mill.ask.acme").length
      const terms = { holder: "agent:new", reach: { actions: ["job.*"], lifeMs: 60_000 } }
      // Who answers that there is no such grant is access, which is not here: both are asked of it.
      for (const [at, grantId] of [strangeGrant, namedId<GrantId>("grt", "none")].entries()) {
        yield* Effect.timeoutOption(ask("POST", `/v1/grants/${grantId}/delegate`, { body: terms }), 300)
        assert.lengthOf(factsIn(log, "mill.ask.acme"), asks + at + 1)
      }
    }))

    it.effect("who may only submit makes the jobs of others no less urgent", () => Effect.gen(function*() {
      const { jobId } = yield* submitted()
      yield* submitted({}, "sender")
      const refused = yield* ask("POST", `/v1/jobs/${jobId}/priority`, { body: { priority: 0 }, token: "sender" })
      assertRefused(refused, 403, "capability_missing")
      assert.strictEqual(refused.body.missing.action, "job.cancel")
    }))

    it.effect("a hook is told apart by nobody from one that there is not, and by what no signature covers nothing is told", () => Effect.gen(function*() {
      const opened = yield* ask("PUT", "/v1/hooks/git")
      assert.strictEqual(opened.status, 200, JSON.stringify(opened.body))
      const seconds = Math.floor(Date.now() / 1000)
      const signed = (secret: string, body: string) => ({
        "content-type": "application/cloudevents+json", "webhook-id": "m", "webhook-timestamp": String(seconds),
        "webhook-signature": `v1,${createHmac("sha256", Buffer.from(secret.slice("whsec_".length), "base64")).update(`m.${seconds}.${body}`).digest("base64")}`
      })
      const tell = (hook: string, secret: string, more: Record<string, string> = {}) => {
        const body = JSON.stringify({ specversion: "1.0", id: "1", source: "/git", type: "push" })
        return ask("POST", `/v1/hooks/${hook}`, { body, headers: { ...signed(secret, body), ...more }, token: "" })
      }
      yield* Effect.repeat(tell("acme/git", opened.body.secret), { until: ({ status }) => status === 200 }).pipe(Effect.timeout(10_000))
      const other = `whsec_${Buffer.from("another").toString("base64")}`
      const wrong = yield* tell("acme/git", other)
      assertRefused(wrong, 403, "signature_refused")
      for (const hook of ["acme/svn", "other/git", "nobody/git"]) assert.deepStrictEqual((yield* tell(hook, opened.body.secret)).body, wrong.body)
      const named = yield* tell("acme/git", opened.body.secret, { "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "2", "ce-source": "/forged", "ce-type": "push" })
      assertRefused(named, 400, "event_malformed")
    }))
  })

  describe("what concerns all workspaces of the cell", () => {
    it.effect("is its operators' to say, in the workspace that it began with", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const asks = log.head("GATEWAY")
      const body = { node: "workspace/other", limits: [{ dimension: "cpuMilli", nominal: 1000 }] }
      const stranger = yield* ask("POST", "/v1/quotas", { body, token: "stranger" })
      assertRefused(stranger, 403, "operator_of_cell")
      assert.deepInclude(stranger.body.missing, { action: "cell.operate", limit: "workspace", needs: acme, has: "other" })
      assertRefused(yield* ask("DELETE", "/v1/quotas?node=workspace/other", { token: "stranger" }), 403, "operator_of_cell")
      // A host is offered the work of all workspaces, so not every workspace lets one in.
      assertRefused(yield* ask("POST", "/v1/hosts/enrolments", { body: { lifeMs: 60_000 }, token: "stranger" }), 403, "operator_of_cell")
      // A manager of the workspace has its capacity, and not the cell's.
      const manager = yield* ask("POST", "/v1/quotas", { body, token: "manager" })
      assertRefused(manager, 403, "capability_missing")
      assert.include(manager.body.remedy, "millrace principals bind user:manager operator")
      assertRefused(yield* ask("POST", "/v1/quotas", { body, token: "bound" }), 403, "acts_under_grant")
      assert.lengthOf(log.after("GATEWAY", asks, "mill.ask.>", 10).commits, 0)
      const [owner] = yield* Effect.all([
        ask("POST", "/v1/quotas", { body }),
        answering(log, (answers) => [{ kind: "quota", scope: "cell" }, { _tag: "QuotaSet", node: body.node, terms: { limits: body.limits }, setBy: "user:owner", workspace: acme, answers } as never])
      ], { concurrency: 2 })
      assert.deepInclude(owner, { status: 200 })
      assert.strictEqual(owner.body.answer.name, "QuotaSet")
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

    it.effect("a read that another service refuses is refused here in the same words, and is in the audit first", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const denials = () => factsIn(log, "mill.decision.gateway").flatMap(({ event }) => event._tag === "DecisionMade" && event.request.action === "budget.read" ? [event] : [])
      const answer = yield* ask("GET", "/v1/budgets", { token: "bare" })
      assertRefused(answer, 403, "capability_missing")
      assert.include(answer.body.remedy, "in the audit")
      assert.strictEqual(denials().length, 1)
      assert.deepInclude(denials()[0], { verdict: "deny" })
      assert.strictEqual(denials()[0]?.request.principal, "agent:bare")
      // Whom this gate would let through is told what the service said, and nothing is written down.
      const told = yield* ask("GET", "/v1/budgets")
      assert.strictEqual(told.body.remedy, "ask")
      assert.strictEqual(denials().length, 1)
      assert.strictEqual((yield* ask("GET", "/v1/budgets", { token: "guess" })).body.remedy, "ask")
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
