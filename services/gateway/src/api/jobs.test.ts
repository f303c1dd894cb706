import { namedId } from "@millrace/decider"
import { Principal } from "@millrace/schemas"
import { digestOfToken } from "@millrace/service"
import { assert, describe, layer } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { type IncomingMessage, request } from "node:http"
import { acme, after, agentsGrant, ask, assertRefused, cutText, deferred, factsIn, Gateway, hostId, say, settled, submitted } from "../testing/api-cell.ts"

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
      // What two streams stored within one millisecond stands in no order between them.
      assert.lengthOf(texts.filter((text: string) => /attempt 2 cost \$0\.000123/u.test(text)), 1)
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

    it.effect("work that nobody vouches for is no plain process, whoever asks, and the audit knows who did", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      for (const [token, given] of [["agent", {}], ["agent", { trust: "others" }], ["owner", { trust: "others" }]] as const) {
        assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["id"], runtime: "process", ...given }, token }), 403, "isolation_needed")
      }
      const denials = factsIn(log, "mill.decision.gateway").filter(({ event }) => event._tag === "DecisionMade" && event.rule === "others-are-isolated")
      assert.lengthOf(denials, 3)
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

    it.effect("a follow ends when what allowed it is taken back: its token, or the role that it reads by", () => Effect.gen(function*() {
      const { log, url } = yield* Gateway
      const { cut, jobId } = yield* submitted()
      yield* ask("GET", `/v1/jobs/${jobId}?${after(cut)}`)
      const principal = (name: string) => ({ kind: "principal", scope: acme, principal: Principal.make(`user:${name}`) })
      const follow = (token: string) => Effect.promise(async () => {
        const answer = await fetch(`${url}/v1/jobs/${jobId}/events`, { headers: { authorization: `Bearer ${token}` } })
        const reader = answer.body!.getReader()
        assert.isFalse((await reader.read()).done)
        return async () => { while (!(await reader.read()).done) continue }
      })
      for (const name of ["brief", "fired"]) {
        yield* say(log, [principal(name), { _tag: "RoleBound", workspace: acme, principal: principal(name).principal, role: "viewer", boundBy: Principal.make("user:owner") }])
        yield* say(log, [principal(name), { _tag: "CredentialIssued", workspace: acme, principal: principal(name).principal, credentialDigest: digestOfToken(name), expiresAtMs: 4_000_000_000_000, issuedBy: Principal.make("user:owner") }])
      }
      const [brief, fired] = [yield* follow("brief"), yield* follow("fired")]
      yield* say(log, [principal("brief"), { _tag: "CredentialRevoked", workspace: acme, credentialDigest: digestOfToken("brief"), revokedBy: Principal.make("user:owner"), cause: "it was lost" }])
      yield* say(log, [principal("fired"), { _tag: "RoleUnbound", workspace: acme, principal: principal("fired").principal, role: "viewer", unboundBy: Principal.make("user:owner") }])
      yield* Effect.timeout(Effect.promise(() => Promise.all([brief(), fired()])), 20_000)
      assert.deepStrictEqual([(yield* ask("GET", `/v1/jobs/${jobId}/events`, { token: "brief" })).status, (yield* ask("GET", `/v1/jobs/${jobId}/events`, { token: "fired" })).status], [401, 403])
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

    it.effect("whoever may not read a snapshot starts no job from it", () => Effect.gen(function*() {
      const startFrom = `snp_${"0".repeat(26)}`
      const refused = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], startFrom }, token: "agent" })
      assertRefused(refused, 403, "capability_missing")
      assert.deepInclude(refused.body.missing, { action: "snapshot.read", resource: `workspace/acme/snapshot/${startFrom}` })
      assert.strictEqual((yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], startFrom } })).status, 200)
    }))

    it.effect("numbers that no moment, attempt or task can have are refused", () => Effect.gen(function*() {
      for (const terms of [{ runMsMax: Number.MAX_SAFE_INTEGER }, { runMsMax: -1 }, { queueMsMax: 1e18 }, { startMsMax: 0 }, { startMsMax: 1e18 }, { idleMsMax: 999 }, { idleMsMax: 1e18 }, { attemptsMax: 1e9 }, { array: { tasks: 1_000_001 } }, { onSilence: { keepMs: 1e9 } }]) {
        assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], ...terms } }), 400, "request_malformed")
      }
      assertRefused(yield* ask("POST", "/v1/grants", { body: { holder: "agent:new", reach: { actions: ["job.*"], lifeMs: Number.MAX_SAFE_INTEGER } } }), 400, "request_malformed")
      assertRefused(yield* ask("POST", "/v1/credentials", { body: { principal: "agent:new", lifeMs: Number.MAX_SAFE_INTEGER } }), 400, "request_malformed")
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
