import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { type Commit, Journal, memoryJournal, MemoryLog } from "@millrace/journal"
import { AttemptStarted, FactId, JobSubmitted, type MillFact, PlacementWithdrawn, type Principal } from "@millrace/schemas"
import { Deferred, Effect, Schema, type Scope } from "effect"
import { carryTrace } from "./carry-trace.ts"
import { telemetryLayer } from "./telemetry.ts"
import { collector, type ReceivedSpan } from "./testing.ts"
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

const sample = <A>(schema: Schema.Codec<A, any>, name: string): A => {
  const { body } = JSON.parse(readFileSync(join(import.meta.dirname, `../../../schemas/samples/${name}.v1.json`), "utf8")) as { body: object }
  return Schema.decodeUnknownSync(schema)({ _tag: name, ...body })
}
const factId = (digit: number) => FactId.make(`fct_01K9ZQ4T7V8W9X0Y1Z2A3B4C5${digit}`)
const ofJob = (digit: number, event: MillFact, causedBy?: FactId): Commit["facts"] =>
  [{ id: factId(digit), event, partOf: factId(1), ...(causedBy === undefined ? {} : { causedBy }) }]
const said = { actor: "service:test" as Principal, happenedAtMs: 1 }

describe("one job's traces", () => {
  it.live("are joined by links from service to service, through what each of them commits", () =>
    Effect.gen(function*() {
      const { bodies, endpoint, spans } = yield* collector
      const log = new MemoryLog()
      /** A service on the one log, with the traces of its own process. */
      const runs = <A, E>(service: string, effect: Effect.Effect<A, E, Journal | Scope.Scope>) =>
        Effect.scoped(effect).pipe(
          Effect.provideService(Journal, carryTrace(memoryJournal(log))),
          Effect.provide(telemetryLayer({ endpoint, service, cell: "local" }))
        )
      const job = { kind: "job", scope: "acme", story: sample(JobSubmitted, "JobSubmitted").jobId }
      const host = sample(AttemptStarted, "AttemptStarted").hostId

      yield* runs("gateway", Journal.use((journal) =>
        journal.append({ ...said, subject: job, facts: ofJob(1, sample(JobSubmitted, "JobSubmitted")) }, { last: "subject", sequence: 0 })
      ).pipe(Effect.withSpan("submit", { kind: "server" })))

      // A fold: it reads what was submitted, and its line says what follows, with no span around either.
      yield* runs("scheduler", Effect.gen(function*() {
        const journal = yield* Journal
        yield* (yield* journal.read("GATEWAY", { after: 0 })).take
        const { send } = yield* journal.line("SCHEDULER", 0)
        yield* send({ ...said, subject: { kind: "placement", scope: host }, facts: ofJob(2, sample(PlacementWithdrawn, "PlacementWithdrawn"), factId(1)) }).outcome
      }))

      // A reactor: it hears the placement, and says what became of it.
      const placed = Deferred.makeUnsafe<void>()
      yield* runs("host", Journal.use((journal) =>
        Effect.race(Deferred.await(placed), journal.react({ stream: "SCHEDULER", durable: "host-test" }, (commit) =>
          traced("run", commit, journal.append(
            { ...said, subject: { kind: "attempt", scope: host }, facts: ofJob(3, sample(AttemptStarted, "AttemptStarted")) },
            { last: "stream", sequence: 0 }
          )).pipe(Effect.tap(() => Deferred.succeed(placed, undefined)), Effect.asVoid)))
      ))

      assert.deepStrictEqual(spans.map(({ name, service }) => [service, name]), [["gateway", "submit"], ["scheduler", "decide PlacementWithdrawn"], ["host", "run"]])
      const [submit, decide, run] = spans
      assert.strictEqual(new Set(spans.map(({ traceId }) => traceId)).size, 3)
      assert.deepStrictEqual(spans.map(({ parentSpanId }) => parentSpanId), [undefined, undefined, undefined])
      assert.deepStrictEqual(spans.map(linked), [[], [end(submit)], [end(decide)]])
      const last = yield* memoryJournal(log).last({ kind: "attempt", scope: host })
      assert.strictEqual(last?.trace?.traceparent, `00-${run?.traceId}-${run?.spanId}-01`)
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

const end = (span: ReceivedSpan | undefined) => `${span?.traceId}/${span?.spanId}`
const linked = ({ links }: ReceivedSpan) => links.map(({ spanId, traceId }) => `${traceId}/${spanId}`)
