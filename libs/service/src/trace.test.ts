import { assert, describe, it } from "@effect/vitest"
import type { Trace } from "@millrace/journal"
import { Effect, Schema } from "effect"
import { telemetryLayer } from "./telemetry.ts"
import { collector } from "./testing.ts"
import { currentTrace, linkTo, spanOf, traced, within } from "./trace.ts"

const CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

describe("a trace context", () => {
  it.effect("is what the current span says, and nothing outside of one", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* currentTrace)
      const trace = yield* currentTrace.pipe(Effect.withSpan("work"))
      assert.match(trace?.traceparent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/u)
    }))

  it.effect("of a caller is continued, with the state that its vendor gave it", () =>
    Effect.gen(function*() {
      const trace = yield* within({ traceparent: CALLER, tracestate: "vendor=1" }, currentTrace.pipe(Effect.withSpan("inner"), Effect.withSpan("outer")))
      assert.strictEqual(trace?.traceparent.slice(0, 35), CALLER.slice(0, 35))
      assert.notStrictEqual(trace?.traceparent, CALLER)
      assert.strictEqual(trace?.tracestate, "vendor=1")
    }))

  it("that is malformed links to nothing", () => {
    const malformed = ["", "00", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, CALLER.replace("b7ad6b7169203331", "0".repeat(16)), CALLER.toUpperCase(), `${CALLER}-1`, `01${CALLER.slice(2)}`]
    for (const traceparent of malformed) assert.isUndefined(spanOf({ traceparent }), traceparent)
    assert.deepStrictEqual(linkTo(undefined), [])
    assert.strictEqual(linkTo({ traceparent: CALLER })[0]?.span.spanId, "b7ad6b7169203331")
  })

  it.effect("stays unsampled where its caller says so", () =>
    Effect.gen(function*() {
      const trace = yield* within({ traceparent: CALLER.replace(/01$/u, "00") }, currentTrace.pipe(Effect.withSpan("inner")))
      assert.match(trace?.traceparent ?? "", /-00$/u)
    }))
})

describe("one job's traces", () => {
  it.live("are joined by links from service to service, each a trace of its own", () =>
    Effect.gen(function*() {
      const { bodies, endpoint, spans } = yield* collector
      /** A service reacts to a commit, and what it commits carries its own span. */
      const reacts = (service: string, name: string, heard: Trace | undefined) =>
        traced(name, { subject: "mill.job.acme.job_1", ...(heard === undefined ? {} : { trace: heard }) }, currentTrace).pipe(
          Effect.provide(telemetryLayer({ endpoint, service, cell: "local" }))
        )
      const submitted = yield* reacts("gateway", "submit", undefined)
      const placed = yield* reacts("scheduler", "place", submitted)
      yield* reacts("host", "run", placed)

      assert.deepStrictEqual(spans.map(({ name, service }) => [service, name]), [["gateway", "submit"], ["scheduler", "place"], ["host", "run"]])
      const [submit, place, run] = spans
      assert.strictEqual(new Set(spans.map(({ traceId }) => traceId)).size, 3)
      assert.deepStrictEqual(spans.map(({ parentSpanId }) => parentSpanId), [undefined, undefined, undefined])
      const ends = (span: typeof submit) => span?.links.map(({ spanId, traceId }) => ({ spanId, traceId }))
      assert.deepStrictEqual(ends(submit), [])
      assert.deepStrictEqual(ends(place), [{ spanId: submit?.spanId, traceId: submit?.traceId }])
      assert.deepStrictEqual(ends(run), [{ spanId: place?.spanId, traceId: place?.traceId }])
      assert.include(bodies[0], "millrace.cell")
    }))

  it.live("tell a collector no secret", () =>
    Effect.gen(function*() {
      const { bodies, endpoint } = yield* collector
      class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", { at: Schema.String }) {
        override get message() {
          return `cannot reach ${this.at}`
        }
      }
      yield* Effect.fail(new Unreachable({ at: "nats://mill:open-sesame@log:4222" })).pipe(
        Effect.withSpan("connect", { attributes: { url: "nats://mill:open-sesame@log:4222" } }),
        Effect.exit,
        Effect.provide(telemetryLayer({ endpoint, service: "gateway", cell: "local" }))
      )
      assert.include(bodies.join(), "connect")
      assert.notInclude(bodies.join(), "sesame")
    }))

  it.live("cost nothing but themselves where the collector does not answer", () =>
    Effect.gen(function*() {
      const done = yield* Effect.succeed("work").pipe(
        Effect.withSpan("work"),
        Effect.provide(telemetryLayer({ endpoint: "http://127.0.0.1:1", service: "gateway", cell: "local" }))
      )
      assert.strictEqual(done, "work")
    }))
})
