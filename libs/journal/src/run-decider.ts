import { deriveId } from "@millrace/decider"
import type { Cut, FactId, MillFact, StreamName, Subject } from "@millrace/schemas"
import { Clock, Deferred, Duration, Effect, Metric, Queue, Random, type Scope } from "effect"
import { type Checkpoint, Checkpoints } from "./checkpoints.ts"
import type { Commit, StoredCommit } from "./commit.ts"
import { appendPoints, CrashPoints, crashPoint } from "./crash.ts"
import { commitsOf, foldCommit, foreseen, MustStepDown, type Silence, type StreamDecider } from "./deciding.ts"
import { type CommitRefused, headsOf, Journal, type JournalUnavailable, type Line, type Overtaken } from "./journal.ts"
import { type Seat, type SeatWord, seatAskEveryMs, seatSilencesMax } from "./seat.ts"

/** How a decider takes over the order of its stream: the fact that makes every append of the one before fail. */
export interface TakeOver<State> {
  readonly subject: Subject
  readonly fact: (state: State) => MillFact
}

export interface RunOptions<State> {
  readonly decider: StreamDecider<State>
  readonly takeOver: TakeOver<State>
  /** Adds to a commit what is no part of the decision, such as a signature whose key is not in the log. */
  readonly finish?: (commit: Commit) => Commit
  /** Instead of `finish`, for all commits of a round at once, where that takes time: nothing is sent or folded before. */
  readonly finishAll?: (commits: ReadonlyArray<Commit>) => Effect.Effect<ReadonlyArray<Commit>>
  /**
   * Told after every round: for views of the live state, such as what answers heartbeats. `last` is the last
   * sequence of the own stream that this decider has written or predicted: what lies behind it is another's.
   */
  readonly watch?: (state: State, saw: Cut, last: number) => void
  /** Who is silent at a time, in the order of the hosts' ids; and when, as far as is known now, somebody will be. */
  readonly listening?: {
    readonly silences: (atMs: number) => ReadonlyArray<Silence>
    readonly dueAtMs: () => number | undefined
  }
  /** Where whoever decides sits: while another does, this one follows the log as a standby, and takes over when that falls silent. */
  readonly seat?: Seat["Service"] | undefined
  /** Facts folded between two checkpoints, at least: more of them where writing one takes long. */
  readonly checkpointEvery?: number
  /** Appends that may be under way at once. */
  readonly windowMax?: number
}

const rounds = Metric.counter("millrace_decider_rounds_total", { incremental: true })
const folded = Metric.counter("millrace_decider_facts_folded_total", { incremental: true })
const frozen = Metric.counter("millrace_decider_unreadable_total", { incremental: true })

interface Standing<State> {
  state: State
  saw: Record<string, number>
}

/**
 * Runs a decider for as long as it owns the order of its stream: catches up, takes over, then round by
 * round folds what has gathered and says what follows from it, predicting sequences so that nothing
 * waits for an answer. Ends with `Overtaken` when another one took over; whoever supervises it starts
 * it anew, and it looks again. A crash anywhere loses nothing: what is left to do is state.
 */
export const runDecider = <State>(options: RunOptions<State>): Effect.Effect<
  never,
  Overtaken | CommitRefused | JournalUnavailable | MustStepDown,
  Journal | Checkpoints
> => Effect.scoped(run(options))

