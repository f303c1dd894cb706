import type { WorkspaceName } from "@millrace/schemas"
import { Clock, Context, Effect, Layer, Metric, Schema } from "effect"
import { type Bucket, full, type Rate, take } from "../domain/token-bucket.ts"

/** How often one workspace may ask this gateway, unless told. */
const usualRate: Rate = { perSecond: 2_000, burst: 4_000 }

const turnedAway = Metric.counter("millrace_requests_turned_away_total", { incremental: true })

/** A workspace asks more often than it may. Nothing was done. */
export class TooOften extends Schema.TaggedError<TooOften>()("TooOften", { workspace: Schema.String, perSecond: Schema.Number, waitMs: Schema.Int }) {
  /** What is answered, by whichever door it came. */
  get words() {
    return {
      code: "too_many_requests",
      what: `workspace ${this.workspace} asks more than ${this.perSecond} times a second`,
      where: `workspace ${this.workspace}`,
      remedy: `wait ${this.waitMs} ms, and send less at once`,
      retryAfterMs: this.waitMs
    }
  }
}

/** How often each workspace asks, over all doors of this gateway together, so that one cannot take it from the others. */
export class Pace extends Context.Service<Pace, {
  readonly keep: (workspace: WorkspaceName) => Effect.Effect<void, TooOften>
}>()("millrace/gateway/Pace") {
  static readonly layer = (rate: Rate = usualRate): Layer.Layer<Pace> => Layer.sync(Pace, () => {
    /** One bucket a workspace that was heard of: there are no more than workspaces with credentials. */
    const buckets = new Map<WorkspaceName, Bucket>()
    return {
      keep: Effect.fnUntraced(function*(workspace) {
        const nowMs = yield* Clock.currentTimeMillis
        const { bucket, waitMs } = take(buckets.get(workspace) ?? full(rate, nowMs), rate, nowMs)
        buckets.set(workspace, bucket)
        if (waitMs === 0) return
        yield* Metric.update(turnedAway, 1)
        return yield* new TooOften({ workspace, perSecond: rate.perSecond, waitMs })
      })
    }
  })
}
