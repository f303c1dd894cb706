import { Journal } from "@millrace/journal"
import type { Allowed, AttemptId, GrantId, HostId, JobId, Principal, SessionClosed, WorkspaceName } from "@millrace/schemas"
import { type ClientEndLimits, freshHolder, openSession, signWarrant } from "@millrace/wire"
import { Cause, Clock, Context, Effect, Exit, Layer, Redacted, Schema, Stream } from "effect"
import type { KeyObject } from "node:crypto"
import { newSessionId, tellClosed, tellOpened } from "./sessions.ts"

/** A session ends after this long; a follower that goes on opens another, which is a decision of its own. In ms. */
const sessionMsMax = 3_600_000
/** The most bytes that one session may move. */
const sessionBytesMax = 2 ** 40

/** What the host has of an attempt's output cannot be had from it right now. What it keeps can be read later. */
export class LiveGone extends Schema.TaggedError<LiveGone>()("LiveGone", { code: Schema.String, reason: Schema.String }) {
  override get message() {
    return `The output cannot be followed on its host (${this.code}): ${this.reason}`
  }
}

/** Which bytes of which attempt, for whom. */
export interface LiveAsk {
  readonly workspace: WorkspaceName
  readonly jobId: JobId
  readonly attempt: number
  readonly attemptId: AttemptId
  readonly hostId: HostId
  readonly stream: "stdout" | "stderr"
  readonly from: number
  /** What there is now, without waiting for more. */
  readonly now: boolean
  readonly openedBy: Principal
  readonly grant?: GrantId
  readonly decision: Allowed
}

/** The output of work that runs, from the host where it runs. */
export class LiveOutput extends Context.Service<LiveOutput, {
  /**
   * The bytes from `from` on, each piece right behind the one before. It ends when the work has ended and
   * all is told, and survives a relay that is started anew; it fails when the host cannot be reached.
   */
  readonly follow: (ask: LiveAsk) => Stream.Stream<Uint8Array, LiveGone>
}>()("millrace/gateway/LiveOutput") {
  /** Where no relay is served: output is read once it is kept. */
  static readonly none: Layer.Layer<LiveOutput> = Layer.succeed(LiveOutput, {
    follow: () => Stream.fail(new LiveGone({ code: "no_relay", reason: "this gateway serves no relay" }))
  })

  /**
   * Over a relay. Each follow is a session: it is written down before it is opened and after it is closed,
   * and the host checks its warrant itself.
   */
  static readonly overRelay = ({ key, limits, relayUrl }: {
    /** WebSocket address of the relay's path, once it is known. */
    readonly relayUrl: Effect.Effect<string>
    /** Signs session warrants. */
    readonly key: KeyObject
    readonly limits?: Partial<ClientEndLimits>
  }): Layer.Layer<LiveOutput, never, Journal> => Layer.effect(LiveOutput, Effect.gen(function*() {
    const journal = yield* Journal
    const open = Effect.fnUntraced(function*({ attempt, attemptId, decision, from, grant, hostId, jobId, now, openedBy, stream, workspace }: LiveAsk) {
      const nowMs = yield* Clock.currentTimeMillis
      const sessionId = yield* newSessionId
      const expiresAtMs = nowMs + sessionMsMax
      const opened = { sessionId, workspace, jobId, hostId, attempt, attemptId, form: "output" as const, openedBy, ...(grant === undefined ? {} : { grant }), decision, expiresAtMs }
      const holder = freshHolder()
      const name = `${stream}:${attemptId}${now ? ":now" : ""}`
      const warrant = signWarrant({
        sessionId, hostId, jobId, attempt, channels: [name], notBeforeMs: nowMs, expiresAtMs, bytesMax: sessionBytesMax, holder: holder.publicKey
      }, key)
      yield* tellOpened(opened).pipe(Effect.mapError((error) => new LiveGone({ code: "log_silent", reason: error.message })))
      let outBytes = 0
      let cause: SessionClosed["cause"] | undefined
      yield* Effect.addFinalizer((exit) =>
        tellClosed(opened, { outBytes, cause: cause ?? (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause) ? "connection_lost" : "closed") }))
      const session = yield* openSession({
        relayUrl: yield* relayUrl,
        token: Effect.succeed(Redacted.make(Buffer.from(warrant).toString("base64url"))),
        hostId, sessionId, warrant, holder,
        channels: [{ name, from }],
        ...(limits === undefined ? {} : { limits })
      }).pipe(Effect.mapError((error) => new LiveGone({ code: error._tag === "SessionRefused" ? error.code : "host_unreachable", reason: error.message })))
      return session.channels[0]!.pieces.pipe(
        Stream.mapError((over) => {
          cause = over.code === "warrant_expired" ? "expired" : over.code === "output_gone" ? "work_ended" : "connection_lost"
          return new LiveGone({ code: over.code, reason: over.reason })
        }),
        Stream.takeWhile((piece) => {
          if (piece._tag === "End") cause = "work_ended"
          return piece._tag !== "End"
        }),
        Stream.mapEffect((piece) => {
          if (piece._tag !== "Bytes") return Effect.fail(new LiveGone({ code: "gap", reason: "bytes are missing on the way" }))
          outBytes += piece.bytes.length
          return Effect.succeed(piece.bytes)
        })
      )
    })
    return { follow: (ask) => Stream.unwrap(Effect.provideService(open(ask), Journal, journal)) }
  }))
}
