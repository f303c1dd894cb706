import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger, Redacted, Schema } from "effect"
import { lineOf, loggable, type LogLine, prettyOf } from "./logs.ts"

class Broken extends Schema.TaggedError<Broken>()("Broken", { where: Schema.String }) {
  override get message() {
    return `broken at ${this.where}`
  }
}

const said = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const lines: Array<LogLine> = []
    yield* Effect.exit(effect).pipe(Effect.provide(Logger.layer([Logger.make((options) => void lines.push(lineOf(options)))])))
    return lines
  })

const url = (password: string) => `nats://mill:${password}@log:4222`

describe("a log line", () => {
  it.effect("is flat: who, when, how loudly, what, and the names around it", () =>
    Effect.gen(function*() {
      const [line] = yield* said(Effect.logWarning("it waits", { forMs: 3 }).pipe(
        Effect.annotateLogs({ service: "gateway", jobId: "job_1" }),
        Effect.withSpan("submit")
      ))
      const { span, time, trace, ...rest } = line ?? {}
      assert.deepStrictEqual(rest, { level: "warn", message: "it waits", service: "gateway", jobId: "job_1", about: { forMs: 3 } })
      assert.strictEqual(time, "1970-01-01T00:00:00.000Z")
      assert.match(`${String(trace)} ${String(span)}`, /^[0-9a-f]{32} [0-9a-f]{16}$/u)
    }))

  it.effect("masks credentials in the message, the annotations, what it is about, and the cause", () =>
    Effect.gen(function*() {
      const lines = yield* said(
        Effect.logError(`cannot reach ${url("one-secret")}`, new Broken({ where: url("two-secret") }), Cause.die(new Error(url("three-secret")))).pipe(
          Effect.annotateLogs({ at: url("four-secret"), apiKey: "five-secret", plain: Redacted.make("six-secret") })
        )
      )
      const text = JSON.stringify(lines)
      assert.strictEqual(lines.length, 1)
      assert.notInclude(text, "-secret")
      assert.include(text, "cannot reach nats://mill:<password in an address masked>@log:4222")
      assert.include(text, `"error":"Broken"`)
    }))

  it("shows no secret field, no bytes, no endless thing", () => {
    const endless: Record<string, unknown> = {}
    endless["again"] = endless
    assert.deepStrictEqual(
      loggable({ authorization: "x", Password: 1, db_token: "t", tokens: 5, key: new Uint8Array(9), many: Array(500).fill(0).length, none: undefined }),
      { authorization: "<redacted>", Password: "<redacted>", db_token: "<redacted>", tokens: 5, key: "<9 bytes>", many: 500, none: undefined }
    )
    assert.isBelow(JSON.stringify(loggable(endless)).length, 200)
    assert.isBelow(JSON.stringify(loggable("x".repeat(1_000_000))).length, 20_000)
    assert.strictEqual((loggable(Array(500).fill(0)) as Array<number>).length, 100)
  })

  it.effect("is one line whatever is in it, and reads well at a terminal", () =>
    Effect.gen(function*() {
      const [line] = yield* said(Effect.logInfo("two\nlines").pipe(Effect.annotateLogs({ service: "host", jobId: "job_1" })))
      assert.notInclude(JSON.stringify(line), "\n")
      assert.strictEqual(prettyOf(line ?? {}), "00:00:00.000 INFO  two\nlines service=host jobId=job_1")
    }))
})
