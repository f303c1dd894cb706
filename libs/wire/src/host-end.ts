import { Cause, Clock, Effect, FiberSet, Option, Queue, Redacted, Result, Scope, type Duration } from "effect"
import { createHash, randomBytes } from "node:crypto"
import { channelOf, type Channel, type ChannelOver } from "./channel.ts"
import { covers } from "./channel-name.ts"
import * as Flow from "./flow.ts"
import type { ChannelFrame, Frame, Open, Statement } from "./frame.ts"
import { closeCodes, defaultHeartbeat, dial, drop, logDefect, redialing, type Heartbeat, type Line } from "./line.ts"
import { meter, type Meter } from "./meter.ts"
import { Exchange, type Ending, type Windows } from "./session.ts"
import { Turns } from "./turns.ts"
import { waitFor, wakeAll } from "./waiting.ts"
import type { Allowed, VerifyWarrant } from "./warrant.ts"

/** Bounds of a host's end. */
export interface HostEndLimits {
  readonly sessionsMax: number
  /** Sessions that are over and remembered until their warrant expires, so that it opens nothing twice. */
  readonly rememberedMax: number
  /** Asks whose warrants are being looked at. */
  readonly pendingMax: number
  readonly windows: Windows
  /** How long a session waits for its client, or for the uplink, before it is ended. */
  readonly awayAtMost: Duration.Input
  readonly redialFrom: Duration.Input
  readonly redialAtMost: Duration.Input
  /** Unsent bytes on the uplink above which no further frame is put on it. */
  readonly uplinkBytesMax: number
  readonly heartbeat: Heartbeat
}

/** What suits a host of a hundred attempts. */
export const defaultHostEndLimits: HostEndLimits = {
  sessionsMax: 1_000,
  rememberedMax: 10_000,
  pendingMax: 64,
  windows: { keptBytes: 256 * 1024, waitingBytes: 256 * 1024 },
  awayAtMost: "60 seconds",
  redialFrom: "100 millis",
  redialAtMost: "5 seconds",
  uplinkBytesMax: 256 * 1024,
  heartbeat: defaultHeartbeat
}

/** A session as the host's handler sees it. */
export interface HostSession {
  readonly id: string
  readonly allowed: Allowed
  /** The channels that the session was opened with. */
  readonly channels: ReadonlyArray<Channel>
  /** The first of them with this name. */
  readonly channel: (name: string) => Channel | undefined
  /** Waits for the next channel that the client opens later, as each connection of a port forward is. */
  readonly nextChannel: Effect.Effect<Channel>
  /** Ends the session now; the client is told code and reason. */
  readonly end: (code: string, reason: string) => Effect.Effect<void>
}

export interface HostEndOptions {
  readonly hostId: string
  /** WebSocket address of the relay's path, as in `wss://cell.example/wire`. */
  readonly relayUrl: string
  /** Asked anew for each dial, so that it may change. */
  readonly token: Effect.Effect<Redacted.Redacted>
  readonly verifyWarrant: VerifyWarrant
  /**
   * Serves one session. When it returns, its channels are finished, and once the client has read
   * everything the session ends with `done`. It is interrupted when the session ends before that. It is
   * run once a session, however often the connection is lost meanwhile. Failing with a channel's end ends
   * the session with that channel's code.
   */
  readonly handle: (session: HostSession) => Effect.Effect<void, ChannelOver, Scope.Scope>
  readonly limits?: Partial<HostEndLimits>
}

/** A host's end of the wire: dials out, stays connected, serves sessions. */
export interface HostEnd {
  /** Waits until the uplink stands. */
  readonly connected: Effect.Effect<void>
  /** The sessions that are not over. */
  readonly sessions: () => ReadonlyArray<string>
  /** Ends a session, as when its warrant is revoked. Ending one that is over changes nothing. */
  readonly end: (sessionId: string, ending: Ending) => Effect.Effect<void>
  /** Payload bytes held for all sessions, now and at most; and how often the uplink was made. */
  readonly stats: () => { readonly heldBytes: number; readonly heldBytesPeak: number; readonly uplinks: number }
}

interface Hosted {
  readonly id: string
  readonly allowed: Allowed
  /** SHA-256 of the warrant: a session is one warrant's, to its end. */
  readonly warrant: string
  readonly exchange: Exchange
  readonly later: Queue.Queue<Channel>
  readonly wakers: Set<() => void>
  ordinal: number
  link: number | undefined
  final: Ending | undefined
}

