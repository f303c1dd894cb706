import { Blobs } from "@millrace/blobs"
import {
  Checkpoints, type CommitRefused, commitsOf, crashPoint, foldCommit, foreseen, headsOf, Journal, type JournalUnavailable, type MustStepDown, type Overtaken,
  type Round, type StoredCommit, type StreamDecider
} from "@millrace/journal"
import type { BlobRef, SnapshotId, StreamName } from "@millrace/schemas"
import { Clock, Effect, FiberMap, Queue, Stream } from "effect"
import { type Keeping, toVerify } from "../domain/decide.ts"
import { snapshots } from "../domain/snapshots.ts"
import type { State } from "../domain/state.ts"

export interface KeepingOptions extends Keeping {
  /** Facts folded between two checkpoints. */
  readonly checkpointEvery?: number
}

type Broken = Overtaken | CommitRefused | JournalUnavailable | MustStepDown

/** What wakes it: commits of one stream, or that a snapshot's bytes were read to their end. */
type Word = { readonly commits: ReadonlyArray<StoredCommit> } | { readonly snapshotId: SnapshotId; readonly whole: boolean }

const waitMsMax = 60_000
const verifyAgainMs = 2_000
const verifyAtOnceMax = 4

/**
 * Keeps the one order of SNAPSHOTS: folds what it hears, reads the bytes of what hosts have written, and says
 * what follows.
 *
 * Each append expects the stream's last sequence and is decided on all that lies before it, so nothing is said
 * twice, whoever died or runs beside it: what was said is read before the next word. That bytes are whole is in
 * no fact until it is said, and is found again after a crash.
 */
export const keepSnapshots = (options: KeepingOptions): Effect.Effect<never, Broken, Journal | Checkpoints | Blobs> =>
  Effect.scoped(Effect.gen(function*() {
    const { checkpointEvery = 100_000 } = options
    const decider = snapshots(options)
    const journal = yield* Journal
    const { saw, state: restored } = yield* restore(decider)
    let state = restored
    let folded = 0
    let lastAtMs = 0

    const fold = Effect.fnUntraced(function*(commits: ReadonlyArray<StoredCommit>) {
      for (const commit of commits) {
        if (commit.place.sequence <= (saw[commit.place.stream] ?? 0)) continue
        state = yield* foldOne(decider, state, commit)
        saw[commit.place.stream] = commit.place.sequence
        folded += commit.facts.length
      }
    })

    const readTo = Effect.fnUntraced(function*(stream: StreamName, head: number) {
      if ((saw[stream] ?? 0) >= head) return
      yield* Effect.scoped(Effect.gen(function*() {
        const reader = yield* journal.read(stream, { after: saw[stream] ?? 0 })
        while ((saw[stream] ?? 0) < head) yield* fold(yield* reader.take)
      }))
    })

    // A host speaks of a placement after it lies in the log: so with hosts heard up to a head, placements are
    // read up to a later one first, and no word of a host is met before what it speaks of.
    const hostsHead = yield* journal.head("HOSTS")
    for (const stream of ["SNAPSHOTS", "GATEWAY", "SCHEDULER"] as const) yield* readTo(stream, yield* journal.head(stream))
    yield* readTo("HOSTS", hostsHead)

    const heard = yield* Queue.bounded<Word, JournalUnavailable>(256)
    for (const stream of decider.hears) {
      const reader = yield* journal.read(stream, { after: saw[stream] ?? 0 })
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(reader.take, (commits) => Queue.offer(heard, { commits }))).pipe(
        Effect.catch((error) => Queue.fail(heard, error))
      ))
    }

    const verifying = yield* FiberMap.make<SnapshotId>()
    const lookAtBytes = Effect.gen(function*() {
      for (const { snapshotId, written } of toVerify(state).slice(0, verifyAtOnceMax)) {
        const looking = Effect.flatMap(isWhole(written.blob), (whole) => Queue.offer(heard, { snapshotId, whole }))
        yield* FiberMap.run(verifying, snapshotId, looking, { onlyIfMissing: true })
      }
    })

    const decideAll = Effect.gen(function*() {
      while (true) {
        const atMs = Math.max(lastAtMs, yield* Clock.currentTimeMillis)
        lastAtMs = atMs
        const round: Round = { atMs, epoch: journal.epoch, saw: { ...saw }, silences: [] }
        const commits = commitsOf(decider, round, decider.decide(state, round))
        if (commits.length === 0) return
        yield* crashPoint("round snapshots decided")
        for (const commit of commits) {
          const { sequence } = yield* journal.append(commit, { last: "stream", sequence: saw["SNAPSHOTS"] ?? 0 })
          yield* fold([foreseen(commit, "SNAPSHOTS", sequence, journal.epoch)])
        }
      }
    })

    const checkpoint = Effect.gen(function*() {
      if (folded < checkpointEvery) return
      folded = 0
      const saved = decider.save(state)
      yield* Checkpoints.use((checkpoints) => checkpoints.save({ fold: decider.name, codeVersion: decider.codeVersion, epoch: journal.epoch, saw: { ...saw }, state: saved }))
    })

    while (true) {
      yield* decideAll
      yield* lookAtBytes
      yield* checkpoint
      const due = decider.dueAtMs?.(state)
      const pauseMs = due === undefined ? waitMsMax : Math.max(10, Math.min(waitMsMax, due - (yield* Clock.currentTimeMillis)))
      const first = yield* Effect.raceFirst(Queue.take(heard), Effect.as(Effect.sleep(pauseMs), { commits: [] }))
      const words = [first, ...(yield* Queue.clear(heard))]
      for (const word of words) if ("snapshotId" in word) state.whole.set(word.snapshotId, word.whole)
      const batches = words.flatMap((word) => "commits" in word && word.commits.length > 0 ? [word.commits] : [])
      const [ofHosts, others] = [batches.filter(isOfHosts), batches.filter((commits) => !isOfHosts(commits))]
      for (const commits of others) yield* fold(commits)
      if (ofHosts.length > 0) yield* readTo("SCHEDULER", yield* journal.head("SCHEDULER"))
      for (const commits of ofHosts) yield* fold(commits)
    }
  }))

