import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted, Scope, Stream } from "effect"
import { WebSocket } from "ws"
import { openSession } from "./client-end.ts"
import { dataBytesMax, encodeFrame, type Frame } from "./frame.ts"
import { testCell } from "./testing.ts"
import { freshHolder } from "./warrant.ts"

/** A bare WebSocket to the relay, for saying what no end of ours would say. */
const raw = Effect.fnUntraced(function*(url: string, token: string) {
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })),
    (socket) => Effect.sync(() => socket.terminate())
  )
  const closed = Deferred.makeUnsafe<number>()
  const status = Deferred.makeUnsafe<number>()
  const first = Deferred.makeUnsafe<void>()
  socket.on("close", (code) => Deferred.doneUnsafe(closed, Effect.succeed(code)))
  socket.on("error", () => {})
  socket.on("message", () => Deferred.doneUnsafe(first, Effect.void))
  socket.on("open", () => Deferred.doneUnsafe(status, Effect.succeed(101)))
  socket.on("unexpected-response", (request, response) => {
    Deferred.doneUnsafe(status, Effect.succeed(response.statusCode ?? 0))
    request.destroy()
  })
  return { socket, status: Deferred.await(status), closed: Deferred.await(closed), first: Deferred.await(first), say: (frame: Frame) => socket.send(encodeFrame(frame)) }
})

const hello: Frame = { _tag: "Hello", link: 0, boot: new Uint8Array(16) }
const until = (so: () => boolean): Effect.Effect<void> => Effect.suspend(() => so() ? Effect.void : Effect.andThen(Effect.sleep("2 millis"), until(so)))
const echo = { hostId: "h1", sessionId: "s1", channels: [{ name: "stdin" }, { name: "stdout" }] }

describe("admission", () => {
  it.live("nobody gets past the relay without a token, and hosts and clients need their own kind", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl, relay, host } = yield* testCell()
    yield* (yield* host("h1", () => Effect.void)).connected
    yield* until(() => relay.hosts().length === 1)
    assert.strictEqual(yield* (yield* raw(`${relayUrl}/host`, "client")).status, 401)
    assert.strictEqual(yield* (yield* raw(`${relayUrl}/session?host=h1`, "host h1")).status, 401)
    assert.strictEqual(yield* (yield* raw(`${relayUrl}/session?host=h1`, "")).status, 401)
    assert.strictEqual(yield* (yield* raw(`${relayUrl}/session?host=h2`, "client")).status, 503)
    assert.strictEqual(yield* (yield* raw(`${relayUrl}/session?host=h1`, "client")).status, 101)
    assert.deepStrictEqual(relay.hosts(), ["h1"])
  })))

  it.live("a client whose token is refused is told at once; one whose host is away, when its time is over", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl, open } = yield* testCell()
    const refused = yield* Effect.flip(openSession({
      relayUrl, token: Effect.succeed(Redacted.make("nobody")), warrant: new Uint8Array(80), holder: freshHolder(), ...echo
    }))
    assert.strictEqual(refused._tag === "SessionRefused" ? refused.code : refused._tag, "not_admitted")
    assert.strictEqual((yield* Effect.flip(open({ ...echo, limits: { openWithin: "50 millis" } })))._tag, "HostUnreachable")
  })))

  it.live("a stranger who knows session and warrant, but not the holder's key, cannot attach", () => Effect.scoped(Effect.gen(function*() {
    const { host, open, warrantFor } = yield* testCell()
    yield* (yield* host("h1", (session) => session.channel("stdout")?.write(Buffer.from("private")).pipe(Effect.andThen(Effect.never)) ?? Effect.void)).connected
    const own = yield* warrantFor({ sessionId: "s1", hostId: "h1" })
    const session = yield* open({ ...echo, ...own })
    const stranger = yield* Effect.flip(open({ ...echo, warrant: own.warrant, holder: freshHolder() }))
    assert.strictEqual(stranger._tag === "SessionRefused" ? stranger.code : stranger._tag, "holder_unproven")
    const other = yield* Effect.flip(open({ ...echo }))
    assert.strictEqual(other._tag === "SessionRefused" ? other.code : other._tag, "replayed")
    const piece = yield* (session.channel("stdout")?.read ?? Effect.never)
    assert.strictEqual(piece._tag === "Bytes" ? Buffer.from(piece.bytes).toString() : piece._tag, "private")
    assert.strictEqual(session.stats().links, 1)
  })))
})

describe("a host that is hung up on", () => {
  it.live("does not come in by a line that it had dialled before and kept silent on", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl, relay } = yield* testCell()
    const line = yield* raw(`${relayUrl}/host`, "host h1")
    assert.strictEqual(yield* line.status, 101)
    relay.hangUp("h1")
    line.say(hello)
    // 1006: it was cut off before it had read why.
    assert.include([4002, 1006], yield* line.closed)
    assert.deepStrictEqual(relay.hosts(), [])
  })))
})

