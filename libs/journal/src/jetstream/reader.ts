import type { Msg, NatsConnection } from "@nats-io/transport-node"
import { Deferred, Effect, Latch, Metric, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { type Archive, type ArchivedMessage, type Segment, storedFrom } from "../archive.ts"
import { decodeMessage } from "../codec.ts"
import type { StoredCommit } from "../commit.ts"
import { JournalUnavailable, type Reader, type ReadOptions } from "../journal.ts"
import { matches } from "../memory.ts"
import { type Api, ask, askPatiently, headOf, infoOf, messageOf, pause, unforeseen } from "./api.ts"
import { headerBlock, headerIn } from "./headers.ts"
import { type Delivery, Pull, type PullOptions } from "./pull.ts"

/** How often readers were replaced because they stood still, were cut off, or missed something. */
const replaced = Metric.counter("millrace_reader_replaced_total", { incremental: true })

export interface ReaderTuning {
  /** Where a reader looks for what has left its stream. Without one, a start before the stream's first message fails. */
  readonly archive?: Archive["Service"]
  /** How often a reader's progress is compared with its stream's, in ms. Frozen for two such spans, it is replaced. */
  readonly progressMs?: number
  /** Commits that may lie in a reader before it asks the server for no more. */
  readonly bufferMax?: number
  /** How long the server keeps a pull open that it has nothing to give for, in ms. */
  readonly pullMs?: number
}

/**
 * Reads a stream in order by a short-lived consumer without acknowledgements. The consumer may vanish, miss
 * a message, or freeze on a replica that was left behind without a word (seen on nats-server 2.15.1 after
 * partitions); then another one goes on behind the last commit that came, so that nothing is missed or
 * doubled.
 */
export const openReader = Effect.fnUntraced(function*(
  api: Api,
  stream: string,
  options: ReadOptions,
  { archive, bufferMax = 8_192, progressMs = 3_000, pullMs = 30_000 }: ReaderTuning = {}
): Effect.fn.Return<Reader, JournalUnavailable, Scope.Scope> {
  const trouble = yield* Latch.make(false)
  const intake = new Intake(api.connection, api.prefix, stream, options, bufferMax, { silenceMs: progressMs * 2, expiresMs: pullMs }, () => trouble.openUnsafe())
  yield* Effect.addFinalizer(() => Effect.suspend(() => {
    intake.end()
    return remove(api, stream, intake.consumer)
  }))
  const scope = yield* Effect.scope
  const follow = Effect.andThen(
    create(api, intake),
    Effect.forkIn(watch(api, intake, trouble, progressMs).pipe(Effect.catch((error) => Effect.sync(() => intake.fail(error)))), scope)
  )
  const archived = yield* archivedBefore(api, intake, archive)
  if (archived.length === 0 || archive === undefined) {
    yield* follow
    return { take: intake.take, poll: intake.poll }
  }
  return throughArchive(intake, archive, archived, Effect.asVoid(follow))
})

/** Gives the segments one by one, no more than one in memory, and then what follows in the stream. */
const throughArchive = (
  intake: Intake,
  archive: Archive["Service"],
  segments: ReadonlyArray<Segment>,
  follow: Effect.Effect<void, JournalUnavailable>
): Reader => {
  let next = 0
  let following = false
  const fill: Effect.Effect<void, JournalUnavailable> = Effect.suspend(() => {
    if (following || intake.held > 0) return Effect.void
    const segment = segments[next]
    next += 1
    if (segment === undefined) {
      following = true
      return follow
    }
    return archive.read(segment).pipe(
      Effect.mapError((error) => new JournalUnavailable({ doing: `reading ${intake.stream} behind ${intake.position}`, detail: error.message })),
      Effect.flatMap((messages) => Effect.sync(() => messages.forEach((message) => intake.archived(message)))),
      Effect.andThen(fill)
    )
  })
  return { take: Effect.andThen(fill, intake.take), poll: Effect.andThen(fill, intake.poll) }
}

type Times = Required<Pick<PullOptions, "silenceMs" | "expiresMs">>

class Intake {
  readonly stream: string
  readonly filter: string | undefined
  /** The sequence of the last commit that came. */
  position: number
  /** The consumer at work. */
  consumer = ""
  readonly poll: Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable>
  readonly take: Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable>
  broken = "it has only just begun"
  readonly #connection: NatsConnection
  readonly #apiPrefix: string
  readonly #trouble: () => void
  readonly #batchMax: number
  readonly #bufferMax: number
  readonly #times: Times
  #held: Array<StoredCommit> = []
  #heldFrom = 0
  #delivered = 0
  #pull: Pull | undefined
  #failure: JournalUnavailable | undefined
  #waiting: Array<Deferred.Deferred<void>> = []

  constructor(
    connection: NatsConnection,
    apiPrefix: string,
    stream: string,
    { after, batchMax = 1_000, filter }: ReadOptions,
    bufferMax: number,
    times: Times,
    trouble: () => void
  ) {
    this.#connection = connection
    this.#apiPrefix = apiPrefix
    this.stream = stream
    this.position = after
    this.filter = filter
    this.#batchMax = batchMax
    this.#bufferMax = bufferMax
    this.#times = times
    this.#trouble = trouble
    this.poll = Effect.suspend(() => (this.#failure === undefined ? Effect.succeed(this.#next()) : Effect.fail(this.#failure)))
    this.take = Effect.suspend((): Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable> => {
      if (this.held > 0 || this.#failure !== undefined) return this.poll
      const woken = Deferred.makeUnsafe<void>()
      this.#waiting.push(woken)
      return Effect.andThen(Deferred.await(woken), this.take)
    })
  }

  /** Commits that lie here and were not taken. */
  get held(): number {
    return this.#held.length - this.#heldFrom
  }

  /** Whether it reads no further because nobody takes what it has read. */
  get full(): boolean {
    return this.held >= this.#bufferMax
  }

  /** Takes in a message of the archive, unless it is known already or the filter leaves it out. */
  archived(message: ArchivedMessage): void {
    if (message.sequence <= this.position) return
    this.position = message.sequence
    if (this.filter === undefined || matches(this.filter, message.subject)) this.#held.push(decodeMessage(storedFrom(this.stream, message, headerIn)))
  }

  /** Listens to a consumer that begins behind `position`. */
  begin(consumer: string): void {
    this.#pull?.stop()
    this.consumer = consumer
    this.broken = ""
    this.#delivered = 0
    this.#pull = new Pull({
      connection: this.#connection,
      apiPrefix: this.#apiPrefix,
      stream: this.stream,
      consumer,
      outstandingMax: Math.min(4_096, this.#bufferMax),
      ...this.#times
    }, {
      message: (message, delivery) => this.#receive(message, delivery),
      ranOut: () => this.want(),
      broken: (why) => this.#break(why)
    })
    this.want()
  }

  /** Asks for as much as there is room for, and notices when nobody answers. */
  want(): void {
    this.#pull?.want(this.#bufferMax - this.held)
    this.#pull?.check()
  }

  fail(error: JournalUnavailable): void {
    this.#failure = error
    this.#wake()
  }

  end(): void {
    this.#pull?.stop()
    this.#pull = undefined
  }

  #receive(message: Msg, { delivered, sequence, storedAtMs }: Delivery): void {
    // Nothing is ever deleted, so without a filter the sequences themselves have no gap either.
    const gap = this.filter === undefined ? sequence !== this.position + 1 : sequence <= this.position
    if (delivered !== this.#delivered + 1 || gap) return this.#break(`delivery ${delivered} of ${sequence} came behind delivery ${this.#delivered} of ${this.position}`)
    this.#delivered = delivered
    this.position = sequence
    this.#held.push(decodeMessage({
      stream: this.stream,
      sequence,
      subject: message.subject,
      storedAtMs,
      header: headerIn(headerBlock(message)),
      body: message.data
    }))
    if (this.#waiting.length > 0) this.#wake()
    else if (this.held < this.#bufferMax) this.#pull?.want(this.#bufferMax - this.held)
  }

  #break(why: string): void {
    this.#pull?.stop()
    this.#pull = undefined
    this.broken = why
    this.#trouble()
  }

  #next(): ReadonlyArray<StoredCommit> {
    const upTo = Math.min(this.#held.length, this.#heldFrom + this.#batchMax)
    const commits = this.#held.slice(this.#heldFrom, upTo)
    this.#heldFrom = upTo
    if (upTo === this.#held.length) {
      this.#held = []
      this.#heldFrom = 0
    }
    this.#pull?.want(this.#bufferMax - this.held)
    return commits
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const woken of waiting) Deferred.doneUnsafe(woken, Effect.void)
  }
}

