import { assert, describe, it } from "@effect/vitest"
import { openCellKeys, startServer } from "@millrace/infra-nats"
import { Effect } from "effect"
import { createServer } from "node:net"
import { join } from "node:path"
import { folder, natsWithStreams, quick } from "../testing/nats-under-test.ts"
import { commitOn, storyOf } from "../testing.ts"
import { ask } from "./api.ts"
import { connectNats } from "./connect.ts"
import { openJournal } from "./journal.ts"
import { answerOf } from "./publisher.ts"
import { provisionStreams, streamConfig, watchFullness } from "./streams.ts"

/** Greets as a nats-server of some version does, and answers pings. */
const pretendServer = (version: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer((socket) => {
        socket.on("error", () => socket.destroy())
        socket.write(`INFO ${JSON.stringify({ server_id: "X", version, headers: true, max_payload: 1_048_576, proto: 1 })}\r\n`)
        socket.on("data", (bytes) => {
          for (const _ of bytes.toString().matchAll(/^PING\r$/gmu)) socket.write("PONG\r\n")
        })
      }).listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({ url: `nats://127.0.0.1:${(server.address() as { readonly port: number }).port}`, close: () => void server.close() })))
    }),
    ({ close }) => Effect.sync(close)
  )

describe("what is refused at start", () => {
  for (const version of ["2.9.10", "2.12.2"]) {
    it.live(`a nats-server ${version}: too old`, () =>
      Effect.scoped(Effect.gen(function*() {
        const { url } = yield* pretendServer(version)
        const error = yield* Effect.flip(connectNats({ servers: url, name: "test" }))
        assert.strictEqual(error._tag, "LogUnfit")
        assert.include(error.message, `version ${version}`)
        assert.include(error.message, "2.12.3")
      })))
  }

  it.live("nobody there: said after the patience that was given", () =>
    Effect.scoped(Effect.gen(function*() {
      const { close, url } = yield* pretendServer("2.15.1")
      close()
      const error = yield* Effect.flip(connectNats({ servers: url, name: "test", patienceMs: 300 }))
      assert.strictEqual(error._tag, "JournalUnavailable")
    })))

  it.live("a stream that is missing, has drifted, or carries another epoch: named with field, found and wanted", () =>
    Effect.scoped(Effect.gen(function*() {
      const { api, urls } = yield* natsWithStreams(1)
      const open = Effect.scoped(openJournal({ nats: { servers: urls, name: "test" }, ...quick }))
      yield* open
      const update = (change: Record<string, unknown>) => ask(api, "STREAM.UPDATE.GATEWAY", { ...streamConfig("GATEWAY"), ...change })
      const refused = Effect.map(Effect.flip(open), ({ _tag, message }) => ({ _tag, message }))

      yield* update({ max_age: 3_600e9 })
      const aged = yield* refused
      assert.strictEqual(aged._tag, "LogUnfit")
      for (const word of ["max_age", "GATEWAY", "3600000000000", "facts do not expire"]) assert.include(aged.message, word)

      yield* update({ subjects: ["mill.job.*.*"] })
      assert.include((yield* refused).message, "the field subjects of the stream GATEWAY")

      const { subjects } = streamConfig("GATEWAY") as { readonly subjects: ReadonlyArray<string> }
      yield* update({ subjects: [...subjects, "others.>"] })
      assert.include((yield* refused).message, "the field subjects of the stream GATEWAY")
      yield* update({ subjects: [...subjects, "mill.later-kind.*"] })
      yield* open
      yield* update({ subjects: [...subjects.slice(1), "mill.later-kind.*"] })
      assert.include((yield* refused).message, "the field subjects of the stream GATEWAY")
      yield* provisionStreams(api)
      yield* open
      const { config } = yield* ask<{ readonly config: { readonly subjects: ReadonlyArray<string> } }>(api, "STREAM.INFO.GATEWAY")
      assert.sameMembers([...config.subjects], [...subjects, "mill.later-kind.*"])

      yield* update({ metadata: { "millrace-epoch": "2" } })
      assert.include((yield* refused).message, "the epoch of the stream")

      yield* update({})
      yield* open
      yield* ask(api, "STREAM.DELETE.GATEWAY")
      assert.include((yield* refused).message, "the stream GATEWAY is missing")
      yield* provisionStreams(api)
      yield* open
    })))

  it.live("credentials that may not write what this service writes; with its own a service may", () =>
    Effect.scoped(Effect.gen(function*() {
      const storeDir = yield* folder
      const keysDir = join(yield* folder, "keys")
      const keys = yield* openCellKeys({ keysDir, storeDir })
      const { url } = yield* startServer({ storeDir, accounts: keys.accounts })
      const as = (user: Parameters<typeof keys.credsFile>[0]) => ({ servers: url, name: user, credentialsFile: keys.credsFile(user) })
      const provisioner = yield* connectNats(as("provisioner"))
      yield* provisionStreams({ connection: provisioner, prefix: "$JS.API", patienceMs: 10_000 })

      const gateway = yield* openJournal({ nats: as("gateway"), writes: ["GATEWAY"], ...quick })
      yield* gateway.append(commitOn("own"), { last: "subject", sequence: 0 })
      assert.lengthOf(yield* gateway.story(storyOf("own")), 1)
      const error = yield* Effect.flip(openJournal({ nats: as("broker"), streams: ["BROKER"], writes: ["GATEWAY"], ...quick }))
      assert.strictEqual(error._tag, "LogUnfit")
      assert.include(error.message, "the permission to publish on mill.job.*.*")

      const broker = yield* openJournal({ nats: as("broker"), streams: ["BROKER"], writes: ["BROKER"], ...quick })
      const refused = yield* Effect.flip(broker.append(commitOn("foreign"), { last: "subject", sequence: 0 }))
      assert.deepInclude(refused, { _tag: "CommitRefused", reason: "not_permitted" })
      assert.lengthOf(yield* gateway.story(storyOf("foreign")), 0)
    })))
})

