import { Clock, Effect, Stream } from "effect"
import { Sse } from "effect/encoding"

/** One event as it came: its name, its value, and the id behind which a follower goes on. */
export interface Event {
  readonly name: string
  readonly data: unknown
  readonly id: string | undefined
}

export interface Following<E> {
  /** Opens the events behind an id; from the first one, where there is none. */
  readonly open: (lastId: string | undefined) => Effect.Effect<Stream.Stream<Uint8Array, unknown>, E>
  /** Takes an event; true ends the following. */
  readonly hand: (event: Event) => boolean
  /** Where a follower goes on that was here before. */
  readonly from?: string | undefined
  /** Whether an end of the line that nothing broke is the end. */
  readonly once?: boolean
  /** Told when the line is lost. */
  readonly note?: (text: string) => void
}

/** The server sends something at least every 15 s; a line that is quiet for longer than this is dead. In ms. */
const quietMsMax = 45_000
/** A follow that cannot be taken up again for this long fails, in ms. */
const lostMsMax = 60_000
const againMs = 500

/**
 * Hands over every event once, however often the line breaks: each new line goes on behind the last id. What
 * the API refuses ends it; that it is away for a while does not.
 */
export const follow = <E>({ from, hand, note, once = false, open }: Following<E>): Effect.Effect<void, E> =>
  Effect.gen(function*() {
    let lastId = from
    let heardAtMs = yield* Clock.currentTimeMillis
    let over = false
    while (true) {
      const opened = yield* Effect.result(open(lastId))
      if (opened._tag === "Failure") {
        if (!isPassing(opened.failure) || (yield* Clock.currentTimeMillis) - heardAtMs > lostMsMax) return yield* Effect.fail(opened.failure)
        yield* Effect.sleep(againMs)
        continue
      }
      const line = opened.success.pipe(
        Stream.tap(() => Effect.map(Clock.currentTimeMillis, (nowMs) => void (heardAtMs = nowMs))),
        Stream.timeout(quietMsMax),
        Stream.decodeText(),
        Stream.pipeThroughChannel(Sse.decode()),
        Stream.map(({ data, event, id }): Event => ({ name: event, data: valueOf(data), id: id === undefined || id === "" ? undefined : id })),
        Stream.takeUntil((event) => {
          lastId = event.id ?? lastId
          over = hand(event)
          return over
        }),
        Stream.runDrain
      )
      const ended = yield* Effect.result(line)
      if (over || (once && ended._tag === "Success")) return
      if (ended._tag === "Failure") note?.("The line to the API broke; taking it up again where it was.")
      yield* Effect.sleep(againMs)
    }
  })

const valueOf = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** What may be well in a moment: a gateway that restarts, tables that catch up. */
const isPassing = (error: unknown): boolean => {
  const { _tag, reason } = error as { readonly _tag?: string; readonly reason?: { readonly _tag?: string } }
  return _tag === "Unavailable" || _tag === "TooMany" || (_tag === "HttpClientError" && reason?._tag === "TransportError")
}
