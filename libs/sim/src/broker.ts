import type { Commit, Expectation, StoredCommit } from "@millrace/journal"
import { fenceMessage, JournalUnavailable, matches, MemoryLog, sameFacts } from "@millrace/journal"
import { type StreamName, subjectText } from "@millrace/schemas"
import { Effect } from "effect"
import type { Chance } from "./chance.ts"
import { calm, type Swarm } from "./faults.ts"
import type { Life } from "./life.ts"
import type { Sometimes } from "./sometimes.ts"
import type { VirtualTime } from "./virtual-time.ts"

/** How the log and the way to it behave, in virtual ms. */
export interface BrokerOptions {
  readonly time: VirtualTime
  readonly chance: Chance
  readonly swarm: Swarm
  readonly sometimes: Sometimes
  /**
   * Empty messages behind a line's first commit, and how far a line may run ahead of its acknowledgements:
   * JetStream's lines use 511; fewer keep a run short and the protocol the same.
   */
  readonly fenceWidth?: number
  readonly runAheadMax?: number
  /** Bugs of a journal, for the tests that plant them. */
  readonly bugs?: JournalBugs
}

/** What a journal could get wrong inside, where nothing can be wrapped around it. */
export interface JournalBugs {
  /** A replaced reader goes on at the head instead of behind the last commit it gave. */
  readonly replacedReaderSkips?: boolean
  /** Of what is to be stored together it sometimes stores all but the last. */
  readonly tearsBatches?: boolean
  /** It takes any commit that begins with the same fact for its own. */
  readonly knowsCommitsByFirstFact?: boolean
}

/** What the log did with an append. */
export type Stored =
  | { readonly _tag: "Stored"; readonly sequence: number }
  /** It lay there already: an earlier try whose answer was lost. */
  | { readonly _tag: "Own"; readonly sequence: number }
  | { readonly _tag: "Behind"; readonly found: number }
  | { readonly _tag: "NoStream" }

/** What is stored in one step behind a commit. */
export interface Batch {
  readonly behind?: ReadonlyArray<Commit>
  /** So many empty messages. */
  readonly fence?: number
}

/** An answer, or the lack of one. */
export type Answer<A> = { readonly known: true; readonly value: A } | { readonly known: false }

const unknown: Answer<never> = { known: false }

/** When a client takes an answer for lost, in ms. */
export const answerMsMax = 1_000
/** How often a reading client asks before it says that the log does not answer. */
const triesMax = 6

/**
 * The log over a network that can fail: one memory log, and messages to and from it that take time, get
 * lost, come late or twice. What the log itself promises it keeps: what is stored stays, in order, once.
 */
export class Broker {
  readonly log = new MemoryLog()
  readonly time: VirtualTime
  readonly sometimes: Sometimes
  readonly fenceWidth: number
  readonly runAheadMax: number
  readonly bugs: JournalBugs
  readonly #chance: Chance
  #swarm: Swarm
  #leaderlessUntilMs = 0
  readonly #kept = new Map<string, Array<StoredCommit>>()
  readonly #consumers = new Map<string, Set<number>>()
  readonly #handedOver = new Set<string>()
  readonly #feeds = new Set<Feed>()
  readonly #heard: Array<(commit: StoredCommit) => void> = []

  constructor({ bugs = {}, chance, fenceWidth = 15, runAheadMax = fenceWidth, sometimes, swarm, time }: BrokerOptions) {
    this.time = time
    this.fenceWidth = fenceWidth
    this.runAheadMax = runAheadMax
    this.bugs = bugs
    this.sometimes = sometimes
    this.#chance = chance
    this.#swarm = swarm
  }

  get swarm(): Swarm {
    return this.#swarm
  }