/** Serves sessions through a relay until the scope closes; then every session is ended with `host_leaving`. */
export const makeHostEnd = Effect.fn("makeHostEnd")(function*(options: HostEndOptions): Effect.fn.Return<HostEnd, never, Scope.Scope> {
  const limits = { ...defaultHostEndLimits, ...options.limits }
  const boot = Uint8Array.from(randomBytes(16))
  const sessions = new Map<string, Hosted>()
  const over = new Map<string, Hosted>()
  const byLink = new Map<number, Hosted>()
  const turns = new Turns<Hosted>()
  const held: Meter = meter()
  const wakers = new Set<() => void>()
  let line: Line | undefined
  let uplinks = 0
  let pending = 0
  let pumpDue = false

  yield* Effect.addFinalizer(() => Effect.suspend(() => {
    for (const session of [...sessions.values()]) end(session, { code: "host_leaving", message: "The host is shutting down." })
    pump()
    const last = line
    last?.close(closeCodes.shuttingDown, "shutting_down")
    return last?.gone ?? Effect.void
  }))
  const fork = yield* FiberSet.makeRuntime()

  /** Refuses a link, or ends it for good: the session behind it, if any, is not touched. */
  const refuse = (link: number, code: string, message: string) => line?.send({ _tag: "Close", link, code, message })

  const hear = (frame: Frame) => {
    switch (frame._tag) {
      case "Open":
        return heardOpen(frame)
      case "Detach":
        return detach(byLink.get(frame.link))
      case "Close": {
        const session = byLink.get(frame.link)
        return session && end(session, { code: "closed", message: "The client closed the session." })
      }
      case "OpenChannel": {
        const session = byLink.get(frame.link)
        return session && openLater(session, frame.channel)
      }
      case "Data":
      case "Gap":
      case "End":
      case "Credit":
      case "ChannelOver":
        return heardChannel(frame)
      default:
        return line?.close(closeCodes.malformed, `malformed: a relay does not say ${frame._tag}`)
    }
  }

  const heardChannel = (frame: ChannelFrame) => {
    const session = byLink.get(frame.link)
    if (session === undefined) return
    const heard = session.exchange.hear(frame)
    if (Result.isFailure(heard)) dropLink(session, heard.failure)
  }

  /** The client broke the flow. It may come back and try again from where it stands. */
  const dropLink = (session: Hosted, violation: Flow.Violation) => {
    if (session.link !== undefined) refuse(session.link, "disordered", violation.reason)
    detach(session)
  }

  const heardOpen = (open: Open) => {
    if (pending >= limits.pendingMax) return refuse(open.link, "busy", `More than ${limits.pendingMax} sessions are being opened.`)
    pending++
    // The frame's bytes belong to the socket's buffer, and looking at the warrant may take a while.
    const kept: Open = { ...open, warrant: Uint8Array.from(open.warrant), proof: Uint8Array.from(open.proof) }
    const from = line
    fork(judge(kept).pipe(
      Effect.flatMap((allowed) => Effect.map(Clock.currentTimeMillis, (nowMs) => {
        // Links are numbered per uplink: one of an uplink that is gone means nothing on the next.
        if (from === line) attach(kept, allowed, nowMs)
      })),
      Effect.catchTag("WarrantRefused", (refusal) => Effect.sync(() => {
        if (from === line) refuse(open.link, refusal.code, refusal.reason)
      })),
      Effect.tapCause(logDefect("opening a session")),
      Effect.ensuring(Effect.sync(() => pending--))
    ))
  }

  const judge = (open: Open) => {
    const known = sessions.get(open.session)
    return options.verifyWarrant(open.warrant, {
      sessionId: open.session,
      hostId: options.hostId,
      boot,
      ordinal: open.ordinal,
      // On a return, channels that are new to us are judged one by one, as if opened later.
      channels: open.channels.filter((channel) => known === undefined || known.exchange.tracks.has(channel.id)).map((channel) => channel.name),
      proof: open.proof
    })
  }

  const attach = (open: Open, allowed: Allowed, nowMs: number) => {
    const warrant = createHash("sha256").update(open.warrant).digest("hex")
    const ended = over.get(open.session)
    if (ended?.final !== undefined) {
      return open.ordinal > ended.ordinal && ended.warrant === warrant
        ? refuse(open.link, ended.final.code, ended.final.message)
        : refuse(open.link, "replayed", "The warrant has opened its one session already.")
    }
    const known = sessions.get(open.session)
    if (known === undefined) return begin(open, allowed, warrant, nowMs)
    if (open.ordinal <= known.ordinal || known.warrant !== warrant) {
      return refuse(open.link, "replayed", "The session is open, and this ask does not continue it.")
    }
    known.ordinal = open.ordinal
    if (known.link !== undefined) line?.send({ _tag: "Detach", link: known.link })
    detach(known)
    link(known, open)
  }

  const begin = (open: Open, allowed: Allowed, warrant: string, nowMs: number) => {
    for (const [id, old] of over) if (old.allowed.expiresAtMs <= nowMs) over.delete(id)
    if (sessions.size >= limits.sessionsMax || over.size + sessions.size >= limits.rememberedMax) {
      return refuse(open.link, "busy", `The host serves ${sessions.size} sessions.`)
    }
    const exchange = new Exchange("host", limits.windows, held)
    const session: Hosted = {
      id: open.session, allowed, warrant, exchange, later: Effect.runSync(Queue.bounded<Channel>(64)), wakers: new Set(),
      ordinal: open.ordinal, link: undefined, final: undefined
    }
    const channels = open.channels.map((channel) => channelOf(exchange, exchange.open(channel.id, channel.name, channel.next)))
    exchange.moved = () => want(session)
    sessions.set(session.id, session)
    link(session, open)
    fork(live(session, channels, allowed.expiresAtMs - nowMs))
  }

  const link = (session: Hosted, open: Open) => {
    const { exchange } = session
    exchange.keepOnly(new Set(open.channels.map((channel) => channel.id)))
    const resumed = exchange.resume(open.channels)
    if (Result.isFailure(resumed)) return refuse(open.link, "disordered", resumed.failure.reason)
    const fresh = open.channels.filter((channel) => !exchange.tracks.has(channel.id))
    const gone = fresh.filter((channel) => channel.id <= exchange.idMost)
    session.link = open.link
    byLink.set(open.link, session)
    for (const channel of fresh.filter((channel) => channel.id > exchange.idMost)) openLater(session, channel)
    // Said at once, so that nothing about the session, not even its end, can be said before it.
    line?.send({ _tag: "Accepted", link: open.link, channels: exchange.statements().map(({ id, next, read, limit }) => ({ id, next, read, limit })) })
    for (const channel of gone) {
      exchange.notify({ _tag: "ChannelOver", link: open.link, channel: channel.id, ...exchange.endingOf(channel.id) })
    }
    wakeAll(session.wakers)
    want(session)
  }

  const openLater = (session: Hosted, statement: Statement) => {
    const { exchange } = session
    const refusal = (code: string, message: string) => exchange.refuseChannel(statement.id, { code, message })
    if (exchange.tracks.has(statement.id)) return
    // An id is used once: this one is over here, and the client will hear, or has heard, how it ended.
    if (statement.id <= exchange.idMost) return
    if (!covers(session.allowed.channels, statement.name)) return refusal("channel_not_allowed", `The warrant does not name ${statement.name}.`)
    if (!exchange.hasRoom) return refusal("busy", "The session has as many channels as it may have.")
    const track = exchange.open(statement.id, statement.name, statement.next)
    const begun = exchange.begin(track, statement)
    if (Result.isFailure(begun)) return refusal("disordered", begun.failure.reason)
    exchange.grant(track)
    const channel = channelOf(exchange, track)
    if (!Queue.offerUnsafe(session.later, channel)) exchange.end(track, { code: "busy", message: "Nobody takes the channels of this session." })
  }

  const detach = (session: Hosted | undefined) => {
    if (session?.link === undefined) return
    byLink.delete(session.link)
    session.link = undefined
    wakeAll(session.wakers)
  }

  const end = (session: Hosted, ending: Ending) => {
    if (session.final !== undefined) return
    session.final = ending
    sessions.delete(session.id)
    over.set(session.id, session)
    session.exchange.endAll(ending)
    session.exchange.release()
    if (session.link !== undefined) refuse(session.link, ending.code, ending.message)
    detach(session)
    turns.leave(session)
    wakeAll(session.wakers)
  }

  const live = (session: Hosted, channels: ReadonlyArray<Channel>, msLeft: number) => {
    const served = options.handle({
      id: session.id,
      allowed: session.allowed,
      channels,
      channel: (name) => channels.find((channel) => channel.name === name),
      nextChannel: Queue.take(session.later),
      end: (code, reason) => Effect.sync(() => end(session, { code, message: reason }))
    }).pipe(
      Effect.scoped,
      Effect.matchCauseEffect({
        onSuccess: () => settle(session),
        onFailure: (cause) => Option.match(Cause.findErrorOption(cause), {
          onNone: () => logDefect(`serving session ${session.id}`)(cause).pipe(Effect.as(handlerFailed)),
          onSome: ({ code, reason }) => Effect.succeed({ code, message: reason })
        })
      })
    )
    return Effect.raceAllFirst([
      served,
      Effect.sleep(Math.max(0, msLeft)).pipe(Effect.as({ code: "warrant_expired", message: "The time of the warrant is over." })),
      away(session),
      waitFor(session.wakers, () => session.final)
    ]).pipe(Effect.flatMap((ending) => Effect.sync(() => end(session, ending))))
  }

  /** The handler has returned: lets the client read to the end. */
  const settle = (session: Hosted) => Effect.suspend(() => {
    for (const track of session.exchange.tracks.values()) session.exchange.finish(track)
    return waitFor(session.wakers, () => [...session.exchange.tracks.values()].every(({ sender }) => Flow.drained(sender)) ? done : undefined)
  })

  const away = (session: Hosted): Effect.Effect<Ending> =>
    waitFor(session.wakers, () => (session.link === undefined ? true : undefined)).pipe(
      Effect.andThen(waitFor(session.wakers, () => (session.link === undefined ? undefined : true)).pipe(Effect.timeoutOption(limits.awayAtMost))),
      Effect.flatMap((back) => back._tag === "Some" ? away(session) : Effect.succeed({ code: "client_away", message: "Nobody came back to the session in time." }))
    )

  const want = (session: Hosted) => {
    turns.want(session)
    if (pumpDue) return
    pumpDue = true
    queueMicrotask(pump)
  }

  const pump = () => {
    pumpDue = false
    while (line === undefined || line.backlog < limits.uplinkBytesMax) {
      const session = turns.next()
      if (session === undefined) return
      wakeAll(session.wakers)
      if (session.exchange.bytesMoved > session.allowed.bytesMax) {
        end(session, { code: "bytes_over", message: `The warrant allows ${session.allowed.bytesMax} bytes.` })
      }
      const frame = session.link === undefined || line === undefined ? undefined : session.exchange.take(session.link)
      if (frame === undefined) continue
      line?.send(frame)
      turns.want(session)
    }
  }

  const uplink = Effect.gen(function*() {
    const token = yield* options.token
    const made = yield* dial(`${options.relayUrl}/host`, token)
    made.hear = hear
    made.drained = pump
    made.closed = () => {
      line = undefined
      for (const session of [...byLink.values()]) detach(session)
      wakeAll(wakers)
    }
    made.resume()
    line = made
    uplinks++
    made.send({ _tag: "Hello", link: 0, boot })
    wakeAll(wakers)
    const beating = fork(made.keepAlive(limits.heartbeat))
    yield* waitFor(wakers, () => (made.open ? undefined : true))
    drop(beating)
    yield* made.gone
  })

  const redial = redialing({ from: limits.redialFrom, most: limits.redialAtMost })
  const onward: Effect.Effect<void> = uplink.pipe(
    Effect.tapError((failure) => Effect.logWarning(failure.message)),
    Effect.retry(redial),
    Effect.orDie,
    // A relay that takes the connection and hangs up at once must not be dialled in a tight circle.
    Effect.andThen(Effect.sleep(limits.redialFrom)),
    Effect.forever
  )
  fork(onward)

  return {
    connected: waitFor(wakers, () => (line === undefined ? undefined : true)).pipe(Effect.asVoid),
    sessions: () => [...sessions.keys()],
    end: (sessionId, ending) => Effect.sync(() => {
      const session = sessions.get(sessionId)
      if (session !== undefined) end(session, ending)
    }),
    stats: () => ({ heldBytes: held.now, heldBytesPeak: held.peak, uplinks })
  }
})

const done: Ending = { code: "done", message: "The session came to its end." }
const handlerFailed: Ending = { code: "handler_failed", message: "The host failed while serving the session; its log says how." }