describe("what is not of the protocol", () => {
  it.live("closes the connection it came on with a code, and no other", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl, relay, host, open } = yield* testCell()
    yield* (yield* host("h1", () => Effect.never)).connected
    const session = yield* open(echo)
    const says = Effect.fnUntraced(function*(say: (socket: WebSocket) => void, path: string, token: string) {
      const one = yield* raw(`${relayUrl}/${path}`, token)
      yield* one.status
      say(one.socket)
      return yield* one.closed
    })
    const client = (say: (socket: WebSocket) => void) => says(say, "session?host=h1", "client")
    assert.strictEqual(yield* client((socket) => socket.send(Buffer.from([9, 9, 9]))), 4000)
    assert.strictEqual(yield* client((socket) => socket.send("text")), 4000)
    assert.strictEqual(yield* client((socket) => socket.send(new Uint8Array(0))), 4000)
    assert.strictEqual(yield* client((socket) => socket.send(encodeFrame({ _tag: "End", link: 0, channel: 0, at: 0 }))), 4000)
    assert.strictEqual(yield* client((socket) => socket.send(encodeFrame({ _tag: "Accepted", link: 0, channels: [] }))), 4000)
    assert.strictEqual(yield* client((socket) => socket.send(new Uint8Array(65 * 1024))), 1009)
    assert.strictEqual(yield* says((socket) => socket.send(encodeFrame({ _tag: "Detach", link: 1 })), "host", "host h2"), 4000)
    assert.deepStrictEqual(relay.hosts(), ["h1"])
    assert.strictEqual(session.stats().links, 1)
    yield* session.close
  })))

  it.live("silence closes half-open connections of hosts and clients", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl, relay } = yield* testCell({ limits: { heartbeat: { every: "20 millis", missesMax: 3 } } })
    const host = yield* raw(`${relayUrl}/host`, "host h1")
    yield* host.status
    host.say(hello)
    yield* until(() => relay.hosts().length === 1)
    const client = yield* raw(`${relayUrl}/session?host=h1`, "client")
    yield* client.first
    assert.strictEqual(relay.stats().links, 1)
    yield* client.closed
    yield* host.closed
    yield* until(() => relay.hosts().length === 0 && relay.stats().links === 0)
  })))

  it.live("a connection that never says what it wants is closed", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl } = yield* testCell({ limits: { openWithin: "50 millis" } })
    assert.strictEqual(yield* (yield* raw(`${relayUrl}/host`, "host h1")).closed, 4006)
  })))

  it.live("a host that sends more than its client asked for is cut off from it before memory grows", () => Effect.scoped(Effect.gen(function*() {
    const linkBytesMax = 1_000_000
    const { relayUrl, relay } = yield* testCell({ limits: { linkBytesMax } })
    const host = yield* raw(`${relayUrl}/host`, "host h1")
    yield* host.status
    host.say(hello)
    yield* until(() => relay.hosts().length === 1)
    const client = yield* raw(`${relayUrl}/session?host=h1`, "client")
    yield* client.first
    client.socket.pause()
    const bytes = new Uint8Array(dataBytesMax)
    // Kernel buffers take some MB before anything piles up in the relay, so it is told a lot.
    for (let n = 0; n < 2_000 && relay.stats().links === 1; n++) {
      host.say({ _tag: "Data", link: 1, channel: 0, offset: n * dataBytesMax, bytes })
      if (n % 50 === 0) yield* Effect.sleep("1 millis")
    }
    yield* until(() => relay.stats().links === 0)
    assert.isAtMost(relay.stats().towardsOneClientPeak, linkBytesMax + 2 * dataBytesMax)
    assert.deepStrictEqual(relay.hosts(), ["h1"])
  })))
})

