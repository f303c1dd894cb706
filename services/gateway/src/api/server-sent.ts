import { Cause, Clock, Context, Effect, Queue, Stream } from "effect"
import { HttpServerResponse } from "effect/http"

/** A follow is cut after this long: whoever comes back with the last id goes on there, and is authenticated anew. In ms. */
const followMsMax = 3_600_000
/** A comment is sent when nothing else was for this long, so that nobody between takes the connection for dead. In ms. */
const quietMsMax = 15_000

/** Succeeds when the gateway is to stop: follows end then, and are taken up again elsewhere. */
export const FollowsEnd = Context.Reference<Effect.Effect<void>>("millrace/gateway/FollowsEnd", { defaultValue: () => Effect.never })

/** Sends an event's text; waits while the reader is behind. */
export type Say = (text: string) => Effect.Effect<void>

/** An event as the protocol writes it (WHATWG HTML, section 9.2). Whoever comes back names the last id that it heard. */
export const eventText = (name: string, data: unknown, id?: string): string => `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

/**
 * What somebody follows, as server-sent events: told for as long as `tell` runs, at most an hour. `what` is for the
 * log, where it breaks off; at most `waitingMax` events wait for a slow reader, and then `tell` does. It ends when it
 * is taken back: whoever comes again is told why.
 */
export const serverSent = Effect.fnUntraced(function*<R>(
  what: string,
  { takenBack, waitingMax }: { readonly waitingMax: number; readonly takenBack: Effect.Effect<void> },
  tell: (say: Say) => Effect.Effect<unknown, unknown, R>
) {
  const needs = yield* Effect.context<R>()
  const end = yield* FollowsEnd
  const events = Stream.callback<Uint8Array>((queue) =>
    Effect.gen(function*() {
      let saidAtMs = yield* Clock.currentTimeMillis
      const say: Say = (text) =>
        Effect.gen(function*() {
          yield* Queue.offer(queue, Buffer.from(text))
          saidAtMs = yield* Clock.currentTimeMillis
        })
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        yield* Effect.sleep(quietMsMax)
        if ((yield* Clock.currentTimeMillis) - saidAtMs >= quietMsMax) yield* say(": still here\n\n")
      })))
      yield* say(": millrace\n\n")
      yield* tell(say).pipe(Effect.provideContext(needs), Effect.timeoutOption(followMsMax), Effect.raceFirst(end), Effect.raceFirst(takenBack))
      Queue.endUnsafe(queue)
    }).pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logWarning(`Following ${what} broke off; the follower comes back where it was`, cause)),
      Effect.ensuring(Effect.sync(() => Queue.endUnsafe(queue)))
    ), { bufferSize: waitingMax, strategy: "suspend" })
  return HttpServerResponse.stream(events, {
    contentType: "text/event-stream",
    headers: { "cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff" }
  })
})
