import { deriveId } from "@millrace/decider"
import { Journal, memoryJournal, MemoryLog } from "@millrace/journal"
import { newSeed, signingKey } from "@millrace/journal/admission"
import { type FactId, HostId, type MillFact, Principal } from "@millrace/schemas"
import { dialText, freshHolder, hostTokenText, makeHostEnd, openSession, signWarrant, verifyWith } from "@millrace/wire"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Redacted } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { request } from "node:http"
import { Roster } from "../reactors/roster.ts"
import { relayPath, serveHosts, TwoDoors } from "./relay.ts"

const hostId = HostId.make(`hst_${"0".repeat(26)}`)
const subject = { kind: "admission", scope: "cell" }
const admin = Principal.make("user:owner")

/** A relay whose roster is read from a log. */
const relay = Effect.gen(function*() {
  const journal = memoryJournal(new MemoryLog())
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  let said = 0
  const say = Effect.fnUntraced(function*(event: MillFact) {
    const id = deriveId<FactId>("fct", 0, "test", said)
    yield* Effect.orDie(journal.append({ subject, actor: admin, happenedAtMs: 0, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence: said++ }))
  })
  const server = new TwoDoors((_, answer) => void answer.end("the API"))
  server.on("upgrade", (_, socket) => socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
  )
  const roster = yield* Layer.build(Roster.layer.pipe(Layer.provide(Layer.succeed(Journal, journal))))
  const served = yield* serveHosts(server, { key: privateKey }).pipe(Effect.provideContext(roster))
  const key = signingKey(newSeed("user"))
  const token = (by = key, named = key.publicKey, agoMs = 0) => Effect.map(Clock.currentTimeMillis, (nowMs) =>
    Redacted.make(hostTokenText({ publicKey: named, atMs: nowMs - agoMs, signature: by.sign(dialText(named, nowMs - agoMs)) })))
  const dialled = (as: ReturnType<typeof token>) => makeHostEnd({
    hostId, relayUrl: server.relayUrl, token: as, verifyWarrant: verifyWith({ cellKeys: [publicKey], skewMs: 0 }), handle: () => Effect.never,
    limits: { redialFrom: "5 millis", redialAtMost: "20 millis" }
  })
  const admit = say({ _tag: "HostAdmitted", hostId, publicKey: key.publicKey, admittedBy: admin, oneTimeKeyDigest: "x" })
  const dismiss = say({ _tag: "HostDismissed", hostId, publicKey: key.publicKey, dismissedBy: admin, cause: "it leaves" })
  const here = (is: boolean) => Effect.sleep("5 millis").pipe(Effect.repeat({ until: () => served.hosts().includes(hostId) === is }), Effect.timeout("10 seconds"), Effect.orDie)
  return { admit, dialled, dismiss, here, key, privateKey, server, served, token }
})

/** What the relay answers who asks for a WebSocket at a path. */
const upgrade = (url: string, path: string, token: string) =>
  Effect.callback<number>((resume) => {
    const { hostname, port } = new URL(url.replace("ws:", "http:"))
    const asked = request({ hostname, port, path, agent: false, headers: { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", authorization: `Bearer ${token}` } })
    asked.on("response", (answer) => {
      answer.resume()
      resume(Effect.succeed(answer.statusCode ?? 0))
    })
    asked.on("upgrade", (_, socket) => {
      socket.destroy()
      resume(Effect.succeed(101))
    })
    asked.on("error", () => resume(Effect.succeed(0)))
    asked.end()
  })

describe("the relay on the API's port", () => {
  it.live("lets in a host that access has admitted, as soon as it has, and hangs up on it when it is dismissed", () => Effect.gen(function*() {
    const { admit, dialled, dismiss, here, key, server, token } = yield* relay
    const path = `${relayPath}/host`
    assert.strictEqual(yield* upgrade(server.relayUrl, path, Redacted.value(yield* token())), 401)
    yield* dialled(token())
    yield* admit
    yield* here(true)
    const stranger = signingKey(newSeed("user"))
    for (const [what, bad] of [
      ["its own key, which nobody admitted", token(stranger, stranger.publicKey)],
      ["another's name", token(stranger, key.publicKey)],
      ["an old token", token(key, key.publicKey, 120_000)],
      ["one of the future", token(key, key.publicKey, -120_000)]
    ] as const) assert.strictEqual(yield* upgrade(server.relayUrl, path, Redacted.value(yield* bad)), 401, what)
    assert.strictEqual(yield* upgrade(server.relayUrl, path, "guess"), 401)
    yield* dismiss
    yield* here(false)
    assert.strictEqual(yield* upgrade(server.relayUrl, path, Redacted.value(yield* token())), 401)
  }))

  it.live("leads to a host whoever shows a warrant of this cell for it, and nobody else", () => Effect.gen(function*() {
    const { admit, dialled, here, privateKey, server, token } = yield* relay
    yield* admit
    yield* dialled(token())
    yield* here(true)
    const nowMs = yield* Clock.currentTimeMillis
    const holder = freshHolder()
    const terms = { sessionId: "ses_1", hostId, jobId: "job", attempt: 1, channels: ["stdout"], bytesMax: 1e6, notBeforeMs: nowMs - 1000, expiresAtMs: nowMs + 60_000, holder: holder.publicKey }
    const warrant = signWarrant(terms, privateKey)
    const ticket = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64url")
    const path = `${relayPath}/session?host=${hostId}`
    for (const [what, bytes] of [
      ["signed by another", signWarrant(terms, generateKeyPairSync("ed25519").privateKey)],
      ["for another host", signWarrant({ ...terms, hostId: "hst_other" }, privateKey)],
      ["over", signWarrant({ ...terms, expiresAtMs: nowMs - 1 }, privateKey)],
      ["altered", warrant.map((byte, at) => at === 20 ? byte ^ 1 : byte)]
    ] as const) assert.strictEqual(yield* upgrade(server.relayUrl, path, ticket(bytes)), 401, what)
    const session = yield* openSession({
      relayUrl: server.relayUrl, hostId, sessionId: "ses_1", warrant, holder, channels: [{ name: "stdout" }], token: Effect.succeed(Redacted.make(ticket(warrant)))
    })
    assert.lengthOf(session.channels, 1)
  }))

  it.live("leaves every other path to the API, upgrade or not", () => Effect.gen(function*() {
    const { server } = yield* relay
    for (const path of ["/v1/jobs", `${relayPath}/elsewhere`, relayPath, `${relayPath}/hosts`, `/x${relayPath}/host`]) {
      assert.strictEqual(yield* upgrade(server.relayUrl, path, "x"), 404, path)
    }
    const answer = yield* Effect.promise(() => fetch(`${server.relayUrl.replace("ws:", "http:")}/host`).then((found) => found.text()))
    assert.strictEqual(answer, "the API")
  }))
})
