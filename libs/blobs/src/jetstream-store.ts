import {
  AckPolicy,
  DeliverPolicy,
  JetStreamApiError,
  jetstream,
  jetstreamManager,
  type ConsumerConfig,
  type StreamInfo
} from "@nats-io/jetstream"
import { Base64UrlPaddedCodec, type ObjectInfo, Objm, StorageType } from "@nats-io/obj"
import { headers, nanos, type NatsConnection } from "@nats-io/transport-node"
import { Digest } from "@millrace/schemas"
import { Cause, Effect, Option, Schema, Stream } from "effect"
import { createReadStream } from "node:fs"
import { mkdir } from "node:fs/promises"
import { Readable } from "node:stream"
import { BlobMissing, BlobStoreFull, BlobStoreUnclear } from "./blob-error.ts"
import { onDisk, type Spooled, spooled, sweepSpool } from "./spool.ts"
import type { BlobStore, Held, Range } from "./store.ts"

export interface JetStreamStoreOptions {
  readonly connection: NatsConnection
  /** Name of the object store; it is created if it is not there. */
  readonly bucket: string
  /** Servers that hold each byte. 1 unless given; counts only where the bucket is created. */
  readonly replicas?: number
  /** Room of the whole bucket in bytes, unlimited unless given; counts only where it is created. */
  readonly sizeBytesMax?: number
  /** A local folder where bytes wait until they have a name. */
  readonly spool: string
}

/** Server error codes that mean "no room": of the account, of the stream, of the disk. */
const fullCodes = new Set([10023, 10028, 10047, 10077])
/** Server error codes that mean "another wrote this subject first". */
const overtakenCodes = new Set([10071, 10164])
/** How long one request of the server may take, in ms. */
const requestMsMax = 5_000
/** How many messages wait in memory of a reader: with chunks of 128 KiB, 2 MiB. */
const messagesAheadMax = 16
/** How often a put looks again after it was overtaken by another put or a removal. */
const turnsMax = 8

const hasCode = (cause: unknown, codes: ReadonlySet<number>) =>
  cause instanceof JetStreamApiError && codes.has(cause.code)

const asking = <A>(doing: string, run: (signal: AbortSignal) => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: (cause) => new BlobStoreUnclear({ doing, cause }) })

const fullIfSo = (unclear: BlobStoreUnclear) =>
  hasCode(unclear.cause, fullCodes) ? new BlobStoreFull({ cause: unclear.cause }) : unclear

/** Answers false if another wrote first. */
const unlessOvertaken = <A>(writing: Effect.Effect<A, BlobStoreUnclear>) =>
  writing.pipe(
    Effect.as(true),
    Effect.catchIf(({ cause }) => hasCode(cause, overtakenCodes), () => Effect.succeed(false))
  )

/** The newest word about an object: its information, and place and time of the message that says it. */
interface Word {
  readonly info: ObjectInfo
  readonly seq: number
  readonly timeMs: number
}

const heldOf = ({ info, timeMs }: Word): Held =>
  ({ digest: Digest.make(info.name), sizeBytes: info.size, modifiedAtMs: timeMs })

const isBlob = ({ info }: Word) => info.deleted !== true && Schema.is(Digest)(info.name)

/**
 * Blobs as objects of a JetStream object store, each under its digest, in the format of ADR-20, so that
 * `nats object` shows them: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
 *
 * The last message on an object's subject is the truth about it, and each of ours is written only if the
 * message we saw is still the last one (`Nats-Expected-Last-Subject-Sequence`). Of a put and a removal
 * at once, the second to write is refused and looks again. The age of a blob is the server's time of
 * that message.
 */
