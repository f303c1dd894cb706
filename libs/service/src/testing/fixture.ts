import { crashPoint } from "@millrace/journal"
import { Config, Context, Effect, Layer, Redacted, Schema } from "effect"
import { planted } from "../planted.ts"
import { Readiness } from "../readiness.ts"
import { runService } from "../run-service.ts"
import { service } from "../service.ts"
import { setting } from "../settings.ts"
import { worker } from "../supervise.ts"

/** The service that the tests of this package run as a real process. Its settings say how it behaves. */
class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {
  override get message() {
    return "The log refuses us: these are credentials for another service. Check MILLRACE_NATS_CREDS"
  }
}

class Door extends Context.Service<Door, true>()("fixture/Door") {}

const config = Config.all({
  does: setting("FIXTURE_DOES", {
    purpose: "how it behaves",
    wants: "one of the words that the fixture knows",
    read: (name) => Config.Literals(["run", "wait", "refuse", "late bug", "late refusal", "thrown", "hold", "pass", "planted", "tell"], name)
  }),
  gate: setting("FIXTURE_GATE", { purpose: "an unread number", wants: "a whole number", read: Config.Int, default: 3 }),
  password: setting("FIXTURE_PASSWORD", { purpose: "a secret", wants: "any text", read: Config.Redacted, default: undefined })
})

const door = Layer.effect(Door, Effect.acquireRelease(Effect.succeed(true as const), () => Effect.logInfo("the door is closed")))

runService(service({
  name: "fixture",
  config,
  layer: ({ does, password }) => {
    switch (does) {
      case "run":
        return door
      case "wait":
        return Layer.merge(door, Layer.effectDiscard(Readiness.use(({ notReady }) => notReady("projection fixture.rows", "it is 1200 facts behind"))))
      case "refuse":
        return Layer.effectDiscard(Effect.fail(new Refused()))
      case "late bug":
        return Layer.merge(door, worker(Effect.andThen(Effect.sleep(10), Effect.die(new Error("two and two are five"))), { name: "fixture.sums" }))
      case "late refusal":
        return Layer.merge(door, worker(Effect.andThen(Effect.sleep(10), Effect.fail(new Refused())), { name: "fixture.log", mends: () => false }))
      case "thrown":
        return Layer.effectDiscard(Effect.sync(() => setTimeout(() => {
          throw new Error("thrown in a callback")
        }, 10)))
      case "hold":
        return Layer.effectDiscard(Effect.acquireRelease(Effect.void, () => Effect.never))
      case "pass":
        return Layer.effectDiscard(Effect.andThen(
          Effect.forEach(["append A before", "append A after", "append A before", "append A after"], (point) =>
            Effect.andThen(Effect.logInfo(`at ${point}`), crashPoint(point))),
          Effect.logInfo("all points are passed")
        ))
      case "planted":
        return Layer.effectDiscard(Effect.flatMap(planted("forget-acks"), (is) => Effect.logInfo(`planted: ${is}`)))
      case "tell":
        return Layer.effectDiscard(Effect.logInfo("what I know", { password, shown: password && `postgres://me:${Redacted.value(password)}@db/mill` }))
    }
  }
}))