/**
 * The segments that lie between a reader's position and the first message of the stream. A start that
 * neither holds fails: what is missing must not look as if it had never been.
 */
const archivedBefore = Effect.fnUntraced(function*(api: Api, { position, stream }: Intake, archive: Archive["Service"] | undefined) {
  const doing = `reading ${stream} behind ${position}`
  const { state } = yield* Effect.mapError(infoOf(api, stream), unforeseen(doing))
  const first = Math.max(1, state.first_seq)
  if (position + 1 >= first) return []
  const all = archive === undefined ? [] : yield* Effect.mapError(archive.segments(stream), ({ message }) => new JournalUnavailable({ doing, detail: message }))
  const needed = all.filter(({ from, to }) => to > position && from < first)
  if ((needed[0]?.from ?? first) > position + 1 || (needed.at(-1)?.to ?? 0) + 1 < first) {
    return yield* new JournalUnavailable({ doing, detail: `the stream begins at ${first}, and no archive holds all that lay between` })
  }
  return needed
})

/** Looks now and then whether the reader keeps up, and at once when it says that it cannot go on. */
const watch = Effect.fnUntraced(function*(api: Api, intake: Intake, trouble: Latch.Latch, progressMs: number): Effect.fn.Return<never, JournalUnavailable> {
  let seen = { position: -1, head: 0 }
  let fruitless = { position: -1, times: 0 }
  while (true) {
    yield* Effect.raceFirst(trouble.await, Effect.sleep(progressMs))
    trouble.closeUnsafe()
    intake.want()
    if (intake.broken === "" && seen.position === intake.position && seen.head > intake.position && !intake.full) {
      intake.broken = `it stands at ${intake.position} while its stream has come to ${seen.head}`
      yield* Effect.logError(`A reader of ${intake.stream} stands still: ${intake.broken}. It is replaced`)
    }
    if (intake.broken === "") {
      // A question that went under with its connection must not hold up the news that it did.
      const head = yield* Effect.raceFirst(furthest(api, intake).pipe(Effect.catch(() => Effect.succeed(0))), Effect.as(trouble.await, 0))
      seen = { position: intake.position, head }
    } else {
      fruitless = { position: intake.position, times: fruitless.position === intake.position ? fruitless.times + 1 : 0 }
      if (fruitless.times > 0) yield* pause(fruitless.times)
      yield* Metric.update(replaced, 1)
      yield* Effect.logWarning(`A reader of ${intake.stream} goes on behind ${intake.position} with another consumer: ${intake.broken}`)
      yield* remove(api, intake.stream, intake.consumer)
      yield* create(api, intake)
      seen = { position: -1, head: 0 }
    }
  }
})

