import { type Kind, kinds, type StreamName, subjectsOf, subjectText } from "@millrace/schemas"
import { Clock, Effect, Layer, Latch } from "effect"
import { decodeMessage, encodeCommit, type Message } from "./codec.ts"
import { type Appended, type Commit, type Expectation, sameFacts, type StoredCommit } from "./commit.ts"
import { CommitRefused, Journal, type JournalShape, type Line, Overtaken, type ReactOptions, type Reader, type ReadOptions } from "./journal.ts"

interface Kept {
  readonly subject: string
  readonly storedAtMs: number
  readonly message: Message
}

/** Whether a subject lies under a filter of whole-token wildcards (`*` one token, `>` the rest). */
export const matches = (filter: string, subject: string): boolean => {
  const wanted = filter.split(".")
  const found = subject.split(".")
  for (const [index, token] of wanted.entries()) {
    if (token === ">") return found.length > index
    if (token !== "*" && token !== found[index]) return false
  }
  return wanted.length === found.length
}

/**
 * The log itself, in memory: streams of encoded messages with the server's rules about expectations.
 * It keeps bytes, not objects, so that what is read went through the same codec as on a disk.
 */
export class MemoryLog {
  readonly epoch: number
  readonly #streams = new Map<string, Array<Kept>>()
  readonly #lastOn = new Map<string, number>()
  readonly #streamOf = new Map<string, StreamName>()
  readonly #heard = new Set<() => void>()
  readonly #acknowledged = new Map<string, number>()

  constructor({ epoch = 1 }: { readonly epoch?: number } = {}) {
    this.epoch = epoch
  }

  /** The stream that holds a subject. */
  streamOf(subject: string): StreamName | undefined {
    const known = this.#streamOf.get(subject)
    if (known !== undefined) return known
    const holder = (kinds as ReadonlyArray<Kind>).find(({ stream }) =>
      subjectsOf(kinds, stream).some((filter) => matches(filter, subject)))?.stream
    if (holder !== undefined) this.#streamOf.set(subject, holder)
    return holder
  }

  head(stream: string): number {
    return this.#streams.get(stream)?.length ?? 0
  }

  lastOn(subject: string): number {
    return this.#lastOn.get(subject) ?? 0
  }

  /** Stores if the expectation holds; otherwise answers the sequence that it found. */
  append(commit: Commit, expect: Expectation, storedAtMs: number): { readonly stored: Appended } | { readonly found: number } | undefined {
    const subject = subjectText(commit.subject)
    const stream = this.streamOf(subject)
    if (stream === undefined) return undefined
    const found = expect.last === "subject" ? this.lastOn(subject) : this.head(stream)
    if (found !== expect.sequence) return { found }
    return { stored: { stream, sequence: this.put(stream, subject, encodeCommit(commit, expect, this.epoch), storedAtMs), epoch: this.epoch } }
  }