describe("what is refused later", () => {
  it.live("a full stream refuses, forgets nothing, and takes more once it has room", () =>
    Effect.scoped(Effect.gen(function*() {
      const { api, urls } = yield* natsWithStreams(1, { bytesMax: 64 * 1024 })
      const journal = yield* openJournal({ nats: { servers: urls, name: "test" }, ...quick })
      let stored = 0
      const error = yield* Effect.flip(Effect.forever(Effect.suspend(() =>
        Effect.tap(journal.append(commitOn("full", stored, { facts: 10 }), { last: "stream", sequence: stored }), () => Effect.sync(() => void (stored += 1))))))
      assert.deepInclude(error, { _tag: "CommitRefused", reason: "log_full" })
      assert.include(error.message, "give the stream more room")
      assert.isAbove(stored, 5)
      assert.strictEqual(yield* journal.head("GATEWAY"), stored)
      assert.isAbove((yield* watchFullness(api)).get("GATEWAY") ?? 0, 0.7)
      const line = yield* journal.line("GATEWAY", stored)
      const [first, behind] = [line.send(commitOn("line", 1)), line.send(commitOn("line", 2))]
      assert.deepInclude(yield* Effect.flip(first.outcome), { _tag: "CommitRefused", reason: "log_full" })
      assert.deepInclude(yield* Effect.flip(behind.outcome), { _tag: "CommitRefused", reason: "log_full" })
      assert.strictEqual(yield* journal.head("GATEWAY"), stored)
      yield* ask(api, "STREAM.UPDATE.GATEWAY", streamConfig("GATEWAY", { bytesMax: 1024 * 1024 }))
      yield* journal.append(commitOn("full", stored), { last: "stream", sequence: stored })
      assert.lengthOf(yield* journal.story(storyOf("full")), stored + 1)
    })))

  it.live("a commit that is larger than the server takes is refused before it leaves", () =>
    Effect.scoped(Effect.gen(function*() {
      const { urls } = yield* natsWithStreams(1)
      const journal = yield* openJournal({ nats: { servers: urls, name: "test" }, ...quick })
      const error = yield* Effect.flip(journal.append(commitOn("large", 1, { facts: 20_000 }), { last: "subject", sequence: 0 }))
      assert.deepInclude(error, { _tag: "CommitRefused", reason: "too_large" })
    })))
})

describe("an acknowledgement", () => {
  const read = (answer: unknown) => answerOf(Buffer.from(typeof answer === "string" ? answer : JSON.stringify(answer)))
  const error = (err_code: number, description: string, code = 400) => ({ error: { code, err_code, description }, stream: "S", seq: 0 })

  it("is read whatever stands around its sequence", () => {
    assert.deepStrictEqual(read({ stream: "S", seq: 7 }), { _tag: "Stored", stream: "S", sequence: 7 })
    assert.deepStrictEqual(read({ stream: "S", domain: "d", seq: 70, duplicate: true }), { _tag: "Stored", stream: "S", sequence: 70 })
    assert.deepStrictEqual(read({ seq: 3, stream: "S" }), { _tag: "Stored", stream: "S", sequence: 3 })
  })

  it("of a wrong expectation names the sequence where the server knows it", () => {
    assert.deepStrictEqual(read(error(10071, "wrong last sequence: 42")), { _tag: "Behind", found: 42 })
    assert.deepStrictEqual(read(error(10071, "wrong last sequence")), { _tag: "Behind", found: undefined })
    assert.deepStrictEqual(read(error(10164, "wrong last sequence")), { _tag: "Behind", found: undefined })
  })

  it("that says no for good is a refusal, and one that says not now is unknown", () => {
    assert.deepInclude(read(error(10077, "maximum bytes exceeded")), { _tag: "Refused", reason: "log_full" })
    assert.deepInclude(read(error(10047, "insufficient storage resources available", 500)), { _tag: "Refused", reason: "log_full" })
    assert.deepInclude(read(error(10054, "message size exceeds maximum allowed")), { _tag: "Refused", reason: "too_large" })
    assert.deepInclude(read(error(10060, "expected stream does not match")), { _tag: "Refused", reason: "not_configured" })
    assert.strictEqual(read(error(10008, "JetStream system temporarily unavailable", 503))._tag, "Unknown")
    assert.strictEqual(read(error(10077, "no space left on device", 503))._tag, "Unknown")
    assert.strictEqual(read(error(10167, "too many requests", 429))._tag, "Unknown")
    assert.strictEqual(read(error(10176, "atomic publish batch is incomplete"))._tag, "Unknown")
    assert.strictEqual(read(error(10210, "atomic publish too many inflight"))._tag, "Unknown")
    assert.strictEqual(read("{")._tag, "Unknown")
    assert.strictEqual(read({ stream: "S" })._tag, "Unknown")
  })
})
