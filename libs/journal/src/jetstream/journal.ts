import { type Kind, kinds, type StreamName, subjectsOf, subjectText } from "@millrace/schemas"
import { Effect, Layer, type Scope } from "effect"
import { decodeMessage, type StoredMessage } from "../codec.ts"
import type { Appended, Commit, Expectation, StoredCommit } from "../commit.ts"
import { Journal, type JournalShape, JournalUnavailable } from "../journal.ts"
import { matches } from "../memory.ts"
import { type Api, headOf, messageOf } from "./api.ts"
import { appendThrough, type Door, newestOn } from "./append.ts"
import { connectNats, LogUnfit, type NatsConfig } from "./connect.ts"
import { GroupCommit } from "./group-commit.ts"
import { openLine } from "./line.ts"
import { Publisher, type PublisherOptions } from "./publisher.ts"
import { forgetConsumer, reactThrough } from "./reactor.ts"
import { openReader, type ReaderTuning } from "./reader.ts"
import { checkStreams, epochOf, mayWrite, takesBatches } from "./streams.ts"

export interface JetStreamConfig {
  readonly nats: NatsConfig
  /** Where JetStream's API is reached: hosts import it under another name, such as `HUB.API`. */
  readonly apiPrefix?: string
  /** The streams that this service reads or writes: checked at start. Every stream, unless said. */
  readonly streams?: ReadonlyArray<StreamName>
  /** The streams that it writes: whether it may is asked at start. */
  readonly writes?: ReadonlyArray<StreamName>
  /**
   * For a host, which may ask nothing about streams: it is told the epoch, looks at the newest message on
   * its own subjects only, and its consumer was created by whoever admitted it.
   */
  readonly host?: { readonly epoch: number }
  /** How long a question may go unanswered before `JournalUnavailable`, in ms. */
  readonly patienceMs?: number
  readonly publisher?: PublisherOptions
  readonly reader?: ReaderTuning
}

/**
 * The log on JetStream. Refuses at start, in a sentence, a server that is too old, streams that are not what
 * the schemas say, and credentials that may not write what this service writes.
 */
export const layerJetStream = (config: JetStreamConfig): Layer.Layer<Journal, JournalUnavailable | LogUnfit> =>
  Layer.effect(Journal, openJournal(config))

/** The same, within a scope of the caller's. */
export const openJournal = Effect.fnUntraced(function*(config: JetStreamConfig): Effect.fn.Return<JournalShape, JournalUnavailable | LogUnfit, Scope.Scope> {
  const connection = yield* connectNats(config.nats)
  const api: Api = { connection, prefix: config.apiPrefix ?? "$JS.API", patienceMs: config.patienceMs ?? 30_000 }
  const publisher = yield* Effect.acquireRelease(
    Effect.sync(() => new Publisher(connection, config.publisher)),
    (opened) => Effect.sync(() => opened.close())
  )
  const epoch = config.host === undefined ? yield* epochAfterChecks(api, publisher, config) : config.host.epoch
  return journalOver({ api, publisher, groupOf: groupsOver(publisher), epoch, streamOf: streamOfSubject(), readsOwnSubjectsOnly: config.host !== undefined }, config)
})

const epochAfterChecks = Effect.fnUntraced(function*(api: Api, publisher: Publisher, { streams, writes = [] }: JetStreamConfig) {
  const infos = yield* checkStreams(api, streams)
  for (const stream of writes) yield* mayWrite(publisher, stream)
  return yield* epochOf(infos)
})

/** One for each stream that takes batches. */
const groupsOver = (publisher: Publisher): Door["groupOf"] => {
  const groups = new Map<StreamName, GroupCommit>()
  return (stream) => {
    if (!takesBatches(stream)) return undefined
    const group = groups.get(stream) ?? new GroupCommit(publisher)
    groups.set(stream, group)
    return group
  }
}

const journalOver = (door: Door, config: JetStreamConfig): JournalShape => {
  const { api, readsOwnSubjectsOnly, streamOf } = door
  const append = appendThrough(door)
  const appendedOn = new Map<string, number>()
  const held = (text: string): Effect.Effect<StreamName, JournalUnavailable> => {
    const stream = streamOf(text)
    return stream === undefined ? Effect.fail(new JournalUnavailable({ doing: `reading ${text}`, detail: "no stream holds this subject" })) : Effect.succeed(stream)
  }
  return {
    epoch: door.epoch,
    append: readsOwnSubjectsOnly ? noting(append, appendedOn) : append,
    line: (stream, after) => openLine(door, stream, after),
    head: (stream) => headOf(api, stream),
    last: (subject) => {
      const text = subjectText(subject)
      return Effect.flatMap(held(text), (stream) => Effect.map(newestOn(door, stream, text, appendedOn.get(text) ?? 0), decoded))
    },
    story: (subject) => {
      const text = subjectText(subject)
      return Effect.flatMap(held(text), (stream) => storyOn(api, stream, text))
    },
    read: (stream, options) => openReader(api, stream, options, config.reader),
    react: (options, handle) =>
      reactThrough(api, options, handle, {
        create: !readsOwnSubjectsOnly,
        ...(config.reader?.progressMs === undefined ? {} : { progressMs: config.reader.progressMs }),
        ...(config.reader?.pullMs === undefined ? {} : { pullMs: config.reader.pullMs })
      }),
    forget: (stream, durable) => forgetConsumer(api, stream, durable)
  }
}

/** Remembers what was appended where, for a host, whose look-ups may come from a replica that lags. */
const noting = (append: JournalShape["append"], appendedOn: Map<string, number>): JournalShape["append"] =>
  (commit: Commit, expect: Expectation) =>
    Effect.tap(append(commit, expect), ({ sequence }: Appended) => Effect.sync(() => void appendedOn.set(subjectText(commit.subject), sequence)))

const decoded = (message: StoredMessage | undefined): StoredCommit | undefined => (message === undefined ? undefined : decodeMessage(message))

/** One look-up a message, through the leader: stories are short, and a story that misses its end misleads. */
const storyOn = Effect.fnUntraced(function*(api: Api, stream: string, subject: string): Effect.fn.Return<ReadonlyArray<StoredCommit>, JournalUnavailable> {
  const commits: Array<StoredCommit> = []
  let from = 1
  while (true) {
    const message = yield* messageOf(api, stream, { seq: from, next_by_subj: subject })
    if (message === undefined) return commits
    commits.push(decodeMessage(message))
    from = message.sequence + 1
  }
})

const streamOfSubject = (): Door["streamOf"] => {
  const filters = (kinds as ReadonlyArray<Kind>).flatMap(({ stream }) => subjectsOf(kinds, stream).map((filter) => [filter, stream] as const))
  const byKind = new Map<string, Array<readonly [string, StreamName]>>()
  for (const entry of filters) {
    const kind = entry[0].split(".")[1] ?? ""
    byKind.set(kind, [...(byKind.get(kind) ?? []), entry])
  }
  return (subject) => byKind.get(subject.split(".", 2)[1] ?? "")?.find(([filter]) => matches(filter, subject))?.[1]
}
