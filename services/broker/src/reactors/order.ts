import { deriveId } from "@millrace/decider"
import {
  type Checkpoint, Checkpoints, type Commit, type CommitRefused, commitsOf, crashPoint, foldCommit, foreseen, headsOf, Journal, type JournalUnavailable,
  type MustStepDown, type NewFact, Overtaken, type Round, type StoredCommit
} from "@millrace/journal"
import type { BrokerTookOver, Cut, FactId, MillFact, Subject } from "@millrace/schemas"
import { Clock, Effect, Queue, Random, type Scope, Semaphore } from "effect"
import { broker } from "../domain/broker.ts"
import { dueAfterMs } from "../domain/decide.ts"
import type { State } from "../domain/state.ts"

/** What somebody saw outside of the log, to be told on one subject. It is no decision: a replay takes it as it stands. */
export interface Observed {
  readonly subject: Subject
  readonly event: MillFact
  readonly partOf?: FactId
  readonly causedBy?: FactId
}

/** The one order of BROKER, and what it leads to. */
export interface Order {
  /** As it is folded now. Changes in place; read it, never keep it over a wait. */
  readonly state: () => State
  /** Looks at the state and says what was seen, with nothing said between the two. Nothing to say is fine. */
  readonly observe: (seen: (state: State, atMs: number) => ReadonlyArray<Observed>) => Effect.Effect<void, Broken>
  /** Waits until something was folded after the given number of changes; answers the new number. */
  readonly changed: (since: number) => Effect.Effect<number>
  /** Folds what is heard and decides, until it is overtaken or the log is gone. */
  readonly run: Effect.Effect<never, Broken>
}

export type Broken = Overtaken | CommitRefused | JournalUnavailable | MustStepDown

export interface OrderOptions {
  /** Adds what is no part of the decision: the digest of the one-time key, whose secret is not in the log. */
  readonly finish: (commit: Commit) => Commit
  readonly bounds: Omit<BrokerTookOver, "_tag" | "term" | "broker" | "codeVersion">
  readonly checkpointEvery?: number
}

/** How long it sleeps at most between two decisions, in ms. */
const waitMsMax = 60_000

/**
 * Takes over the order of BROKER: folds everything, then says who decides from here on. Each append expects the
 * stream's last sequence, so of two brokers only one can go on: the other's next word fails with `Overtaken`.
 * Commits follow each other one at a time; a broker says few things, and each of them may cost money.
 */
