import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Queue, Redacted, Result, Scope } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { WebSocketServer, type WebSocket } from "ws"
import { openSession } from "./client-end.ts"
import { decodeFrame, encodeFrame, type Frame, type Open, type Statement } from "./frame.ts"
import { makeHostEnd, type HostEndOptions } from "./host-end.ts"
import { freshHolder, proofBytes, signWarrant, verifyWith, type Holder, type SessionWarrant } from "./warrant.ts"

/** A relay that is nobody's friend: hands each connection's frames to the test, and says what the test says. */
const rogueRelay = Effect.gen(function*() {
  const lines = yield* Queue.unbounded<{ readonly path: string; readonly socket: WebSocket; readonly frames: Queue.Queue<Frame>; readonly say: (frame: Frame) => void; readonly closed: Deferred.Deferred<number> }>()
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on("connection", (socket, request) => {
    const frames = Effect.runSync(Queue.unbounded<Frame>())
    const closed = Deferred.makeUnsafe<number>()
    socket.on("message", (data: Buffer) => {
      const frame = decodeFrame(Uint8Array.from(data))
      if (Result.isSuccess(frame) && frame.success._tag !== "Ping") Queue.offerUnsafe(frames, frame.success)
    })
    socket.on("close", (code) => Deferred.doneUnsafe(closed, Effect.succeed(code)))
    Queue.offerUnsafe(lines, { path: request.url ?? "", socket, frames, closed, say: (frame) => socket.send(encodeFrame(frame)) })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.callback<void>((resume) => {
      for (const socket of sockets.clients) socket.terminate()
      server.close(() => resume(Effect.void))
    })
  )
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, next: Queue.take(lines) }
})

const cell = generateKeyPairSync("ed25519")
const token = Effect.succeed(Redacted.make("any"))
const stdout: Statement = { id: 0, name: "stdout", next: 0, read: 0, limit: 1_000_000 }

/** A host on a rogue relay, with everything needed to make asks by hand. */
const besieged = Effect.fnUntraced(function*(other: Partial<HostEndOptions> = {}): Effect.fn.Return<Siege, never, Scope.Scope> {
  const relay = yield* rogueRelay
  let served = 0
  const host = yield* makeHostEnd({
    hostId: "h1", relayUrl: relay.url, token, verifyWarrant: verifyWith({ cellKeys: [cell.publicKey], skewMs: 0 }),
    handle: () => Effect.sync(() => served++).pipe(Effect.andThen(Effect.never)),
    limits: { redialFrom: "5 millis", redialAtMost: "10 millis" },
    ...other
  })
  const line = yield* relay.next
  const hello = yield* Queue.take(line.frames)
  const boot = hello._tag === "Hello" ? hello.boot : new Uint8Array(16)
  const nowMs = yield* Clock.currentTimeMillis
  const ask = (what: Partial<Asked> = {}): Open => {
    const holder = what.holder ?? freshHolder()
    const terms: SessionWarrant = {
      sessionId: "s1", hostId: "h1", jobId: "job-1", attempt: 1, channels: ["stdout"], bytesMax: 1e9,
      notBeforeMs: nowMs - 10_000, expiresAtMs: nowMs + 60_000, holder: holder.publicKey, ...what.terms
    }
    const warrant = (what.tamper ?? ((bytes: Uint8Array) => bytes))(signWarrant(terms, what.key ?? cell.privateKey))
    const said = { boot: what.boot ?? boot, sessionId: what.session ?? "s1", hostId: "h1", ordinal: what.ordinal ?? 0 }
    const proof = (what.prover ?? holder).sign(proofBytes(said, warrant))
    return { _tag: "Open", link: what.link ?? 1, ordinal: said.ordinal, session: said.sessionId, host: "h1", warrant, proof, channels: [{ ...stdout, name: what.channel ?? "stdout" }] }
  }
  return { relay, host, line, ask, boot, nowMs, served: () => served, hears: Queue.take(line.frames) }
})

interface Asked {
  readonly terms: Partial<SessionWarrant>
  readonly key: typeof cell.privateKey
  readonly tamper: (bytes: Uint8Array) => Uint8Array
  readonly holder: Holder
  readonly prover: Holder
  readonly boot: Uint8Array
  readonly session: string
  readonly ordinal: number
  readonly link: number
  readonly channel: string
}

interface Siege {
  readonly relay: Effect.Success<typeof rogueRelay>
  readonly host: Effect.Success<ReturnType<typeof makeHostEnd>>
  readonly line: Effect.Success<Effect.Success<typeof rogueRelay>["next"]>
  readonly ask: (what?: Partial<Asked>) => Open
  readonly boot: Uint8Array
  readonly nowMs: number
  readonly served: () => number
  readonly hears: Effect.Effect<Frame>
}

