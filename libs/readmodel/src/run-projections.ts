import { headsOf, Journal, type JournalUnavailable, type StoredCommit } from "@millrace/journal"
import type { Cut } from "@millrace/schemas"
import { Cause, Effect, Layer, Metric, Option, Queue, type Scope } from "effect"
import { attempt, Database, DatabaseUnavailable, type StatementFailed, told } from "./database.ts"
import { dropOlder, type Edition, openEdition, serve } from "./edition.ts"
import type { Projection } from "./projection.ts"
import { type Aside, markTold, untold } from "./set-aside.ts"
import { behind } from "./standing.ts"
import { type Fenced, writeBatch } from "./write-batch.ts"

export interface RunProjectionsOptions {
  /** The most facts of one transaction; it may be passed by the rest of one commit. 2,000 unless told. */
  readonly batchMax?: number
  /**
   * How long facts may gather behind a small transaction while nobody in this process waits for them, in ms. A fact
   * that comes alone is written at once; behind a transaction that had none, four times as long. 25 unless told.
   */
  readonly gatherMs?: number
  /** How often progress is looked at, in ms. 5,000 unless told. */
  readonly checkMs?: number
  /** How long a runner that was fenced watches the other before it may take over, in ms. 1,000 unless told. */
  readonly standbyMs?: number
  /**
   * Says a fact that was set aside in the service's own stream (`asideFact`, under an id derived from
   * `asideIdentity`). Called behind the transaction, again after a crash, and until it succeeds.
   */
  readonly tell?: (aside: Aside) => Effect.Effect<void, unknown>
}

const sequenceGauge = Metric.gauge("millrace_projection_position")
const lagGauge = Metric.gauge("millrace_projection_lag")
const stalledGauge = Metric.gauge("millrace_projection_stalled")
const batchFacts = Metric.histogram("millrace_projection_batch_facts", { boundaries: Metric.boundariesFromIterable([1, 3, 10, 30, 100, 300, 1000, 3000]) })
const setAside = Metric.counter("millrace_projection_set_aside_total", { incremental: true })
const fenced = Metric.counter("millrace_projection_fenced_total", { incremental: true })

/**
 * Runs projections for as long as the layer lives, each on its own: a batch is what has gathered while
 * the last one was written and a little longer, so batches are small when it is quiet and grow under load. Postgres or the
 * log going away stops nothing for good: each begins again where its rows stand. Building and swapping
 * a raised version happens here too.
 */
export const runProjections = (
  projections: ReadonlyArray<Projection>,
  options: RunProjectionsOptions = {}
): Layer.Layer<never, never, Database | Journal> =>
  Layer.effectDiscard(Effect.forEach(projections, (projection) => Effect.forkScoped(runProjection(projection, options)), { discard: true }))

/** A transaction of fewer facts is small: the next one may wait for company. */
const smallFacts = 200

/** Runs one projection until interrupted. */
export const runProjection = (projection: Projection, options: RunProjectionsOptions = {}): Effect.Effect<never, never, Database | Journal> =>
  Effect.gen(function*() {
    const pace = { failures: 0 }
    while (true) {
      const exit = yield* Effect.exit(Effect.scoped(run(projection, options, pace)))
      const cause = exit._tag === "Failure" ? exit.cause : undefined
      const error = Option.getOrUndefined(cause === undefined ? Option.none() : Cause.findErrorOption(cause))
      if (error?._tag === "Fenced") yield* standBy(projection, options)
      else if (error !== undefined) yield* Effect.logWarning(`${projection.name} begins again: ${error.message}`)
      else yield* Effect.logError(`${projection.name} met a bug and begins again`, cause)
      yield* Effect.sleep(Math.min(5_000, 50 * 2 ** pace.failures))
      pace.failures = Math.min(10, pace.failures + 1)
    }
  }).pipe(Effect.annotateLogs({ projection: projection.name }))

/** What a run knows besides its rows. */
interface Run {
  readonly projection: Projection
  readonly edition: Edition
  position: Cut
  ready: boolean
  /** The heads to reach before an edition that is being built may be served. */
  goal: Cut
}

