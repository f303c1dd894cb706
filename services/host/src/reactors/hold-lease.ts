import { Beats } from "@millrace/journal"
import { Effect, Latch } from "effect"
import { beatEveryMs, isLive, type Lease, renewed } from "../domain/lease.ts"
import { Machine } from "../machine/machine.ts"

/** What a host does about its lease. */
export interface LeaseActs {
  /** How many attempts run. */
  readonly attempts: () => number
  /** The lease goes on: deadlines move away, and what became void is ended. */
  readonly renewed: (lease: Lease) => Effect.Effect<void>
  /** The host was declared lost; it says anew that it is there. */
  readonly lost: (lease: Lease) => Effect.Effect<void>
}

/** The host's permission to go on without hearing from the scheduler. */
export interface HeldLease {
  readonly current: () => Lease | undefined
  /** Waits until the lease is live: nothing is begun without. */
  readonly live: Effect.Effect<void>
  /** Beats for ever. */
  readonly keep: (acts: LeaseActs) => Effect.Effect<never>
}

/**
 * Asks for the lease five times within it. It runs from when the beat was sent, so an answer that travelled
 * long gives less. Nothing here ends anything when no answer comes: each attempt's deadline does, in the
 * keeper, whether or not this agent is still able to.
 */
export const openLease: Effect.Effect<HeldLease, never, Beats | Machine> = Effect.gen(function*() {
  const beats = yield* Beats
  const { bootId, hostId, monotonicMs } = yield* Machine
  const answered = yield* Latch.make(false)
  let lease: Lease | undefined

  const live: Effect.Effect<void> = Effect.suspend(() =>
    Effect.flatMap(monotonicMs, (nowMs) => {
      if (isLive(lease, nowMs)) return Effect.void
      answered.closeUnsafe()
      return Effect.andThen(answered.await, live)
    }))

  const beat = Effect.fnUntraced(function*({ attempts, lost, renewed: goesOn }: LeaseActs) {
    const sentAtMonoMs = yield* monotonicMs
    const everyMs = beatEveryMs(lease)
    const answer = yield* beats.beat({ hostId, bootId, sentAtMonoMs, attempts: attempts() }).pipe(
      Effect.timeoutOrElse({ duration: Math.max(everyMs, 100), orElse: () => Effect.succeed(undefined) })
    )
    const next = answer === undefined ? undefined : renewed(lease, sentAtMonoMs, answer)
    if (answer === undefined || next === undefined) return
    lease = next
    yield* goesOn(next)
    if (answer.lost) yield* lost(next)
    answered.openUnsafe()
  })

  return {
    current: () => lease,
    live,
    keep: (acts) => Effect.forever(Effect.andThen(beat(acts), Effect.suspend(() => Effect.sleep(beatEveryMs(lease)))))
  }
})
