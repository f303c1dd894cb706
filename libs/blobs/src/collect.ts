import { BlobRef, type Digest } from "@millrace/schemas"
import { Clock, Duration, Effect, Option, Stream } from "effect"
import type { BlobStoreUnclear } from "./blob-error.ts"
import type { BlobStore, Held } from "./store.ts"

/** What one collection is told. */
export interface Collection<E, R> {
  /** Names of all blobs that some fact still means. If this stream fails, nothing is removed. */
  readonly live: Stream.Stream<Digest, E, R>
  /**
   * How long a blob may lie unnamed after its last put. A fact must name its blob within this time.
   * It must be far longer than the clocks of the store and of this process differ.
   */
  readonly grace: Duration.Input
  /** At most this many are removed in one collection (10,000 unless given); the next takes the others. */
  readonly removedMax?: number
}

/** What a collection did, or would do. */
export interface Collected {
  readonly removed: ReadonlyArray<BlobRef>
  readonly removedBytes: number
  readonly keptLive: number
  readonly keptYoung: number
  /** Half-done puts and removals of processes that died, cleared away. */
  readonly leftovers: number
  /** More could go than `removedMax`. */
  readonly more: boolean
}

/** The names that are meant. Held in memory: about 150 bytes a name. */
const marked = <E, R>(live: Stream.Stream<Digest, E, R>) =>
  Stream.runFold(live, () => new Set<string>(), (names, digest) => names.add(digest))

type Fate = "live" | "young" | "garbage"

const fateOf = (blob: Held, names: ReadonlySet<string>, untouchedSinceMs: number): Fate => {
  if (names.has(blob.digest)) return "live"
  return blob.modifiedAtMs >= untouchedSinceMs ? "young" : "garbage"
}

const walk = Effect.fnUntraced(function*<E, R>(
  store: BlobStore,
  { live, grace, removedMax = 10_000 }: Collection<E, R>,
  remove: (digest: Digest, untouchedSinceMs: number) => Effect.Effect<boolean, BlobStoreUnclear>,
  sweep: (untouchedSinceMs: number) => Effect.Effect<number, BlobStoreUnclear>
) {
  // The moment is taken before the names are read, so a name said meanwhile belongs to a young blob.
  const untouchedSinceMs = (yield* Clock.currentTimeMillis) - Duration.toMillis(grace)
  const names = yield* marked(live)
  const removed: Array<BlobRef> = []
  const kept = { live: 0, young: 0 }
  let more = false
  const leftovers = yield* sweep(untouchedSinceMs)
  yield* Stream.runForEach(store.list, Effect.fnUntraced(function*(blob) {
    const fate = fateOf(blob, names, untouchedSinceMs)
    if (fate !== "garbage") kept[fate]++
    else if (removed.length >= removedMax) more = true
    else if (yield* remove(blob.digest, untouchedSinceMs)) {
      removed.push(BlobRef.make({ digest: blob.digest, sizeBytes: blob.sizeBytes }))
    } else kept.young++
  }))
  const collected: Collected = {
    removed,
    removedBytes: removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    keptLive: kept.live,
    keptYoung: kept.young,
    leftovers,
    more
  }
  return collected
})

/**
 * Removes what no fact means any more. It may die at any moment and be started again: each blob goes
 * alone, and what is left is found by the next one. Two at once do no harm.
 *
 * A blob put while this runs survives. Its put makes it young, and each removal looks at the age again
 * in one step with the removing, in the way its store allows (see `BlobStore.remove` of each).
 */
export const collect = <E, R>(store: BlobStore, collection: Collection<E, R>) =>
  walk(store, collection, store.remove, store.sweep)

/** What `collect` would do now. Changes nothing. */
export const wouldCollect = <E, R>(store: BlobStore, collection: Collection<E, R>) =>
  walk(
    store,
    collection,
    (digest, untouchedSinceMs) =>
      Effect.map(store.head(digest), Option.exists(({ modifiedAtMs }) => modifiedAtMs < untouchedSinceMs)),
    () => Effect.succeed(0)
  )
