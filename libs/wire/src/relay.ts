import { Duration, Effect, FiberSet, Redacted, Schema, Scope } from "effect"
import type { EventEmitter } from "node:events"
import type { IncomingMessage } from "node:http"
import type { Duplex } from "node:stream"
import { WebSocketServer } from "ws"
import { frameBytesMax, relabel, encodeFrame, type Frame } from "./frame.ts"
import { closeCodes, defaultHeartbeat, Line, type Heartbeat } from "./line.ts"
import { count, meter } from "./meter.ts"
import { Turns } from "./turns.ts"

/** The token admits nobody. The connection is answered with HTTP 401, without the reason. */
export class NotAdmitted extends Schema.TaggedError<NotAdmitted>()("NotAdmitted", { reason: Schema.String }) {
  override get message() {
    return `The relay did not admit the connection: ${this.reason}. Use a current token.`
  }
}

/** Bounds of a relay. Every one has a default; none can be switched off. */
export interface RelayLimits {
  readonly hostsMax: number
  /** Client connections, of all hosts together. */
  readonly linksMax: number
  /** Connections whose tokens are being looked at. */
  readonly pendingMax: number
  /** Unsent bytes towards one host above which no further frame is put on its uplink. */
  readonly uplinkBytesMax: number
  /** Bytes of one client that may wait for the uplink before the client is no longer read from. */
  readonly clientBytesMax: number
  /** Bytes that may wait for one client: above 32 channels' windows its host has broken the flow. */
  readonly linkBytesMax: number
  /** How long a token may take to be judged, and how long a new connection may say nothing. */
  readonly openWithin: Duration.Input
  readonly heartbeat: Heartbeat
}

/** What suits one relay of a cell of ten thousand hosts. */
export const defaultRelayLimits: RelayLimits = {
  hostsMax: 10_000,
  linksMax: 10_000,
  pendingMax: 256,
  uplinkBytesMax: 256 * 1024,
  clientBytesMax: 128 * 1024,
  linkBytesMax: 9 * 1024 * 1024,
  openWithin: "10 seconds",
  heartbeat: defaultHeartbeat
}

export interface RelayOptions {
  /** Whose `upgrade` events to take, as a `node:http` server's. Paths that are not ours are left to others. */
  readonly server: Pick<EventEmitter, "on" | "off">
  /** Hosts dial `<path>/host`, clients `<path>/session?host=<host id>`. Begins with a slash. */
  readonly path: string
  /** Whose token this is, of the hosts. Called once a dial-in. */
  readonly admitHost: (token: Redacted.Redacted) => Effect.Effect<string, NotAdmitted>
  /** Whether this token may reach this host at all. Which session it may open the host decides itself. */
  readonly admitClient: (token: Redacted.Redacted, hostId: string) => Effect.Effect<unknown, NotAdmitted>
  readonly limits?: Partial<RelayLimits>
}

/**
 * A meeting point for hosts behind NAT and their clients: passes frames on, in turn, and knows nothing
 * of sessions. It keeps no state that a session needs, so it may be restarted, and hosts do not trust it.
 */
export interface Relay {
  /** The hosts that are connected now. */
  readonly hosts: () => ReadonlyArray<string>
  /** Hangs up on a host, as when its admission ends. It may dial again, and is then judged anew. */
  readonly hangUp: (hostId: string) => void
  /** Client connections now, and bytes that wait (or most ever waited) in this process. */
  readonly stats: () => { readonly links: number; readonly towardsHosts: number; readonly towardsHostsPeak: number; readonly towardsOneClientPeak: number }
}

interface Uplink {
  readonly hostId: string
  readonly line: Line
  readonly boot: Uint8Array
  readonly links: Map<number, Link>
  readonly turns: Turns<Link>
  lastLink: number
}

interface Link {
  readonly id: number
  readonly line: Line
  readonly uplink: Uplink
  readonly queue: Array<Uint8Array>
  queuedBytes: number
  opened: boolean
}

const fromHost: ReadonlySet<Frame["_tag"]> = new Set(["Accepted", "Close", "Detach", "Data", "Gap", "End", "Credit", "ChannelOver"])
const fromClient: ReadonlySet<Frame["_tag"]> = new Set(["Close", "Data", "Gap", "End", "Credit", "OpenChannel", "ChannelOver"])