  /** Stores bytes as they are, whoever they come from. */
  put(stream: StreamName, subject: string, message: Message, storedAtMs: number): number {
    const kept = this.#streams.get(stream) ?? []
    this.#streams.set(stream, kept)
    const sequence = kept.push({ subject, storedAtMs, message })
    this.#lastOn.set(subject, sequence)
    for (const wake of this.#heard) wake()
    return sequence
  }

  /** At most `max` commits behind `after`, in order, and how far was looked. */
  after(stream: string, after: number, filter: string | undefined, max: number): { readonly commits: ReadonlyArray<StoredCommit>; readonly upTo: number } {
    const kept = this.#streams.get(stream) ?? []
    const commits: Array<StoredCommit> = []
    let sequence = after
    while (sequence < kept.length && commits.length < max) {
      const commit = kept[sequence]
      sequence += 1
      if (commit !== undefined && (filter === undefined || matches(filter, commit.subject))) commits.push(this.#read(stream, sequence, commit))
    }
    return { commits, upTo: sequence }
  }

  /** The commit at a sequence. */
  at(stream: string, sequence: number): StoredCommit | undefined {
    const kept = this.#streams.get(stream)?.[sequence - 1]
    return kept === undefined ? undefined : this.#read(stream, sequence, kept)
  }

  /** Where a durable consumer of a stream stands, kept like the server keeps it: beyond the life of any reader. */
  acknowledged(stream: string, durable: string): number {
    return this.#acknowledged.get(`${stream} ${durable}`) ?? 0
  }

  acknowledge(stream: string, durable: string, sequence: number): void {
    this.#acknowledged.set(`${stream} ${durable}`, Math.max(sequence, this.acknowledged(stream, durable)))
  }

  /** Where a durable consumer goes on, or where a new one begins that hears nothing older than a moment. */
  startOf(stream: string, durable: string, sinceMs = 0): number {
    const known = this.#acknowledged.get(`${stream} ${durable}`)
    if (known !== undefined) return known
    const kept = this.#streams.get(stream) ?? []
    const first = kept.findIndex(({ storedAtMs }) => storedAtMs >= sinceMs)
    const start = first < 0 ? kept.length : first
    this.#acknowledged.set(`${stream} ${durable}`, start)
    return start
  }

  forget(stream: string, durable: string): void {
    this.#acknowledged.delete(`${stream} ${durable}`)
  }

  /** Calls back whenever something is stored, until the returned function is called. */
  onStored(wake: () => void): () => void {
    this.#heard.add(wake)
    return () => this.#heard.delete(wake)
  }

  #read(stream: string, sequence: number, { message, storedAtMs, subject }: Kept): StoredCommit {
    const headers = new Map(message.headers)
    return decodeMessage({ stream, sequence, subject, storedAtMs, header: (name) => headers.get(name) ?? "", body: message.body })
  }
}

/** The journal over a log in memory: the same promises as JetStream's, proven by the same suite. */
export const memoryJournal = (log: MemoryLog): JournalShape => {
  const append = Effect.fnUntraced(function*(commit: Commit, expect: Expectation) {
    const answer = log.append(commit, expect, yield* Clock.currentTimeMillis)
    if (answer === undefined) return yield* unheld(commit)
    if ("stored" in answer) return answer.stored
    return ownAppend(log, commit, expect) ?? (yield* overtaken(commit, expect, answer.found))
  })

  const read = Effect.fnUntraced(function*(stream: StreamName, { after, batchMax = 1000, filter }: ReadOptions) {
    let position = after
    const latch = yield* Latch.make(false)
    yield* Effect.acquireRelease(Effect.sync(() => log.onStored(() => latch.openUnsafe())), (stop) => Effect.sync(stop))
    const poll = Effect.sync(() => {
      const { commits, upTo } = log.after(stream, position, filter, batchMax)
      position = upTo
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
    return { take, poll }
  })

  return {
    epoch: log.epoch,
    append,
    line: (_, after) => Effect.map(Clock.Clock, (clock) => lineOver(log, after, () => clock.currentTimeMillisUnsafe())),
    head: (stream) => Effect.sync(() => log.head(stream)),
    last: (subject) => Effect.sync(() => {
      const text = subjectText(subject)
      const stream = log.streamOf(text)
      return stream === undefined ? undefined : log.at(stream, log.lastOn(text))
    }),
    story: (subject) => Effect.sync(() => {
      const text = subjectText(subject)
      return log.after(log.streamOf(text) ?? "", 0, text, Number.POSITIVE_INFINITY).commits
    }),
    read,
    react: (options, handle) => Effect.scoped(reactOver(log, read, options, handle)),
    forget: (stream, durable) => Effect.sync(() => log.forget(stream, durable))
  }
}

const unheld = (commit: Commit) =>
  new CommitRefused({ where: subjectText(commit.subject), reason: "not_configured", detail: "no stream holds this subject" })

const overtaken = (commit: Commit, expect: Expectation, actual: number) =>
  new Overtaken({ where: subjectText(commit.subject), expected: expect.sequence, actual })

/** An append whose answer was lost is told again: the first commit behind its expectation is itself. */
const ownAppend = (log: MemoryLog, commit: Commit, expect: Expectation): Appended | undefined => {
  const text = subjectText(commit.subject)
  const stream = log.streamOf(text)
  if (stream === undefined) return undefined
  const filter = expect.last === "subject" ? text : undefined
  const first = log.after(stream, expect.sequence, filter, 1).commits[0]
  return first !== undefined && sameFacts(commit, first)
    ? { stream, sequence: first.place.sequence, epoch: log.epoch }
    : undefined
}

/** Everything is stored at once here, so a line's predictions come true or fail as it speaks. */
const lineOver = (log: MemoryLog, after: number, nowMs: () => number): Line => {
  let last = after
  let broken: Overtaken | CommitRefused | undefined
  return {
    last: () => last,
    send: (commit, ...behind) => {
      const expect = { last: "stream", sequence: last } as const
      last += 1
      const sequence = last
      const answer = broken === undefined ? log.append(commit, expect, nowMs()) : undefined
      if (answer !== undefined && "stored" in answer) {
        // Nobody comes between: this is one turn of the event loop.
        for (const one of behind) log.append(one, { last: "stream", sequence: last++ }, nowMs())
        return { sequence, outcome: Effect.succeed(answer.stored) }
      }
      last += behind.length
      broken ??= answer === undefined ? unheld(commit) : overtaken(commit, expect, answer.found)
      return { sequence, outcome: Effect.fail(broken) }
    }
  }
}

const reactOver = <E, R>(
  log: MemoryLog,
  read: JournalShape["read"],
  { durable, filter, sinceMs, stream }: ReactOptions,
  handle: (commit: StoredCommit) => Effect.Effect<void, E, R>
) =>
  Effect.gen(function*() {
    const reader = yield* read(stream, { after: log.startOf(stream, durable, sinceMs), ...(filter === undefined ? {} : { filter }) })
    return yield* Effect.forever(
      Effect.flatMap(reader.take, (commits) =>
        Effect.forEach(commits, (commit) =>
          handle(commit).pipe(
            Effect.catchCause((cause) => Effect.logWarning("A commit will be delivered again", cause).pipe(Effect.andThen(Effect.sleep(100)), Effect.andThen(Effect.failCause(cause)))),
            Effect.retry({ times: Number.MAX_SAFE_INTEGER }),
            Effect.orDie,
            Effect.andThen(Effect.sync(() => log.acknowledge(stream, durable, commit.place.sequence)))
          ), { discard: true }))
    )
  })

/** A journal that lives as long as its layer. */
export const layerMemory: Layer.Layer<Journal> = Layer.sync(Journal, () => memoryJournal(new MemoryLog()))
