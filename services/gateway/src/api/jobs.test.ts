import { Blobs } from "@millrace/blobs"
import { Journal, memoryJournal, MemoryLog, readable } from "@millrace/journal"
import { testDatabase } from "@millrace/infra-postgres"
import { Database } from "@millrace/readmodel"
import { Principal, WorkspaceName } from "@millrace/schemas"
import { keyringInMemory } from "@millrace/service"
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { createServer } from "node:net"
import { GatewayService } from "../service.ts"
import { digestOfToken, Tokens } from "./caller.ts"

const acme = WorkspaceName.make("acme")
const holder = (token: string, workspace: WorkspaceName, rights: ReadonlyArray<"read" | "submit" | "cancel">) => ({
  digest: digestOfToken(token),
  principal: Principal.make(`user:${token}`),
  workspace,
  rights
})
const tokens = [
  holder("owner", acme, ["read", "submit", "cancel"]),
  holder("reader", acme, ["read"]),
  holder("stranger", WorkspaceName.make("other"), ["read", "submit", "cancel"])
]

/** A gateway on a free port, over a log in memory and a real Postgres. */
class Gateway extends Context.Service<Gateway, { readonly url: string; readonly log: MemoryLog }>()("test/Gateway") {
  static readonly layer = Layer.effect(this, Effect.gen(function*() {
    const url = yield* testDatabase()
    const log = new MemoryLog()
    const port = yield* Effect.callback<number>((resume) => {
      const probe = createServer().listen(0, "127.0.0.1", () => {
        const address = probe.address()
        probe.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
      })
    })
    yield* Layer.build(GatewayService({ host: "127.0.0.1", port }).pipe(Layer.provide([
      Layer.succeed(Journal, memoryJournal(log)),
      Database.layer({ url: Redacted.make(url) }),
      Blobs.memory,
      keyringInMemory,
      Layer.succeed(Tokens, tokens)
    ])))
    return { url: `http://127.0.0.1:${port}`, log }
  }))
}

interface Answer {
  readonly status: number
  readonly body: any
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
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) }
  })
})

const after = (cut: Record<string, number>) => `after=${Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")}`

/** Every error says what, where, one remedy and a stable code. */
const assertRefused = ({ body, status }: Answer, wanted: number, code: string) => {
  assert.strictEqual(status, wanted, JSON.stringify(body))
  assert.strictEqual(body.code, code)
  for (const field of ["what", "where", "remedy"]) assert.isAbove(String(body[field]).length, 0, field)
}

layer(Gateway.layer, { timeout: "60 seconds", excludeTestServices: true })("the API", (it) => {
  describe("jobs", () => {
    it.effect("a job that was submitted is read back at its own cut", () => Effect.gen(function*() {
      const submitted = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] } })
      assert.strictEqual(submitted.status, 200, JSON.stringify(submitted.body))
      const { body, status } = yield* ask("GET", `/v1/jobs/${submitted.body.jobId}?${after(submitted.body.cut)}`)
      assert.strictEqual(status, 200, JSON.stringify(body))
      assert.strictEqual(body.job.state, "queued")
      assert.strictEqual(body.job.submittedBy, "user:owner")
      const story = yield* ask("GET", `/v1/jobs/${submitted.body.jobId}/story?${after(submitted.body.cut)}`)
      assert.deepStrictEqual(story.body.lines.map(({ name }: { name: string }) => name), ["JobSubmitted"])
    }))

    it.effect("one idempotency key submits once, and another request under it is refused", () => Effect.gen(function*() {
      const headers = { "idempotency-key": "nightly-7" }
      const first = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers })
      const again = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers })
      assert.deepStrictEqual([again.body.jobId, again.body.repeated, again.body.cut], [first.body.jobId, true, first.body.cut])
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["false"] }, headers }), 409, "idempotency_mismatch")
    }))

    it.effect("a job of another workspace is not found, never forbidden", () => Effect.gen(function*() {
      const { body } = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] } })
      yield* ask("GET", `/v1/jobs/${body.jobId}?${after(body.cut)}`)
      for (const path of [`/v1/jobs/${body.jobId}`, `/v1/jobs/${body.jobId}/story`, `/v1/jobs/${body.jobId}/output/stdout`]) {
        assertRefused(yield* ask("GET", path, { token: "stranger" }), 404, "job_unknown")
      }
      assertRefused(yield* ask("POST", `/v1/jobs/${body.jobId}/cancel`, { token: "stranger" }), 404, "job_unknown")
    }))

    it.effect("a cancel is in the story, and asking again adds nothing", () => Effect.gen(function*() {
      const { body } = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] } })
      const first = yield* ask("POST", `/v1/jobs/${body.jobId}/cancel`)
      const again = yield* ask("POST", `/v1/jobs/${body.jobId}/cancel`)
      assert.deepStrictEqual(again.body, first.body)
      const story = yield* ask("GET", `/v1/jobs/${body.jobId}/story?${after(first.body.cut)}`)
      assert.deepStrictEqual(story.body.lines.map(({ name }: { name: string }) => name), ["JobSubmitted", "JobCancelRequested"])
    }))
  })

  describe("refusals", () => {
    it.effect("an unknown token opens nothing", () => Effect.gen(function*() {
      assertRefused(yield* ask("GET", "/v1/jobs", { token: "guess" }), 401, "token_unknown")
    }))

    it.effect("a right that the token lacks is refused, and the audit holds the refusal before the answer", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, token: "reader" }), 403, "capability_missing")
      const told = log.after("GATEWAY", 0, "mill.decision.gateway", 100).commits.flatMap((commit) => readable(commit).facts)
      const [denial] = told.map(({ event }) => event)
      assert.strictEqual(denial?._tag === "DecisionMade" ? denial.verdict : undefined, "deny")
      assert.strictEqual(denial?._tag === "DecisionMade" ? denial.missing?.action : undefined, "job.submit")
    }))

    it.effect("a malformed request names the field", () => Effect.gen(function*() {
      const answer = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], resources: { cpuMilli: -1, memoryMib: 1 } } })
      assertRefused(answer, 400, "request_malformed")
      assert.match(answer.body.what, /cpuMilli/u)
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["true"] }, headers: { "idempotency-key": "a b*" } }), 400, "idempotency_key_malformed")
    }))

    it.effect("a program that is too large for a fact is refused", () => Effect.gen(function*() {
      assertRefused(yield* ask("POST", "/v1/jobs", { body: { argv: ["x".repeat(20_000)] } }), 413, "program_too_large")
    }))

    it.effect("nothing that was refused is in the log as a job", () => Effect.gen(function*() {
      const { log } = yield* Gateway
      const jobs = log.after("GATEWAY", 0, "mill.job.*.*", 1000).commits.flatMap(({ facts }) => facts).filter(({ name }) => name === "JobSubmitted")
      const { body } = yield* ask("GET", `/v1/jobs?limit=1000&${after({ GATEWAY: log.head("GATEWAY") })}`)
      assert.strictEqual(body.jobs.length, jobs.length)
    }))
  })
})
