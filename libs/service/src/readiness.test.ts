import { assert, describe, it } from "@effect/vitest"
import { Config, Deferred, Duration, Effect, Fiber, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { lineOf, type LogLine } from "./logs.ts"
import { Readiness } from "./readiness.ts"
import { type ProcessSettings, service, serviceLayer, together } from "./service.ts"
import { setting } from "./settings.ts"

const around: ProcessSettings = {
  cell: "local",
  healthHost: "127.0.0.1",
  healthPort: 0,
  logFormat: "json",
  logLevel: "Info",
  stopWithin: Duration.seconds(1),
  otlpEndpoint: undefined,
  faults: false,
  crashAt: undefined,
  crashLog: undefined
}

describe("readiness", () => {
  it.effect("names what is not ready, why, and since when", () =>
    Effect.gen(function*() {
      const { notReady, ready, unready } = yield* Readiness
      assert.deepStrictEqual(yield* unready, [])
      yield* notReady("b", "it is 9 behind")
      yield* TestClock.adjust(5)
      yield* notReady("a", "it is starting")
      yield* notReady("b", "it is 2 behind")
      assert.deepStrictEqual(yield* unready, [{ name: "a", reason: "it is starting", sinceMs: 5 }, { name: "b", reason: "it is 2 behind", sinceMs: 0 }])
      yield* ready("a")
      yield* ready("a")
      assert.deepStrictEqual((yield* unready).map(({ name }) => name), ["b"])
    }).pipe(Effect.provide(Layer.fresh(Readiness.layer))))

  it.effect("can be awaited", () =>
    Effect.gen(function*() {
      const { notReady, ready, whenReady } = yield* Readiness
      yield* whenReady
      yield* notReady("a", "it is starting")
      yield* notReady("b", "it is starting")
      const waiting = yield* Effect.forkChild(whenReady, { startImmediately: true })
      yield* ready("a")
      assert.isUndefined(waiting.pollUnsafe())
      yield* ready("b")
      yield* Fiber.join(waiting)
    }).pipe(Effect.provide(Layer.fresh(Readiness.layer))))
})

describe("services in one process", () => {
  it.effect("each have their settings, their name on each log line, and their readiness", () =>
    Effect.gen(function*() {
      const lines: Array<LogLine> = []
      const open = Deferred.makeUnsafe<void>()
      const port = (name: string) => setting(name, { purpose: "a door", wants: "a port", read: Config.Port, default: 1 })
      const one = service({ name: "one", config: port("ONE_PORT"), layer: (at) => Layer.effectDiscard(Effect.logInfo(`at ${at}`)) })
      const two = service({
        name: "two",
        config: Config.all({ port: port("TWO_PORT") }),
        layer: (settings) => Layer.effectDiscard(Effect.andThen(Deferred.await(open), Effect.logInfo(`at ${settings.port}`)))
      })
      const all = together("millrace", one, two)
      const settings: unknown = yield* all.config
      const { unready } = yield* Readiness
      const fiber = yield* Effect.forkChild(
        Layer.build(serviceLayer(all, settings, around)).pipe(
          Effect.provide(Logger.layer([Logger.make((options) => void lines.push(lineOf(options)))]))
        ),
        { startImmediately: true }
      )
      yield* Effect.yieldNow
      assert.deepStrictEqual((yield* unready).map(({ name }) => name), ["millrace", "two"])
      yield* Deferred.succeed(open, undefined)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* unready, [])
      assert.deepStrictEqual(lines.map(({ message, service }) => [service, message]), [["one", "at 1"], ["two", "at 1"]])
    }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Readiness.layer))))
})
