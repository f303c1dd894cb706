import { Blobs } from "@millrace/blobs"
import type { Journal } from "@millrace/journal"
import type { Database } from "@millrace/readmodel"
import type { AttemptId, HostId, JobId } from "@millrace/schemas"
import { Cause, Clock, Context, Effect, Queue, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { type LogPlace, nothingHeldAt, placeText, told, toldAtEnd, toldUpTo } from "../domain/log-pieces.ts"
import { type Follower, type Known, nextBytes } from "../domain/next-bytes.ts"
import { LiveGone, LiveOutput } from "../reactors/live-output.ts"
import type { OutputName } from "./bytes.ts"
import type { Allowed } from "./bytes-gate.ts"
import { blobOf, settledStandingOf, type Standing, standingOf } from "./bytes-kept.ts"
import { Watch } from "./bytes-watch.ts"

/** A follow is cut after this long: whoever comes back with the last id goes on there, and is authenticated anew. In ms. */
const followMsMax = 3_600_000
/** A comment is sent when nothing else was for this long, so that nobody between takes the connection for dead. In ms. */
const quietMsMax = 15_000
/** Pieces that may wait for a slow reader. */
const piecesMax = 8
/** How long a host that could not be reached is left alone, at first and at most, in ms. */
const retryMs = { from: 250, most: 10_000 }

export interface Following {
  readonly who: Allowed
  readonly jobId: JobId
  readonly stream: OutputName
  readonly task: number | undefined
  readonly from: LogPlace | undefined
  /** Where to begin in the newest attempt, when no place is given. */
  readonly offset: number
  readonly follow: boolean
}

/** Succeeds when the gateway is to stop: follows end then, and are taken up again elsewhere. */
export const FollowsEnd = Context.Reference<Effect.Effect<void>>("millrace/gateway/FollowsEnd", { defaultValue: () => Effect.never })

type Needs = Blobs | Database | Journal | LiveOutput | Watch

/** A job's output as server-sent events; what they say stands at `JobBytes`. */
export const logAnswer = Effect.fnUntraced(function*(following: Following) {
  const needs = yield* Effect.context<Needs>()
  const end = yield* FollowsEnd
  const events = Stream.callback<Uint8Array>((queue) =>
    Effect.gen(function*() {
      let saidAtMs = yield* Clock.currentTimeMillis
      const say = (text: string) =>
        Effect.gen(function*() {
          yield* Queue.offer(queue, Buffer.from(text))
          saidAtMs = yield* Clock.currentTimeMillis
        })
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        yield* Effect.sleep(quietMsMax)
        if ((yield* Clock.currentTimeMillis) - saidAtMs >= quietMsMax) yield* say(": still here\n\n")
      })))
      yield* say(": millrace\n\n")
      yield* follow(following, say).pipe(Effect.provideContext(needs), Effect.timeoutOption(followMsMax), Effect.raceFirst(end))
      Queue.endUnsafe(queue)
    }).pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logWarning(`Following ${following.jobId} broke off; the follower comes back where it was`, cause)),
      Effect.ensuring(Effect.sync(() => Queue.endUnsafe(queue)))
    ), { bufferSize: piecesMax, strategy: "suspend" })
  return HttpServerResponse.stream(events, {
    contentType: "text/event-stream",
    headers: { "cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff" }
  })
})

type Say = (text: string) => Effect.Effect<void>

