import { Effect, FiberSet, Redacted, Result, Schema, Scope, type Duration } from "effect"
import { channelOf, ChannelOver, type Channel } from "./channel.ts"
import { kindOf } from "./channel-name.ts"
import type { Frame } from "./frame.ts"
import { closeCodes, defaultHeartbeat, dial, DialFailed, drop, redialing, type Heartbeat, type Line } from "./line.ts"
import { meter } from "./meter.ts"
import { Exchange, type Ending, type Track, type Windows } from "./session.ts"
import { waitFor, wakeAll } from "./waiting.ts"
import { proofBytes, type Holder } from "./warrant.ts"

/** The host turned the session away, or the relay the connection. Trying again with the same will not help. */
export class SessionRefused extends Schema.TaggedError<SessionRefused>()("SessionRefused", {
  sessionId: Schema.String,
  code: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `Session ${this.sessionId} was refused (${this.code}): ${this.reason} Ask for a new session.`
  }
}

/** The host could not be reached in time. */
export class HostUnreachable extends Schema.TaggedError<HostUnreachable>()("HostUnreachable", {
  hostId: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `Host ${this.hostId} could not be reached in time: ${this.reason}. See that the host agent runs, then ask for a new session.`
  }
}

/** Bounds of a client's end. */
export interface ClientEndLimits {
  readonly windows: Windows
  /** How long opening may take, redials included. */
  readonly openWithin: Duration.Input
  /** How long a lost connection may stay lost before the session is given up as `lost`. */
  readonly awayAtMost: Duration.Input
  readonly redialFrom: Duration.Input
  readonly redialAtMost: Duration.Input
  /** Unsent bytes on the connection above which no further frame is put on it. */
  readonly backlogBytesMax: number
  readonly heartbeat: Heartbeat
}

/** What suits one person at a terminal. */
export const defaultClientEndLimits: ClientEndLimits = {
  windows: { keptBytes: 256 * 1024, waitingBytes: 256 * 1024 },
  openWithin: "10 seconds",
  awayAtMost: "60 seconds",
  redialFrom: "50 millis",
  redialAtMost: "2 seconds",
  backlogBytesMax: 256 * 1024,
  heartbeat: defaultHeartbeat
}

export interface SessionOptions {
  /** WebSocket address of the relay's path, as in `wss://cell.example/wire`. */
  readonly relayUrl: string
  /** Asked anew for each dial, so that it may change while the session lasts. */
  readonly token: Effect.Effect<Redacted.Redacted>
  readonly hostId: string
  readonly sessionId: string
  readonly warrant: Uint8Array
  /** The holder that the warrant names. */
  readonly holder: Holder
  /** The channels to open with, and where the host's bytes are to begin in each (offset 0 if not said). */
  readonly channels: ReadonlyArray<{ readonly name: string; readonly from?: number }>
  readonly limits?: Partial<ClientEndLimits>
}

/** A session at its client. */
export interface ClientSession {
  readonly id: string
  /** The channels that the session was opened with, in that order. */
  readonly channels: ReadonlyArray<Channel>
  /** The first of them with this name. */
  readonly channel: (name: string) => Channel | undefined
  /** Opens one more channel, as for a connection of a port forward. A refusal is seen by its first read or write. */
  readonly open: (name: string, from?: number) => Effect.Effect<Channel, ChannelOver>
  /** Ends the session at both ends; what is under way is lost. */
  readonly close: Effect.Effect<void>
  /** Waits for the end of the session. `done`: everything was served and read; other codes say what cut it short. */
  readonly over: Effect.Effect<Ending>
  /** Payload bytes held, now and at most, and how often the session was attached (1: never lost). */
  readonly stats: () => { readonly heldBytes: number; readonly heldBytesPeak: number; readonly links: number }
  /** Cuts the present connection as a network would; the session is resumed on another. For drills. */
  readonly cut: Effect.Effect<void>
}

