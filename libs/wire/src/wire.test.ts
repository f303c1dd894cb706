import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { createHash } from "node:crypto"
import { encodeControl, ControlReader } from "./control.ts"
import type { Channel } from "./channel.ts"
import type { HostSession } from "./host-end.ts"
import { serveRelay } from "./relay.ts"
import { testCell } from "./testing.ts"

const fast = { redialFrom: "5 millis", redialAtMost: "20 millis" } as const

/** What a channel's reader got: the bytes' hash and count, the gaps, and whether the end came. */
const collect = (channel: Channel) =>
  channel.pieces.pipe(
    Stream.runFold(() => ({ hash: createHash("sha256"), bytes: 0, gaps: [] as Array<readonly [number, number]>, next: channel.startOffset, ended: false }), (so, piece) => {
      switch (piece._tag) {
        case "Bytes":
          assert.strictEqual(piece.offset, so.next)
          so.hash.update(piece.bytes)
          so.bytes += piece.bytes.byteLength
          so.next += piece.bytes.byteLength
          return so
        case "Gap":
          assert.strictEqual(piece.from, so.next)
          so.gaps.push([piece.from, piece.to])
          so.next = piece.to
          return so
        case "End":
          return { ...so, ended: true }
      }
    }),
    Effect.map(({ hash, bytes, gaps, ended }) => ({ hash: hash.digest("hex"), bytes, gaps, ended }))
  )

/** `length` bytes of which no two stretches are alike. */
const noise = (length: number): Uint8Array => {
  const words = new Uint32Array(Math.ceil(length / 4))
  let state = 0x9e3779b9
  for (let n = 0; n < words.length; n++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    words[n] = state
  }
  return new Uint8Array(words.buffer, 0, length)
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")
const text = (words: string) => Buffer.from(words, "utf8")
const must = (channel: Channel | undefined): Channel => {
  assert.isDefined(channel)
  return channel as Channel
}

/** Sends back on stdout what comes on stdin. */
const echo = (session: HostSession) => Effect.gen(function*() {
  const [stdin, stdout] = [must(session.channel("stdin")), must(session.channel("stdout"))]
  yield* stdin.pieces.pipe(Stream.runForEach((piece) => piece._tag === "Bytes" ? stdout.write(piece.bytes) : Effect.void))
  yield* stdout.finish
})

const pair = [{ name: "stdin" }, { name: "stdout" }]

describe("a session over the relay", () => {
  it.live("what the client writes comes back from the host, and the session ends as done", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    yield* (yield* cell.host("h1", echo)).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: pair })
    const stdin = must(session.channel("stdin"))
    yield* stdin.write(text("hello "))
    yield* stdin.write(text("host"))
    yield* stdin.finish
    const got = yield* collect(must(session.channel("stdout")))
    assert.deepStrictEqual(got, { hash: sha256(text("hello host")), bytes: 10, gaps: [], ended: true })
    assert.deepStrictEqual((yield* session.over).code, "done")
  })))

  it.live("control messages go both ways", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    yield* (yield* cell.host("h1", (session) => Effect.gen(function*() {
      const control = must(session.channel("control"))
      const reader = new ControlReader()
      const piece = yield* control.read
      const heard = reader.push(piece._tag === "Bytes" ? piece.bytes : text(""))
      assert.deepStrictEqual(heard._tag === "Success" ? heard.success : [], [{ _tag: "Signal", name: "SIGTERM" }])
      yield* control.write(encodeControl({ _tag: "Exited", code: 143, signal: "SIGTERM" }))
    }))).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [{ name: "control" }] })
    const control = must(session.channel("control"))
    yield* control.write(encodeControl({ _tag: "Signal", name: "SIGTERM" }))
    const piece = yield* control.read
    const heard = new ControlReader().push(piece._tag === "Bytes" ? piece.bytes : text(""))
    assert.deepStrictEqual(heard._tag === "Success" ? heard.success : [], [{ _tag: "Exited", code: 143, signal: "SIGTERM" }])
  })))

  it.live("a log is followed from the offset asked for", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const kept = noise(10_000)
    yield* (yield* cell.host("h1", (session) => Effect.gen(function*() {
      const log = must(session.channel("log"))
      yield* log.write(kept.subarray(log.startOffset))
      yield* log.finish
    }))).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [{ name: "log", from: 9_000 }] })
    assert.deepStrictEqual(yield* collect(must(session.channel("log"))), { hash: sha256(kept.subarray(9_000)), bytes: 1_000, gaps: [], ended: true })
  })))

  it.live("connections of a port forward are opened one by one, more of them than may be open at a time", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    yield* (yield* cell.host("h1", (session) => Effect.forever(session.nextChannel.pipe(
      Effect.flatMap((channel) => channel.pieces.pipe(
        Stream.runForEach((piece) => piece._tag === "Bytes" ? channel.write(text(`${channel.detail}:${Buffer.from(piece.bytes)}`)) : Effect.void),
        Effect.andThen(channel.finish)
      ))
    )))).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [] })
    for (let n = 0; n < 100; n++) {
      const channel = yield* session.open("port:8080")
      yield* channel.write(text(`${n}`))
      yield* channel.finish
      assert.deepStrictEqual((yield* collect(channel)).hash, sha256(text(`8080:${n}`)))
    }
    const foreign = yield* session.open("file:/etc/shadow")
    assert.strictEqual((yield* Effect.flip(foreign.read)).code, "channel_not_allowed")
  })))
})

