import { Seat, type SeatWord } from "@millrace/journal"
import { Effect, Layer } from "effect"
import type { Broker } from "./broker.ts"
import type { Life } from "./life.ts"

/** When whoever asks takes the answer for lost, in ms: as on core NATS. */
const answerMsMax = 500

/**
 * Seats over the network that fails. As the server has it: a process that is gone listens no more at once, one that
 * stands still or is cut off still does and says nothing, and who asks may not reach the server at all.
 */
export class Seats {
  readonly #broker: Broker
  readonly #holders = new Set<Life>()

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** Who sits there, alive. */
  get holders(): ReadonlyArray<Life> {
    return [...this.#holders]
  }

  /** The seat as one life of one process has it. */
  connect(life: Life): Layer.Layer<Seat> {
    return Layer.succeed(Seat, {
      hold: Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => {
          this.#holders.add(life)
          life.onEnd(() => this.#holders.delete(life))
        }),
        () => Effect.sync(() => this.#holders.delete(life))
      )),
      ask: this.#ask(life)
    })
  }

  #ask(life: Life): Effect.Effect<SeatWord> {
    const broker = this.#broker
    return life.guard(Effect.callback((resume) => {
      const answered = (word: SeatWord) => {
        giveUp()
        resume(Effect.succeed(word))
      }
      const giveUp = broker.time.after(answerMsMax, () => life.receive(() => answered("silent")))
      const answer = (word: SeatWord) => broker.carry(life, "answer", () => life.receive(() => answered(word)))
      broker.carry(life, "request", () => {
        if (this.#holders.size === 0) return answer("free")
        for (const holder of this.#holders) {
          broker.carry(holder, "answer", () => holder.receive(() => broker.carry(holder, "request", () => answer("taken"))))
        }
      })
    }))
  }
}
