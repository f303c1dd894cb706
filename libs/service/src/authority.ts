import { type Ask, type Decision, decide, emptyView, evolve, staleView, type View } from "@millrace/authority"
import { Journal, type JournalUnavailable, Pulse, readable, type Reader, type StoredCommit } from "@millrace/journal"
import type { Cut } from "@millrace/schemas"
import { Clock, Context, Effect, Latch, Layer, Option, type Scope, Semaphore, Stream } from "effect"
import { supervise } from "./supervise.ts"

/** A decision and the ground that it was made on: what a fact about it carries. */
export interface Decided {
  readonly ask: Ask
  readonly decision: Decision
  readonly view: Cut
  readonly viewAgeMs: number
  readonly decidedAtMs: number
}

export interface AuthorityShape {
  /** The live view. It changes in place: read it, and keep nothing of it. */
  readonly view: View
  /** How far the view has come. */
  readonly cut: () => Cut
  /** How long ago the view is known to have been complete, in ms. */
  readonly ageMs: Effect.Effect<number>
  /**
   * Decides now. Before a no is given the view is brought up to the stream's head once, so that what access
   * has answered holds from that answer on. A view older than `ageMsMax` allows nothing.
   */
  readonly decide: (ask: Ask, ageMsMax?: number) => Effect.Effect<Decided>
  /** Waits until the view has reached what the stream holds by now, at most `waitMsMax`; says whether it has. */
  readonly catchUp: (waitMsMax: number) => Effect.Effect<boolean>
}

/** How old a view may be where something is begun under it, in ms: the default of a submission. */
export const VIEW_AGE_MS_MAX = 30_000
/** How long a no waits for the newest facts of access, in ms. */
const catchUpMsMax = 2_000
/** How many questions to the log may be under way at once. */
const questionsMax = 8
/** How often a process that hears no pulses looks itself, in ms. */
const lookMs = 250

/**
 * Who may do what, as a live view of access's facts in this process. A fact there that cannot be read stops
 * the view where it is: it grows old, and gates say no, rather than to overlook what was taken away.
 */
export class Authority extends Context.Service<Authority, AuthorityShape>()("millrace/Authority") {
  /**
   * Begins with everything that access has said by now. It hears access's pulse where there is one (`Pulse`),
   * and otherwise asks the log how far the stream is.
   */
  static readonly layer: Layer.Layer<Authority, JournalUnavailable, Journal> = Layer.effect(Authority, Effect.suspend(() => openAuthority))
}

const openAuthority: Effect.Effect<AuthorityShape, JournalUnavailable, Journal | Scope.Scope> = Effect.gen(function*() {
  const journal = yield* Journal
  const pulse = yield* Effect.serviceOption(Pulse)
  const view = emptyView()
  const moved = yield* Latch.make(false)
  const known = { sequence: 0, completeAtMs: yield* Clock.currentTimeMillis, stopped: "" }
  /** Heads that were seen before the view had reached them, oldest first. */
  let ahead: Array<{ readonly headSeq: number; readonly seenAtMs: number }> = []

  const settle = () => {
    const reached = ahead.findLast(({ headSeq }) => headSeq <= known.sequence)
    if (reached !== undefined) known.completeAtMs = Math.max(known.completeAtMs, reached.seenAtMs)
    ahead = ahead.filter(({ headSeq }) => headSeq > known.sequence)
  }
  const seen = (headSeq: number, seenAtMs: number) => {
    ahead.push({ headSeq, seenAtMs })
    // Only the first head that is not reached yet can make the view younger next; a bound, not a history.
    if (ahead.length > 256) ahead.splice(1, ahead.length - 256)
    settle()
  }
  const hear = (commits: ReadonlyArray<StoredCommit>) => {
    for (const commit of commits) {
      if (commit.place.sequence <= known.sequence) continue
      const { facts, unreadable } = readable(commit)
      const unknown = unreadable.find(({ reason }) => commit.mustUnderstand || reason.reason !== "no such fact is known here")
      if (unknown !== undefined) {
        known.stopped = `${unknown.name} at ACCESS ${commit.place.sequence}`
        return
      }
      for (const { event } of facts) evolve(view, event)
      known.sequence = commit.place.sequence
    }
    settle()
    moved.openUnsafe()
  }

  const follow = Effect.scoped(Effect.gen(function*() {
    const reader: Reader = yield* journal.read("ACCESS", { after: known.sequence })
    while (known.stopped === "") hear(yield* reader.take)
    yield* Effect.logError(`The view of authority stops before ${known.stopped}, which this program cannot read: gates will refuse. Run a newer Millrace`)
    return yield* Effect.never
  }))
  const reach = (headSeq: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (known.sequence >= headSeq) return Effect.void
      moved.closeUnsafe()
      return Effect.andThen(moved.await, reach(headSeq))
    })

  const look = Effect.gen(function*() {
    const atMs = yield* Clock.currentTimeMillis
    const headSeq = yield* journal.head("ACCESS")
    seen(headSeq, atMs)
    return headSeq
  })
  const listen = Option.match(pulse, {
    onNone: () => Effect.forever(Effect.andThen(look, Effect.sleep(lookMs))),
    onSome: ({ heard }) =>
      Effect.scoped(Effect.flatMap(heard("access"), Stream.runForEach(({ headSeq }) =>
        Effect.map(Clock.currentTimeMillis, (atMs) => seen(headSeq, atMs)))))
  })

  yield* Effect.forkScoped(supervise(follow, { name: "authority.follow" }))
  yield* Effect.flatMap(look, reach)
  yield* Effect.forkScoped(supervise(listen, { name: "authority.listen" }))

  // Whoever guesses tokens makes us ask; a few questions at a time are enough for everybody.
  const asking = yield* Semaphore.make(questionsMax)
  const newest = asking.withPermits(1)(look)
  const catchUp: AuthorityShape["catchUp"] = (waitMsMax) =>
    Effect.flatMap(newest, reach).pipe(
      Effect.as(true),
      Effect.timeoutOrElse({ duration: waitMsMax, orElse: () => Effect.succeed(false) }),
      Effect.catch(() => Effect.succeed(false))
    )
  const ageMs = Effect.map(Clock.currentTimeMillis, (nowMs) => Math.max(0, nowMs - known.completeAtMs))
  const cut = (): Cut => ({ ACCESS: known.sequence })
  const decideNow = (ask: Ask, ageMsMax: number) =>
    Effect.gen(function*() {
      const decidedAtMs = yield* Clock.currentTimeMillis
      const viewAgeMs = Math.max(0, decidedAtMs - known.completeAtMs)
      const decision = viewAgeMs > ageMsMax ? staleView(ask) : decide(view, ask, decidedAtMs)
      return { ask, decision, view: cut(), viewAgeMs, decidedAtMs }
    })

  return {
    view,
    cut,
    ageMs,
    catchUp,
    decide: (ask, ageMsMax = VIEW_AGE_MS_MAX) =>
      Effect.flatMap(decideNow(ask, ageMsMax), (first) =>
        first.decision.verdict === "allow" ? Effect.succeed(first) : Effect.andThen(catchUp(catchUpMsMax), decideNow(ask, ageMsMax)))
  }
})
