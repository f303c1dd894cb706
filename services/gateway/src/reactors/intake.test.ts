import { assert, describe, it } from "@effect/vitest"
import { emptyView, evolve } from "@millrace/authority"
import { Intake, type Submission } from "@millrace/journal"
import { type MillFact, Principal, WorkspaceName } from "@millrace/schemas"
import { Authority, digestOfToken } from "@millrace/service"
import { Context, Deferred, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Entrance } from "./entrance.ts"
import { takeSubmissions } from "./intake.ts"
import { Pace } from "./pace.ts"

const acme = WorkspaceName.make("acme")
const ada = Principal.make("user:ada")
const view = ([
  { _tag: "CredentialIssued", workspace: acme, principal: ada, credentialDigest: digestOfToken("mill_ada"), expiresAtMs: 4_000_000_000_000, issuedBy: ada }
] as ReadonlyArray<MillFact>).reduce(evolve, emptyView())

/** What the intake answers to a message, and what went through the door for it. */
const answered = (submission: Partial<Submission>, pace = Pace.layer()) =>
  Effect.scoped(Effect.gen(function*() {
    const entered: Array<{ readonly principal: string; readonly key: string }> = []
    const answer = yield* Deferred.make<any>()
    const intake = Layer.succeed(Intake, {
      take: (handle) => Effect.asVoid(Effect.flatMap(handle({ workspace: acme, authorization: "Bearer mill_ada", body: "{\"argv\":[\"true\"]}", ...submission }), (said) => Deferred.succeed(answer, said)))
    })
    const entrance = Layer.succeed(Entrance, {
      weigh: () => Effect.die("nothing is weighed here"),
      enter: ({ principal }, key) => Effect.sync(() => {
        entered.push({ principal, key })
        return { jobId: "job_x" as never, cut: {}, repeated: false }
      })
    })
    const authority = Layer.succeed(Authority, { view, cut: () => ({}), ageMs: Effect.succeed(0), catchUp: () => Effect.succeed(true) } as never)
    yield* Layer.build(takeSubmissions((error) => error).pipe(Layer.provide([intake, entrance, authority, pace])))
    return { answer: yield* Deferred.await(answer), entered }
  }))

describe("a message that submits a job", () => {
  it.effect("goes through the same door, under its key or under what it says", () => Effect.gen(function*() {
    const keyed = yield* answered({ idempotencyKey: "nightly-1" })
    assert.deepStrictEqual(keyed, { answer: { jobId: "job_x", cut: {}, repeated: false }, entered: [{ principal: ada, key: "nightly-1" }] })
    const [first, again, other] = [yield* answered({}), yield* answered({}), yield* answered({ body: "{\"argv\":[\"false\"]}" })]
    assert.strictEqual(first.entered[0]?.key, again.entered[0]?.key)
    assert.notStrictEqual(first.entered[0]?.key, other.entered[0]?.key)
  }))

  it.effect("is refused, and no door opened, without a token of that workspace", () => Effect.gen(function*() {
    for (const given of [{ authorization: "Bearer mill_other" }, { authorization: "mill_ada" }, { authorization: undefined as never }, { workspace: WorkspaceName.make("other") }]) {
      const { answer, entered } = yield* answered(given)
      assert.strictEqual(answer.code, "token_unknown")
      assert.deepStrictEqual(entered, [])
    }
  }))

  it.effect("waits its workspace's turn like any other request, and is told how long", () => Effect.gen(function*() {
    const pace = Layer.succeed(Pace, yield* Effect.map(Layer.build(Pace.layer({ perSecond: 1, burst: 1 })), (built) => Context.get(built, Pace)))
    assert.strictEqual((yield* answered({}, pace)).answer.jobId, "job_x")
    const { answer, entered } = yield* answered({}, pace)
    assert.deepInclude(answer, { code: "too_many_requests", retryAfterMs: 1_000 })
    assert.deepStrictEqual(entered, [])
    yield* TestClock.adjust(1_000)
    assert.strictEqual((yield* answered({}, pace)).answer.jobId, "job_x")
  }))

  it.effect("names what is wrong with it", () => Effect.gen(function*() {
    for (const [given, code, word] of [
      [{ body: "{" }, "request_malformed", "JSON"],
      [{ body: "{\"argv\":[\"true\"],\"argw\":1}" }, "request_malformed", "argw"],
      [{ idempotencyKey: "a key" }, "idempotency_key_malformed", "letters"]
    ] as const) {
      const { answer, entered } = yield* answered(given)
      assert.strictEqual(answer.code, code)
      assert.include(answer.what, word)
      assert.deepStrictEqual(entered, [])
    }
  }))
})
