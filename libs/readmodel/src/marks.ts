import { headsOf, Journal, type JournalUnavailable, type StoredCommit } from "@millrace/journal"
import type { Cut, StreamName } from "@millrace/schemas"
import { Effect } from "effect"
import { sql } from "kysely"
import { type AnyTransaction, attempt, Database, type DatabaseUnavailable, type StatementFailed, told } from "./database.ts"

/** At most one mark a stream for this long, in ms: what a time is resolved to begins at a mark and is read on from there. */
const BUCKET_MS = 5_000

/** By this time, this sequence was stored. */
export interface Mark {
  readonly stream: string
  readonly bucket: number
  readonly stored_at_ms: number
  readonly sequence: number
}

/** The first commit of each bucket within a batch, but for the buckets that were marked last. */
export const marksOf = (commits: ReadonlyArray<StoredCommit>, marked: ReadonlyMap<string, number>): ReadonlyArray<Mark> => {
  const last = new Map(marked)
  return commits.flatMap(({ place: { sequence, storedAtMs, stream } }) => {
    const bucket = Math.floor(storedAtMs / BUCKET_MS)
    if (last.get(stream) === bucket) return []
    last.set(stream, bucket)
    return [{ stream, bucket, stored_at_ms: storedAtMs, sequence }]
  })
}

/** Keeps marks, in the transaction that has seen the commits. Another projection's mark serves as well. */
export const keepMarks = async (tx: AnyTransaction, epoch: number, marks: ReadonlyArray<Mark>): Promise<void> => {
  if (marks.length === 0) return
  await sql`insert into millrace.marks (epoch, stream, bucket, stored_at_ms, sequence)
    select ${epoch}, * from jsonb_to_recordset(${JSON.stringify(marks)}::text::jsonb)
      as mark (stream text, bucket bigint, stored_at_ms bigint, sequence bigint)
    on conflict do nothing`.execute(tx)
}

/**
 * The cut of what was stored by a moment (in ms since 1970, by the log's clock): per stream the last
 * sequence before the first commit that was stored later. Exact as long as the log's clock does not
 * go back; where it did, the cut ends before the jump.
 */
export const cutAt = Effect.fnUntraced(function*(streams: ReadonlyArray<StreamName>, timeMs: number): Effect.fn.Return<
  Cut,
  DatabaseUnavailable | StatementFailed | JournalUnavailable,
  Database | Journal
> {
  const heads = yield* headsOf(streams)
  const entries = yield* Effect.forEach(streams, (stream) =>
    Effect.map(Effect.scoped(lastBy(stream, timeMs, heads[stream] ?? 0)), (sequence) => [stream, sequence] as const), { concurrency: 4 })
  return Object.fromEntries(entries)
})

const lastBy = Effect.fnUntraced(function*(stream: StreamName, timeMs: number, head: number) {
  const journal = yield* Journal
  let sequence = Math.min(head, yield* markBefore(journal.epoch, stream, timeMs))
  if (sequence >= head) return sequence
  const reader = yield* journal.read(stream, { after: sequence })
  while (sequence < head) {
    for (const { place } of yield* reader.take) {
      if (place.storedAtMs > timeMs || place.sequence > head) return sequence
      sequence = place.sequence
    }
  }
  return sequence
})

const markBefore = (epoch: number, stream: StreamName, timeMs: number) =>
  Database.use(({ db }) =>
    attempt(() => sql<{ sequence: number }>`
      select sequence from millrace.marks where epoch = ${epoch} and stream = ${stream}
        and bucket <= ${Math.floor(timeMs / BUCKET_MS)} and stored_at_ms <= ${timeMs}
      order by bucket desc limit 1`.execute(db)).pipe(
      Effect.mapBoth({ onSuccess: ({ rows }) => rows[0]?.sequence ?? 0, onFailure: ({ cause }) => told("resolving a time", cause) })
    ))