const event = (name: string, data: unknown, id?: string): string =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const follow = Effect.fnUntraced(function*({ follow, from, jobId, offset, stream, task, who }: Following, say: Say) {
  const blobs = yield* Blobs
  const live = yield* LiveOutput
  const watch = yield* Watch
  const which = task === undefined ? {} : { task }
  let follower: Follower = { attempt: from?.attempt, done: false, liveDone: false }
  let held = nothingHeldAt(from?.offset ?? offset)
  let retryAfterMs = retryMs.from
  let droppedBytes = 0

  const tell = (bytes: Uint8Array) =>
    Effect.suspend(() => {
      const after = told(held, bytes)
      held = after.held
      if (after.piece === undefined) return Effect.void
      const { next, ...piece } = after.piece
      return say(event("output", piece, placeText({ attempt: follower.attempt!, offset: next })))
    })

  const tellHeld = Effect.suspend(() => {
    const rest = toldAtEnd(held)
    if (rest === undefined) return Effect.void
    const { next, ...piece } = rest
    held = nothingHeldAt(next)
    return say(event("output", piece, placeText({ attempt: follower.attempt!, offset: next })))
  })

  const turn = (attempt: number) =>
    Effect.suspend(() => {
      const first = follower.attempt === undefined
      // What a follower asked for holds for the attempt that it begins with.
      held = nothingHeldAt(first ? held.next : 0)
      follower = { attempt, done: false, liveDone: false }
      droppedBytes = 0
      return say(event("attempt", { attempt }, placeText({ attempt, offset: held.next })))
    })

  const tellKept = Effect.fnUntraced(function*(standing: Standing) {
    const row = standing.outputs.find((output) => output.attempt === follower.attempt && output.name === stream)!
    const { digest, sizeBytes } = blobOf(row)
    const offset = held.next
    if (offset < sizeBytes) yield* Stream.runForEach(offset === 0 ? blobs.get(digest) : blobs.getRange(digest, { offsetBytes: offset }), tell)
    yield* tellHeld
    droppedBytes = Number(row.dropped_bytes)
    follower = { ...follower, done: true }
  })

  const tellLive = Effect.fnUntraced(function*(standing: Standing) {
    const row = standing.attempts.find(({ attempt }) => attempt === follower.attempt)!
    const bytes = live.follow({
      workspace: who.workspace,
      jobId,
      attempt: row.attempt,
      attemptId: row.attempt_id as AttemptId,
      hostId: row.host_id as HostId,
      stream,
      from: held.next,
      now: !follow,
      openedBy: who.principal,
      ...(who.grant === undefined ? {} : { grant: who.grant }),
      decision: who.decision
    })
    const began = held.next
    const over = yield* Stream.runForEach(bytes, tell).pipe(
      Effect.as("told" as const),
      Effect.catchTag("LiveGone", (gone: LiveGone) => Effect.succeed(gone)),
      // When the tables know of its end, what is kept is nearer than the host; the offset is the same in both.
      Effect.raceFirst(Effect.as(watch.change(jobId, task, standing), "changed" as const))
    )
    if (held.next > began) retryAfterMs = retryMs.from
    if (over === "told") follower = { ...follower, liveDone: true }
    else if (over !== "changed" && follow) {
      yield* Effect.raceFirst(Effect.sleep(retryAfterMs), watch.change(jobId, task, standing))
      retryAfterMs = Math.min(2 * retryAfterMs, retryMs.most)
    }
    return over !== "changed" && !follow
  })

  // Whoever does not wait is told all that there is by now, and not what the tables happen to know.
  let complete = !follow
  while (true) {
    const standing = yield* (complete ? settledStandingOf : standingOf)(who.workspace, jobId, which)
    const next = nextBytes(knownOf(standing, stream, complete), follower)
    complete = !follow || next.do === "complete"
    switch (next.do) {
      case "turn":
        yield* turn(next.attempt)
        break
      case "kept":
        yield* tellKept(standing)
        break
      case "live":
        if (yield* tellLive(standing)) return yield* tellHeld
        break
      case "done":
        yield* tellHeld
        follower = { ...follower, done: true }
        break
      case "complete":
        break
      case "wait":
        if (!follow) return yield* tellHeld
        // Whatever hinders the watch, the tables are asked again now and then.
        yield* Effect.raceFirst(watch.change(jobId, task, standing), Effect.sleep(quietMsMax))
        break
      case "end": {
        const { exit_code, outcome } = standing.ending!
        const place = follower.attempt === undefined ? undefined : placeText({ attempt: follower.attempt, offset: toldUpTo(held) })
        return yield* say(event("end", { outcome, exitCode: exit_code, attempt: follower.attempt ?? null, droppedBytes }, place))
      }
    }
  }
})

const knownOf = ({ attempts, ending, outputs }: Standing, stream: OutputName, complete: boolean): Known => ({
  complete,
  ended: ending !== undefined,
  tries: attempts.map(({ attempt, over, started }) => {
    const kept = outputs.find((output) => output.attempt === attempt && output.name === stream)
    return { attempt, started, over: over !== null, kept: kept === undefined ? undefined : { sizeBytes: Number(kept.size_bytes) } }
  })
})
