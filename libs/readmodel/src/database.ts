import { Clock, Context, Effect, Exit, Layer, Redacted, Result, Schema, type Scope } from "effect"
import { Kysely, type Transaction } from "kysely"
import { type ConnectionLimits, Connections } from "./connections.ts"
import { openBooks } from "./books.ts"
import { postgresDialect } from "./dialect.ts"
import { isPassing, reasonOf } from "./failure.ts"
import { Standing } from "./standing.ts"

/** Postgres does not answer, or does not let this process work right now. Trying again later may help. */
export class DatabaseUnavailable extends Schema.TaggedError<DatabaseUnavailable>()("DatabaseUnavailable", {
  doing: Schema.String,
  detail: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    return `Postgres does not serve while ${this.doing}: ${this.detail}. Check that it runs, is reachable and has room (millrace doctor)`
  }
}

/** A statement was refused by Postgres, or the function around it threw: sent again it fails again. */
export class StatementFailed extends Schema.TaggedError<StatementFailed>()("StatementFailed", {
  doing: Schema.String,
  detail: Schema.String,
  /** The SQLSTATE, where Postgres gave one (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
  state: Schema.optionalKey(Schema.String),
  cause: Schema.Defect()
}) {
  override get message() {
    return `Postgres refuses ${this.doing}: ${this.detail}. This is a mistake in the statement or its values: correct it and raise the projection's version if its table changes`
  }
}

/** A transaction over any tables: what is inside stands together or not at all. */
export type AnyTransaction = Transaction<any>

export interface DatabaseShape {
  /** Queries outside a transaction, for single statements. */
  readonly db: Kysely<any>
  /**
   * Runs `work` in a transaction: committed if it succeeds, rolled back if it fails or is interrupted,
   * and interrupting waits until it has rolled back. A commit whose answer was lost is `DatabaseUnavailable`:
   * look at what is stored before trying again.
   */
  readonly transact: <A, E, R>(
    doing: string,
    work: (tx: AnyTransaction) => Effect.Effect<A, E, R>,
    options?: { readonly snapshot: true }
  ) => Effect.Effect<A, Exclude<E, Thrown> | DatabaseUnavailable | StatementFailed, R>
  /**
   * Takes a named lock, shared with other holders, that ends with the scope or with this process. It
   * tells others that something is in use; it does not survive a restart of Postgres.
   */
  readonly hold: (name: string) => Effect.Effect<void, DatabaseUnavailable | StatementFailed, Scope.Scope>
  /** Where the projections of this process stand, without asking Postgres. */
  readonly standing: Standing
}

export interface DatabaseOptions extends Partial<ConnectionLimits> {
  readonly url: Redacted.Redacted
  /** How long to wait for Postgres at start, in ms. */
  readonly waitMsMax?: number
}

/**
 * The only door to Postgres: a bounded pool whose statements end in bounded time. At start it waits for
 * Postgres and says so; when Postgres restarts, the next transaction finds it again.
 */
export class Database extends Context.Service<Database, DatabaseShape>()("millrace/Database") {
  static readonly layer = (options: DatabaseOptions): Layer.Layer<Database, DatabaseUnavailable> =>
    Layer.effect(Database, open(options))

  /**
   * The same door for a service whose work does not wait for Postgres: it is there at once, whatever is asked
   * fails as `DatabaseUnavailable` or `StatementFailed` until Postgres serves, and it goes on waiting for that.
   */
  static readonly layerLate = (options: Omit<DatabaseOptions, "waitMsMax">): Layer.Layer<Database> =>
    Layer.effect(Database, openLate(options))
}

const limitsOf = (options: DatabaseOptions): ConnectionLimits => ({
  connectionsMax: options.connectionsMax ?? 10,
  acquireMsMax: options.acquireMsMax ?? 30_000,
  statementMsMax: options.statementMsMax ?? 30_000,
  connectMsMax: options.connectMsMax ?? 5_000
})

const open = Effect.fnUntraced(function*(options: DatabaseOptions): Effect.fn.Return<DatabaseShape, DatabaseUnavailable, Scope.Scope> {
  const shape = yield* doorTo(options)
  yield* untilItServes(shape, options.waitMsMax ?? 300_000)
  return shape
})

/** How long to wait for Postgres before saying again that it does not serve, in ms. */
const LATE_MS = 60_000

const openLate = Effect.fnUntraced(function*(options: DatabaseOptions): Effect.fn.Return<DatabaseShape, never, Scope.Scope> {
  const shape = yield* doorTo(options)
  yield* Effect.forkScoped(untilItServes(shape, LATE_MS).pipe(
    Effect.tapError((error) => Effect.andThen(Effect.logWarning(error.message), Effect.sleep(5_000))),
    Effect.eventually
  ))
  return shape
})

const doorTo = Effect.fnUntraced(function*(options: DatabaseOptions): Effect.fn.Return<DatabaseShape, never, Scope.Scope> {
  const limits = limitsOf(options)
  const connect = (limits: ConnectionLimits) =>
    Effect.acquireRelease(
      Effect.sync(() => new Connections(Redacted.value(options.url), limits)),
      (connections) => Effect.promise(() => connections.end({ timeout: 5 }))
    )
  const connections = yield* connect(limits)
  const keeper = yield* connect({ ...limits, connectionsMax: 1 })
  const db = new Kysely<any>({ dialect: postgresDialect(connections) })
  return { db, standing: new Standing(), transact: transactOver(db), hold: holdOver(keeper) }
})

/** Writes our own tables too: the first sign of life that is worth having. */
const untilItServes = Effect.fnUntraced(function*({ transact }: DatabaseShape, waitMsMax: number) {
  const sinceMs = yield* Clock.currentTimeMillis
  let saidMs = sinceMs
  for (let tried = 0; ; tried++) {
    const outcome = yield* Effect.result(transact("opening the read models", (tx) => attempt(() => openBooks(tx))))
    if (Result.isSuccess(outcome)) return
    const nowMs = yield* Clock.currentTimeMillis
    const { failure } = outcome
    if (failure._tag === "StatementFailed" || nowMs - sinceMs >= waitMsMax) {
      return yield* new DatabaseUnavailable({ doing: "opening the read models", detail: failure.detail, cause: failure })
    }
    if (tried === 0 || nowMs - saidMs >= 5_000) {
      saidMs = nowMs
      yield* Effect.logInfo(`Waiting for Postgres since ${Math.round((nowMs - sinceMs) / 1000)} s: ${failure.detail}`)
    }
    yield* Effect.sleep(Math.min(1_000, 50 * 2 ** Math.min(tried, 5)))
  }
})

/** A promise as an effect; what it rejects with is classed by `transact`. */
export const attempt = <A>(work: () => Promise<A>): Effect.Effect<A, Thrown> =>
  Effect.uninterruptible(Effect.tryPromise({ try: work, catch: (cause) => new Thrown(cause) }))

/** What a promise rejected with, on its way out of a transaction. */
export class Thrown {
  readonly _tag = "Thrown"
  readonly cause: unknown

  constructor(cause: unknown) {
    this.cause = cause
  }
}

/** Whatever went wrong, told apart by whether trying again may help. */
export const told = (doing: string, cause: unknown): DatabaseUnavailable | StatementFailed => {
  if (cause instanceof DatabaseUnavailable || cause instanceof StatementFailed) return cause
  const { detail, state } = reasonOf(cause)
  return isPassing(cause)
    ? new DatabaseUnavailable({ doing, detail, cause })
    : new StatementFailed({ doing, detail, cause, ...(state === undefined ? {} : { state }) })
}

/** All locks of a process lie in one session, which nothing else uses. */
const holdOver = (keeper: Connections): DatabaseShape["hold"] => (name) => {
  const say = (verb: string) => async () => {
    const session = await keeper.reserve()
    try {
      await session.say(`select ${verb}(hashtextextended($1, 0))`, [name])
    } finally {
      session.release()
    }
  }
  return Effect.acquireRelease(
    Effect.mapError(attempt(say("pg_advisory_lock_shared")), ({ cause }) => told(`holding ${name}`, cause)),
    () => Effect.ignore(attempt(say("pg_advisory_unlock_shared")))
  )
}

const transactOver = (db: Kysely<any>): DatabaseShape["transact"] => ((doing, work, options) =>
  Effect.flatMap(Effect.context<any>(), (context) =>
    Effect.callback<any, any>((resume) => {
      const stop = new AbortController()
      const begin = options?.snapshot === true
        ? db.transaction().setIsolationLevel("repeatable read").setAccessMode("read only")
        : db.transaction()
      const settled = begin.execute(async (tx) => {
        const exit = await Effect.runPromiseExitWith(context)(work(tx) as Effect.Effect<any, any>, { signal: stop.signal })
        if (Exit.isSuccess(exit)) return exit.value
        throw new RolledBack(exit)
      }).then(
        (value): Effect.Effect<any, any> => Effect.succeed(value),
        (cause: unknown): Effect.Effect<any, any> => cause instanceof RolledBack ? cause.exit : Effect.fail(told(doing, cause))
      )
      void settled.then(resume)
      return Effect.promise(async () => {
        stop.abort()
        await settled
      })
    }).pipe(Effect.mapError((error) => (error instanceof Thrown ? told(doing, error.cause) : error))))) as DatabaseShape["transact"]

/** Carries the outcome of the work through the promise, so that the transaction rolls back. */
class RolledBack extends Error {
  readonly exit: Exit.Exit<any, any>

  constructor(exit: Exit.Exit<any, any>) {
    super("rolled back")
    this.exit = exit
  }
}