const codeOf = (frame: Frame) => (frame._tag === "Close" ? frame.code : frame._tag)

describe("a relay that lies", () => {
  it.live("can pass on any ask it likes: the host itself refuses what no warrant allows", () => Effect.scoped(Effect.gen(function*() {
    const { ask, line, hears, host, served, nowMs } = yield* besieged()
    const flip = (at: number) => (bytes: Uint8Array) => bytes.map((byte, n) => (n === at ? byte ^ 1 : byte))
    const asks: ReadonlyArray<readonly [string, Partial<Asked>]> = [
      ["wrong_host", { terms: { hostId: "h2" } }],
      ["wrong_session", { session: "s2" }],
      ["warrant_expired", { terms: { expiresAtMs: nowMs - 1 } }],
      ["warrant_not_yet", { terms: { notBeforeMs: nowMs + 60_000 } }],
      ["warrant_forged", { key: generateKeyPairSync("ed25519").privateKey }],
      ["warrant_forged", { tamper: flip(2) }],
      ["warrant_forged", { tamper: (bytes) => bytes.map((byte, n) => (n === bytes.length - 1 ? byte ^ 1 : byte)) }],
      ["warrant_malformed", { tamper: (bytes) => bytes.subarray(0, 40) }],
      ["warrant_malformed", { tamper: () => new Uint8Array(0) }],
      ["channel_not_allowed", { channel: "stdin" }],
      ["channel_not_allowed", { channel: "root" }],
      ["holder_unproven", { prover: freshHolder() }],
      ["holder_unproven", { boot: new Uint8Array(16) }]
    ]
    for (const [n, [code, what]] of asks.entries()) {
      line.say(ask({ ...what, link: n + 1 }))
      assert.strictEqual(codeOf(yield* hears), code, `ask ${n}`)
    }
    assert.strictEqual(served(), 0)
    assert.deepStrictEqual(host.sessions(), [])
    // The same host takes a true one, so the refusals were not for something else.
    line.say(ask({ link: 100 }))
    assert.strictEqual(codeOf(yield* hears), "Accepted")
  })))

  it.live("gets nothing by saying an ask again, while the session lasts or after it", () => Effect.scoped(Effect.gen(function*() {
    const { ask, line, hears, host, served } = yield* besieged()
    const holder = freshHolder()
    const first = ask({ holder, ordinal: 3 })
    line.say(first)
    assert.strictEqual(codeOf(yield* hears), "Accepted")
    for (const [link, ordinal] of [[2, 3], [3, 2], [4, 0]] as const) {
      line.say(ordinal === 3 ? { ...first, link } : ask({ holder, ordinal, link }))
      assert.strictEqual(codeOf(yield* hears), "replayed")
    }
    line.say(ask({ ordinal: 9, link: 5 }))
    assert.strictEqual(codeOf(yield* hears), "replayed", "another warrant for the session of the first")
    yield* host.end("s1", { code: "revoked", message: "" })
    assert.strictEqual(codeOf(yield* hears), "revoked")
    line.say({ ...first, link: 6 })
    assert.strictEqual(codeOf(yield* hears), "replayed")
    line.say(ask({ holder, ordinal: 4, link: 7 }))
    assert.strictEqual(codeOf(yield* hears), "revoked", "its holder is told how it ended, and that is all")
    assert.strictEqual(served(), 1)
  })))

  it.live("cannot speak for links that are not, nor move a channel out of its order", () => Effect.scoped(Effect.gen(function*() {
    const { ask, line, hears } = yield* besieged()
    line.say({ _tag: "Data", link: 77, channel: 0, offset: 0, bytes: Uint8Array.of(1) })
    line.say(ask({ terms: { channels: ["stdin"] }, channel: "stdin" }))
    assert.strictEqual(codeOf(yield* hears), "Accepted")
    line.say({ _tag: "Data", link: 1, channel: 0, offset: 5, bytes: Uint8Array.of(1) })
    assert.strictEqual(codeOf(yield* hears), "disordered")
  })))

  it.live("that speaks no frames is hung up on with 4000, and dialled again", () => Effect.scoped(Effect.gen(function*() {
    const { relay, line, host } = yield* besieged()
    line.socket.send(Buffer.from("not a frame"))
    assert.strictEqual(yield* Deferred.await(line.closed), 4000)
    const again = yield* relay.next
    again.socket.send("text")
    assert.strictEqual(yield* Deferred.await(again.closed), 4000)
    const third = yield* relay.next
    third.socket.send(new Uint8Array(70_000))
    assert.strictEqual(yield* Deferred.await(third.closed), 1009)
    yield* relay.next
    assert.isAtLeast(host.stats().uplinks, 3)
  })))

  it.live("that falls silent is given up and dialled again", () => Effect.scoped(Effect.gen(function*() {
    const { relay, line } = yield* besieged({ limits: { heartbeat: { every: "5 millis", missesMax: 2 }, redialFrom: "5 millis" } })
    line.socket.removeAllListeners("message")
    yield* relay.next
  })))
})

