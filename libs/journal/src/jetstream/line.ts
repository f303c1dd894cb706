import { type StreamName, subjectText } from "@millrace/schemas"
import { Deferred, Effect, Latch, Metric, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { encodeCommit, fenceMessage, isCommit, type Message } from "../codec.ts"
import type { Appended, Commit } from "../commit.ts"
import { CommitRefused, type Line, Overtaken } from "../journal.ts"
import { headOf, messageOf, pause } from "./api.ts"
import type { Door } from "./append.ts"
import { headerBytes } from "./headers.ts"
import type { Answer } from "./publisher.ts"

/**
 * How far a line may run ahead of its acknowledgements, and so how wide the fence is that opens the next
 * line. All writers of one stream must agree on it: it is part of the log's protocol.
 */
export const fenceWidth = 511

const recoveries = Metric.counter("millrace_line_recoveries_total", { incremental: true })

type Failure = Overtaken | CommitRefused

interface Entry {
  readonly commit: Commit
  readonly message: Message
  /** The stream's last sequence directly before it, and its own. */
  readonly expected: number
  readonly sequence: number
  /** Commits behind it that are stored with it, and how many empty messages behind those: the fence, for a line's first commit. */
  readonly behind: ReadonlyArray<{ readonly commit: Commit; readonly message: Message }>
  readonly fence: number
  readonly outcome: Deferred.Deferred<Appended, Failure>
  answer: Answer | undefined
}

/**
 * A pipelined writer. Each commit expects the predicted sequence of the one before it, so nothing waits for
 * an answer.
 *
 * A prediction is a number, and a number alone does not say whose message has it: if a stranger takes
 * sequence 11, our commit for 11 is refused, but our commit for 12 finds a last sequence of 11 and would be
 * stored behind the stranger. So a line opens with a fence: its first commit and `fenceWidth` empty
 * messages, stored together by an atomic batch. No line runs further ahead than that, so whatever an older
 * line still has under way expects a sequence that is already past. `Nats-Expected-Last-Msg-Id` would say
 * the same without a fence, but at three replicas a mismatch is a "critical write error" on nats-server
 * 2.15.1, after which the stream takes nothing any more, not even when its servers are restarted.
 */
export const openLine = Effect.fnUntraced(function*(door: Door, stream: StreamName, after: number): Effect.fn.Return<Line, never, Scope.Scope> {
  const trouble = yield* Latch.make(false)
  const pipeline = new Pipeline(door, stream, after, () => trouble.openUnsafe())
  yield* Effect.forkScoped(recoverForever(pipeline, trouble))
  yield* Effect.addFinalizer(() => Effect.sync(() => pipeline.abandon()))
  return { last: () => pipeline.last, send: (commit, ...behind) => pipeline.send(commit, behind) }
})

class Pipeline {
  last: number
  readonly door: Door
  readonly stream: StreamName
  readonly #trouble: () => void
  /** Everything not settled yet, in order: first what was sent, then what waits. */
  #entries: Array<Entry> = []
  #settledFrom = 0
  #sentUpTo = 0
  #underWay = 0
  #opened = false
  #state: "running" | "recovering" | "over" = "running"
  #failure: Failure | undefined

  constructor(door: Door, stream: StreamName, after: number, trouble: () => void) {
    this.door = door
    this.stream = stream
    this.last = after
    this.#trouble = trouble
  }

  send(commit: Commit, together: ReadonlyArray<Commit>): { readonly sequence: number; readonly outcome: Effect.Effect<Appended, Failure> } {
    const expected = this.last
    const sequence = expected + 1
    const fence = this.#opened ? 0 : fenceWidth
    this.#opened = true
    this.last = sequence + together.length + fence
    if (this.#failure !== undefined) return { sequence, outcome: Effect.fail(this.#failure) }
    const outcome = Deferred.makeUnsafe<Appended, Failure>()
    const message = encodeCommit(commit, { last: "stream", sequence: expected }, this.door.epoch)
    const behind = together.map((one, at) => ({ commit: one, message: encodeCommit(one, { last: "stream", sequence: sequence + at }, this.door.epoch) }))
    this.#entries.push({ commit, message, expected, sequence, behind, fence, outcome, answer: undefined })
    this.#pump()
    return { sequence, outcome: Deferred.await(outcome) }
  }

  get oldest(): Entry | undefined {
    return this.#entries[this.#settledFrom]
  }

  /** Goes on behind what is settled: everything else is sent (again). */
  resume(): void {
    for (const entry of this.#unsettled) entry.answer = undefined
    this.#sentUpTo = this.#settledFrom
    this.#state = "running"
    this.#pump()
  }

  /** Settles the oldest entry: it lies where it was predicted. */
  stored(entry: Entry): void {
    this.#settledFrom += 1
    if (this.#settledFrom > 1024) {
      this.#entries.splice(0, this.#settledFrom)
      this.#sentUpTo -= this.#settledFrom
      this.#settledFrom = 0
    }
    Deferred.doneUnsafe(entry.outcome, Effect.succeed({ stream: this.stream, sequence: entry.sequence, epoch: this.door.epoch }))
  }

  /** Ends the line: nothing that is unsettled was stored, and nothing more will be. */
  end(failure: Failure): void {
    this.#state = "over"
    this.#failure = failure
    const left = this.#unsettled
    this.#entries = []
    this.#settledFrom = 0
    this.#sentUpTo = 0
    for (const { outcome } of left) Deferred.doneUnsafe(outcome, Effect.fail(failure))
  }

  /** The owner went away; who still waits is told so, and what is under way stays unknown. */
  abandon(): void {
    if (this.#state === "over") return
    this.#state = "over"
    for (const { outcome } of this.#unsettled) Deferred.doneUnsafe(outcome, Effect.interrupt)
    this.#entries = []
  }

  get #unsettled(): ReadonlyArray<Entry> {
    return this.#entries.slice(this.#settledFrom)
  }

  #pump(): void {
    while (this.#state === "running" && this.#sentUpTo < this.#entries.length) {
      const entry = this.#entries[this.#sentUpTo]!
      const oldest = this.oldest!
      // The bound that makes the fence hold: no further ahead of what is known to be stored than it is wide.
      if (entry !== oldest && (oldest.fence > 0 || lastOf(entry) - oldest.expected > fenceWidth)) return
      this.#sentUpTo += 1
      this.#underWay += 1
      this.#transmit(entry)
    }
  }

  #transmit(entry: Entry): void {
    const { behind, commit, expected, fence, message } = entry
    const { publisher } = this.door
    const subject = subjectText(commit.subject)
    const expectation = `Nats-Expected-Last-Sequence: ${expected}\r\n`
    const answered = (answer: Answer) => this.#answered(entry, answer)
    if (behind.length + fence === 0) return publisher.send(subject, headerBytes(message, expectation), message.body, answered)
    const batch = randomBytes(12).toString("base64url")
    const member = (number: number, rest = "") => `Nats-Batch-Id: ${batch}\r\nNats-Batch-Sequence: ${number}\r\n${rest}`
    const empty = fenceMessage(commit, this.door.epoch)
    const members = [
      { subject, message, rest: expectation },
      ...behind.map((one) => ({ subject: subjectText(one.commit.subject), message: one.message, rest: "" })),
      ...Array.from({ length: fence }, () => ({ subject, message: empty, rest: "" }))
    ]
    for (const [at, one] of members.entries()) {
      const last = at === members.length - 1
      const head = headerBytes(one.message, member(at + 1, `${one.rest}${last ? "Nats-Batch-Commit: 1\r\n" : ""}`))
      if (last) publisher.send(one.subject, head, one.message.body, answered)
      else publisher.sendUnanswered(one.subject, head, one.message.body)
    }
  }

  #answered(entry: Entry, answer: Answer): void {
    this.#underWay -= 1
    entry.answer = answer
    if (this.#state === "over") return
    if (answer._tag !== "Stored" || answer.sequence !== lastOf(entry)) this.#state = "recovering"
    if (this.#state === "recovering") {
      if (this.#underWay === 0) this.#trouble()
      return
    }
    for (let oldest = this.oldest; oldest?.answer?._tag === "Stored"; oldest = this.oldest) this.stored(oldest)
    this.#pump()
  }
}

/** The last sequence that an entry takes. */
const lastOf = ({ behind, fence, sequence }: Entry): number => sequence + behind.length + fence

/** Once all answers are in or lost, walks what is unsettled and finds out what the log really holds. */
const recoverForever = Effect.fnUntraced(function*(pipeline: Pipeline, trouble: Latch.Latch): Effect.fn.Return<never> {
  let attempt = 0
  while (true) {
    yield* trouble.await
    trouble.closeUnsafe()
    yield* Metric.update(recoveries, 1)
    attempt = (yield* recover(pipeline, attempt)) ? 0 : attempt + 1
  }
})

/** Settles what can be settled and sends the rest again. Says whether anything was settled. */
const recover = Effect.fnUntraced(function*(pipeline: Pipeline, earlier: number) {
  const { door, stream } = pipeline
  let settled = false
  let attempt = earlier
  for (let entry = pipeline.oldest; entry !== undefined; entry = pipeline.oldest) {
    const verdict = yield* look(door, stream, entry).pipe(Effect.catchTag("JournalUnavailable", () => Effect.succeed("unclear" as const)))
    if (verdict === "stored") {
      pipeline.stored(entry)
      settled = true
      attempt = 0
      continue
    }
    if (verdict === "absent" && entry.answer?._tag === "Refused") {
      pipeline.end(new CommitRefused({ where: subjectText(entry.commit.subject), reason: entry.answer.reason, detail: entry.answer.detail }))
      return settled
    }
    if (typeof verdict === "object") {
      pipeline.end(new Overtaken({ where: stream, expected: entry.expected, actual: verdict.head }))
      return settled
    }
    yield* pause(attempt)
    attempt += 1
    if (verdict === "absent") break
  }
  pipeline.resume()
  return settled
})

type Verdict = "stored" | "absent" | "unclear" | { readonly head: number }

/** What lies where an entry was predicted to lie, by the word of the stream's leader. */
const look = Effect.fnUntraced(function*({ api }: Door, stream: StreamName, entry: Entry) {
  if (entry.answer?._tag === "Stored" && entry.answer.sequence === lastOf(entry)) return "stored" as Verdict
  const found = yield* messageOf(api, stream, { seq: entry.sequence })
  if (found !== undefined && isCommit(entry.commit, found.header)) return "stored" as Verdict
  const head = yield* headOf(api, stream)
  if (found !== undefined) return { head } as Verdict
  if (head === entry.expected) return "absent" as Verdict
  // The head passed by between the two questions, or lies before what we followed: then this is another log.
  return (head < entry.expected ? { head } : "unclear") as Verdict
})