const run = Effect.fnUntraced(function*(
  projection: Projection,
  options: RunProjectionsOptions,
  pace: { failures: number }
): Effect.fn.Return<never, Fenced | DatabaseUnavailable | StatementFailed | JournalUnavailable, Database | Journal | Scope.Scope> {
  const batchMax = options.batchMax ?? 2_000
  const { standing } = yield* Database
  const journal = yield* Journal
  const edition = yield* openEdition(projection, journal.epoch)
  const run: Run = { projection, edition, position: edition.position, ready: edition.ready, goal: yield* headsOf(projection.hears) }
  yield* Effect.acquireRelease(
    Effect.sync(() => standing.moved(edition.schema, run.position)),
    () => Effect.sync(() => standing.left(edition.schema))
  )
  const heard = yield* listen(projection, run.position, batchMax)
  yield* serveWhenCaughtUp(run, batchMax)
  yield* tellAll(run, options)
  const work = Effect.forever(Effect.gen(function*() {
    const commits = yield* gather(heard, batchMax)
    const written = yield* writeBatch(projection, edition, run.position, commits)
    run.position = written.position
    pace.failures = 0
    standing.moved(edition.schema, run.position)
    yield* Metric.update(Metric.withAttributes(batchFacts, { projection: projection.name }), written.facts)
    if (!run.ready) yield* serveWhenCaughtUp(run, batchMax)
    if (written.asides.length > 0) yield* reportAsides(run, written.asides, options)
    // Each transaction costs Postgres and us the same, however little is in it; one that only moves the position has least haste.
    const gatherMs = (options.gatherMs ?? 25) * (written.facts === 0 ? 4 : 1)
    if (run.ready && written.facts < smallFacts) yield* Effect.raceFirst(standing.awaited(edition.schema), Effect.sleep(gatherMs))
  }))
  return yield* Effect.raceFirst(work, watch(run, options))
})

/** One pump a stream into one queue. It is bounded, so that a slow Postgres slows the readers. */
const listen = Effect.fnUntraced(function*(projection: Projection, position: Cut, batchMax: number) {
  const journal = yield* Journal
  const heard = yield* Queue.bounded<ReadonlyArray<StoredCommit>, JournalUnavailable>(4)
  for (const stream of projection.hears) {
    const reader = yield* journal.read(stream, { after: position[stream] ?? 0, batchMax: Math.max(1, batchMax >> 1) })
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(reader.take, (commits) => Queue.offer(heard, commits))).pipe(
        Effect.catch((error) => Queue.fail(heard, error))
      )
    )
  }
  return heard
})

/** Waits for something, then takes what is there, up to a bound. */
const gather = Effect.fnUntraced(function*(heard: Queue.Dequeue<ReadonlyArray<StoredCommit>, JournalUnavailable>, batchMax: number) {
  const commits = [...(yield* Queue.take(heard))]
  let facts = count(commits)
  while (facts < batchMax) {
    const more = yield* Queue.poll(heard)
    if (Option.isNone(more)) break
    commits.push(...more.value)
    facts += count(more.value)
  }
  return commits
})

const count = (commits: ReadonlyArray<StoredCommit>): number => commits.reduce((sum, { facts }) => sum + facts.length, 0)

const total = (cut: Cut): number => Object.values(cut).reduce((sum, missing) => sum + missing, 0)

/** Near enough: what is missing fits into one more batch, so readers do not step back when they turn. */
const serveWhenCaughtUp = Effect.fnUntraced(function*(run: Run, batchMax: number) {
  const { standing } = yield* Database
  if (!run.ready) {
    if (total(behind(run.position, run.goal)) > 0) return
    run.goal = yield* headsOf(run.projection.hears)
    if (total(behind(run.position, run.goal)) > batchMax) return
    yield* serve(run.projection, run.edition)
    run.ready = true
    yield* Effect.logInfo(`${run.projection.name} is served from version ${run.edition.version}`)
  }
  standing.serves(run.projection.name, run.edition.version, run.edition.schema)
  yield* dropOlder(run.projection, run.edition)
})

const reportAsides = Effect.fnUntraced(function*(run: Run, asides: ReadonlyArray<Aside>, options: RunProjectionsOptions) {
  for (const { name, ordinal, reason, sequence, stream } of asides) {
    yield* Metric.update(Metric.withAttributes(setAside, { projection: run.projection.name, reason }), 1)
    yield* Effect.logError(`${run.projection.name} set ${name} at ${stream} ${sequence}/${ordinal} aside (${reason}) and goes on; read why in millrace.set_aside`)
  }
  yield* tellAll(run, options)
})