const run = Effect.fnUntraced(function*<State>(options: RunOptions<State>) {
  const { decider } = options
  const journal = yield* Journal
  // Looked up once: where nothing listens, a commit costs nothing more.
  const mayCrash = (yield* CrashPoints) !== undefined
  const standing = yield* restore(decider)
  const kept: Kept = { at: standing.saw[decider.writes] ?? 0 }
  let since = yield* catchUp(decider, standing)
  if (options.seat !== undefined) since = yield* standBy(options, { standing, kept, since }, options.seat)
  const line = yield* journal.line(decider.writes, standing.saw[decider.writes] ?? 0)
  yield* takeOver(options, standing, line)
  if (options.seat !== undefined) yield* options.seat.hold
  const heard = yield* listen(decider, standing.saw)
  const broken = yield* Deferred.make<never, Overtaken | CommitRefused>()
  const flight = { count: 0 }
  let lastAtMs = 0
  let nextCheckpointAtMs = 0
  while (true) {
    if (Deferred.isDoneUnsafe(broken)) return yield* Deferred.await(broken)
    const atMs = Math.max(lastAtMs, yield* Clock.currentTimeMillis)
    lastAtMs = atMs
    const saw = { ...standing.saw }
    const round = { atMs, epoch: journal.epoch, saw, silences: options.listening?.silences(atMs) ?? [] }
    const decided = commitsOf(decider, round, decider.decide(standing.state, round))
    const commits = options.finishAll === undefined || decided.length === 0 ? decided.map(options.finish ?? same) : yield* options.finishAll(decided)
    yield* Metric.update(rounds, 1)
    if (commits.length > 0) yield* crashPoint(`round ${decider.name} decided`)
    for (const [commit, ...behind] of groupsOf(commits)) {
      if (mayCrash) yield* appendPoints(commit, "before")
      const { outcome, sequence } = line.send(commit, ...behind)
      flight.count += 1
      // Joined by nobody: a failure reaches the loop through `broken`, success needs no word.
      yield* Effect.forkChild((mayCrash ? Effect.tap(outcome, () => appendPoints(commit, "after")) : outcome).pipe(
        Effect.catch((error) => Deferred.fail(broken, error)),
        Effect.ensuring(Effect.sync(() => void (flight.count -= 1)))
      ), { startImmediately: true })
      for (const [at, one] of [commit, ...behind].entries()) {
        standing.saw[decider.writes] = sequence + at
        standing.state = foldCommit(decider, standing.state, foreseen(one, decider.writes, sequence + at, journal.epoch))
      }
    }
    if (commits.length > 0) yield* crashPoint(`round ${decider.name} sent`)
    options.watch?.(standing.state, standing.saw, line.last())
    if (flight.count > (options.windowMax ?? 4096)) yield* drain(flight)
    if (since >= checkpointEvery(options) && atMs >= nextCheckpointAtMs) {
      if ((yield* keptByAnother(decider, kept)) !== "newer") {
        yield* drain(flight)
        if (!Deferred.isDoneUnsafe(broken)) yield* checkpoint(decider, standing, kept)
      }
      since = 0
      const tookMs = (yield* Clock.currentTimeMillis) - atMs
      nextCheckpointAtMs = atMs + tookMs * checkpointShare
    }
    // What a round said may let it say more, such as a retry behind a failure: look again before waiting.
    const batch = commits.length > 0 ? yield* Queue.clear(heard) : yield* gather(heard, broken, waitMs(options, standing.state, atMs))
    since += yield* foldBatch(decider, standing, batch)
  }
})

/** Nothing is decided, or followed, while a checkpoint is written: no more than one part in so many of the time goes into that. */
const checkpointShare = 10

const checkpointEvery = <State>(options: RunOptions<State>): number => options.checkpointEvery ?? 100_000

/** Where in the own stream the newest checkpoint stands that is known here. */
interface Kept {
  at: number
}

const same = (commit: Commit): Commit => commit

/** Commits by what is stored together: most stand alone. */
const groupsOf = (commits: ReadonlyArray<Commit>): ReadonlyArray<readonly [Commit, ...ReadonlyArray<Commit>]> => {
  const groups: Array<[Commit, ...Array<Commit>]> = []
  for (const commit of commits) {
    const group = groups.at(-1)
    if (group !== undefined && commit.together !== undefined && group[0].together === commit.together) group.push(commit)
    else groups.push([commit])
  }
  return groups
}

const waitMs = <State>({ decider, listening }: RunOptions<State>, state: State, atMs: number): number => {
  const due = Math.min(decider.dueAtMs?.(state) ?? Infinity, listening?.dueAtMs() ?? Infinity)
  return Math.max(1, Math.min(60_000, due - atMs))
}

/** Waits until something was heard, something broke, or time itself is due. */
const gather = Effect.fnUntraced(function*(
  heard: Queue.Dequeue<ReadonlyArray<StoredCommit>, JournalUnavailable>,
  broken: Deferred.Deferred<never, Overtaken | CommitRefused>,
  waitMs: number
) {
  const first = yield* Effect.raceFirst(
    Queue.take(heard),
    Effect.raceFirst(Deferred.await(broken), Effect.as(Effect.sleep(Duration.millis(waitMs)), []))
  )
  return [first, ...(yield* Queue.clear(heard))]
})

/** Folds in the decider's own order of streams: the order in which a replay will fold. */
const foldBatch = <State>(
  decider: StreamDecider<State>,
  standing: Standing<State>,
  batches: ReadonlyArray<ReadonlyArray<StoredCommit>>
): Effect.Effect<number, MustStepDown> =>
  fold(decider, standing, decider.hears.flatMap((stream) => batches.filter((commits) => commits[0]?.place.stream === stream)))

