import { Caller } from "@millrace/service"
import { Clock, Effect, Layer, Metric } from "effect"
import { HttpEffect, HttpServerResponse } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import { type Bucket, full, type Rate, take } from "../domain/token-bucket.ts"
import { TooMany } from "./errors.ts"

/** How often one workspace may ask this gateway, unless told. */
const usualRate: Rate = { perSecond: 2_000, burst: 4_000 }

const turnedAway = Metric.counter("millrace_requests_turned_away_total", { incremental: true })

/** Lets each workspace ask as often as its rate allows, so that one cannot take the gateway from the others. */
export class Metered extends HttpApiMiddleware.Service<Metered, { requires: Caller; provides: never }>()("millrace/gateway/Metered", { error: TooMany }) {
  static readonly layer = (rate: Rate = usualRate): Layer.Layer<Metered> => Layer.effect(Metered, Effect.sync(() => {
    /** One bucket a workspace that was heard of: there are no more than workspaces with credentials. */
    const buckets = new Map<string, Bucket>()
    return (httpEffect) =>
      Effect.gen(function*() {
        const { workspace } = yield* Caller
        const nowMs = yield* Clock.currentTimeMillis
        const { bucket, waitMs } = take(buckets.get(workspace) ?? full(rate, nowMs), rate, nowMs)
        buckets.set(workspace, bucket)
        if (waitMs === 0) return yield* httpEffect
        yield* Metric.update(turnedAway, 1)
        yield* HttpEffect.appendPreResponseHandler((_, response) =>
          Effect.succeed(HttpServerResponse.setHeader(response, "retry-after", String(Math.max(1, Math.ceil(waitMs / 1000))))))
        return yield* new TooMany({
          code: "too_many_requests",
          what: `workspace ${workspace} asks more than ${rate.perSecond} times a second`,
          where: `workspace ${workspace}`,
          remedy: `wait ${waitMs} ms, and send less at once`,
          retryAfterMs: waitMs
        })
      })
  }))
}
