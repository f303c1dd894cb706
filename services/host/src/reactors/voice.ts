import { type Commit, Journal, type JournalShape, type JournalUnavailable, type NewFact, type StoredCommit } from "@millrace/journal"
import type { FactId, Principal, Subject } from "@millrace/schemas"
import { Clock, Deferred, Effect, Fiber, Queue, type Scope } from "effect"

/** One subject's only writer. */
export interface Voice {
  /**
   * Says facts in order; succeeds once the log holds them and `noted` has run. The next commit is not sent
   * before that, so what is not noted can only be in the last commit. Dies once the voice is lost.
   */
  readonly say: (facts: ReadonlyArray<NewFact>, noted: Effect.Effect<void>) => Effect.Effect<void>
  /** The last commit before this voice was opened: said, and perhaps not noted. Nothing older is in doubt. */
  readonly inDoubt: StoredCommit | undefined
  /** Never succeeds; dies when the voice can say no more. */
  readonly lost: Effect.Effect<never>
}

interface Telling {
  readonly facts: ReadonlyArray<NewFact>
  readonly noted: Effect.Effect<void>
  readonly told: Deferred.Deferred<void>
}

const waitingMax = 4096
/** As many facts as a commit may hold without nearing the server's limit of 1 MiB. */
const commitFactsMax = 512

/**
 * Speaks on one subject that nobody else writes: what is to be said while an append is under way goes
 * together into the next commit, so a busy host costs one fsync for many facts.
 *
 * After a crash only the last commit on the subject can be in doubt, because each one is known before the
 * next is sent. Whoever opens the voice notes what is in it before saying more, for then it is no longer
 * the last; and until then telling its facts again adds nothing.
 */
export const openVoice = Effect.fnUntraced(function*(subject: Subject, actor: Principal): Effect.fn.Return<Voice, JournalUnavailable, Journal | Scope.Scope> {
  const journal = yield* Journal
  const newest = yield* journal.last(subject)
  const inDoubt = new Set<FactId>(newest?.facts.map(({ id }) => id))
  const waiting = yield* Queue.bounded<Telling>(waitingMax)
  let sequence = newest?.place.sequence ?? 0
  const speaking = yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    const tellings = yield* gathered(waiting)
    const facts = tellings.flatMap(({ facts }) => facts).filter(({ id }) => !inDoubt.has(id))
    if (facts.length > 0) {
      const happenedAtMs = yield* Clock.currentTimeMillis
      sequence = yield* append(journal, { subject, actor, facts: facts as unknown as Commit["facts"], happenedAtMs }, sequence)
    }
    for (const { noted, told } of tellings) {
      yield* noted
      Deferred.doneUnsafe(told, Effect.void)
    }
  })))
  // Whoever waits for a word must not wait for ever when nobody can say it.
  const lost = Fiber.join(speaking)
  return {
    inDoubt: newest,
    lost,
    say: (facts, noted) =>
      Effect.gen(function*() {
        const told = yield* Deferred.make<void>()
        yield* Queue.offer(waiting, { facts, noted, told })
        yield* Effect.raceFirst(Deferred.await(told), lost)
      })
  }
})

/**
 * Another agent with this host's key has spoken: two of them on one machine would start everything twice.
 * There is nothing to decide here, so it is a bug, and the process goes.
 */
const append = (journal: JournalShape, commit: Commit, sequence: number): Effect.Effect<number> =>
  journal.append(commit, { last: "subject", sequence }).pipe(Effect.map((appended) => appended.sequence), Effect.orDie)

const gathered = (waiting: Queue.Queue<Telling>): Effect.Effect<ReadonlyArray<Telling>> =>
  Effect.gen(function*() {
    const first = yield* Queue.take(waiting)
    const tellings = [first]
    let facts = first.facts.length
    while (facts < commitFactsMax && Queue.sizeUnsafe(waiting) > 0) {
      const next = yield* Queue.take(waiting)
      tellings.push(next)
      facts += next.facts.length
    }
    return tellings
  })