/**
 * Opens a session and keeps it until the scope closes: a lost connection is dialled again, and every
 * channel goes on where it was. Opening is done when the host has accepted.
 */
export const openSession = Effect.fn("openSession")(function*(
  options: SessionOptions
): Effect.fn.Return<ClientSession, SessionRefused | HostUnreachable, Scope.Scope> {
  const limits = { ...defaultClientEndLimits, ...options.limits }
  const held = meter()
  const exchange = new Exchange("client", limits.windows, held)
  const wakers = new Set<() => void>()
  let line: Line | undefined
  let boot: Uint8Array | undefined
  let ordinal = 0
  let links = 0
  let attached = false
  let final: Ending | undefined
  let pumpDue = false
  /** The channels named in the last Open. Those opened since then are announced once it is accepted. */
  let asked: ReadonlySet<number> = new Set()

  yield* Effect.addFinalizer(() => Effect.suspend(() => {
    const last = line
    close()
    exchange.release()
    return last?.gone ?? Effect.void
  }))
  const fork = yield* FiberSet.makeRuntime()

  const settle = (ending: Ending) => {
    if (final !== undefined) return
    final = ending
    exchange.endAll(ending)
    line?.close(closeCodes.over, "over")
    wakeAll(wakers)
  }

  const close = () => {
    if (final === undefined && attached) line?.send({ _tag: "Close", link: 0, code: "closed", message: "" })
    settle({ code: "closed", message: "The client closed the session." })
  }

  const hear = (on: Line, frame: Frame) => {
    switch (frame._tag) {
      case "Hello":
        return attached ? on.close(closeCodes.malformed, "malformed: a second Hello") : knock(on, Uint8Array.from(frame.boot))
      case "Accepted": {
        const resumed = exchange.resume(frame.channels)
        if (Result.isFailure(resumed)) return on.close(closeCodes.disordered, "disordered")
        attached = true
        links++
        for (const track of exchange.tracks.values()) if (!asked.has(track.id)) announce(track)
        pump()
        return wakeAll(wakers)
      }
      case "Close":
        // Our own link broke the flow: come back and go on from what we know to be true.
        return frame.code === "disordered" && links > 0 ? on.close(closeCodes.disordered, "disordered") : settle({ code: frame.code, message: frame.message })
      case "Data":
      case "Gap":
      case "End":
      case "Credit":
      case "ChannelOver": {
        const heard = exchange.hear(frame)
        return Result.isFailure(heard) ? on.close(closeCodes.disordered, "disordered") : undefined
      }
      default:
        return on.close(closeCodes.malformed, `malformed: a relay does not say ${frame._tag}`)
    }
  }

  /** Asks the host to open the session, or to take it up again. */
  const knock = (on: Line, hostBoot: Uint8Array) => {
    if (links > 0 && Buffer.compare(hostBoot, boot ?? hostBoot) !== 0) {
      // A host that was started anew would serve the session a second time from its beginning.
      return settle({ code: "host_restarted", message: "The host was started anew and does not know the session." })
    }
    boot = hostBoot
    asked = new Set(exchange.tracks.keys())
    const { hostId, sessionId, warrant } = options
    const ask = { boot, sessionId, hostId, ordinal: ordinal++ }
    const proof = options.holder.sign(proofBytes(ask, warrant))
    on.send({ _tag: "Open", link: 0, ordinal: ask.ordinal, session: sessionId, host: hostId, warrant, proof, channels: exchange.statements() })
  }

  const announce = (track: Track) => exchange.notify({ _tag: "OpenChannel", link: 0, channel: exchange.statementOf(track) })

  const pump = () => {
    pumpDue = false
    while (attached && line !== undefined && line.backlog < limits.backlogBytesMax) {
      const frame = exchange.take(0)
      if (frame === undefined) return
      line.send(frame)
    }
  }

  exchange.moved = () => {
    if (pumpDue) return
    pumpDue = true
    queueMicrotask(pump)
  }

  /** Dials once, and returns when the session is attached or over. */
  const attach = Effect.gen(function*() {
    const made = yield* dial(`${options.relayUrl}/session?host=${encodeURIComponent(options.hostId)}`, yield* options.token)
    if (final !== undefined) return made.close(closeCodes.over, "over")
    let lost: string | undefined
    line = made
    made.hear = (frame) => hear(made, frame)
    made.drained = pump
    made.closed = (code, reason) => {
      lost = `the connection was closed (${code} ${reason})`
      if (line === made) line = undefined
      attached = false
      wakeAll(wakers)
    }
    made.resume()
    const beating = fork(made.keepAlive(limits.heartbeat))
    const outcome = yield* waitFor(wakers, () => (final !== undefined || attached ? "settled" : lost)).pipe(
      Effect.onInterrupt(() => Effect.sync(() => made.close(closeCodes.over, "given up")))
    )
    if (outcome === "settled") return
    drop(beating)
    yield* made.gone
    return yield* new DialFailed({ url: options.relayUrl, status: 0, reason: outcome })
  })

  const attachAgain = attach.pipe(
    Effect.retry({ schedule: redialing({ from: limits.redialFrom, most: limits.redialAtMost }), while: ({ status }) => status !== 401 })
  )

  const stayAttached: Effect.Effect<void> = waitFor(wakers, () => (attached && final === undefined ? undefined : true)).pipe(
    // A host that accepts and hangs up at once must not be dialled in a tight circle.
    Effect.andThen(Effect.suspend(() => final === undefined ? Effect.sleep(limits.redialFrom).pipe(
      Effect.andThen(attachAgain),
      Effect.timeout(limits.awayAtMost),
      Effect.catch((failure) => Effect.sync(() => settle({ code: "lost", message: `The connection was lost and did not come back: ${failure.message}` })))
    ) : Effect.void)),
    Effect.andThen(Effect.suspend(() => final === undefined ? stayAttached : Effect.void))
  )

  const unknown = options.channels.find((channel) => kindOf(channel.name) === undefined)
  if (unknown !== undefined) {
    return yield* new SessionRefused({ sessionId: options.sessionId, code: "channel_unknown", reason: `There is no channel of kind ${unknown.name}.` })
  }
  const channels = options.channels.map(({ name, from }, id) => channelOf(exchange, exchange.open(id, name, from ?? 0)))

  yield* attachAgain.pipe(
    Effect.mapError((failure) => failure.status === 401
      ? new SessionRefused({ sessionId: options.sessionId, code: "not_admitted", reason: failure.message })
      : new HostUnreachable({ hostId: options.hostId, reason: failure.reason })),
    Effect.timeoutOrElse({
      duration: limits.openWithin,
      orElse: () => Effect.fail(new HostUnreachable({ hostId: options.hostId, reason: "no host answered through the relay" }))
    })
  )
  const refusal = final as Ending | undefined
  if (refusal !== undefined && links === 0) {
    return yield* new SessionRefused({ sessionId: options.sessionId, code: refusal.code, reason: refusal.message })
  }
  fork(stayAttached)

  return {
    id: options.sessionId,
    channels,
    channel: (name) => channels.find((channel) => channel.name === name),
    open: (name, from = 0) => Effect.suspend(() => {
      const refuse = (code: string, reason: string) => Effect.fail(new ChannelOver({ channel: name, code, reason }))
      if (final !== undefined) return refuse(final.code, final.message)
      if (kindOf(name) === undefined) return refuse("channel_unknown", `There is no channel of kind ${name}.`)
      if (!exchange.hasRoom) return refuse("busy", "The session has as many channels as it may have.")
      const track = exchange.open(exchange.idMost + 1, name, from)
      if (attached) announce(track)
      return Effect.succeed(channelOf(exchange, track))
    }),
    close: Effect.sync(close),
    over: waitFor(wakers, () => final),
    stats: () => ({ heldBytes: held.now, heldBytesPeak: held.peak, links }),
    cut: Effect.sync(() => line?.cut(closeCodes.over, "cut"))
  }
})
