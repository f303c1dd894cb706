import { Caller } from "@millrace/service"
import { Effect, Layer } from "effect"
import { HttpEffect, HttpServerResponse } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import { Pace } from "../reactors/pace.ts"
import { TooMany } from "./errors.ts"

/** Lets each workspace ask as often as its pace allows, and tells it when to come again. */
export class Metered extends HttpApiMiddleware.Service<Metered, { requires: Caller; provides: never }>()("millrace/gateway/Metered", { error: TooMany }) {
  static readonly layer: Layer.Layer<Metered, never, Pace> = Layer.effect(Metered, Effect.map(Pace, (pace) => (httpEffect) =>
    Effect.gen(function*() {
      const { workspace } = yield* Caller
      yield* pace.keep(workspace).pipe(Effect.catch(({ words }) =>
        HttpEffect.appendPreResponseHandler((_, response) =>
          Effect.succeed(HttpServerResponse.setHeader(response, "retry-after", String(Math.max(1, Math.ceil(words.retryAfterMs / 1000)))))).pipe(
          Effect.andThen(Effect.fail(new TooMany(words)))
        )))
      return yield* httpEffect
    })))
}
