import type { BeatAnswer, Beats, HostBeat } from "@millrace/journal"
import { Effect } from "effect"
import { answerMsMax, type Broker } from "./broker.ts"
import type { Life } from "./life.ts"

type Answering = (beat: HostBeat) => BeatAnswer | undefined

/**
 * Beats over the network that fails: lost, late and doubled as it pleases, heard by every scheduler that
 * listens, one that stands still too, once it goes on.
 */
export class BeatLine {
  readonly #broker: Broker
  readonly #answering = new Map<Life, Answering>()

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** The beats as one life of one process has them. */
  connect(life: Life): Beats["Service"] {
    return {
      beat: (beat) => this.#beat(life, beat),
      answer: (answer) =>
        Effect.asVoid(Effect.acquireRelease(
          Effect.sync(() => {
            this.#answering.set(life, answer)
            life.onEnd(() => this.#answering.delete(life))
          }),
          () => Effect.sync(() => this.#answering.delete(life))
        ))
    }
  }

  #beat(life: Life, beat: HostBeat): Effect.Effect<BeatAnswer | undefined> {
    const broker = this.#broker
    return life.guard(Effect.callback((resume) => {
      const answered = (answer: BeatAnswer | undefined) => {
        giveUp()
        resume(Effect.succeed(answer))
      }
      const giveUp = broker.time.after(2 * answerMsMax, () => life.receive(() => answered(undefined)))
      broker.carry(life, "request", () => {
        for (const [listening, answer] of this.#answering) {
          broker.carry(listening, "answer", () => listening.receive(() => {
            const said = answer(beat)
            if (said === undefined) return
            if (listening.process.partitionedUntilMs > broker.time.nowMs) return
            broker.carry(life, "answer", () => life.receive(() => answered(said)))
          }))
        }
      })
    }))
  }
}
