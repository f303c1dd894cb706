import { Effect, Schema, Stream } from "effect"
import { detailOf, kindOf, type ChannelKind } from "./channel-name.ts"
import * as Flow from "./flow.ts"
import type { Ending, Exchange, Track } from "./session.ts"
import { waitFor } from "./waiting.ts"

/** The channel can carry nothing any more; `code` says why (`done`: it came to a good end). */
export class ChannelOver extends Schema.TaggedError<ChannelOver>()("ChannelOver", {
  channel: Schema.String,
  code: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `Channel ${this.channel} is over (${this.code}): ${this.reason} Open another, in a new session if this one is over too.`
  }
}

/**
 * One channel of a session, the same at both ends. It survives lost connections: reads and writes wait
 * until the session is attached again, and fail only when the channel is over for good.
 */
export interface Channel {
  /** Unique in its session, never used twice. */
  readonly id: number
  /** Kind and detail, as in `stdout` or `port:8080`. */
  readonly name: string
  readonly kind: ChannelKind
  /** What stands behind the colon of the name. */
  readonly detail: string
  /** Where the client asked the host's bytes to begin, in bytes. */
  readonly startOffset: number
  /**
   * Writes all of `bytes`, copied before it returns. Waits while the window is full; on a `log` it never
   * waits, and the oldest unsent bytes make room, which the reader is told as a gap.
   */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, ChannelOver>
  /** Says that nothing follows. The other direction stays open. Saying it again changes nothing. */
  readonly finish: Effect.Effect<void>
  /** Waits until the other application has read everything written, the end included. */
  readonly drained: Effect.Effect<void, ChannelOver>
  /**
   * The next piece: bytes (at most 16 KiB), a counted gap, or the end, which is then given again on
   * each further read. Pieces come in the order of their offsets and leave none out.
   */
  readonly read: Effect.Effect<Flow.Piece, ChannelOver>
  /** All pieces up to and including the end. */
  readonly pieces: Stream.Stream<Flow.Piece, ChannelOver>
  /** Goes on writing at `offset`: what lies before it is told as a gap. For a log that begins later. */
  readonly skipTo: (offset: number) => Effect.Effect<void>
  /** Ends both directions now, for both ends, without waiting for what is under way. */
  readonly abandon: (code: string, reason: string) => Effect.Effect<void>
}

/** The channel of `track`, with its waits. */
export const channelOf = (exchange: Exchange, track: Track): Channel => {
  const failed = (ending: Ending) =>
    Effect.fail(new ChannelOver({ channel: track.name, code: ending.code, reason: ending.message }))

  const write = (bytes: Uint8Array): Effect.Effect<void, ChannelOver> =>
    Effect.suspend(() => {
      if (track.over !== undefined) return failed(track.over)
      if (track.sender.ended) return failed({ code: "finished", message: "Its writing half was finished, or never existed." })
      const taken = exchange.write(track, bytes)
      if (taken === bytes.byteLength) return Effect.void
      return waitFor(track.wakers, () => (hasRoom(exchange, track) ? true : undefined)).pipe(
        Effect.andThen(write(bytes.subarray(taken)))
      )
    })

  const read = waitFor(track.wakers, () => exchange.read(track) ?? endOf(track) ?? track.over).pipe(
    Effect.flatMap((found) => ("_tag" in found ? Effect.succeed(found) : failed(found)))
  )

  const drained = waitFor(track.wakers, () =>
    Flow.drained(track.sender) || track.over?.code === "done" ? "drained" as const : track.over
  ).pipe(Effect.flatMap((found) => (found === "drained" ? Effect.void : failed(found))))

  return {
    id: track.id,
    name: track.name,
    kind: kindOf(track.name) ?? "control",
    detail: detailOf(track.name),
    startOffset: track.startOffset,
    write,
    finish: Effect.sync(() => exchange.finish(track)),
    drained,
    read,
    pieces: Stream.fromEffectRepeat(read).pipe(Stream.takeUntil((piece) => piece._tag === "End")) as Stream.Stream<Flow.Piece, ChannelOver>,
    skipTo: (offset) => Effect.sync(() => exchange.skipTo(track, offset)),
    abandon: (code, reason) => Effect.sync(() => {
      if (track.over !== undefined) return
      exchange.notify({ _tag: "ChannelOver", link: 0, channel: track.id, code, message: reason })
      exchange.end(track, { code, message: reason })
    })
  }
}

const hasRoom = (exchange: Exchange, track: Track): boolean =>
  track.over !== undefined || track.sender.ended || exchange.roomFor(track) > 0

const endOf = ({ receiver }: Track): Flow.Piece | undefined =>
  receiver.ended && receiver.read === receiver.next ? { _tag: "End", at: Math.max(0, receiver.next - 1) } : undefined