/** Tells of each until all are told. A failure is left for the next look at progress: facts go on meanwhile. */
const tellAll = Effect.fnUntraced(function*({ edition, projection }: Run, { tell }: RunProjectionsOptions) {
  if (tell === undefined) return
  const { transact } = yield* Database
  while (true) {
    const asides = yield* transact("looking for what was set aside", (tx) => attempt(() => untold(tx, projection.name, edition)))
    for (const aside of asides) {
      const outcome = yield* Effect.exit(tell(aside))
      if (outcome._tag === "Failure") {
        yield* Effect.logWarning(`${projection.name} could not tell of a fact that it set aside; it will try again`, outcome.cause)
        return
      }
      yield* transact("noting what was told", (tx) => attempt(() => markTold(tx, aside)))
    }
    if (asides.length === 0) return
  }
})

/**
 * Compares the position with the heads. Standing still while a stream grows is an alarm. Rows that are
 * older than what was written here (somebody dropped or restored the database) end the run: the next
 * one begins where they stand.
 */
const watch = Effect.fnUntraced(function*(run: Run, options: RunProjectionsOptions): Effect.fn.Return<never, DatabaseUnavailable | StatementFailed, Database | Journal> {
  const { name, hears } = run.projection
  let before = run.position
  let due: ReturnType<typeof behind> = {}
  let older = 1
  while (true) {
    yield* Effect.sleep(options.checkMs ?? 5_000)
    yield* tellAll(run, options)
    const written = run.position
    const stored = yield* storedPosition(run.projection)
    if (hears.some((stream) => (stored[stream] ?? 0) < (written[stream] ?? 0))) {
      return yield* new DatabaseUnavailable({ doing: `watching ${name}`, detail: "its rows are older than what was written" })
    }
    const looked = yield* Effect.exit(headsOf(hears))
    if (looked._tag === "Failure") continue
    const { position } = run
    const missing = behind(position, looked.value)
    for (const stream of hears) {
      yield* Metric.update(Metric.withAttributes(sequenceGauge, { projection: name, stream }), position[stream] ?? 0)
      yield* Metric.update(Metric.withAttributes(lagGauge, { projection: name, stream }), missing[stream] ?? 0)
    }
    // What came in this moment is behind and yet nobody's fault: it is what was due at the last look that had time.
    const stalled = hears.filter((stream) => missing[stream] !== undefined && due[stream] !== undefined && position[stream] === before[stream])
    due = missing
    yield* Metric.update(Metric.withAttributes(stalledGauge, { projection: name }), stalled.length)
    if (stalled.length > 0) yield* Effect.logError(`${name} stands still: ${stalled.map((stream) => `${missing[stream]} behind on ${stream}`).join(", ")}`)
    before = position
    if (run.ready && older > 0) older = yield* Effect.orElseSucceed(dropOlder(run.projection, run.edition), () => 1)
  }
})

/** Another runner is at work. Waits until that one stands still behind the head. */
const standBy = Effect.fnUntraced(function*(projection: Projection, { standbyMs = 1_000 }: RunProjectionsOptions) {
  yield* Metric.update(Metric.withAttributes(fenced, { projection: projection.name }), 1)
  yield* Effect.logInfo(`${projection.name} is written by another process; standing by`)
  let before: Cut | undefined
  while (true) {
    const position = yield* Effect.exit(storedPosition(projection))
    const heads = yield* Effect.exit(headsOf(projection.hears))
    if (position._tag === "Failure" || heads._tag === "Failure") return
    const stands = before !== undefined && projection.hears.every((stream) => before?.[stream] === position.value[stream])
    if (stands && total(behind(position.value, heads.value)) > 0) return
    before = position.value
    yield* Effect.sleep(standbyMs)
  }
})

const storedPosition = Effect.fnUntraced(function*({ name, version }: Projection) {
  const { epoch } = yield* Journal
  const { db } = yield* Database
  const rows = yield* attempt(() =>
    db.selectFrom("millrace.positions").select(["stream", "sequence"])
      .where("projection", "=", name).where("version", "=", version).where("epoch", "=", epoch).execute()).pipe(
    Effect.mapError(({ cause }) => told(`looking where ${name} stands`, cause)))
  return Object.fromEntries(rows.map(({ sequence, stream }) => [stream as string, sequence as number])) as Cut
})
