import { Cause, Duration, Effect, Fiber, Redacted, Result, Schedule, Schema } from "effect"
import { WebSocket } from "ws"
import { decodeFrame, encodeFrame, frameBytesMax, type Frame } from "./frame.ts"
import { waitFor, wakeAll } from "./waiting.ts"

/**
 * Why a line was closed: the WebSocket close codes of the wire (4000 and above are free for
 * applications, RFC 6455 section 7.4.2; 1009 for a message above 64 KiB comes from the protocol).
 */
export const closeCodes = {
  over: 1000,
  shuttingDown: 1001,
  malformed: 4000,
  silent: 4001,
  superseded: 4002,
  hostAway: 4003,
  overrun: 4004,
  disordered: 4005,
  late: 4006
} as const

/** How a line is kept alive, and when it is given up. */
export interface Heartbeat {
  /** How often each end asks the other for a sign of life. */
  readonly every: Duration.Input
  /** After so many intervals in which nothing at all was heard the line is closed with 4001. */
  readonly missesMax: number
}

/** A line that is dead is known to be so after 15 s. */
export const defaultHeartbeat: Heartbeat = { every: "5 seconds", missesMax: 3 }

/** The relay could not be reached or did not let us in. `status` is its HTTP answer, 0 if there was none. */
export class DialFailed extends Schema.TaggedError<DialFailed>()("DialFailed", {
  url: Schema.String,
  status: Schema.Int,
  reason: Schema.String
}) {
  override get message() {
    return this.status === 401
      ? `The relay at ${this.url} did not admit us (401). See that the token is current.`
      : `Could not reach the relay at ${this.url} (${this.status || "no answer"}): ${this.reason}. It is tried again until the time for it is over.`
  }
}

/** One WebSocket that carries frames. `hear` and `closed` are set by the owner before anything arrives. */
export class Line {
  /** Called for each frame but Ping and Pong; `bytes` is the frame as it came, free to be changed. */
  hear: (frame: Frame, bytes: Uint8Array) => void = () => {}
  /** Called once, when the line is of no more use. */
  closed: (code: number, reason: string) => void = () => {}
  /** Called when a frame left this process for the kernel: there may be room for more. */
  drained: () => void = () => {}
  open = true
  /** Most bytes that ever waited here for the kernel to take them. */
  backlogPeak = 0
  private messages = 0
  private paused = false
  private readonly ends = new Set<() => void>()
  private readonly socket: WebSocket

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on("message", (data: Buffer, binary: boolean) => this.received(data, binary))
    // Every error is followed by close, which says what there is to say.
    socket.on("error", () => {})
    socket.on("close", (code: number, reason: Buffer) => {
      this.finish(code, reason.toString("utf8"))
      wakeAll(this.ends)
    })
  }

  /** Bytes that wait here for the kernel to take them. */
  get backlog(): number {
    return this.socket.bufferedAmount
  }

  send(frame: Frame): void {
    this.sendBytes(encodeFrame(frame))
  }

  /** Sends an encoded frame; does nothing on a line that is closed. */
  sendBytes(bytes: Uint8Array): void {
    if (!this.open) return
    this.socket.send(bytes, { binary: true }, () => this.drained())
    this.backlogPeak = Math.max(this.backlogPeak, this.backlog)
  }

  /** Closes after what was sent is out. Frames that still arrive are not heard. */
  close(code: number, reason: string): void {
    if (!this.open) return
    this.socket.resume()
    this.socket.close(code, reason)
    this.finish(code, reason)
  }

  /** Stops reading from the network, so that the other end has to wait. */
  pause(): void {
    if (this.open && !this.paused) this.socket.pause()
    this.paused = true
  }

  resume(): void {
    if (this.open && this.paused) this.socket.resume()
    this.paused = false
  }

  /** Waits until the socket is gone; cuts it off if it has not gone by itself within a second. */
  get gone(): Effect.Effect<void> {
    return waitFor(this.ends, () => (this.socket.readyState === WebSocket.CLOSED ? true : undefined)).pipe(
      Effect.timeoutOrElse({
        duration: "1 second",
        orElse: () => Effect.sync(() => this.socket.terminate()).pipe(
          Effect.andThen(waitFor(this.ends, () => (this.socket.readyState === WebSocket.CLOSED ? true : undefined)))
        )
      }),
      Effect.asVoid
    )
  }

  /** Asks the other end for a sign of life as `heartbeat` says, until the line is closed. */
  keepAlive(heartbeat: Heartbeat): Effect.Effect<void> {
    const beat = (nonce: number, misses: number, heard: number): Effect.Effect<void> =>
      Effect.sleep(heartbeat.every).pipe(Effect.andThen(Effect.suspend(() => {
        if (!this.open) return Effect.void
        // On a paused line silence is our own doing.
        const missed = this.messages === heard && !this.paused ? misses + 1 : 0
        if (missed >= heartbeat.missesMax) {
          this.cut(closeCodes.silent, "silent: no sign of life")
          return Effect.void
        }
        this.send({ _tag: "Ping", link: 0, nonce })
        return beat((nonce + 1) >>> 0, missed, this.messages)
      })))
    return beat(0, 0, this.messages)
  }

  /** Closes without waiting for an answer: for an end that gives none. */
  cut(code: number, reason: string): void {
    this.close(code, reason)
    this.socket.terminate()
  }

  private received(data: Buffer, binary: boolean): void {
    if (!this.open) return
    this.messages++
    const frame = binary ? decodeFrame(data) : undefined
    if (frame === undefined || Result.isFailure(frame)) {
      this.close(closeCodes.malformed, "malformed: not a frame of this version")
      return
    }
    switch (frame.success._tag) {
      case "Ping":
        return this.send({ _tag: "Pong", link: 0, nonce: frame.success.nonce })
      case "Pong":
        return
      default:
        return this.hear(frame.success, data)
    }
  }

  private finish(code: number, reason: string): void {
    if (!this.open) return
    this.open = false
    this.closed(code, reason)
  }
}