/** Serves a relay on `server` until the scope closes; then every connection is closed with 1001. */
export const serveRelay = Effect.fn("serveRelay")(function*(options: RelayOptions): Effect.fn.Return<Relay, never, Scope.Scope> {
  const limits = { ...defaultRelayLimits, ...options.limits }
  const lines = new Set<Line>()
  const uplinks = new Map<string, Uplink>()
  /** Lines of hosts that were let in and have not said Hello. */
  const silent = new Map<Line, string>()
  const waiting = meter()
  let pending = 0
  let links = 0
  let towardsOneClientPeak = 0

  const sockets = new WebSocketServer({ noServer: true, clientTracking: false, maxPayload: frameBytesMax, perMessageDeflate: false })
  yield* Effect.addFinalizer(() => Effect.suspend(() => {
    options.server.off("upgrade", onUpgrade)
    for (const line of lines) line.close(closeCodes.shuttingDown, "shutting_down")
    return Effect.forEach([...lines], (line) => line.gone, { concurrency: "unbounded", discard: true })
  }))
  const fork = yield* FiberSet.makeRuntime()

  const adopt = (line: Line, late: () => boolean) => {
    lines.add(line)
    fork(line.keepAlive(limits.heartbeat))
    fork(Effect.sleep(limits.openWithin).pipe(Effect.andThen(Effect.sync(() => {
      if (late()) line.close(closeCodes.late, "late: said nothing")
    }))))
  }

  const joinHost = (hostId: string, line: Line) => {
    let uplink: Uplink | undefined
    adopt(line, () => uplink === undefined)
    silent.set(line, hostId)
    line.hear = (frame, bytes) => {
      if (uplink !== undefined) return hearHost(uplink, frame, bytes)
      // Hung up on meanwhile, it may still be heard until its socket is closed.
      if (!silent.delete(line)) return
      if (frame._tag !== "Hello") return line.close(closeCodes.malformed, `malformed: ${frame._tag} before Hello`)
      uplinks.get(hostId)?.line.close(closeCodes.superseded, "superseded: the host dialled again")
      uplink = { hostId, line, boot: Uint8Array.from(frame.boot), links: new Map(), turns: new Turns(), lastLink: 0 }
      uplinks.set(hostId, uplink)
    }
    line.drained = () => uplink && pump(uplink)
    line.closed = () => {
      silent.delete(line)
      forgetWhenGone(line)
      if (uplink === undefined) return
      if (uplinks.get(hostId) === uplink) uplinks.delete(hostId)
      for (const link of [...uplink.links.values()]) link.line.close(closeCodes.hostAway, "host_away")
      for (let link = uplink.turns.next(); link !== undefined; link = uplink.turns.next()) count(waiting, -link.queuedBytes)
    }
  }

  const hearHost = (uplink: Uplink, frame: Frame, bytes: Uint8Array) => {
    if (!fromHost.has(frame._tag)) return uplink.line.close(closeCodes.malformed, `malformed: a host does not say ${frame._tag}`)
    const link = uplink.links.get(frame.link)
    if (link === undefined) return
    if (frame._tag === "Detach") return link.line.close(closeCodes.superseded, "superseded: the session went on elsewhere")
    relabel(bytes, 0)
    link.line.sendBytes(bytes)
    towardsOneClientPeak = Math.max(towardsOneClientPeak, link.line.backlog)
    if (frame._tag === "Close") link.line.close(closeCodes.over, "over")
    else if (link.line.backlog > limits.linkBytesMax) link.line.cut(closeCodes.overrun, "overrun: more was sent than the client asked for")
  }

  const joinClient = (hostId: string, line: Line) => {
    const uplink = uplinks.get(hostId)
    if (uplink === undefined) {
      lines.add(line)
      line.closed = () => forgetWhenGone(line)
      return line.close(closeCodes.hostAway, "host_away")
    }
    const link: Link = { id: ++uplink.lastLink, line, uplink, queue: [], queuedBytes: 0, opened: false }
    links++
    uplink.links.set(link.id, link)
    adopt(line, () => !link.opened)
    line.hear = (frame, bytes) => hearClient(link, frame, bytes)
    line.closed = () => {
      links--
      uplink.links.delete(link.id)
      forgetWhenGone(line)
      if (link.opened) enqueue(link, encodeFrame({ _tag: "Detach", link: link.id }))
    }
    line.send({ _tag: "Hello", link: 0, boot: uplink.boot })
  }

  const hearClient = (link: Link, frame: Frame, bytes: Uint8Array) => {
    const expected = link.opened ? fromClient.has(frame._tag) : frame._tag === "Open"
    if (!expected) return link.line.close(closeCodes.malformed, `malformed: a client does not say ${frame._tag} here`)
    link.opened = true
    relabel(bytes, link.id)
    enqueue(link, bytes)
    if (link.queuedBytes > limits.clientBytesMax) link.line.pause()
  }

  const enqueue = (link: Link, bytes: Uint8Array) => {
    if (!link.uplink.line.open) return
    link.queue.push(bytes)
    link.queuedBytes += bytes.byteLength
    count(waiting, bytes.byteLength)
    link.uplink.turns.want(link)
    pump(link.uplink)
  }

  const pump = (uplink: Uplink) => {
    while (uplink.line.open && uplink.line.backlog < limits.uplinkBytesMax) {
      const link = uplink.turns.next()
      if (link === undefined) return
      const bytes = link.queue.shift()
      if (bytes === undefined) continue
      link.queuedBytes -= bytes.byteLength
      count(waiting, -bytes.byteLength)
      if (link.queue.length > 0) uplink.turns.want(link)
      if (link.queuedBytes <= limits.clientBytesMax / 2) link.line.resume()
      uplink.line.sendBytes(bytes)
    }
  }

  const forgetWhenGone = (line: Line) => {
    fork(line.gone.pipe(Effect.andThen(Effect.sync(() => lines.delete(line)))))
  }

  const admitted = (request: IncomingMessage, socket: Duplex, head: Buffer, join: (line: Line) => void) =>
    Effect.sync(() => {
      if (!socket.destroyed) sockets.handleUpgrade(request, socket, head, (accepted) => join(new Line(accepted)))
    })

  const admit = Effect.fnUntraced(function*(request: IncomingMessage, socket: Duplex, head: Buffer, url: URL) {
    const token = Redacted.make(/^Bearer (.+)$/u.exec(request.headers.authorization ?? "")?.[1] ?? "")
    if (url.pathname === `${options.path}/host`) {
      const hostId = yield* options.admitHost(token)
      if (uplinks.size >= limits.hostsMax && !uplinks.has(hostId)) return turnAway(socket, 503, "hosts_max")
      return yield* admitted(request, socket, head, (line) => joinHost(hostId, line))
    }
    const hostId = url.searchParams.get("host") ?? ""
    yield* options.admitClient(token, hostId)
    if (!uplinks.has(hostId)) return turnAway(socket, 503, "host_away")
    if (links >= limits.linksMax) return turnAway(socket, 503, "links_max")
    return yield* admitted(request, socket, head, (line) => joinClient(hostId, line))
  })

  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const url = URL.parse(request.url ?? "", "http://relay")
    if (url === null || (url.pathname !== `${options.path}/host` && url.pathname !== `${options.path}/session`)) return
    const giveUp = () => socket.destroy()
    socket.on("error", giveUp)
    if (pending >= limits.pendingMax) return turnAway(socket, 503, "pending_max")
    pending++
    fork(admit(request, socket, head, url).pipe(
      Effect.timeout(limits.openWithin),
      Effect.catchTags({
        NotAdmitted: () => Effect.sync(() => turnAway(socket, 401, "not_admitted")),
        TimeoutError: () => Effect.sync(() => turnAway(socket, 503, "late"))
      }),
      Effect.onInterrupt(() => Effect.sync(giveUp)),
      Effect.ensuring(Effect.sync(() => {
        pending--
        socket.off("error", giveUp)
      }))
    ))
  }

  options.server.on("upgrade", onUpgrade)
  return {
    hosts: () => [...uplinks.keys()],
    hangUp: (hostId) => {
      const lines = [...silent].flatMap(([line, host]) => (host === hostId ? [line] : []))
      for (const line of [uplinks.get(hostId)?.line, ...lines]) {
        if (line === undefined) continue
        silent.delete(line)
        line.close(closeCodes.superseded, "superseded: hung up by the relay")
      }
    },
    stats: () => ({ links, towardsHosts: waiting.now, towardsHostsPeak: waiting.peak, towardsOneClientPeak })
  }
})

const turnAway = (socket: Duplex, status: 401 | 503, reason: string): void => {
  const text = status === 401 ? "Unauthorized" : "Service Unavailable"
  // An ended socket may still be told of an error by the other side.
  socket.on("error", () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${reason.length}\r\n\r\n${reason}`)
}