/** How far a reader could have come, by the word of the leader. */
const furthest = (api: Api, { filter, stream }: Intake): Effect.Effect<number, JournalUnavailable> =>
  filter === undefined
    ? headOf(api, stream)
    : Effect.map(messageOf(api, stream, { last_by_subj: filter }), (newest) => newest?.sequence ?? 0)

const create = Effect.fnUntraced(function*(api: Api, intake: Intake) {
  const { filter, position, stream } = intake
  const name = `read-${randomBytes(9).toString("hex")}`
  const doing = `opening a reader of ${stream} behind ${position}`
  yield* askPatiently(api, doing, `CONSUMER.CREATE.${stream}.${name}${filter === undefined ? "" : `.${filter}`}`, {
    stream_name: stream,
    action: "create",
    config: {
      name,
      ack_policy: "none",
      deliver_policy: "by_start_sequence",
      opt_start_seq: position + 1,
      replay_policy: "instant",
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: 60e9,
      ...(filter === undefined ? {} : { filter_subject: filter })
    }
  }).pipe(Effect.mapError(unforeseen(doing)))
  intake.begin(name)
})

/** The server forgets it anyway; telling it costs less than keeping it. */
const remove = (api: Api, stream: string, consumer: string): Effect.Effect<void> =>
  consumer === "" || api.connection.isClosed() ? Effect.void : Effect.ignore(ask(api, `CONSUMER.DELETE.${stream}.${consumer}`, undefined, 500))