  /** From here on nothing fails any more. */
  heal(): void {
    this.#swarm = calm
    this.#leaderlessUntilMs = 0
    for (const feed of this.#feeds) feed.thaw()
  }

  /** Nobody answers for this long. */
  loseLeader(forMs: number): void {
    this.#leaderlessUntilMs = Math.max(this.#leaderlessUntilMs, this.time.nowMs + forMs)
  }

  /** Told of every commit as it is stored. */
  onStored(heard: (commit: StoredCommit) => void): void {
    this.#heard.push(heard)
  }

  /** Whether a fault of this kind strikes now; counted if it does. */
  strikes(fault: keyof Swarm, most: number): boolean {
    const rate = this.#swarm[fault]
    if (rate === 0 || !this.#chance.happens(rate * most)) return false
    this.sometimes.saw(fault)
    return true
  }

  between(min: number, max: number): number {
    return this.#chance.between(min, max)
  }

  /**
   * Stores a commit if its expectation holds, and in the same step those that are stored together with it and a
   * fence of empty messages behind them.
   */
  store(commit: Commit, expect: Expectation, { behind = [], fence = 0 }: Batch = {}): Stored {
    const answer = this.log.append(commit, expect, this.time.nowMs)
    if (answer === undefined) return { _tag: "NoStream" }
    if ("stored" in answer) {
      const { sequence, stream } = answer.stored
      const kept = this.bugs.tearsBatches === true && this.#chance.happens(0.3) ? behind.slice(0, -1) : behind
      for (const [at, one] of kept.entries()) this.log.append(one, { last: "stream", sequence: sequence + at }, this.time.nowMs)
      const empty = fenceMessage(commit, this.log.epoch)
      for (let number = 0; number < fence; number += 1) this.log.put(stream as StreamName, subjectText(commit.subject), empty, this.time.nowMs)
      for (let at = 0; at <= kept.length; at += 1) for (const heard of this.#heard) heard(this.at(stream, sequence + at))
      for (const feed of this.#feeds) if (feed.stream === stream) feed.wake()
      return { _tag: "Stored", sequence }
    }
    const stream = this.log.streamOf(subjectText(commit.subject))!
    const first = this.firstBehind(stream, commit, expect)
    const own = first !== undefined &&
      (sameFacts(commit, first) || (this.bugs.knowsCommitsByFirstFact === true && first.facts[0]?.id === commit.facts[0].id))
    return own
      ? { _tag: "Own", sequence: first.place.sequence }
      : { _tag: "Behind", found: answer.found }
  }

  /** The same for a process that may have died since it asked. */
  storeFor(life: Life, commit: Commit, expect: Expectation, batch: Batch = {}): Stored {
    const outcome = this.store(commit, expect, batch)
    if (!life.alive && outcome._tag === "Stored") this.sometimes.saw("append_outlived_its_writer")
    if (outcome._tag === "Own") this.sometimes.saw("doubled_append_refused")
    return outcome
  }

  /** Each commit is decoded from its bytes once, however many read it. */
  at(stream: string, sequence: number): StoredCommit {
    let kept = this.#kept.get(stream)
    if (kept === undefined) this.#kept.set(stream, kept = [])
    return kept[sequence - 1] ??= this.log.at(stream, sequence)!
  }

  firstBehind(stream: StreamName, commit: Commit, expect: Expectation): StoredCommit | undefined {
    const subject = subjectText(commit.subject)
    for (let sequence = expect.sequence + 1; sequence <= this.log.head(stream); sequence += 1) {
      const found = this.at(stream, sequence)
      if (expect.last === "stream" || subjectText(found.subject) === subject) return found
    }
    return undefined
  }

  /** All of a stream, or what a filter lets through, from behind `after` up to `upTo`. */
  range(stream: string, after: number, upTo: number, filter: string | undefined): ReadonlyArray<StoredCommit> {
    const commits: Array<StoredCommit> = []
    for (let sequence = after + 1; sequence <= upTo; sequence += 1) {
      const commit = this.at(stream, sequence)
      if (filter === undefined || matches(filter, subjectText(commit.subject))) commits.push(commit)
    }
    return commits
  }

  /** What a durable consumer has acknowledged. The server keeps it beyond the life of any reader. */
  acknowledged(stream: string, durable: string): Set<number> {
    const key = `${stream} ${durable}`
    let acknowledged = this.#consumers.get(key)
    if (acknowledged === undefined) this.#consumers.set(key, acknowledged = new Set())
    return acknowledged
  }

  /** Notes that a consumer was handed a commit, and says whether it had been before. */
  isHandedOver(stream: string, durable: string, sequence: number): boolean {
    const key = `${stream} ${durable} ${sequence}`
    const before = this.#handedOver.has(key)
    this.#handedOver.add(key)
    return before
  }

  /**
   * Carries a message between a process and the log. It may be late, and it may be lost; those that are
   * neither arrive in the order of sending, because they share a connection.
   */
  carry(life: Life, way: "request" | "answer" | "ack", arrive: () => void): void {
    const held = life.process.partitionedUntilMs - this.time.nowMs
    if (held > 0) {
      // What is on its way when the line is cut is lost, or lies in a buffer until it is mended.
      if (this.#chance.happens(0.5)) this.#inOrder(life, way, held + this.between(1, 20), arrive)
      return
    }
    if (way === "request" && this.strikes("lost_request", 0.1)) return
    if (way === "answer" && this.strikes("lost_answer", 0.1)) return
    if (way === "ack" && this.strikes("lost_ack", 0.3)) return
    if (way === "request" && this.strikes("late_request", 0.05)) {
      this.time.after(this.between(answerMsMax, 4 * answerMsMax), arrive)
      return
    }
    this.#inOrder(life, way, this.delayMs(), arrive)
  }

  #inOrder(life: Life, way: "request" | "answer" | "ack", delayMs: number, arrive: () => void): void {
    const line = way === "answer" ? "in" : "out"
    const atMs = Math.max(this.time.nowMs + delayMs, life.arrivals[line])
    life.arrivals[line] = atMs
    this.time.after(atMs - this.time.nowMs, arrive)
  }

  delayMs(): number {
    return this.strikes("slow_message", 0.15) ? this.between(20, 400) : this.between(0, 3)
  }

  /** Asks the log once. */
  ask<A>(life: Life, perform: () => A): Effect.Effect<Answer<A>> {
    return life.guard(Effect.callback((resume) => {
      const answered = (answer: Answer<A>) => {
        giveUp()
        resume(Effect.succeed(answer))
      }
      const giveUp = this.time.after(answerMsMax, () => life.receive(() => answered(unknown)))
      this.carry(life, "request", () => {
        if (this.time.nowMs < this.#leaderlessUntilMs) {
          this.carry(life, "answer", () => life.receive(() => answered(unknown)))
          return
        }
        const value = perform()
        this.carry(life, "answer", () => life.receive(() => answered({ known: true, value })))
      })
    }))
  }

  /** Asks until there is an answer, or patience ends. */
  askPatiently<A>(life: Life, doing: string, perform: () => A): Effect.Effect<A, JournalUnavailable> {
    return Effect.gen({ self: this }, function*() {
      for (let tried = 1; tried <= triesMax; tried += 1) {
        const answer = yield* this.ask(life, perform)
        if (answer.known) return answer.value
        yield* Effect.sleep(50 * tried)
      }
      this.sometimes.saw("log_unavailable")
      return yield* new JournalUnavailable({ doing, detail: `no answer after ${triesMax} tries` })
    })
  }

  /** Opens a feed: what is stored behind a position, handed over in order, some time later. */
  feed(life: Life, stream: string, after: number, filter: string | undefined, give: (commits: ReadonlyArray<StoredCommit>) => void): Feed {
    const feed = new Feed(this, life, stream, after, filter, give)
    this.#feeds.add(feed)
    life.onEnd(() => this.#feeds.delete(feed))
    feed.wake()
    return feed
  }

  close(feed: Feed): void {
    this.#feeds.delete(feed)
  }

  /** The feeds that are open now. */
  get feeds(): ReadonlyArray<Feed> {
    return [...this.#feeds]
  }
}

/** How long a reader stands still before it is noticed and replaced, in ms. */
const noticedAfterMs = 4_000

/** One reader's way from the log: in order, at a pace of its own. */
export class Feed {
  readonly stream: string
  readonly life: Life
  readonly #broker: Broker
  readonly #filter: string | undefined
  readonly #give: (commits: ReadonlyArray<StoredCommit>) => void
  #position: number
  #under = false
  #replaced = false
  #frozenUntilMs = 0
  #laggingUntilMs = 0
  #lagMs = 0

  constructor(
    broker: Broker,
    life: Life,
    stream: string,
    after: number,
    filter: string | undefined,
    give: (commits: ReadonlyArray<StoredCommit>) => void
  ) {
    this.#broker = broker
    this.life = life
    this.stream = stream
    this.#position = after
    this.#filter = filter
    this.#give = give
  }

  /** Hands over nothing until somebody notices. */
  freeze(): void {
    this.#frozenUntilMs = this.#broker.time.nowMs + noticedAfterMs
  }

  /** Hangs on a replica that is this far behind, for a while. */
  lag(lagMs: number, forMs: number): void {
    this.#lagMs = lagMs
    this.#laggingUntilMs = this.#broker.time.nowMs + forMs
  }

  thaw(): void {
    this.#laggingUntilMs = 0
    this.#frozenUntilMs = Math.min(this.#frozenUntilMs, this.#broker.time.nowMs)
    this.wake()
  }

  /** Something was stored. */
  wake(): void {
    if (this.#under) return
    this.#under = true
    this.#later(this.#broker.delayMs() + (this.#broker.time.nowMs < this.#laggingUntilMs ? this.#lagMs : 0))
  }

  #later(delayMs: number): void {
    this.#broker.time.after(delayMs, () => this.#pump())
  }

  #pump(): void {
    if (!this.life.alive) return
    const heldMs = Math.max(this.life.process.partitionedUntilMs, this.#frozenUntilMs) - this.#broker.time.nowMs
    if (heldMs > 0) {
      if (this.#frozenUntilMs > this.#broker.time.nowMs) this.#replaced = true
      this.#later(heldMs + this.#broker.between(1, 10))
      return
    }
    this.#under = false
    const upTo = this.#broker.log.head(this.stream)
    if (this.#replaced) {
      this.#replaced = false
      this.#broker.sometimes.saw("reader_replaced")
      if (this.#broker.bugs.replacedReaderSkips === true) this.#position = upTo
    }
    const commits = this.#broker.range(this.stream, this.#position, upTo, this.#filter)
    this.#position = upTo
    if (commits.length > 0) this.life.receive(() => this.#give(commits))
  }
}
