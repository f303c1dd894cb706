import {
  type Appended,
  type Commit,
  CommitRefused,
  type Expectation,
  type JournalShape,
  Overtaken,
  type ReactOptions,
  type Reader,
  type ReadOptions,
  type StoredCommit
} from "@millrace/journal"
import { type StreamName, subjectText } from "@millrace/schemas"
import { type Cause, Effect, Latch } from "effect"
import type { Broker, Stored } from "./broker.ts"
import type { Life } from "./life.ts"
import { openLine } from "./line.ts"

/** How long a commit may go without an acknowledgement before it is delivered again, in ms. */
const ackWaitMs = 1_500

export interface ConnectOptions {
  /** Its look-ups of a subject's newest word may come from any replica, as a host's do. */
  readonly looksUpAnywhere?: boolean
}

/** The journal as one life of one process has it: the promises of `Journal`, over a network that fails. */
export const connect = (broker: Broker, life: Life, { looksUpAnywhere = false }: ConnectOptions = {}): JournalShape => {
  /** What this process itself has appended, by subject: no look-up may be older. */
  const said = new Map<string, number>()

  const append = Effect.fnUntraced(function*(commit: Commit, expect: Expectation): Effect.fn.Return<Appended, Overtaken | CommitRefused> {
    const where = subjectText(commit.subject)
    for (let tried = 1; ; tried += 1) {
      const answer = yield* broker.ask(life, () => broker.storeFor(life, commit, expect))
      if (answer.known) {
        if (tried > 1 && answer.value._tag === "Own") broker.sometimes.saw("unknown_outcome_was_stored")
        if (tried > 1 && answer.value._tag === "Stored") broker.sometimes.saw("unknown_outcome_was_not_stored")
        const known = settled(broker, commit, expect, answer.value)
        if ("stream" in known) {
          said.set(where, known.sequence)
          return known
        }
        return yield* Effect.fail(known)
      }
      yield* Effect.sleep(broker.between(10, 100) * Math.min(tried, 8))
    }
  })

  const read = Effect.fnUntraced(function*(stream: StreamName, options: ReadOptions) {
    yield* broker.askPatiently(life, `opening a reader of ${stream}`, () => undefined)
    return yield* openInbox(broker, life, stream, options)
  })

  return {
    epoch: broker.log.epoch,
    append,
    line: (stream, after) => openLine(broker, life, stream, after),
    head: (stream) => broker.askPatiently(life, `asking for the head of ${stream}`, () => broker.log.head(stream)),
    last: (subject) => {
      const text = subjectText(subject)
      return broker.askPatiently(life, `reading the last word on ${text}`, () => {
        const stream = broker.log.streamOf(text)
        const newest = broker.log.lastOn(text)
        if (stream === undefined || newest === 0) return undefined
        const known = said.get(text) ?? 0
        if (looksUpAnywhere && newest > known && broker.strikes("stale_look_up", 0.2)) {
          return broker.range(stream, 0, newest - 1, text).filter(({ place }) => place.sequence >= known).at(-1)
        }
        return broker.at(stream, newest)
      })
    },
    story: (subject) => {
      const text = subjectText(subject)
      return broker.askPatiently(life, `reading the story on ${text}`, () => {
        const stream = broker.log.streamOf(text)
        return stream === undefined ? [] : broker.range(stream, 0, broker.log.head(stream), text)
      })
    },
    read: (stream, options) => Effect.map(read(stream, options), ({ reader }) => reader),
    react: (options, handle) => Effect.scoped(react(broker, life, options, handle)),
    forget: (stream, durable) => broker.askPatiently(life, `forgetting the consumer ${durable}`, () => broker.acknowledged(stream, durable).clear())
  }
}

/** What an answer means to whoever appended. */
const settled = (broker: Broker, commit: Commit, expect: Expectation, outcome: Stored): Appended | Overtaken | CommitRefused => {
  const where = subjectText(commit.subject)
  switch (outcome._tag) {
    case "Stored":
    case "Own":
      return { stream: broker.log.streamOf(where)!, sequence: outcome.sequence, epoch: broker.log.epoch }
    case "Behind":
      broker.sometimes.saw("append_overtaken")
      return new Overtaken({ where, expected: expect.sequence, actual: outcome.found })
    case "NoStream":
      return new CommitRefused({ where, reason: "not_configured", detail: "no stream holds this subject" })
  }
}

/** What a feed has brought, until somebody takes it. */
const openInbox = Effect.fnUntraced(function*(broker: Broker, life: Life, stream: StreamName, { after, batchMax = 1_000, filter }: ReadOptions) {
  let gathered: Array<StoredCommit> = []
  const latch = yield* Latch.make(false)
  const give = (commits: ReadonlyArray<StoredCommit>) => {
    gathered.push(...commits)
    latch.openUnsafe()
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => broker.feed(life, stream, after, filter, give)),
    (feed) => Effect.sync(() => broker.close(feed))
  )
  const poll = Effect.sync(() => {
    const commits = gathered.slice(0, batchMax)
    gathered = gathered.slice(batchMax)
    return commits
  })
  const take: Reader["take"] = Effect.gen(function*() {
    while (true) {
      latch.closeUnsafe()
      const commits = yield* poll
      if (commits.length > 0) return commits
      yield* latch.await
    }
  })
  return { reader: { take, poll } satisfies Reader, give }
})

/**
 * A durable consumer that hands over one commit at a time. An acknowledgement that does not arrive, or a
 * server that forgets one, brings the commit again, behind newer ones.
 */
const react = Effect.fnUntraced(function*<E, R>(
  broker: Broker,
  life: Life,
  { durable, filter, sinceMs = 0, stream }: ReactOptions,
  handle: (commit: StoredCommit) => Effect.Effect<void, E, R>
) {
  yield* broker.askPatiently(life, `binding to the consumer ${durable}`, () => undefined)
  const acknowledged = broker.acknowledged(stream, durable)
  const { give, reader } = yield* openInbox(broker, life, stream, { after: 0, ...(filter === undefined ? {} : { filter }) })
  const again = (commit: StoredCommit, afterMs: number) => void broker.time.after(afterMs, () => life.receive(() => give([commit])))
  const before = new Set(acknowledged)
  while (true) {
    for (const commit of yield* reader.take) {
      const { sequence } = commit.place
      if (commit.place.storedAtMs < sinceMs) continue
      // The server skips what was acknowledged before this reader came.
      if (before.delete(sequence)) continue
      if (broker.isHandedOver(stream, durable, sequence)) broker.sometimes.saw(`${commit.facts[0]?.name} heard again`)
      const failed = yield* Effect.exit(handle(commit))
      if (failed._tag === "Failure") {
        if (failed.cause.reasons.every((reason) => reason._tag !== "Fail")) return yield* Effect.failCause(failed.cause as Cause.Cause<never>)
        again(commit, ackWaitMs)
        continue
      }
      let arrived = false
      broker.carry(life, "ack", () => {
        arrived = true
        acknowledged.add(sequence)
      })
      broker.time.after(ackWaitMs, () => {
        if (arrived) return
        broker.sometimes.saw("redelivered")
        life.receive(() => give([commit]))
      })
      if (broker.strikes("doubled_delivery", 0.3)) again(commit, broker.between(1, 600))
    }
  }
})
