import { CrashPoints, Journal, type JournalShape, withCrashPoints } from "@millrace/journal"
import { Ending } from "@millrace/service"
import { Cause, Clock, Deferred, Effect, Layer, Random } from "effect"
import { type Broker } from "./broker.ts"
import { connect, type ConnectOptions } from "./connection.ts"
import type { Life, SimulatedProcess } from "./life.ts"

/** How a life ended. */
export type Death =
  | { readonly _tag: "Killed" }
  | { readonly _tag: "Died"; readonly cause: Cause.Cause<unknown> }

export interface ProcessOptions extends ConnectOptions {
  readonly broker: Broker
  readonly process: SimulatedProcess
  /** Everything it does, over the journal; built anew for each life. */
  readonly layer: (life: Life) => Layer.Layer<never, never, Journal>
  /** How long until it is started again, in ms. */
  readonly restartMs: () => number
  /** Stands between the service and its journal. */
  readonly wrap?: (journal: JournalShape) => JournalShape
  readonly onDeath?: (death: Death) => void
}

/**
 * Runs a service as whoever operates it does: starts it, and starts it again when it has ended, for ever.
 * A crash ends it between two effects; what it held in memory is gone, what it still does reaches nobody.
 */
export const runProcess = Effect.fnUntraced(function*({ broker, layer, onDeath, process, restartMs, wrap = (journal) => journal, ...options }: ProcessOptions) {
  while (true) {
    const life = process.begin()
    const death = yield* Deferred.make<Death>()
    life.onEnd(() => Deferred.doneUnsafe(death, Effect.succeed({ _tag: "Killed" })))
    const died = (cause: Cause.Cause<unknown>) =>
      Effect.sync(() => {
        if (life.alive) Deferred.doneUnsafe(death, Effect.succeed({ _tag: "Died", cause }))
      })
    const journal = withCrashPoints(wrap(connect(broker, life, options)))
    // Nobody's child: what the dead would still do at their end is waited for by nobody.
    const fiber = yield* Effect.forkDetach(
      Layer.launch(layer(life).pipe(Layer.provide(Layer.succeed(Journal, journal)))).pipe(
        Effect.catchCause(died),
        Effect.provideService(Ending, died),
        Effect.provideService(CrashPoints, (point: string) => passing(broker, life, point)),
        Effect.provideService(Clock.Clock, broker.time.clock({ skewMs: process.skewMs, receive: (wake) => life.receive(wake) })),
        Effect.provideService(Random.Random, process.chance)
      ),
      { startImmediately: true }
    )
    const how = yield* Deferred.await(death)
    life.end()
    onDeath?.(how)
    // Not awaited: a killed process gives nothing back, and what it would give back reaches nobody.
    fiber.interruptUnsafe()
    yield* Effect.sleep(restartMs())
  }
})

const passing = (broker: Broker, life: Life, point: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!life.alive) return Effect.never
    if (!broker.strikes("crash_point", 0.04)) return Effect.void
    broker.sometimes.saw(`crashed at ${point.replaceAll(/hst_[0-9A-Z]+/gu, "*")}`)
    life.end()
    return Effect.never
  })