const isOfHosts = (commits: ReadonlyArray<StoredCommit>): boolean => commits[0]?.place.stream === "HOSTS"

const foldOne = (decider: StreamDecider<State>, state: State, commit: StoredCommit): Effect.Effect<State, MustStepDown> =>
  Effect.try({
    try: () => foldCommit(decider, state, commit),
    catch: (cause) => {
      if (cause instanceof Error && "_tag" in cause && cause._tag === "MustStepDown") return cause as MustStepDown
      throw cause
    }
  })

/** Reads the whole blob. A store that does not answer is asked again for as long as it takes. */
const isWhole = ({ digest, sizeBytes }: BlobRef): Effect.Effect<boolean, never, Blobs> =>
  Effect.gen(function*() {
    const blobs = yield* Blobs
    while (true) {
      const read = yield* Effect.result(Stream.runFold(blobs.get(digest), () => 0, (sum, chunk) => sum + chunk.byteLength))
      if (read._tag === "Success") return read.success === sizeBytes
      if (read.failure._tag !== "BlobStoreUnclear") return false
      yield* Effect.logWarning(read.failure.message)
      yield* Effect.sleep(verifyAgainMs)
    }
  })

/** From the newest checkpoint of this code in this epoch, else from fact one. */
const restore = Effect.fnUntraced(function*(decider: StreamDecider<State>) {
  const { epoch } = yield* Journal
  const fresh = { state: decider.initial(), saw: {} as Record<string, number> }
  const found = yield* Checkpoints.use((checkpoints) => checkpoints.load(decider.name))
  if (found === undefined || found.codeVersion !== decider.codeVersion || found.epoch !== epoch) return fresh
  const heads = yield* headsOf([decider.writes, ...decider.hears])
  const isOfThisLog = Object.entries(found.saw).every(([stream, sequence]) => sequence <= (heads[stream] ?? 0))
  return isOfThisLog ? { state: decider.load(found.state as never), saw: { ...found.saw } as Record<string, number> } : fresh
})
