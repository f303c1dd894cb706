import { Journal, type JournalUnavailable, type StoredCommit } from "@millrace/journal"
import type { Cut, StreamName } from "@millrace/schemas"
import { Effect } from "effect"

/** Where reading begins and ends in each stream: behind `after`, up to and with `upTo`. */
export interface Span {
  readonly after: Cut
  readonly upTo: Cut
}

interface Reading {
  readonly stream: StreamName
  /** The next commit, if there is one within the span. */
  readonly peek: () => StoredCommit | undefined
  readonly step: Effect.Effect<void, JournalUnavailable>
}

/**
 * Hands over the commits of several streams as one list: by the time at which they were stored, and within
 * one millisecond causes before what they caused. Holds one batch of each stream, however long they are.
 */
export const eachMerged = <E, R>(
  streams: ReadonlyArray<StreamName>,
  span: Span,
  hand: (commit: StoredCommit) => Effect.Effect<void, E, R>
): Effect.Effect<void, E | JournalUnavailable, R | Journal> =>
  Effect.scoped(Effect.gen(function*() {
    const readings: Array<Reading> = []
    for (const stream of streams) readings.push(yield* reading(stream, span.after[stream] ?? 0, span.upTo[stream] ?? 0))
    while (true) {
      const next = earliest(readings.flatMap((one) => {
        const commit = one.peek()
        return commit === undefined ? [] : [{ one, commit }]
      }))
      if (next === undefined) return
      yield* hand(next.commit)
      yield* next.one.step
    }
  }))

const reading = Effect.fnUntraced(function*(stream: StreamName, after: number, upTo: number) {
  if (after >= upTo) return { stream, peek: () => undefined, step: Effect.void } satisfies Reading
  const journal = yield* Journal
  const reader = yield* journal.read(stream, { after })
  let held: ReadonlyArray<StoredCommit> = yield* reader.take
  let at = 0
  return {
    stream,
    peek: () => {
      const commit = held[at]
      return commit === undefined || commit.place.sequence > upTo ? undefined : commit
    },
    step: Effect.gen(function*() {
      const last = held[at]?.place.sequence ?? upTo
      at += 1
      if (at < held.length || last >= upTo) return
      held = yield* reader.take
      at = 0
    })
  } satisfies Reading
})


/** The commit that comes next among the first ones of each stream. */
export const earliest = <H extends { readonly commit: StoredCommit }>(heads: ReadonlyArray<H>): H | undefined => {
  if (heads.length === 0) return undefined
  const firstAtMs = Math.min(...heads.map(({ commit }) => commit.place.storedAtMs))
  const among = heads.filter(({ commit }) => commit.place.storedAtMs === firstAtMs)
  return among.find(({ commit }) => !among.some((other) => other.commit !== commit && follows(commit, other.commit))) ?? among[0]
}

/** Whether a commit knew of another one: it had seen it, or names one of its facts as its cause. */
const follows = (commit: StoredCommit, other: StoredCommit): boolean =>
  (commit.decided?.saw[other.place.stream] ?? 0) >= other.place.sequence ||
  commit.facts.some(({ causedBy }) => causedBy !== undefined && other.facts.some(({ id }) => id === causedBy))
