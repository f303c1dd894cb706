import type { Cut, StreamName, Subject } from "@millrace/schemas"
import { Context, Effect, Schema, type Scope } from "effect"
import type { Appended, Commit, Expectation, StoredCommit } from "./commit.ts"

/** Somebody else said something first. Look again, and decide again. */
export class Overtaken extends Schema.TaggedError<Overtaken>()("Overtaken", {
  where: Schema.String,
  expected: Schema.Int,
  actual: Schema.Int
}) {
  override get message() {
    return `Another writer came first on ${this.where}: expected to follow ${this.expected}, found ${this.actual}. Read it and decide again`
  }
}

/** The log does not take this commit, and repeating it will not help. Nothing was stored. */
export class CommitRefused extends Schema.TaggedError<CommitRefused>()("CommitRefused", {
  where: Schema.String,
  reason: Schema.Literals(["log_full", "too_large", "not_permitted", "not_configured"]),
  detail: Schema.String
}) {
  override get message() {
    const remedy = {
      log_full: "give the stream more room, or archive its closed segments",
      too_large: "keep large fields as blobs",
      not_permitted: "this process holds credentials for another service: check MILLRACE_NATS_CREDS",
      not_configured: "run the provisioning step (npm start does it)"
    }[this.reason]
    return `The log refuses a commit on ${this.where}: ${this.detail}. To mend it, ${remedy}`
  }
}

/** The log cannot be read right now, after every retry that was allowed. */
export class JournalUnavailable extends Schema.TaggedError<JournalUnavailable>()("JournalUnavailable", {
  doing: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `The log does not answer while ${this.doing}: ${this.detail}. Check that nats-server runs and is reachable (millrace doctor)`
  }
}

/** The most commits that a line stores together: with its fence they must lie within one atomic batch of 1,000 messages. */
export const togetherMax = 400

/** Reads a stream in order, with no acknowledgement. What it has handed over it does not hand over again. */
export interface Reader {
  /** Waits for at least one commit and gives all that has gathered, in order, at most `batchMax`. */
  readonly take: Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable>
  /** What has gathered by now, perhaps nothing. */
  readonly poll: Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable>
}

export interface ReadOptions {
  /** The last sequence that is known already; reading begins behind it. */
  readonly after: number
  /** A subject filter; without one the whole stream is read. */
  readonly filter?: string
  /** The most commits handed over at once. */
  readonly batchMax?: number
}

export interface ReactOptions {
  readonly stream: StreamName
  /** The consumer's durable name: `<service>-<reactor>`. */
  readonly durable: string
  readonly filter?: string
  /** A consumer that is made now begins with what was stored at this moment or after it, instead of with the first commit. */
  readonly sinceMs?: number
  /** How long after the last sign of life of whoever has it in hand a commit is delivered again, in ms; 2,000 unless given. */
  readonly ackWaitMs?: number
  /** How many commits may be in hand at once. They are handled in order, one by one, unless more than 1. */
  readonly concurrency?: number
}

/**
 * A pipelined writer under one order: each commit expects the one before it as the stream's last, by
 * prediction, so commits follow each other without waiting and yet no other writer can slip between.
 * The first refusal stops the line for good: everything behind it is `Overtaken`.
 */
export interface Line {
  /** The sequence that the last commit sent will have, if no one came between. */
  readonly last: () => number
  /**
   * Sends now. `sequence` is predicted; `outcome` says whether it came true. With more commits behind the first, on
   * whatever subjects of the stream, all are stored at consecutive sequences or none is, by one atomic batch: they come
   * true together. At most `togetherMax` of them.
   */
  readonly send: (commit: Commit, ...behind: ReadonlyArray<Commit>) => {
    readonly sequence: number
    readonly outcome: Effect.Effect<Appended, Overtaken | CommitRefused>
  }
}

export interface JournalShape {
  /** Raised when a backup is restored. Together with a sequence it never goes back. */
  readonly epoch: number
  /**
   * Stores a commit if its expectation holds. Retries an unknown outcome with the same ids and
   * expectation until it is known, so it either stored exactly once or it did not; interrupting it leaves
   * the outcome unknown, and appending the same commit again resolves that.
   */
  readonly append: (commit: Commit, expect: Expectation) => Effect.Effect<Appended, Overtaken | CommitRefused>
  /** Opens a line behind a sequence of a stream. */
  readonly line: (stream: StreamName, after: number) => Effect.Effect<Line, never, Scope.Scope>
  /** The stream's last sequence, from its leader. */
  readonly head: (stream: StreamName) => Effect.Effect<number, JournalUnavailable>
  /** The newest commit on a subject, no older than what this process has appended there. */
  readonly last: (subject: Subject) => Effect.Effect<StoredCommit | undefined, JournalUnavailable>
  /** Everything on one subject, in order, read through the leader: one's own writes are in it. */
  readonly story: (subject: Subject) => Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable>
  /**
   * Opens a reader. A reader that stands still while its stream grows is noticed, counted and replaced
   * behind the last commit it gave, so nothing is missed or doubled.
   */
  readonly read: (stream: StreamName, options: ReadOptions) => Effect.Effect<Reader, JournalUnavailable, Scope.Scope>
  /**
   * Hands each commit to a reactor, at least once, acknowledging behind it; a failure is delivered again
   * later. Runs until interrupted.
   */
  readonly react: <E, R>(
    options: ReactOptions,
    handle: (commit: StoredCommit) => Effect.Effect<void, E, R>
  ) => Effect.Effect<never, JournalUnavailable, R>
  /** Forgets where a durable consumer of `react` stood. Nothing happens when there is none. */
  readonly forget: (stream: StreamName, durable: string) => Effect.Effect<void, JournalUnavailable>
}

/** The only door to the log: append and read facts in order. */
export class Journal extends Context.Service<Journal, JournalShape>()("millrace/Journal") {}

/** The heads of several streams: a cut of what was stored by now. */
export const headsOf = (streams: ReadonlyArray<StreamName>): Effect.Effect<Cut, JournalUnavailable, Journal> =>
  Journal.use((journal) =>
    Effect.map(
      Effect.all(streams.map((stream) => Effect.map(journal.head(stream), (head) => [stream, head] as const)), { concurrency: 4 }),
      (heads) => Object.fromEntries(heads)
    )
  )
