import type { NatsConnection } from "@nats-io/transport-node"
import { Effect, Layer, Option, Schema } from "effect"
import { beatSubject } from "../admission/crossing.ts"
import { BeatAnswer, Beats, HostBeat } from "../beats.ts"
import type { JournalUnavailable } from "../journal.ts"
import { connectNats, type LogUnfit, type NatsConfig } from "./connect.ts"

/** How long an answer is waited for; a later one would hardly be worth its lease. */
const answerMsMax = 2_000

const readBeat = Schema.decodeUnknownOption(Schema.fromJsonString(HostBeat))
const readAnswer = Schema.decodeUnknownOption(Schema.fromJsonString(BeatAnswer))

/**
 * Beats on core NATS, over a connection of their own: a lease must not end because its beat waited behind
 * facts. The server lets a host beat under its own id alone, so the subject says who it is.
 */
export const layerBeats = (config: NatsConfig): Layer.Layer<Beats, JournalUnavailable | LogUnfit> =>
  Layer.effect(Beats, Effect.map(connectNats(config), beatsOver))

const beatsOver = (connection: NatsConnection): Beats["Service"] => ({
  beat: (beat) =>
    Effect.promise(() =>
      connection.request(beatSubject(beat.hostId), JSON.stringify(beat), { timeout: answerMsMax }).then(
        (message) => Option.getOrUndefined(readAnswer(message.string())),
        // Nobody is there, nobody answered in time, or the connection is away: all the same to a lease.
        () => undefined
      )),
  answer: (answer) =>
    Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() =>
        connection.subscribe(beatSubject("*"), {
          callback: (error, message) => {
            if (error !== null) return
            const beat = Option.getOrUndefined(readBeat(message.string()))
            if (beat === undefined || message.subject !== beatSubject(beat.hostId)) return
            const answered = answer(beat)
            if (answered !== undefined) message.respond(JSON.stringify(answered))
          }
        })),
      (subscription) => Effect.sync(() => subscription.unsubscribe())
    ))
})
