import { assert, layer } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Metric } from "effect"
import type { NatsServer } from "@millrace/infra-nats"
import type { StoredCommit } from "../commit.ts"
import type { JournalShape } from "../journal.ts"
import { natsWithStreams, quick } from "../testing/nats-under-test.ts"
import { type Proxy, proxyTo } from "../testing/proxy.ts"
import { readUpTo } from "../testing/reading.ts"
import { commitOn, onAccess, storyOf } from "../testing.ts"
import { type Api, ask } from "./api.ts"
import { openJournal } from "./journal.ts"

/** One server, a wire to it that can be tampered with, and a way around that wire. */
class Wire extends Context.Service<Wire, {
  readonly api: Api
  readonly server: NatsServer
  readonly proxy: Proxy
  /** Over the wire that is tampered with. */
  readonly tampered: JournalShape
  readonly direct: JournalShape
}>()("test/Wire") {
  static readonly layer = Layer.effect(Wire, Effect.gen(function*() {
    const { api, servers: [server] } = yield* natsWithStreams(1)
    const proxy = yield* proxyTo(server!.port)
    const tampered = yield* openJournal({ nats: { servers: proxy.url, name: "tampered" }, ...quick })
    const direct = yield* openJournal({ nats: { servers: server!.url, name: "direct" }, ...quick })
    return { api, server: server!, proxy, tampered, direct }
  }))
}

/** Loses everything in one direction while something goes on, then cuts, as a failing link does. */
const losing = <A, E, R>(proxy: Proxy, way: "toClient" | "toServer", forMs: number, during: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    proxy[way] = () => null
    const fiber = yield* Effect.forkChild(during, { startImmediately: true })
    yield* Effect.sleep(forMs)
    proxy[way] = (bytes) => bytes
    proxy.cut()
    return yield* Fiber.join(fiber)
  })

const replacedReaders = Metric.value(Metric.counter("millrace_reader_replaced_total", { incremental: true }))

