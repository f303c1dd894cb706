import { Effect, Layer, Queue, Stream } from "effect"
import { pulseSubject } from "../admission/crossing.ts"
import type { JournalUnavailable } from "../journal.ts"
import { type Beat, Pulse } from "../pulse.ts"
import { connectNats, type LogUnfit, type NatsConfig } from "./connect.ts"

/** How many beats wait for a slow listener; older ones say nothing that newer ones do not. */
const waitingMax = 16

/**
 * Pulses on core NATS, over a connection of their own: a beat that waited behind a full publisher would
 * make every view seem old.
 */
export const layerPulse = (service: string, config: NatsConfig): Layer.Layer<Pulse, JournalUnavailable | LogUnfit> =>
  Layer.effect(Pulse, Effect.map(connectNats(config), (connection) => ({
    beat: ({ atMs, headSeq }) =>
      Effect.sync(() => {
        if (!connection.isClosed()) connection.publish(pulseSubject(service), JSON.stringify({ headSeq, atMs }))
      }),
    heard: Effect.fnUntraced(function*(of) {
      const queue = yield* Queue.sliding<Beat>(waitingMax)
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          connection.subscribe(pulseSubject(of), {
            callback: (error, message) => {
              const beat = error === null ? beatIn(message.string()) : undefined
              if (beat !== undefined) Queue.offerUnsafe(queue, beat)
            }
          })),
        (subscription) => Effect.sync(() => subscription.unsubscribe())
      )
      return Stream.fromQueue(queue)
    })
  })))

const beatIn = (text: string): Beat | undefined => {
  try {
    const { atMs, headSeq } = JSON.parse(text) as Partial<Beat>
    return Number.isSafeInteger(atMs) && Number.isSafeInteger(headSeq) ? { atMs: atMs as number, headSeq: headSeq as number } : undefined
  } catch {
    return undefined
  }
}