describe("flow", () => {
  it.live("50 MB through a slow reader never hold more than the windows", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const chunk = noise(1_000_000)
    const host = yield* cell.host("h1", (session) => Effect.gen(function*() {
      const stdout = must(session.channel("stdout"))
      for (let n = 0; n < 50; n++) yield* stdout.write(chunk)
    }))
    yield* host.connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [{ name: "stdout" }] })
    const whole = createHash("sha256")
    for (let n = 0; n < 50; n++) whole.update(chunk)
    const got = yield* must(session.channel("stdout")).pieces.pipe(
      // Each piece gives everybody else a turn first: what can pile up, does.
      Stream.tap(() => Effect.yieldNow),
      Stream.runFold(() => ({ hash: createHash("sha256"), bytes: 0 }), (so, piece) => {
        if (piece._tag === "Bytes") so.hash.update(piece.bytes)
        return { hash: so.hash, bytes: so.bytes + (piece._tag === "Bytes" ? piece.bytes.byteLength : 0) }
      })
    )
    assert.strictEqual(got.bytes, 50_000_000)
    assert.strictEqual(got.hash.digest("hex"), whole.digest("hex"))
    assert.isAtMost(host.stats().heldBytesPeak, 256 * 1024)
    assert.isAtMost(session.stats().heldBytesPeak, 256 * 1024)
    assert.isAtMost(cell.relay.stats().towardsOneClientPeak, 300 * 1024)
  })))

  it.live("a reader that stands still stops the writer at the windows", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const stuck = yield* Deferred.make<void>()
    const host = yield* cell.host("h1", (session) => Effect.gen(function*() {
      const stdout = must(session.channel("stdout"))
      const writing = yield* Effect.forkChild(stdout.write(noise(2_000_000)))
      yield* must(session.channel("control")).read
      assert.isUndefined(writing.pollUnsafe())
      yield* Deferred.succeed(stuck, undefined)
      yield* Fiber.join(writing)
    }))
    yield* host.connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [{ name: "stdout" }, { name: "control" }] })
    // Until the client holds its full window nothing is asserted; from then on nothing more can move.
    while (session.stats().heldBytes < 256 * 1024) yield* Effect.sleep("1 millis")
    yield* must(session.channel("control")).write(text("go"))
    yield* Deferred.await(stuck)
    // The two bytes of "go" are kept until the host says that it has read them, which is worth no frame yet.
    assert.strictEqual(session.stats().heldBytes, 256 * 1024 + 2)
    assert.strictEqual(host.stats().heldBytes, 256 * 1024)
    assert.strictEqual((yield* collect(must(session.channel("stdout")))).hash, sha256(noise(2_000_000)))
  })))
})

