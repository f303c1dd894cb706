import type { WorkspaceName } from "@millrace/schemas"
import { Caller } from "@millrace/service"
import { Effect, Layer } from "effect"
import { HttpEffect, HttpServerResponse } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import { Pace, type TooOften } from "../reactors/pace.ts"
import { TooMany } from "./errors.ts"

/** Lets each workspace ask as often as its pace allows, and tells it when to come again. */
export class Metered extends HttpApiMiddleware.Service<Metered, { requires: Caller; provides: never }>()("millrace/gateway/Metered", { error: TooMany }) {
  static readonly layer: Layer.Layer<Metered, never, Pace> = Layer.effect(Metered, Effect.map(Pace, (pace) => (httpEffect) =>
    Effect.gen(function*() {
      const { workspace } = yield* Caller
      yield* metered(pace, workspace)
      return yield* httpEffect
    })))
}

/** How long to wait, as `Retry-After` says it. */
export const retryAfter = ({ retryAfterMs }: TooOften["words"]): string => String(Math.max(1, Math.ceil(retryAfterMs / 1000)))

/** Counts one request of a workspace, or turns it away. */
export const metered = (pace: Pace["Service"], workspace: WorkspaceName) =>
  pace.keep(workspace).pipe(Effect.catch(({ words }) =>
    HttpEffect.appendPreResponseHandler((_, response) => Effect.succeed(HttpServerResponse.setHeader(response, "retry-after", retryAfter(words)))).pipe(
      Effect.andThen(Effect.fail(new TooMany(words)))
    )))
