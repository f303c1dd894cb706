import { deriveId } from "@millrace/decider"
import { type CommitRefused, cutOf, Journal, type JournalUnavailable, readable, type StoredCommit } from "@millrace/journal"
import { type Cut, type FactId, filterOf, type MillFact, type Principal, trigger, type WorkspaceName } from "@millrace/schemas"
import { supervise } from "@millrace/service"
import { Clock, Context, Effect, Layer, Queue, Schedule, type Scope } from "effect"
import { TriggerBook } from "../domain/trigger.ts"

type Word = Extract<MillFact, { _tag: "TriggerDefined" | "TriggerRemoved" | "TriggerFired" | "TriggerRefused" }>
type Unsaid = CommitRefused | JournalUnavailable

const everyTenMs = Schedule.spaced("10 millis")

/** What is known and said of triggers: a live fold of their stories, and the one way to add to it. */
export class TriggerWords extends Context.Service<TriggerWords, {
  readonly book: TriggerBook
  /** Says a word behind everything that is said already. Of what came of one event only the first word is said. */
  readonly say: (word: Word, actor: Principal, causedBy?: FactId) => Effect.Effect<Cut, Unsaid>
  /** Tells of each word as it is heard, the ones of the past first. */
  readonly words: Effect.Effect<Queue.Dequeue<Word>, never, Scope.Scope>
}>()("millrace/gateway/TriggerWords") {
  static readonly layer: Layer.Layer<TriggerWords, never, Journal> = Layer.effect(TriggerWords, Effect.gen(function*() {
    const journal = yield* Journal
    const book = new TriggerBook()
    const past: Array<Word> = []
    const listeners = new Set<Queue.Queue<Word>>()
    let heardUpTo = 0

    const hear = (commits: ReadonlyArray<StoredCommit>): void => {
      for (const commit of commits) {
        if (commit.place.sequence <= heardUpTo) continue
        for (const { event } of readable(commit).facts) {
          book.hear(event, commit.place)
          const word = event as Word
          if (word._tag === "TriggerDefined" || word._tag === "TriggerRemoved") past.push(word)
          for (const listener of listeners) Queue.offerUnsafe(listener, word)
        }
        heardUpTo = commit.place.sequence
      }
    }

    const follow = Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("GATEWAY", { after: heardUpTo, filter: filterOf(trigger) })
      return yield* Effect.forever(Effect.map(reader.take, hear))
    }))
    yield* Effect.forkScoped(supervise(follow, { name: "gateway.trigger-words" }))

    const say = (word: Word, actor: Principal, causedBy?: FactId): Effect.Effect<Cut, Unsaid> =>
      Effect.gen(function*() {
        const subject = { kind: "trigger", scope: word.workspace }
        const before = yield* journal.last(subject)
        const sequence = before?.place.sequence ?? 0
        // What another gateway said a moment ago is heard before this one speaks.
        if (sequence > heardUpTo) yield* catchUp(word.workspace, sequence)
        if ((word._tag === "TriggerFired" || word._tag === "TriggerRefused") && book.hasTold(word, word.event)) return { GATEWAY: sequence }
        const happenedAtMs = yield* Clock.currentTimeMillis
        const id = deriveId<FactId>("fct", happenedAtMs, word.workspace, word.trigger, word._tag, sequence)
        const appended = yield* journal.append(
          { subject, actor, happenedAtMs, facts: [{ id, partOf: id, event: word, ...(causedBy === undefined ? {} : { causedBy }) }] },
          { last: "subject", sequence }
        )
        return cutOf(appended)
      }).pipe(
        Effect.retry({ times: 20, while: (error) => error._tag === "Overtaken" }),
        Effect.catchTag("Overtaken", (error) => Effect.die(error))
      )

    /** Waits until the follower has heard a sequence; a follower that lags behind the log for long is a silent log. */
    const catchUp = (workspace: WorkspaceName, sequence: number) =>
      Effect.suspend(() => heardUpTo >= sequence ? Effect.void : Effect.fail("behind" as const)).pipe(
        Effect.retry({ times: 500, schedule: everyTenMs }),
        Effect.catch(() => Effect.logWarning(`The triggers of ${workspace} are heard late`))
      )

    return {
      book,
      say,
      words: Effect.acquireRelease(
        Effect.gen(function*() {
          const listener = yield* Queue.unbounded<Word>()
          for (const word of past) Queue.offerUnsafe(listener, word)
          listeners.add(listener)
          return listener
        }),
        (listener) => Effect.sync(() => void listeners.delete(listener))
      )
    }
  }))
}
