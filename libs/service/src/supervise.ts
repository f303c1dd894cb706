import { Clock, Effect, Layer, Metric, Random, type Scope } from "effect"
import { endingWith } from "./ending.ts"

export interface Supervision<E = unknown> {
  /** `<service>.<worker>`; a label of the metric and of the log line. */
  readonly name: string
  /** The first delay, in ms; each further one is twice as long. */
  readonly delayMsFirst?: number
  /** The longest delay, in ms. */
  readonly delayMsMax?: number
  /** A run that lasted this long, in ms, was well: the next delay is the first one again. */
  readonly calmMs?: number
  /** Whether repeating may mend this failure. What it cannot mend is handed on. All may, unless told. */
  readonly mends?: (failure: E) => boolean
}

const restarts = Metric.counter("millrace_worker_restarts_total", {
  incremental: true,
  description: "Workers started anew after a typed failure"
})

/**
 * Starts an effect anew after each typed failure, such as `Overtaken` or `JournalUnavailable`, with
 * a growing delay of which a random half is left away, so that many who lost one server do not come back at
 * one moment. A defect is a bug and is never repeated: it passes through.
 */
export const supervise = <A, E, R>(effect: Effect.Effect<A, E, R>, options: Supervision<E>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const { calmMs = 60_000, delayMsFirst = 100, delayMsMax = 10_000, mends = () => true, name } = options
    let delayMs = delayMsFirst
    while (true) {
      const startedMs = yield* Clock.currentTimeMillis
      const result = yield* Effect.result(effect)
      if (result._tag === "Success") return result.success
      const failure = result.failure
      if (!mends(failure)) return yield* Effect.fail(failure)
      if ((yield* Clock.currentTimeMillis) - startedMs >= calmMs) delayMs = delayMsFirst
      const waitMs = Math.ceil(delayMs * (0.5 + (yield* Random.next) / 2))
      yield* Metric.update(Metric.withAttributes(restarts, { worker: name, failure: tagOf(failure) }), 1)
      yield* Effect.logWarning(`${name} is started anew in ${waitMs} ms`, failure)
      yield* Effect.sleep(waitMs)
      delayMs = Math.min(delayMs * 2, delayMsMax)
    }
  })

/**
 * A supervised worker that lives as long as the layer around it. A bug in it, or a failure that repetition
 * does not mend, ends the process.
 */
export const worker = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Supervision<E>
): Layer.Layer<never, never, Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(Effect.forkScoped(endingWith(supervise(effect, options)).pipe(
    Effect.annotateLogs({ worker: options.name })
  )))

const tagOf = (failure: unknown): string =>
  typeof failure === "object" && failure !== null && "_tag" in failure ? String(failure._tag) : "unnamed"
