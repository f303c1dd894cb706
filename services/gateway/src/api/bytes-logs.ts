import { Blobs } from "@millrace/blobs"
import type { AttemptId, HostId, JobId } from "@millrace/schemas"
import { Effect, Stream } from "effect"
import { type LogPlace, nothingHeldAt, placeText, told, toldAtEnd, toldUpTo } from "../domain/log-pieces.ts"
import { type Follower, type Known, nextBytes } from "../domain/next-bytes.ts"
import { LiveGone, LiveOutput } from "../reactors/live-output.ts"
import type { OutputName } from "./bytes.ts"
import type { Allowed } from "./bytes-gate.ts"
import { blobOf, settledStandingOf, type Standing, standingOf } from "./bytes-kept.ts"
import { Watch } from "./bytes-watch.ts"
import { eventText, type Say, serverSent } from "./server-sent.ts"

/** The tables are asked again after this long at the latest, in ms, whatever the watch has seen. */
const lookAgainMs = 15_000
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

/** A job's output as server-sent events; what they say stands at `JobBytes`. */
export const logAnswer = (following: Following) =>
  serverSent(following.jobId, { waitingMax: piecesMax, takenBack: following.who.takenBack }, (say) => follow(following, say))

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
      return say(eventText("output", piece, placeText({ attempt: follower.attempt!, offset: next })))
    })

  const tellHeld = Effect.suspend(() => {
    const rest = toldAtEnd(held)
    if (rest === undefined) return Effect.void
    const { next, ...piece } = rest
    held = nothingHeldAt(next)
    return say(eventText("output", piece, placeText({ attempt: follower.attempt!, offset: next })))
  })

  const turn = (attempt: number) =>
    Effect.suspend(() => {
      const first = follower.attempt === undefined
      // What a follower asked for holds for the attempt that it begins with.
      held = nothingHeldAt(first ? held.next : 0)
      follower = { attempt, done: false, liveDone: false }
      droppedBytes = 0
      return say(eventText("attempt", { attempt }, placeText({ attempt, offset: held.next })))
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
        yield* Effect.raceFirst(watch.change(jobId, task, standing), Effect.sleep(lookAgainMs))
        break
      case "end": {
        const { exit_code, outcome } = standing.ending!
        const place = follower.attempt === undefined ? undefined : placeText({ attempt: follower.attempt, offset: toldUpTo(held) })
        return yield* say(eventText("end", { outcome, exitCode: exit_code, attempt: follower.attempt ?? null, droppedBytes }, place))
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