/** Folds commits as they come and counts their facts. What must be understood and is not ends the decider. */
const fold = <State>(
  decider: StreamDecider<State>,
  standing: Standing<State>,
  batches: ReadonlyArray<ReadonlyArray<StoredCommit>>
): Effect.Effect<number, MustStepDown> =>
  Effect.try({
    try: () => {
      let count = 0
      let unreadable = 0
      for (const commits of batches) {
        for (const commit of commits) {
          standing.state = foldCommit(decider, standing.state, commit)
          standing.saw[commit.place.stream] = commit.place.sequence
          count += commit.facts.length
          for (const { event } of commit.facts) if (event._tag === "Failure") unreadable += 1
        }
      }
      return { count, unreadable }
    },
    catch: (cause) => {
      if (cause instanceof MustStepDown) return cause
      throw cause
    }
  }).pipe(
    Effect.tap(({ count, unreadable }) =>
      Effect.andThen(
        count > 0 ? Metric.update(folded, count) : Effect.void,
        unreadable > 0
          ? Effect.andThen(Metric.update(frozen, unreadable), Effect.logError(`${decider.name} met ${unreadable} facts that it cannot read; their scopes are frozen`))
          : Effect.void
      )),
    Effect.map(({ count }) => count)
  )

/** From the newest checkpoint of this code in this epoch, else from fact one. */
const restore = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>) {
  const journal = yield* Journal
  const found = yield* Checkpoints.use((checkpoints) => checkpoints.load(decider.name))
  if (found === undefined || !usable(found, decider, journal.epoch)) return fromFactOne(decider)
  const heads = yield* headsOf([...decider.hears, decider.writes])
  const ahead = Object.entries(found.saw).find(([stream, sequence]) => sequence > (heads[stream] ?? 0))
  if (ahead === undefined) return { state: decider.load(found.state as never), saw: { ...found.saw } }
  yield* Effect.logWarning(`The checkpoint of ${decider.name} saw ${ahead.join(" ")}, which this log has not reached: it is another log's, and everything is read again`)
  return fromFactOne(decider)
})

const fromFactOne = <State>(decider: StreamDecider<State>): Standing<State> => ({ state: decider.initial(), saw: {} })

const usable = <State>(found: Pick<Checkpoint, "codeVersion" | "epoch">, decider: StreamDecider<State>, epoch: number): boolean =>
  found.codeVersion === decider.codeVersion && found.epoch === epoch

/**
 * Reads every stream up to its head of now, own stream first: whatever its commits had seen of the others
 * then lies before the heads that are asked for after it. So what this decider has seen never goes back
 * behind what the one before it had seen, and a replay can follow both in one pass.
 */
const catchUp = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>, standing: Standing<State>) {
  const journal = yield* Journal
  let facts = 0
  for (const stream of [decider.writes, ...decider.hears]) {
    const head = yield* journal.head(stream)
    const from = standing.saw[stream] ?? 0
    if (from >= head) continue
    facts += yield* Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read(stream, { after: from })
      let count = 0
      while ((standing.saw[stream] ?? 0) < head) count += yield* fold(decider, standing, [yield* reader.take])
      return count
    }))
  }
  return facts
})

/**
 * Follows the log for as long as another decides, so that taking over costs no more than what came in the last
 * moment. Two that find the seat free at once both take over, and the log lets one of them.
 */
const standBy = Effect.fnUntraced(function*<State>(options: RunOptions<State>, begun: { readonly standing: Standing<State>; readonly kept: Kept; readonly since: number }, seat: Seat["Service"]) {
  const { decider } = options
  const { kept, standing } = begun
  let { since } = begun
  let silences = 0
  const asks = Effect.map(seat.ask, (word) => {
    silences = word === "silent" ? silences + 1 : 0
    return silences >= seatSilencesMax ? "free" : word
  })
  let nextCheckpointAtMs = 0
  for (let asked = 0; ; asked += 1) {
    const word = yield* asks
    if (word === "free") break
    if (asked === 0) yield* Effect.logInfo(`Another ${decider.name} decides: this one stands by, and takes over when that falls silent`)
    since += yield* catchUp(decider, standing)
    const atMs = yield* Clock.currentTimeMillis
    if (since >= checkpointEvery(options) / 2 && atMs >= nextCheckpointAtMs) {
      if ((yield* keepFor(decider, standing, kept, asks)) === "free") break
      since = 0
      nextCheckpointAtMs = atMs + ((yield* Clock.currentTimeMillis) - atMs) * checkpointShare
    }
    if (word === "taken") yield* Effect.sleep(seatAskEveryMs)
  }
  return since + (yield* catchUp(decider, standing))
})