describe("a host that does not read", () => {
  it.live("makes its clients wait: the relay holds a bounded part of what they send, and passes on all of it", () => Effect.scoped(Effect.gen(function*() {
    const { relayUrl, relay } = yield* testCell()
    const host = yield* raw(`${relayUrl}/host`, "host h1")
    yield* host.status
    host.say(hello)
    yield* until(() => relay.hosts().length === 1)
    const client = yield* raw(`${relayUrl}/session?host=h1`, "client")
    yield* client.first
    let arrived = 0
    host.socket.on("message", (data: Buffer) => arrived += data.byteLength > dataBytesMax ? 1 : 0)
    host.socket.pause()
    client.say({ _tag: "Open", link: 0, ordinal: 0, session: "s1", host: "h1", warrant: new Uint8Array(1), proof: new Uint8Array(64), channels: [] })
    const bytes = new Uint8Array(dataBytesMax)
    for (let n = 0; n < 2_000; n++) client.say({ _tag: "Data", link: 0, channel: 0, offset: n * dataBytesMax, bytes })
    let before = -1
    yield* until(() => {
      const still = before === client.socket.bufferedAmount && relay.stats().towardsHosts > 0
      before = client.socket.bufferedAmount
      return still
    })
    host.socket.resume()
    yield* until(() => arrived === 2_000)
    // 128 KiB, and what the socket had read already when it was paused.
    assert.isAtMost(relay.stats().towardsHostsPeak, 256 * 1024)
    assert.strictEqual(relay.stats().towardsHosts, 0)
  })))
})

describe("many sessions", () => {
  it.live("200 of them over one uplink each get through while another floods both ways without end", () => Effect.scoped(Effect.gen(function*() {
    const { host, open, relay } = yield* testCell()
    const end = yield* host("h1", (session) => Effect.gen(function*() {
      const stdin = session.channel("stdin")
      const stdout = session.channel("stdout")
      if (stdin === undefined || stdout === undefined) return
      if (session.id === "flood") yield* Effect.forkScoped(Effect.forever(stdout.write(new Uint8Array(100_000))))
      yield* stdin.pieces.pipe(Stream.runForEach((piece) => piece._tag === "Bytes" && session.id !== "flood" ? stdout.write(piece.bytes) : Effect.void))
    }))
    yield* end.connected
    const flood = yield* open({ ...echo, sessionId: "flood" })
    const flooding = yield* Effect.forkChild(Effect.all([
      Effect.forever(flood.channel("stdin")?.write(new Uint8Array(100_000)) ?? Effect.never),
      Stream.runDrain(flood.channel("stdout")?.pieces ?? Stream.never)
    ], { concurrency: 2 }))
    const words = yield* Effect.forEach(Array.from({ length: 200 }, (_, n) => n), Effect.fnUntraced(function*(n) {
      const session = yield* open({ ...echo, sessionId: `s${n}` })
      yield* session.channel("stdin")?.write(Buffer.from(`word ${n}`)) ?? Effect.void
      yield* session.channel("stdin")?.finish ?? Effect.void
      const text = yield* (session.channel("stdout")?.pieces ?? Stream.never).pipe(
        Stream.runFold(() => "", (text, piece) => piece._tag === "Bytes" ? text + Buffer.from(piece.bytes).toString() : text)
      )
      return `${text}, ${(yield* session.over).code}`
    }), { concurrency: 200 })
    assert.deepStrictEqual(words, words.map((_, n) => `word ${n}, done`))
    assert.isUndefined(flooding.pollUnsafe(), "the flood never stopped")
    assert.isAtMost(relay.stats().towardsHostsPeak, 201 * 192 * 1024)
    yield* Fiber.interrupt(flooding)
  })))
})

describe("shutdown", () => {
  it.live("closing the scopes ends everything: no socket, server or timer is left", () => Effect.gen(function*() {
    const handles = () => process.getActiveResourcesInfo().filter((name) => /TCP|Timeout|Immediate/u.test(name)).sort()
    const before = handles()
    const relayScope = yield* Scope.make()
    const hostScope = yield* Scope.make()
    const clientScope = yield* Scope.make()
    const cell = yield* testCell().pipe(Scope.provide(relayScope))
    const host = yield* cell.host("h1", () => Effect.never).pipe(Scope.provide(hostScope))
    yield* host.connected
    const sessions = yield* Effect.forEach([1, 2, 3], (n) => cell.open({ ...echo, sessionId: `s${n}` }).pipe(Scope.provide(clientScope)))
    assert.isAbove(handles().length, before.length)
    yield* Scope.close(hostScope, Exit.void)
    assert.deepStrictEqual(yield* Effect.forEach(sessions, (session) => Effect.map(session.over, ({ code }) => code)), ["host_leaving", "host_leaving", "host_leaving"])
    yield* Scope.close(clientScope, Exit.void)
    yield* Scope.close(relayScope, Exit.void)
    // A handle closes a turn of the event loop after it was told to.
    yield* until(() => handles().filter((name) => name !== "Timeout").length <= before.filter((name) => name !== "Timeout").length)
    assert.isAtMost(handles().filter((name) => name === "Timeout").length, before.filter((name) => name === "Timeout").length)
    assert.deepStrictEqual(cell.relay.hosts(), [])
    assert.strictEqual(cell.relay.stats().links, 0)
    assert.strictEqual(host.stats().heldBytes, 0)
  }))
})