describe("a host's own bounds", () => {
  it.live("more bytes than the warrant allows end the session", () => Effect.scoped(Effect.gen(function*() {
    const { ask, line, hears } = yield* besieged({
      handle: (session) => session.channels[0]?.write(new Uint8Array(5_000)).pipe(Effect.andThen(Effect.never)) ?? Effect.void
    })
    line.say(ask({ terms: { bytesMax: 4_999 } }))
    assert.strictEqual(codeOf(yield* hears), "Accepted")
    let code = codeOf(yield* hears)
    while (code === "Data") code = codeOf(yield* hears)
    assert.strictEqual(code, "bytes_over")
  })))

  it.live("a session ends when its warrant does", () => Effect.scoped(Effect.gen(function*() {
    const { ask, line, hears } = yield* besieged()
    line.say(ask({ terms: { expiresAtMs: (yield* Clock.currentTimeMillis) + 200 } }))
    assert.strictEqual(codeOf(yield* hears), "Accepted")
    assert.strictEqual(codeOf(yield* hears), "warrant_expired")
  })))

  it.live("a flooding session has one turn where each of 200 others has one", () => Effect.scoped(Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const { ask, line, hears } = yield* besieged({
      handle: (session) => Deferred.await(gate).pipe(Effect.andThen(
        session.channels[0]?.write(new Uint8Array(session.id === "flood" ? 10_000_000 : 65_536)) ?? Effect.void
      ), Effect.andThen(Effect.never))
    })
    for (let n = 0; n <= 200; n++) {
      const sessionId = n === 0 ? "flood" : `s${n}`
      line.say(ask({ terms: { sessionId }, session: sessionId, link: n + 1 }))
      assert.strictEqual(codeOf(yield* hears), "Accepted")
    }
    yield* Deferred.succeed(gate, undefined)
    const floodBetween = new Map<number, number>()
    const left = new Map<number, number>(Array.from({ length: 200 }, (_, n) => [n + 2, 4]))
    let most = 0
    let flood = 0
    while (left.size > 0) {
      const frame = yield* hears
      if (frame._tag !== "Data") continue
      if (frame.link === 1) {
        flood = frame.offset + frame.bytes.byteLength
        line.say({ _tag: "Credit", link: 1, channel: 0, read: flood, limit: flood + 1_000_000 })
        for (const [link, seen] of floodBetween) floodBetween.set(link, seen + 1)
        continue
      }
      most = Math.max(most, floodBetween.get(frame.link) ?? 0)
      floodBetween.set(frame.link, 0)
      const due = (left.get(frame.link) ?? 0) - 1
      if (due > 0) left.set(frame.link, due)
      else {
        left.delete(frame.link)
        floodBetween.delete(frame.link)
      }
    }
    assert.isAtMost(most, 1)
    assert.isAbove(flood, 0, "the flood did run")
  })))
})

describe("a client", () => {
  it.live("does not open its session a second time at a host that was started anew", () => Effect.scoped(Effect.gen(function*() {
    const relay = yield* rogueRelay
    const opening = yield* Effect.forkChild(openSession({
      relayUrl: relay.url, token, hostId: "h1", sessionId: "s1", warrant: new Uint8Array(80), holder: freshHolder(), channels: [], limits: { redialFrom: "5 millis" }
    }))
    const first = yield* relay.next
    first.say({ _tag: "Hello", link: 0, boot: new Uint8Array(16) })
    assert.strictEqual((yield* Queue.take(first.frames))._tag, "Open")
    first.say({ _tag: "Accepted", link: 0, channels: [] })
    const session = yield* Fiber.join(opening)
    first.socket.terminate()
    const second = yield* relay.next
    second.say({ _tag: "Hello", link: 0, boot: new Uint8Array(16).fill(1) })
    assert.strictEqual((yield* session.over).code, "host_restarted")
  })))
})