/**
 * A standby writes checkpoints twice as often as whoever decides would, who then finds them there and need not stand
 * still for one of its own. It goes on asking who sits there, and lets the checkpoint be when nobody does. One of
 * another program it leaves alone: whoever decides may be that program, and start from it.
 */
const keepFor = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>, standing: Standing<State>, kept: Kept, asks: Effect.Effect<SeatWord>) {
  if ((yield* keptByAnother(decider, kept)) !== "no") return "kept" as const
  const free = Effect.gen(function*() {
    while (true) {
      const word = yield* asks
      if (word === "free") return word
      if (word === "taken") yield* Effect.sleep(seatAskEveryMs)
    }
  })
  return yield* Effect.raceFirst(Effect.as(checkpoint(decider, standing, kept), "kept" as const), free)
})

/** Whether somebody has written a checkpoint that was not known here: one that this program could start from, or that of another. */
const keptByAnother = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>, kept: Kept) {
  const { epoch } = yield* Journal
  const newest = yield* Checkpoints.use((checkpoints) => checkpoints.newest(decider.name))
  if (newest === undefined) return "no" as const
  if (!newest.sameFacts || !usable(newest, decider, epoch)) return "foreign" as const
  const at = newest.saw[decider.writes] ?? 0
  if (at <= kept.at) return "no" as const
  kept.at = at
  return "newer" as const
})

const takeOver = Effect.fnUntraced(function*<State>({ decider, takeOver }: RunOptions<State>, standing: Standing<State>, line: Line) {
  const journal = yield* Journal
  const atMs = yield* Clock.currentTimeMillis
  // Two that take over from one place in one millisecond must not take each other's word for their own: both would
  // go on, and what one had under way would fit behind what the other has said.
  const nonce = yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)
  const id = deriveId<FactId>("fct", atMs, decider.name, "took over", journal.epoch, line.last(), nonce)
  const commit: Commit = {
    subject: takeOver.subject,
    actor: decider.actor,
    happenedAtMs: atMs,
    facts: [{ id, partOf: id, event: takeOver.fact(standing.state), mustUnderstand: true }]
  }
  yield* appendPoints(commit, "before")
  const { outcome, sequence } = line.send(commit)
  yield* outcome
  yield* appendPoints(commit, "after")
  standing.saw[decider.writes] = sequence
  standing.state = foldCommit(decider, standing.state, foreseen(commit, decider.writes, sequence, journal.epoch))
})

/** One pump a stream into one queue. The queue is bounded, so a slow decider slows its readers. */
const listen = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>, saw: Cut): Effect.fn.Return<
  Queue.Queue<ReadonlyArray<StoredCommit>, JournalUnavailable>,
  JournalUnavailable,
  Journal | Scope.Scope
> {
  const journal = yield* Journal
  const heard = yield* Queue.bounded<ReadonlyArray<StoredCommit>, JournalUnavailable>(256)
  for (const stream of decider.hears) {
    const reader = yield* journal.read(stream as StreamName, { after: saw[stream] ?? 0 })
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(reader.take, (commits) => Queue.offer(heard, commits))).pipe(
        Effect.catch((error) => Queue.fail(heard, error))
      )
    )
  }
  return heard
})

const drain = (flight: { readonly count: number }): Effect.Effect<void> =>
  Effect.suspend(() => flight.count === 0 ? Effect.void : Effect.andThen(Effect.sleep("1 millis"), drain(flight)))

/** Written only when nothing is in flight: a checkpoint holds what the log holds, never a prediction. */
const checkpoint = Effect.fnUntraced(function*<State>(decider: StreamDecider<State>, standing: Standing<State>, kept: Kept) {
  const { epoch } = yield* Journal
  const state = (decider.saveLong ?? decider.save)(standing.state)
  yield* crashPoint(`checkpoint ${decider.name} before`)
  yield* Checkpoints.use((checkpoints) =>
    checkpoints.save({ fold: decider.name, codeVersion: decider.codeVersion, epoch, saw: { ...standing.saw }, state }))
  kept.at = standing.saw[decider.writes] ?? 0
  yield* crashPoint(`checkpoint ${decider.name} after`)
})
