import { assert, it } from "@effect/vitest"
import { startCell } from "@millrace/infra-nats"
import { credentialsIn } from "../admission/index.ts"
import { connect, headers } from "@nats-io/transport-node"
import { Context, Deferred, Effect, Layer } from "effect"
import { join } from "node:path"
import { Intake, type Submission, submissionBytesMax } from "../intake.ts"
import { folder } from "../testing/nats-under-test.ts"
import { headOf } from "./api.ts"
import { layerIntake } from "./intake.ts"
import { connectNats } from "./connect.ts"

const cell = Effect.gen(function*() {
  const dir = yield* folder
  const { keys, urls: servers } = yield* startCell({ storeDir: join(dir, "store"), keysDir: join(dir, "keys") })
  const creds = keys.creds("submitter")
  const submitter = yield* Effect.acquireRelease(
    Effect.promise(() => connect({ servers: [...servers], reconnect: false, ...credentialsIn(creds) })),
    (connection) => Effect.promise(() => connection.close())
  )
  const gateway = Effect.map(Layer.build(layerIntake({ servers, name: "gateway", ...credentialsIn(keys.creds("gateway")) })), Context.get(Intake))
  return { gateway, keys, servers, submitter }
})

it.live("what is published for a workspace is taken once, by one of those who take, and answered", () =>
  Effect.scoped(Effect.gen(function*() {
    const { gateway, submitter } = yield* cell
    const taken: Array<readonly [string, Submission]> = []
    for (const name of ["one", "other"]) {
      yield* (yield* gateway).take((submission) => Effect.sync(() => {
        taken.push([name, submission])
        return { jobId: `job of ${submission.idempotencyKey}` }
      }))
    }
    const shown = headers()
    shown.set("Authorization", "Bearer mill_x")
    shown.set("Idempotency-Key", "nightly")
    for (let n = 0; n < 20; n += 1) {
      const answer = yield* Effect.promise(() => submitter.request("submit.acme", "{\"argv\":[]}", { headers: shown, timeout: 5_000 }))
      assert.deepStrictEqual(answer.json(), { jobId: "job of nightly" })
    }
    assert.lengthOf(taken, 20)
    assert.deepStrictEqual(taken[0]![1], { workspace: "acme" as never, authorization: "Bearer mill_x", idempotencyKey: "nightly", body: "{\"argv\":[]}" })
  })))

it.live("what cannot be one is answered and not taken", () =>
  Effect.scoped(Effect.gen(function*() {
    const { gateway, submitter } = yield* cell
    const taken: Array<Submission> = []
    yield* (yield* gateway).take((submission) => Effect.sync(() => void taken.push(submission)))
    for (const [subject, body] of [["submit.UPPER", "{}"], ["submit.acme", "x".repeat(submissionBytesMax + 1)]] as const) {
      const answer = yield* Effect.promise(() => submitter.request(subject, body, { timeout: 5_000 }))
      assert.strictEqual(answer.json<{ code: string }>().code, "request_malformed")
    }
    assert.deepStrictEqual(taken, [])
  })))

it.live("an answer goes to an inbox alone: nobody makes the gateway write into the log by it", () =>
  Effect.scoped(Effect.gen(function*() {
    const { gateway, keys, servers, submitter } = yield* cell
    const taken = yield* Deferred.make<void>()
    const intake = yield* gateway
    yield* intake.take(() => Effect.asVoid(Deferred.succeed(taken, undefined)))
    const connection = yield* connectNats({ servers, name: "gateway", ...credentialsIn(keys.creds("gateway")) })
    const api = { connection, prefix: "$JS.API", patienceMs: 5_000 }
    const before = yield* headOf(api, "GATEWAY")
    submitter.publish("submit.acme", "{}", { reply: "mill.session.acme" })
    yield* Deferred.await(taken)
    const answer = yield* Effect.promise(() => submitter.request("submit.acme", "{}", { timeout: 5_000 }).catch(() => undefined))
    assert.isDefined(answer)
    assert.strictEqual(yield* headOf(api, "GATEWAY"), before)
  })))
