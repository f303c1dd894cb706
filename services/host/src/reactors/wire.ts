import type { AttemptId, HostId } from "@millrace/schemas"
import { type Channel, ChannelOver, detailOf, type HostEnd, type HostEndLimits, type HostSession, makeHostEnd, type VerifyWarrant } from "@millrace/wire"
import { Effect, type Redacted, type Scope, Stream } from "effect"
import { Doors } from "../machine/doors.ts"
import { tail } from "../machine/tail.ts"

export interface WireOptions {
  readonly hostId: HostId
  /** WebSocket address of the relay's path. */
  readonly relayUrl: string
  /** Says who this host is. Asked anew for each dial. */
  readonly token: Effect.Effect<Redacted.Redacted>
  readonly verifyWarrant: VerifyWarrant
  readonly limits?: Partial<HostEndLimits>
}

/**
 * Dials out to the cell's relay for as long as the scope lives, and shows the output of what runs here to
 * those whose warrant says so. A relay that goes away is dialled again; sessions go on where they were.
 */
export const serveWire = Effect.fnUntraced(function*(options: WireOptions): Effect.fn.Return<HostEnd, never, Doors | Scope.Scope> {
  const doors = yield* Doors
  return yield* makeHostEnd({ ...options, handle: (session) => Effect.provideService(show(session), Doors, doors) })
})

/** Each channel of a session is one stream of one attempt; the session is over when all are told. */
const show = (session: HostSession) =>
  Effect.forEach(session.channels, (channel) => showOne(session, channel), { concurrency: "unbounded", discard: true })

const showOne = Effect.fnUntraced(function*({ allowed: { attempt, jobId } }: HostSession, channel: Channel) {
  const doors = yield* Doors
  const [attemptId = "", until = ""] = detailOf(channel.name).split(":")
  const watched = doors.watched(attemptId as AttemptId)
  const isIt = watched !== undefined && watched.made.jobId === jobId && watched.made.attempt === attempt
  if ((channel.kind !== "stdout" && channel.kind !== "stderr") || !isIt) {
    return yield* new ChannelOver({ channel: channel.name, code: "output_gone", reason: "This host does not run that attempt now." })
  }
  const bytes = tail({ path: `${watched.folder}/${channel.kind}`, from: channel.startOffset, ended: watched.ended, now: until === "now" })
  yield* Stream.runForEach(bytes, channel.write)
  yield* channel.finish
})
