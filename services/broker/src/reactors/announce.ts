import type { LeaseId, MillFact } from "@millrace/schemas"
import { Clock, Deferred, Effect } from "effect"
import { type Lease, stageOf } from "../domain/lease.ts"
import { answerMsMax } from "../providers/provider.ts"
import type { Broken, Order } from "./order.ts"

/** Between the word that a call is made and the call itself lies so long at most, in ms: who stood still in between says it again. */
const freshMsMax = 5_000

/**
 * So long after a take-over nothing that an earlier broker has sent does anything any more, in ms: it could say that it
 * calls before it was overtaken alone, calls at once or not at all, and gives each call up in time.
 */
export const outlivedMs = freshMsMax + answerMsMax

/**
 * Says in the log that the provider is called now for a lease's machine, and answers only if that was just so: the log
 * takes it from the one that buys and from nobody else. For a lease that is not asked for any more it never answers, nor
 * where the log does not take it: that breaks the order.
 *
 * Between this answer and the request no other step may lie. What stands still just there, for longer than a successor
 * waits, may still buy a second machine: the sweep finds that one.
 */
export const announced = (order: Order, id: LeaseId, broken: Deferred.Deferred<never, Broken>): Effect.Effect<void> =>
  Effect.gen(function*() {
    while (true) {
      const before = yield* moment
      yield* order.observe((state, atMs) => {
        const lease = state.leases.get(id)
        return lease === undefined || stageOf(lease) !== "asked" ? [] : [{
          subject: { kind: "machine", scope: lease.provider, story: id },
          event: { _tag: "MachineAskedFor", leaseId: id, provider: lease.provider, term: state.term, untilMs: atMs + freshMsMax + answerMsMax } satisfies MillFact,
          partOf: lease.partOf,
          causedBy: lease.factId
        }]
      })
      const lease = order.state().leases.get(id)
      if (lease === undefined || stageOf(lease) !== "asked") return yield* Effect.never
      const after = yield* moment
      if (Math.max(after.wallMs - before.wallMs, after.steadyMs - before.steadyMs) <= freshMsMax) return
    }
  }).pipe(Effect.catch((failure) => Effect.andThen(Deferred.fail(broken, failure), Effect.never)))

/** Clocks are set back, and steady ones stop while a machine sleeps: of both, the longer time has passed. */
const moment = Effect.zipWith(Clock.currentTimeMillis, Clock.monotonicTimeNanos, (wallMs, nanos) => ({ wallMs, steadyMs: Number(nanos / 1_000_000n) }))

/** Whether a broker before this term's has called for a lease's machine. */
export const calledBefore = ({ called }: Lease, term: number): boolean => called !== undefined && called.term < term
