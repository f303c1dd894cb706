import type { Journal } from "@millrace/journal"
import { Keyring } from "@millrace/service"
import type { Life, SimulatedProcess } from "@millrace/sim"
import { Effect, Layer, Queue, Schema } from "effect"
import { Submissions } from "../../services/gateway/src/reactors/submissions.ts"

/** Nobody answered: the gateway is down, died on the way, or is slow. What was asked may have happened. */
export class Unanswered extends Schema.TaggedError<Unanswered>()("Unanswered", {}) {}

type Request = Effect.Effect<void, never, Submissions>

const patienceMs = 3_000

/** Where clients reach one gateway, whichever life it is in. */
export class Desk {
  readonly process: SimulatedProcess
  #open: { readonly life: Life; readonly requests: Queue.Queue<Request> } | undefined

  constructor(process: SimulatedProcess) {
    this.process = process
  }

  /** The part of a gateway that clients ask, without its socket. */
  layer(life: Life, keyring: Layer.Layer<Keyring>): Layer.Layer<never, never, Journal> {
    return Layer.effectDiscard(Effect.gen({ self: this }, function*() {
      const requests = yield* Queue.unbounded<Request>()
      this.#open = { life, requests }
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(requests), (request) => Effect.forkChild(request))))
    })).pipe(Layer.provideMerge(Submissions.layer), Layer.provide(keyring)) as Layer.Layer<never, never, Journal>
  }

  /** Asks, and waits as long as a client's patience lasts. */
  ask<A, E>(what: (submissions: Submissions["Service"]) => Effect.Effect<A, E>): Effect.Effect<A, E | Unanswered> {
    const asked = Effect.callback<A, E | Unanswered>((resume) => {
      const open = this.#open
      if (open === undefined || !open.life.alive) return resume(Effect.fail(new Unanswered()))
      Queue.offerUnsafe(open.requests, Submissions.use((submissions) =>
        Effect.map(Effect.exit(what(submissions)), (exit) => {
          if (open.life.alive) resume(exit)
        })))
    })
    return Effect.timeoutOrElse(asked, { duration: patienceMs, orElse: () => Effect.fail(new Unanswered()) })
  }
}