describe("lost connections", () => {
  const source = noise(3_000_000)

  it.live("a client that is cut off again and again loses nothing and doubles nothing", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const host = yield* cell.host("h1", echo, { limits: fast })
    yield* host.connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: pair, limits: fast })
    const stdin = must(session.channel("stdin"))
    yield* Effect.forkChild(stdin.write(source).pipe(Effect.andThen(stdin.finish)))
    let sinceCut = 0
    const got = yield* must(session.channel("stdout")).pieces.pipe(
      Stream.tap((piece) => {
        sinceCut += piece._tag === "Bytes" ? piece.bytes.byteLength : 0
        if (sinceCut < 400_000) return Effect.void
        sinceCut = 0
        return session.cut
      }),
      Stream.runFold(() => createHash("sha256"), (hash, piece) => piece._tag === "Bytes" ? hash.update(piece.bytes) : hash)
    )
    assert.strictEqual(got.digest("hex"), sha256(source))
    assert.isAtLeast(session.stats().links, 5)
    assert.strictEqual((yield* session.over).code, "done")
    assert.strictEqual(host.stats().uplinks, 1)
  })))

  it.live("an uplink that is lost is dialled again, and its sessions lose nothing", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const host = yield* cell.host("h1", echo, { limits: fast })
    yield* host.connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: pair, limits: fast })
    const stdin = must(session.channel("stdin"))
    yield* Effect.forkChild(stdin.write(source).pipe(Effect.andThen(stdin.finish)))
    let sinceCut = 0
    const got = yield* must(session.channel("stdout")).pieces.pipe(
      Stream.tap((piece) => {
        sinceCut += piece._tag === "Bytes" ? piece.bytes.byteLength : 0
        if (sinceCut < 700_000) return Effect.void
        sinceCut = 0
        return Effect.sync(() => cell.relay.hangUp("h1"))
      }),
      Stream.runFold(() => createHash("sha256"), (hash, piece) => piece._tag === "Bytes" ? hash.update(piece.bytes) : hash)
    )
    assert.strictEqual(got.digest("hex"), sha256(source))
    assert.isAtLeast(host.stats().uplinks, 4)
    assert.strictEqual((yield* session.over).code, "done")
  })))

  it.live("a relay that is stopped and started anew costs its sessions nothing", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const path = "/other"
    const relayUrl = cell.relayUrl.replace("/wire", path)
    const start = Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* serveRelay({ server: cell.server, path, admitHost: () => Effect.succeed("h1"), admitClient: () => Effect.void }).pipe(Scope.provide(scope))
      return scope
    })
    const first = yield* start
    yield* (yield* cell.host("h1", echo, { limits: fast, relayUrl })).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: pair, limits: fast, relayUrl })
    const stdin = must(session.channel("stdin"))
    const stdout = must(session.channel("stdout"))
    yield* stdin.write(text("before"))
    assert.strictEqual((yield* stdout.read)._tag, "Bytes")
    yield* Scope.close(first, Exit.void)
    yield* stdin.write(text("after"))
    yield* stdin.finish
    const second = yield* start
    const piece = yield* stdout.read
    assert.deepStrictEqual(piece._tag === "Bytes" ? [piece.offset, Buffer.from(piece.bytes).toString()] : piece._tag, [6, "after"])
    assert.strictEqual((yield* stdout.read)._tag, "End")
    assert.strictEqual((yield* session.over).code, "done")
    assert.strictEqual(session.stats().links, 2)
    yield* Scope.close(second, Exit.void)
  })))

  it.live("a channel given up by one end while the connection was lost is over at the other", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const away = yield* Deferred.make<void>()
    const heard = yield* Deferred.make<string>()
    yield* (yield* cell.host("h1", (session) => Effect.gen(function*() {
      const [mine, theirs] = [yield* session.nextChannel, yield* session.nextChannel]
      yield* theirs.read
      yield* mine.write(text("up"))
      yield* Deferred.await(away)
      yield* mine.abandon("connection_refused", "Nothing listens on that port.")
      yield* Deferred.succeed(heard, yield* Effect.match(theirs.read, { onSuccess: ({ _tag }) => _tag, onFailure: ({ code }) => code }))
      yield* Effect.never
    }))).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [], limits: fast })
    const [hosts, clients] = [yield* session.open("port:1"), yield* session.open("port:2")]
    yield* clients.write(text("x"))
    assert.strictEqual((yield* hosts.read)._tag, "Bytes")
    yield* session.cut
    yield* clients.abandon("reset", "The local connection is gone.")
    yield* Deferred.succeed(away, undefined)
    assert.strictEqual(yield* Deferred.await(heard), "abandoned")
    assert.strictEqual((yield* Effect.flip(hosts.read)).code, "connection_refused")
    assert.strictEqual((yield* Effect.flip(clients.write(text("y")))).code, "reset")
  })))

  it.live("a log that went on while its reader was away begins again with the size of what it lost", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const windows = { keptBytes: 1_000, waitingBytes: 1_000 }
    const away = yield* Deferred.make<void>()
    yield* (yield* cell.host("h1", (session) => Effect.gen(function*() {
      const log = must(session.channel("log"))
      yield* log.write(source.subarray(0, 500))
      yield* Deferred.await(away)
      yield* log.write(source.subarray(500, 5_500))
      yield* log.finish
    }), { limits: { windows } })).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [{ name: "log" }], limits: { windows, redialFrom: "50 millis" } })
    const log = must(session.channel("log"))
    assert.strictEqual((yield* log.read)._tag, "Bytes")
    yield* session.cut
    yield* Deferred.succeed(away, undefined)
    assert.deepStrictEqual(yield* log.read, { _tag: "Gap", from: 500, to: 4_500 })
    const last = yield* log.read
    assert.deepStrictEqual(last._tag === "Bytes" ? Uint8Array.from(last.bytes) : last._tag, source.slice(4_500, 5_500))
    assert.strictEqual((yield* log.read)._tag, "End")
  })))

  it.live("what a log could not keep is told as a gap of exactly that size", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const windows = { keptBytes: 10_000, waitingBytes: 10_000 }
    const written = yield* Deferred.make<void>()
    yield* (yield* cell.host("h1", (session) => Effect.gen(function*() {
      const log = must(session.channel("log"))
      for (let n = 0; n < 100; n++) yield* log.write(source.subarray(n * 1000, n * 1000 + 1000))
      yield* log.finish
      yield* Deferred.succeed(written, undefined)
    }), { limits: { windows } })).connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: [{ name: "log" }], limits: { windows } })
    yield* Deferred.await(written)
    const got = yield* collect(must(session.channel("log")))
    const missing = got.gaps.reduce((sum, [from, to]) => sum + to - from, 0)
    assert.isAbove(missing, 0)
    assert.strictEqual(got.bytes + missing, 100_000)
    assert.isTrue(got.ended)
    const whole = source.subarray(0, 100_000)
    let next = 0
    const present = createHash("sha256")
    for (const [from, to] of [...got.gaps, [100_000, 100_000] as const]) {
      present.update(whole.subarray(next, from))
      next = to
    }
    assert.strictEqual(got.hash, present.digest("hex"))
  })))

  it.live("a client that stays away too long finds the session ended, and is told so", () => Effect.scoped(Effect.gen(function*() {
    const cell = yield* testCell()
    const interrupted = yield* Deferred.make<void>()
    const host = yield* cell.host("h1", () => Effect.never.pipe(Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))), { limits: { awayAtMost: "20 millis" } })
    yield* host.connected
    const session = yield* cell.open({ hostId: "h1", sessionId: "s1", channels: pair, limits: { redialFrom: "200 millis" } })
    yield* session.cut
    yield* Deferred.await(interrupted)
    assert.strictEqual((yield* session.over).code, "client_away")
    assert.deepStrictEqual(host.sessions(), [])
  })))
})