layer(Wire.layer, { excludeTestServices: true, timeout: "60 seconds" })("a failing wire or server", (it) => {
  it.effect("an append whose answer was lost is stored once, and told where it lies", () =>
    Effect.gen(function*() {
      const { direct, proxy, tampered } = yield* Wire
      const appended = yield* losing(proxy, "toClient", 200, tampered.append(commitOn("answer-lost"), { last: "subject", sequence: 0 }))
      const story = yield* direct.story(storyOf("answer-lost"))
      assert.deepStrictEqual(story.map(({ place }) => place.sequence), [appended.sequence])
    }))

  it.effect("an append that never arrived is stored in the end, once", () =>
    Effect.gen(function*() {
      const { direct, proxy, tampered } = yield* Wire
      const appended = yield* losing(proxy, "toServer", 200, tampered.append(commitOn("never-arrived"), { last: "subject", sequence: 0 }))
      const story = yield* direct.story(storyOf("never-arrived"))
      assert.deepStrictEqual(story.map(({ place }) => place.sequence), [appended.sequence])
    }))

  for (const [way, what] of [["toClient", "whose answers were lost"], ["toServer", "that never arrived"]] as const) {
    it.effect(`of many appends at once ${what} each is stored once, and told where it lies`, () =>
      Effect.gen(function*() {
        const { direct, proxy, tampered } = yield* Wire
        const after = yield* direct.head("GATEWAY")
        const commits = Array.from({ length: 300 }, (_, number) => commitOn(`crowd-${way}-${number}`, number))
        const appended = yield* losing(proxy, way, 200, Effect.forEach(commits, (commit) => tampered.append(commit, { last: "subject", sequence: 0 }), { concurrency: "unbounded" }))
        const found = (yield* readUpTo(direct, "GATEWAY", after)).map(({ facts, place }) => [place.sequence, facts[0]?.id])
        assert.sameDeepMembers(found, appended.map(({ sequence }, at) => [sequence, commits[at]!.facts[0].id]))
      }))
  }

  it.effect("an answer that leaves it undecided (10164) is looked into, not believed either way", () =>
    Effect.gen(function*() {
      const { direct, proxy, tampered } = yield* Wire
      let falsified = 0
      proxy.toClient = (bytes) => {
        const found = /^(MSG \S+ \S+ )\d+\r\n\{"stream":"GATEWAY","seq":\d+\}\r\n$/u.exec(bytes.toString())
        if (found === null || falsified > 0) return bytes
        falsified += 1
        const undecided = JSON.stringify({ error: { code: 400, err_code: 10164, description: "wrong last sequence" }, stream: "GATEWAY", seq: 0 })
        return Buffer.from(`${found[1]}${undecided.length}\r\n${undecided}\r\n`)
      }
      const appended = yield* tampered.append(commitOn("undecided"), { last: "subject", sequence: 0 })
      proxy.toClient = (bytes) => bytes
      assert.strictEqual(falsified, 1, "nothing was falsified")
      assert.deepStrictEqual((yield* direct.story(storyOf("undecided"))).map(({ place }) => place.sequence), [appended.sequence])
    }))

  it.effect("a refusal behind an answer that left it open is looked into: the first try may have been stored", () =>
    Effect.gen(function*() {
      const { direct, proxy, tampered } = yield* Wire
      const answers = [
        { code: 503, err_code: 10008, description: "system temporarily unavailable" },
        { code: 400, err_code: 10077, description: "maximum bytes exceeded" }
      ]
      proxy.toClient = (bytes) => {
        const found = /^(MSG \S+ \S+ )\d+\r\n\{[^\r]*"stream":"GATEWAY"[^\r]*\}\r\n$/u.exec(bytes.toString())
        const error = found === null ? undefined : answers.shift()
        if (error === undefined) return bytes
        const text = JSON.stringify({ error, stream: "GATEWAY", seq: 0 })
        return Buffer.from(`${found![1]}${text.length}\r\n${text}\r\n`)
      }
      const appended = yield* tampered.append(commitOn("refused-later"), { last: "subject", sequence: 0 })
      proxy.toClient = (bytes) => bytes
      assert.lengthOf(answers, 0, "nothing was falsified")
      assert.deepStrictEqual((yield* direct.story(storyOf("refused-later"))).map(({ place }) => place.sequence), [appended.sequence])
    }))

  it.effect("a line goes on over lost answers and lost commits, with nothing missing, doubled or out of order", () =>
    Effect.scoped(Effect.gen(function*() {
      const { direct, proxy, tampered } = yield* Wire
      const after = yield* direct.head("ACCESS")
      const line = yield* tampered.line("ACCESS", after)
      yield* line.send(onAccess("wire", "first")).outcome
      const all = Effect.forEach(Array.from({ length: 400 }, (_, number) => number), (number) => {
        const { outcome } = line.send(onAccess("wire", number))
        return number % 40 === 0 ? Effect.andThen(Effect.sleep(10), Effect.succeed(outcome)) : Effect.succeed(outcome)
      }).pipe(Effect.flatMap((outcomes) => Effect.all(outcomes)))
      yield* losing(proxy, "toClient", 60, losing(proxy, "toServer", 30, all))
      const said = (yield* readUpTo(direct, "ACCESS", after)).filter(({ facts }) => facts.length > 0).map(({ facts }) => facts[0]?.id)
      assert.deepStrictEqual(said, ["first", ...Array.from({ length: 400 }, (_, number) => number)].map((word) => onAccess("wire", word).facts[0].id))
    })))

  it.effect("what an overtaken line still has under way is refused, though its numbers would fit behind the stranger", () =>
    Effect.scoped(Effect.gen(function*() {
      const { direct, proxy, tampered } = yield* Wire
      const older = yield* tampered.line("ACCESS", yield* direct.head("ACCESS"))
      yield* older.send(onAccess("held", "first")).outcome
      const release = proxy.holdToServer()
      const sent = Array.from({ length: 300 }, (_, number) => older.send(onAccess("held", number)))
      yield* Effect.sleep(50)
      const newer = yield* direct.line("ACCESS", yield* direct.head("ACCESS"))
      yield* newer.send(onAccess("newer", 0)).outcome
      release()
      for (const { outcome } of sent) assert.strictEqual((yield* Effect.flip(outcome))._tag, "Overtaken")
      yield* newer.send(onAccess("newer", 1)).outcome
      const said = new Set((yield* readUpTo(direct, "ACCESS", 0)).map(({ facts }) => facts[0]?.id))
      assert.isTrue(said.has(onAccess("newer", 1).facts[0].id))
      for (let number = 0; number < 300; number += 1) assert.isFalse(said.has(onAccess("held", number).facts[0].id))
    })))

  it.effect("a reader whose consumer is gone, or stands still without a word, is replaced: nothing missed or doubled", () =>
    Effect.scoped(Effect.gen(function*() {
      const { api, direct } = yield* Wire
      const after = yield* direct.head("GATEWAY")
      const reader = yield* direct.read("GATEWAY", { after })
      const found: Array<number> = []
      const stored: Array<number> = []
      const append = (name: string) => Effect.map(direct.append(commitOn(name), { last: "subject", sequence: 0 }), ({ sequence }) => void stored.push(sequence))
      const catchUp = Effect.whileLoop({ while: () => found.length < stored.length, body: () => reader.take, step: (commits: ReadonlyArray<StoredCommit>) => void found.push(...commits.map(({ place }) => place.sequence)) })
      yield* append("frozen-0")
      yield* catchUp
      const before = (yield* replacedReaders).count
      yield* onConsumers(api, "GATEWAY", (name) => ask(api, `CONSUMER.DELETE.GATEWAY.${name}`))
      yield* append("frozen-1")
      yield* catchUp
      assert.isAbove(Number((yield* replacedReaders).count), Number(before))
      const between = (yield* replacedReaders).count
      // Paused, it still beats: exactly what a replica that was left behind looks like.
      yield* onConsumers(api, "GATEWAY", (name) => ask(api, `CONSUMER.PAUSE.GATEWAY.${name}`, { pause_until: "2999-01-01T00:00:00Z" }))
      yield* append("frozen-2")
      yield* append("frozen-3")
      yield* catchUp
      assert.isAbove(Number((yield* replacedReaders).count), Number(between))
      assert.deepStrictEqual(found, stored)
    })))

  it.effect("a reactor whose consumer was deleted makes it anew and goes on", () =>
    Effect.scoped(Effect.gen(function*() {
      const { api, direct } = yield* Wire
      const heard = new Set<string>()
      yield* Effect.forkScoped(direct.react({ stream: "GATEWAY", durable: "test-deleted", filter: "mill.job.deleted.*" }, ({ subject }) => Effect.sync(() => void heard.add(subject.story ?? ""))))
      const until = (name: string) => Effect.gen(function*() {
        while (!heard.has(storyOf(name).story ?? "")) yield* Effect.sleep(10)
      })
      yield* direct.append(commitOn("deleted-0", "once", { workspace: "deleted" }), { last: "subject", sequence: 0 })
      yield* until("deleted-0")
      yield* ask(api, "CONSUMER.DELETE.GATEWAY.test-deleted")
      yield* direct.append(commitOn("deleted-1", "once", { workspace: "deleted" }), { last: "subject", sequence: 0 })
      yield* until("deleted-1")
    })))

  it.effect("a server that is killed and comes back is found again by appends, lines, readers and reactors", () =>
    Effect.scoped(Effect.gen(function*() {
      const { direct, server } = yield* Wire
      const after = yield* direct.head("GATEWAY")
      const reader = yield* direct.read("GATEWAY", { after })
      const line = yield* direct.line("ACCESS", yield* direct.head("ACCESS"))
      yield* line.send(onAccess("restart", "first")).outcome
      const reacted = yield* Deferred.make<void>()
      yield* Effect.forkScoped(direct.react({ stream: "GATEWAY", durable: "test-restart", filter: "mill.job.restart.*" }, ({ subject }) =>
        subject.story === storyOf("restart-9").story ? Effect.asVoid(Deferred.succeed(reacted, undefined)) : Effect.void))
      const appends = yield* Effect.forkChild(Effect.forEach(Array.from({ length: 10 }, (_, number) => number), (number) =>
        Effect.andThen(Effect.sleep(20), direct.append(commitOn(`restart-${number}`, "once", { workspace: "restart" }), { last: "subject", sequence: 0 }))), { startImmediately: true })
      yield* Effect.sleep(60)
      yield* server.kill
      const sent = Array.from({ length: 20 }, (_, number) => line.send(onAccess("restart", number)))
      yield* server.restart
      const stored = yield* Fiber.join(appends)
      const found: Array<number> = []
      while (found.length < stored.length) found.push(...(yield* reader.take).map(({ place }) => place.sequence))
      assert.deepStrictEqual(found, stored.map(({ sequence }) => sequence))
      for (const { outcome, sequence } of sent) assert.strictEqual((yield* outcome).sequence, sequence)
      yield* Deferred.await(reacted)
    })))
})

interface ConsumerNames {
  readonly consumers: ReadonlyArray<string> | null
}

/** Does something to every short-lived consumer of a stream. */
const onConsumers = (api: Api, stream: string, act: (name: string) => Effect.Effect<unknown, unknown>) =>
  Effect.flatMap(ask<ConsumerNames>(api, `CONSUMER.NAMES.${stream}`), ({ consumers }) =>
    Effect.forEach((consumers ?? []).filter((name) => name.startsWith("read-")), (name) => Effect.ignore(act(name)), { discard: true }))
