import { NoRespondersError, RequestError } from "@nats-io/transport-node"
import { Effect, Layer } from "effect"
import { pulseSubject } from "../admission/crossing.ts"
import type { JournalUnavailable } from "../journal.ts"
import { Seat, type SeatWord } from "../seat.ts"
import { connectNats, type LogUnfit, type NatsConfig } from "./connect.ts"

/** Longer than a round of decisions takes: whoever decides answers between two of them. */
const answerMsMax = 500

/**
 * A seat on core NATS: whoever holds it listens where the service's pulse is, and answers. When its process is gone
 * the server says at once that nobody listens; when it stands still, nothing is heard.
 */
export const layerSeat = (service: string, config: NatsConfig): Layer.Layer<Seat, JournalUnavailable | LogUnfit> =>
  Layer.effect(Seat, Effect.map(connectNats(config), (connection) => ({
    hold: Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => connection.subscribe(pulseSubject(service), { callback: (error, message) => void (error === null && message.respond()) })),
      (subscription) => Effect.sync(() => subscription.unsubscribe())
    )),
    ask: Effect.promise((): Promise<SeatWord> =>
      connection.request(pulseSubject(service), "", { timeout: answerMsMax }).then(
        () => "taken",
        (error: unknown) => isNobody(error) ? "free" : "silent"
      ))
  })))

const isNobody = (error: unknown): boolean => error instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders())
