import { type Appended, type Commit, CommitRefused, type Line, Overtaken, sameFacts } from "@millrace/journal"
import { type StreamName, subjectText } from "@millrace/schemas"
import { Deferred, Effect, Latch, type Scope } from "effect"
import { answerMsMax, type Broker, type Stored } from "./broker.ts"
import type { Life } from "./life.ts"

type Failure = Overtaken | CommitRefused

interface Entry {
  readonly commit: Commit
  readonly expected: number
  readonly sequence: number
  /** Commits behind it that are stored with it, and how many empty messages behind those: the fence, for a line's first commit. */
  readonly behind: ReadonlyArray<Commit>
  readonly fence: number
  readonly outcome: Deferred.Deferred<Appended, Failure>
  answer: Stored | "lost" | undefined
}

/**
 * A pipelined writer over a network that fails, by the same protocol as JetStream's: each commit expects the
 * predicted sequence of the one before it; the first one brings a fence, and no line runs further ahead than
 * a fence is wide, so that nothing an older line still has under way meets its number again. When anything
 * goes wrong the line waits until all answers are in or lost, and looks at what truly lies there.
 */
export const openLine = Effect.fnUntraced(function*(broker: Broker, life: Life, stream: StreamName, after: number): Effect.fn.Return<Line, never, Scope.Scope> {
  const trouble = yield* Latch.make(false)
  const line = new SimulatedLine(broker, life, stream, after, trouble)
  yield* Effect.forkScoped(line.recoverForever)
  return { last: () => line.last, send: (commit, ...behind) => line.send(commit, behind) }
})

class SimulatedLine {
  last: number
  readonly #broker: Broker
  readonly #life: Life
  readonly #stream: StreamName
  readonly #trouble: Latch.Latch
  #entries: Array<Entry> = []
  #sent = 0
  #underWay = 0
  #opened = false
  #state: "running" | "recovering" | "over" = "running"
  #failure: Failure | undefined

  constructor(broker: Broker, life: Life, stream: StreamName, after: number, trouble: Latch.Latch) {
    this.#broker = broker
    this.#life = life
    this.#stream = stream
    this.last = after
    this.#trouble = trouble
  }

  send(commit: Commit, behind: ReadonlyArray<Commit>): ReturnType<Line["send"]> {
    const expected = this.last
    const sequence = expected + 1
    const fence = this.#opened ? 0 : this.#broker.fenceWidth
    this.#opened = true
    this.last = sequence + behind.length + fence
    if (this.#failure !== undefined) return { sequence, outcome: Effect.fail(this.#failure) }
    const outcome = Deferred.makeUnsafe<Appended, Failure>()
    this.#entries.push({ commit, expected, sequence, behind, fence, outcome, answer: undefined })
    this.#pump()
    return { sequence, outcome: Deferred.await(outcome) }
  }

  #pump(): void {
    while (this.#state === "running" && this.#sent < this.#entries.length) {
      const entry = this.#entries[this.#sent]!
      const oldest = this.#entries[0]!
      if (entry !== oldest && (oldest.fence > 0 || entry.sequence + entry.behind.length - oldest.expected > this.#broker.runAheadMax)) return
      this.#sent += 1
      this.#transmit(entry)
    }
  }

  #transmit(entry: Entry): void {
    if (!this.#life.alive) return
    this.#underWay += 1
    let answered = false
    const answer = (outcome: Stored | "lost") => {
      if (answered) return
      answered = true
      this.#answered(entry, outcome)
    }
    this.#broker.carry(this.#life, "request", () => {
      const outcome = this.#broker.storeFor(this.#life, entry.commit, { last: "stream", sequence: entry.expected }, entry)
      this.#broker.carry(this.#life, "answer", () => this.#life.receive(() => answer(outcome)))
    })
    this.#broker.time.after(answerMsMax, () => this.#life.receive(() => answer("lost")))
  }

  #answered(entry: Entry, answer: Stored | "lost"): void {
    this.#underWay -= 1
    entry.answer = answer
    if (this.#state === "over") return
    if (answer === "lost" || answer._tag !== "Stored") this.#state = "recovering"
    if (this.#state === "recovering") {
      if (this.#underWay === 0) this.#trouble.openUnsafe()
      return
    }
    while (isStored(this.#entries[0]?.answer)) this.#settle()
    this.#pump()
  }

  #settle(): void {
    const entry = this.#entries.shift()!
    this.#sent = Math.max(0, this.#sent - 1)
    Deferred.doneUnsafe(entry.outcome, Effect.succeed({ stream: this.#stream, sequence: entry.sequence, epoch: this.#broker.log.epoch }))
  }

  #end(failure: Failure): void {
    this.#state = "over"
    this.#failure = failure
    for (const { outcome } of this.#entries.splice(0)) Deferred.doneUnsafe(outcome, Effect.fail(failure))
  }

  readonly recoverForever: Effect.Effect<never> = Effect.forever(Effect.gen({ self: this }, function*() {
    yield* this.#trouble.await
    this.#trouble.closeUnsafe()
    for (let entry = this.#entries[0]; entry !== undefined; entry = this.#entries[0]) {
      const { commit, expected, sequence } = entry
      const seen = isStored(entry.answer)
        ? { known: true as const, value: { found: "ours" as const, head: sequence } }
        : yield* this.#broker.ask(this.#life, () => {
          const head = this.#broker.log.head(this.#stream)
          const found = head < sequence ? undefined : sameFacts(commit, this.#broker.at(this.#stream, sequence)) ? "ours" as const : "another" as const
          return { found, head }
        })
      if (!seen.known) continue
      const { found, head } = seen.value
      if (found === "ours") {
        if (entry.answer === "lost") this.#broker.sometimes.saw("unknown_outcome_was_stored")
        this.#settle()
      } else if (found === "another" || head < expected) {
        this.#broker.sometimes.saw("append_overtaken")
        return this.#end(new Overtaken({ where: this.#stream, expected, actual: head }))
      } else if (typeof entry.answer === "object" && entry.answer._tag === "NoStream") {
        return this.#end(new CommitRefused({ where: subjectText(commit.subject), reason: "not_configured", detail: "no stream holds this subject" }))
      } else {
        this.#broker.sometimes.saw("unknown_outcome_was_not_stored")
        yield* Effect.sleep(this.#broker.between(10, 100))
        break
      }
    }
    for (const entry of this.#entries) entry.answer = undefined
    this.#sent = 0
    this.#state = "running"
    this.#pump()
  }))
}

const isStored = (answer: Entry["answer"]): boolean => typeof answer === "object" && answer._tag === "Stored"