export const openOrder = Effect.fnUntraced(function*({ bounds, checkpointEvery = 100_000, finish }: OrderOptions): Effect.fn.Return<
  Order,
  Broken,
  Journal | Checkpoints | Scope.Scope
> {
  const journal = yield* Journal
  const checkpoints = yield* Checkpoints
  const restored = yield* restore
  let state = restored.state
  const saw: Record<string, number> = { ...restored.saw }
  let folded = 0
  let changes = 0
  let lastAtMs = 0
  const waiting = new Set<() => void>()
  const inTurn = yield* Semaphore.make(1)

  const fold = (commit: StoredCommit): void => {
    if (commit.place.sequence <= (saw[commit.place.stream] ?? 0)) return
    state = foldCommit(broker, state, commit)
    saw[commit.place.stream] = commit.place.sequence
    folded += commit.facts.length
    changes += 1
  }
  const wake = (): void => {
    // Who is woken may wait again at once, for the next change: that is none of this turn.
    const woken = [...waiting]
    waiting.clear()
    for (const one of woken) one()
  }
  /** Never goes back: a decision may not lie before the one that it follows. */
  const now = Effect.map(Clock.currentTimeMillis, (atMs) => (lastAtMs = Math.max(lastAtMs, atMs)))

  const append = Effect.fnUntraced(function*(commit: Commit) {
    const sequence = saw["BROKER"] ?? 0
    const stored = yield* journal.append(commit, { last: "stream", sequence })
    fold(foreseen(commit, "BROKER", stored.sequence, journal.epoch))
  })

  const catchUp = Effect.fnUntraced(function*() {
    for (const stream of [broker.writes, ...broker.hears]) {
      const head = yield* journal.head(stream)
      if ((saw[stream] ?? 0) >= head) continue
      yield* Effect.scoped(Effect.gen(function*() {
        const reader = yield* journal.read(stream, { after: saw[stream] ?? 0 })
        while ((saw[stream] ?? 0) < head) for (const commit of yield* reader.take) fold(commit)
      }))
    }
  })

  const takeOver = Effect.gen(function*() {
    const atMs = yield* now
    // Two that take over from one place in one millisecond must not take each other's word for their own.
    const nonce = yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)
    const id = deriveId<FactId>("fct", atMs, broker.name, "took over", journal.epoch, saw["BROKER"] ?? 0, nonce)
    const event: BrokerTookOver = { _tag: "BrokerTookOver", term: state.term + 1, broker: broker.actor, codeVersion: broker.codeVersion, ...bounds }
    yield* append({
      subject: { kind: "brokerage", scope: "cell" },
      actor: broker.actor,
      happenedAtMs: atMs,
      facts: [{ id, partOf: id, event, mustUnderstand: true }]
    })
  })

  /** Decides until there is nothing more to say. */
  const decideAll = Effect.gen(function*() {
    while (true) {
      const round: Round = { atMs: yield* now, epoch: journal.epoch, saw: { ...saw }, silences: [] }
      const commits = commitsOf(broker, round, broker.decide(state, round))
      if (commits.length === 0) break
      yield* crashPoint("round broker decided")
      for (const commit of commits) yield* append(finish(commit))
    }
    wake()
  })

  const observe: Order["observe"] = (seen) =>
    inTurn.withPermits(1)(Effect.gen(function*() {
      const atMs = yield* now
      for (const { causedBy, event, partOf, subject } of seen(state, atMs)) {
        const id = deriveId<FactId>("fct", atMs, broker.name, "saw", event._tag, subject.scope, subject.story ?? "", saw["BROKER"] ?? 0)
        const fact: NewFact = { id, event, partOf: partOf ?? id, ...(causedBy === undefined ? {} : { causedBy }) }
        yield* append({ subject, actor: broker.actor, happenedAtMs: atMs, facts: [fact] })
      }
      yield* decideAll
    }))

  /** Whatever is said in our stream and not by us ends us, before it could be taken for ground to stand on. */
  const ownedStill = (batch: ReadonlyArray<StoredCommit>): Effect.Effect<void, Overtaken> => {
    const own = saw["BROKER"] ?? 0
    const stranger = batch.find(({ place }) => place.stream === "BROKER" && place.sequence > own)
    return stranger === undefined ? Effect.void : Effect.fail(new Overtaken({ where: "BROKER", expected: own, actual: stranger.place.sequence }))
  }

  const listen = Effect.gen(function*() {
    const heard = yield* Queue.bounded<ReadonlyArray<StoredCommit>, JournalUnavailable>(256)
    for (const stream of [broker.writes, ...broker.hears]) {
      const reader = yield* journal.read(stream, { after: saw[stream] ?? 0 })
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(reader.take, (commits) => Queue.offer(heard, commits))).pipe(
        Effect.catch((error) => Queue.fail(heard, error))
      ))
    }
    return heard
  })

  const checkpoint = Effect.gen(function*() {
    if (folded < checkpointEvery) return
    folded = 0
    const saved = broker.save(state)
    yield* checkpoints.save({ fold: broker.name, codeVersion: broker.codeVersion, epoch: journal.epoch, saw: { ...saw }, state: saved })
  })

  yield* catchUp()
  yield* takeOver

  return {
    state: () => state,
    observe,
    changed: (since) =>
      Effect.suspend(() => changes > since ? Effect.succeed(changes) : Effect.callback<number>((resume) => {
        const tell = () => resume(Effect.succeed(changes))
        waiting.add(tell)
        return Effect.sync(() => void waiting.delete(tell))
      })),
    run: Effect.scoped(Effect.gen(function*() {
      const heard = yield* listen
      while (true) {
        yield* inTurn.withPermits(1)(Effect.andThen(decideAll, checkpoint))
        const atMs = yield* Clock.currentTimeMillis
        const due = dueAfterMs(state, lastAtMs)
        const pauseMs = due === undefined ? waitMsMax : Math.max(10, Math.min(waitMsMax, due - atMs))
        const first = yield* Effect.raceFirst(Queue.take(heard), Effect.as(Effect.sleep(pauseMs), []))
        const batches = [first, ...(yield* Queue.clear(heard))]
        yield* inTurn.withPermits(1)(Effect.gen(function*() {
          for (const batch of batches) yield* ownedStill(batch)
          // In the order of streams in which a replay folds.
          for (const stream of broker.hears) for (const batch of batches) if (batch[0]?.place.stream === stream) batch.forEach(fold)
        }))
      }
    }))
  }
})

const restore = Effect.gen(function*() {
  const { epoch } = yield* Journal
  const found: Checkpoint | undefined = yield* Checkpoints.use((checkpoints) => checkpoints.load(broker.name))
  const fresh = { state: broker.initial(), saw: {} as Cut }
  if (found === undefined || found.codeVersion !== broker.codeVersion || found.epoch !== epoch) return fresh
  const heads = yield* headsOf([broker.writes, ...broker.hears])
  return Object.entries(found.saw).every(([stream, sequence]) => sequence <= (heads[stream] ?? 0)) ? { state: broker.load(found.state as never), saw: found.saw } : fresh
})
