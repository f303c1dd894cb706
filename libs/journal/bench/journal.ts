import { startServer } from "@millrace/infra-nats"
import { subjectText } from "@millrace/schemas"
import { Effect } from "effect"
import { decodeMessage, encodeCommit } from "../src/codec.ts"
import { headerBytes, headerIn } from "../src/jetstream/headers.ts"
import type { Commit } from "../src/commit.ts"
import { fenceWidth, openJournal, provisionStreams, Publisher } from "../src/jetstream/index.ts"
import { apiOf, folder } from "../src/testing/nats-under-test.ts"
import { commitOn, onAccess } from "../src/testing.ts"

/**
 * The journal beside bare JetStream, on a nats-server of its own at `sync_interval: always`. Prints one JSON
 * object. Figures move with the machine: only the ratios within one run say something.
 */

const single = 1_000
const many = 20_000
const warmUp = 3_000

const percentiles = (ms: Array<number>) => {
  ms.sort((a, b) => a - b)
  return { p50Ms: round(ms[Math.floor(ms.length / 2)]!), p99Ms: round(ms[Math.floor(ms.length * 0.99)]!) }
}
const round = (value: number) => Math.round(value * 1_000) / 1_000

/** How often a second, and how much CPU of this process each one took. */
const measured = Effect.fnUntraced(function*<E, R>(count: number, work: Effect.Effect<unknown, E, R>) {
  const cpu = process.cpuUsage()
  const from = performance.now()
  yield* work
  const { system, user } = process.cpuUsage(cpu)
  return { perS: Math.round(count / ((performance.now() - from) / 1_000)), cpuUs: round((user + system) / count) }
})

const each = Effect.fnUntraced(function*<E, R>(count: number, once: (number: number) => Effect.Effect<unknown, E, R>) {
  const ms: Array<number> = []
  for (let number = 0; number < count; number += 1) {
    const from = performance.now()
    yield* once(number)
    ms.push(performance.now() - from)
  }
  return percentiles(ms)
})

const codec = () => {
  const commit = commitOn("codec")
  const message = encodeCommit(commit, { last: "stream", sequence: 1 }, 1)
  const block = Buffer.from(headerBytes(message, "")).toString()
  const stored = { stream: "GATEWAY", sequence: 1, subject: subjectText(commit.subject), storedAtMs: 0, body: message.body }
  const us = (work: () => unknown) => {
    for (let count = 0; count < 20_000; count += 1) work()
    const from = performance.now()
    for (let count = 0; count < 50_000; count += 1) work()
    return round((performance.now() - from) / 50)
  }
  return {
    bytes: message.body.length + block.length,
    encodeUs: us(() => encodeCommit(commit, { last: "stream", sequence: 1 }, 1)),
    headersUs: us(() => headerBytes(message, "Nats-Expected-Last-Sequence: 1\r\n")),
    decodeUs: us(() => decodeMessage({ ...stored, header: headerIn(block) }))
  }
}

const program = Effect.gen(function*() {
  const server = yield* startServer({ storeDir: yield* folder })
  const api = yield* apiOf(server.url)
  yield* provisionStreams(api)
  const journal = yield* openJournal({ nats: { servers: server.url, name: "bench" } })
  const publisher = yield* Effect.acquireRelease(Effect.sync(() => new Publisher(api.connection)), (opened) => Effect.sync(() => opened.close()))
  const bare = (subject: string, bytes: Uint8Array, headers: Uint8Array) =>
    Effect.callback<void>((resume) => publisher.send(subject, headers, bytes, () => resume(Effect.void)))
  const sample = encodeCommit(commitOn("bare"), { last: "subject", sequence: 0 }, 1)
  const plain = headerBytes(sample, "")

  const bareSingle = yield* each(single, () => bare("mill.aside.snapshots", sample.body, plain))
  const oursSingle = yield* each(single, (number) => journal.append(commitOn(`bench-${number}`), { last: "subject", sequence: 0 }))

  const bareMany = yield* measured(many, Effect.callback<void>((resume) => {
    let answered = 0
    for (let number = 0; number < many; number += 1) {
      publisher.send("mill.aside.broker", plain, sample.body, () => {
        answered += 1
        if (answered === many) resume(Effect.void)
      })
    }
  }))
  const line = yield* journal.line("ACCESS", 0)
  yield* line.send(onAccess("bench", "first")).outcome
  const sendAll = (commits: ReadonlyArray<Commit>) =>
    Effect.suspend(() => Effect.forEach(commits.map((commit) => line.send(commit).outcome), (outcome) => outcome, { discard: true }))
  yield* sendAll(Array.from({ length: warmUp }, (_, number) => onAccess("warm", number)))
  const oursMany = yield* measured(many, sendAll(Array.from({ length: many }, (_, number) => onAccess("bench", number))))
  const hundred = yield* measured(many, sendAll(Array.from({ length: many / 100 }, (_, number) => ({
    ...commitOn("bench", `of100-${number}`, { facts: 100 }),
    subject: { kind: "decision", scope: "access" }
  }))))

  const bareRead = yield* measured(many, Effect.callback<void>((resume) => {
    let received = 0
    const inbox = "_INBOX.bench"
    api.connection.subscribe(inbox, {
      callback: (_, message) => {
        if (message.subject === inbox) return
        received += 1
        if (received === many) resume(Effect.void)
      }
    })
    void api.connection.request("$JS.API.CONSUMER.CREATE.BROKER.bare", JSON.stringify({
      stream_name: "BROKER",
      config: { name: "bare", ack_policy: "none", deliver_policy: "all", replay_policy: "instant", mem_storage: true, inactive_threshold: 60e9 }
    })).then(() => api.connection.publish("$JS.API.CONSUMER.MSG.NEXT.BROKER.bare", JSON.stringify({ batch: many, expires: 30e9 }), { reply: inbox }))
  }))
  const oursRead = yield* measured(many + warmUp, Effect.scoped(Effect.gen(function*() {
    const reader = yield* journal.read("ACCESS", { after: 1 + fenceWidth, batchMax: 1_000 })
    for (let count = 0; count < many + warmUp;) count += (yield* reader.take).length
  })))

  console.log(JSON.stringify({
    node: process.version,
    server: api.connection.info?.version,
    append: { bare: bareSingle, ours: oursSingle },
    pipelined: { bare: bareMany, line: oursMany, lineFactsOf100: hundred },
    read: { bare: bareRead, ours: oursRead },
    codec: codec()
  }, undefined, 2))
})

await Effect.runPromise(Effect.scoped(program))