export const jetStreamStore = Effect.fnUntraced(function*(
  { connection, bucket, replicas = 1, sizeBytesMax = -1, spool }: JetStreamStoreOptions
): Effect.fn.Return<BlobStore, BlobStoreUnclear> {
  yield* onDisk("make the spool", () => mkdir(spool, { recursive: true }))
  const jsm = yield* asking("reach JetStream", () => jetstreamManager(connection, { timeout: requestMsMax }))
  const js = jetstream(connection, { timeout: requestMsMax })
  const objects = yield* asking("open the bucket", () =>
    new Objm(js).create(bucket, { replicas, max_bytes: sizeBytesMax, storage: StorageType.File }))
  const stream = `OBJ_${bucket}`
  const metaSubject = (name: string) => `$O.${bucket}.M.${Base64UrlPaddedCodec.encode(name)}`
  const chunkSubject = (nuid: string) => `$O.${bucket}.C.${nuid}`

  const lastWord = (digest: string): Effect.Effect<Option.Option<Word>, BlobStoreUnclear> =>
    asking("look a blob up", async () => {
      const message = await jsm.streams.getMessage(stream, { last_by_subj: metaSubject(digest) })
      if (message === null) return Option.none()
      return Option.some({ info: message.json<ObjectInfo>(), seq: message.seq, timeMs: message.time.getTime() })
    })

  const subjectCounts = (filter: string) =>
    asking("count messages", () => jsm.streams.info(stream, { subjects_filter: filter })).pipe(
      Effect.map((info: StreamInfo) => info.state.subjects ?? {})
    )

  /**
   * The client clears the chunks of a put whose last answer did not come, though the server may have
   * heard it. Such a blob counts as absent, and the next put of it writes its bytes again.
   */
  const isWhole = Effect.fnUntraced(function*({ info }: Word) {
    const subject = chunkSubject(info.nuid)
    return info.chunks === 0 || (yield* subjectCounts(subject))[subject] === info.chunks
  })

  const found = Effect.fnUntraced(function*(digest: Digest) {
    const word = yield* lastWord(digest)
    return Option.isSome(word) && isBlob(word.value) && (yield* isWhole(word.value)) ? word : Option.none<Word>()
  })

  /** Says something about an object, unless someone else did since. */
  const say = (doing: string, info: ObjectInfo, seq: number) => {
    const rollup = headers()
    rollup.set("Nats-Rollup", "sub")
    return asking(doing, () =>
      js.publish(metaSubject(info.name), JSON.stringify(info), {
        headers: rollup,
        expect: { lastSubjectSequence: seq },
        timeout: requestMsMax
      }))
  }

  const upload = (digest: Digest, path: string, seq: number) =>
    asking("store a blob", async (signal) => {
      const file = createReadStream(path, { signal })
      return objects.put({ name: digest }, Readable.toWeb(file) as ReadableStream<Uint8Array>, {
        previousRevision: seq,
        timeout: requestMsMax
      }).finally(() => file.destroy())
    })

  const store = Effect.fnUntraced(function*({ path, ref }: Spooled) {
    for (let turn = 0; turn < turnsMax; turn++) {
      const word = yield* lastWord(ref.digest)
      const there = Option.filter(word, isBlob)
      const writing = Option.isSome(there) && (yield* isWhole(there.value))
        ? say("make a blob young", there.value.info, there.value.seq)
        : upload(ref.digest, path, Option.match(word, { onNone: () => 0, onSome: ({ seq }) => seq }))
      if (yield* Effect.mapError(unlessOvertaken<unknown>(writing), fullIfSo)) return ref
    }
    return yield* new BlobStoreUnclear({ doing: "store a blob", cause: `overtaken ${turnsMax} times` })
  })

  /** Messages of the stream, fetched a few at a time when the reader asks. */
  const messages = (config: Partial<ConsumerConfig>) =>
    Stream.unwrap(Effect.gen(function*() {
      const consumer = yield* Effect.acquireRelease(
        asking("open a reader", () =>
          jsm.consumers.add(stream, {
            ...config,
            ack_policy: AckPolicy.None,
            inactive_threshold: nanos(60_000),
            mem_storage: true,
            num_replicas: 1
          })),
        // The server forgets it by itself after a minute if this does not reach it.
        ({ name }) => Effect.promise(() => jsm.consumers.delete(stream, name).catch(() => false))
      )
      const messages = js.consumers.getConsumerFromInfo(consumer)
      let left = consumer.num_pending
      return Stream.fromPull(Effect.succeed(Effect.gen(function*() {
        if (left <= 0) return yield* Cause.done()
        const [first, ...others] = yield* asking("read from the bucket", async () => {
          const batch = []
          const max_messages = Math.min(messagesAheadMax, left)
          for await (const message of await messages.fetch({ max_messages, expires: requestMsMax })) batch.push(message)
          return batch
        })
        if (first === undefined) {
          return yield* new BlobStoreUnclear({ doing: "read from the bucket", cause: `${left} messages did not come` })
        }
        left -= 1 + others.length
        return [first, ...others] as const
      })))
    }))

  const words = messages({ deliver_policy: DeliverPolicy.LastPerSubject, filter_subject: `$O.${bucket}.M.>` }).pipe(
    Stream.map((message): Word => ({
      info: message.json<ObjectInfo>(),
      seq: message.seq,
      timeMs: message.time.getTime()
    }))
  )

  const purge = (filter: string, seq?: number) =>
    asking("purge", () => jsm.streams.purge(stream, seq === undefined ? { filter } : { filter, seq }))

  const forget = (name: string, seq: number) => purge(metaSubject(name), seq + 1)

  const remove = Effect.fnUntraced(function*(digest: Digest, untouchedSinceMs: number) {
    const word = yield* lastWord(digest)
    if (Option.isNone(word) || !isBlob(word.value) || word.value.timeMs >= untouchedSinceMs) return false
    const { info, seq } = word.value
    const gone = { ...info, deleted: true, size: 0, chunks: 0, digest: "" }
    if (!(yield* unlessOvertaken(say("remove a blob", gone, seq)))) return false
    yield* purge(chunkSubject(info.nuid))
    return true
  })

  const sweepWords = Effect.fnUntraced(function*(untouchedSinceMs: number) {
    const meant = new Set<string>()
    yield* Stream.runForEach(words, (word) => {
      if (word.info.deleted !== true) meant.add(chunkSubject(word.info.nuid))
      else if (word.timeMs < untouchedSinceMs) return forget(word.info.name, word.seq)
      return Effect.void
    })
    return meant
  })

  const sweepChunks = Effect.fnUntraced(function*(meant: ReadonlySet<string>, untouchedSinceMs: number) {
    let swept = 0
    for (const subject of Object.keys(yield* subjectCounts(`$O.${bucket}.C.>`))) {
      if (meant.has(subject)) continue
      const last = yield* asking("look at a chunk", () => jsm.streams.getMessage(stream, { last_by_subj: subject }))
      if (last === null || last.time.getTime() >= untouchedSinceMs) continue
      yield* purge(subject)
      swept++
    }
    return swept
  })

  const bytesOf = (digest: Digest, { offsetBytes, lengthBytes = Infinity }: Range) =>
    Stream.unwrap(Effect.gen(function*() {
      const word = Option.filter(yield* lastWord(digest), isBlob)
      if (Option.isNone(word)) return yield* new BlobMissing({ digest })
      if (word.value.info.chunks === 0) return Stream.empty
      let at = 0
      // The server cannot seek inside an object: what lies before the offset is read and dropped.
      return messages({ deliver_policy: DeliverPolicy.All, filter_subject: chunkSubject(word.value.info.nuid) }).pipe(
        Stream.takeWhile(() => at < offsetBytes + lengthBytes),
        Stream.map(({ data }) => {
          const wanted = data.subarray(Math.max(0, offsetBytes - at), Math.max(0, offsetBytes + lengthBytes - at))
          at += data.byteLength
          return wanted
        }),
        Stream.filter(({ byteLength }) => byteLength > 0)
      )
    }))

  return {
    put: (bytes, expected) => spooled({ folder: spool, bytes, expected, use: store }),
    head: (digest) => Effect.map(found(digest), Option.map(heldOf)),
    read: bytesOf,
    list: words.pipe(Stream.filter(isBlob), Stream.map(heldOf)),
    remove,
    sweep: Effect.fnUntraced(function*(untouchedSinceMs) {
      const meant = yield* sweepWords(untouchedSinceMs)
      return (yield* sweepChunks(meant, untouchedSinceMs)) + (yield* sweepSpool(spool, untouchedSinceMs))
    })
  }
})