/**
 * Connects to a relay, within ten seconds. The caller owns the line and closes it. It comes paused, as
 * the relay may speak at once: `resume` it when there is somebody to hear.
 */
export const dial = (url: string, token: Redacted.Redacted): Effect.Effect<Line, DialFailed> =>
  Effect.callback<Line, DialFailed>((resume) => {
    const socket = new WebSocket(url, {
      headers: { authorization: `Bearer ${Redacted.value(token)}` },
      handshakeTimeout: 10_000,
      maxPayload: frameBytesMax,
      perMessageDeflate: false
    })
    const failed = (status: number, reason: string) => resume(Effect.fail(new DialFailed({ url, status, reason })))
    socket.once("unexpected-response", (request, response) => {
      response.resume()
      request.destroy()
      failed(response.statusCode ?? 0, response.statusMessage ?? "")
    })
    socket.once("error", (cause) => failed(0, cause.message))
    const line = new Line(socket)
    socket.once("open", () => {
      line.pause()
      resume(Effect.succeed(line))
    })
    return Effect.sync(() => socket.terminate())
  })

/** Waits between tries: grows from `from` by half to `most`, and is jittered so that a crowd spreads out. */
export const redialing = ({ from, most }: { readonly from: Duration.Input; readonly most: Duration.Input }) =>
  Schedule.min([Schedule.exponential(from, 1.5), Schedule.spaced(most)]).pipe(Schedule.jittered)

/** Logs a bug of somebody's handler; what it was doing ends, the rest goes on. */
export const logDefect = (what: string) => (cause: Cause.Cause<unknown>) =>
  Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError(`${what} failed`, cause)

/** Ends a fiber without waiting for it. */
export const drop = (fiber: Fiber.Fiber<unknown, unknown> | undefined): void => fiber?.interruptUnsafe()
