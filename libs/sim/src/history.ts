import { type Fact, readable, type StoredCommit } from "@millrace/journal"
import { type AttemptId, type Cut, type HostId, type JobId, type MillFact, type Resources, type StreamName, streamNames } from "@millrace/schemas"
import type { Broker } from "./broker.ts"

/** Work as it truly was on a machine, written by the machine itself: no agent can lie about it. */
export interface WorkMark {
  readonly atMs: number
  readonly hostId: HostId
  readonly jobId: JobId
  /** Of an array: which of its tasks. */
  readonly task?: number
  readonly attempt: number
  readonly attemptId: AttemptId
  /** When whoever keeps the work would have ended it by itself, in true time; of one that started, and as it was extended since. */
  keptUntilMs?: number
  readonly mark: "started" | "stopped"
  readonly resources: Resources
}

/** Everything that a checker may look at, when all is over. */
export interface History {
  readonly streams: ReadonlyMap<StreamName, ReadonlyArray<StoredCommit>>
  readonly work: ReadonlyArray<WorkMark>
  /** Jobs whose submission was answered with a success. */
  readonly acknowledged: ReadonlySet<JobId>
  /** Jobs whose cancel was answered with a success. */
  readonly cancelled: ReadonlySet<JobId>
  readonly capacity: ReadonlyMap<HostId, Resources>
  /** Machines that are no more: of what they ran last nobody speaks. */
  readonly gone?: ReadonlySet<HostId>
}

/** The streams of a log, whole. */
export const streamsOf = (broker: Broker): History["streams"] =>
  new Map(streamNames.map((stream) => [stream, broker.range(stream, 0, broker.log.head(stream), undefined)]))

/** The commits of a stream, in its order. */
export const commitsIn = ({ streams }: Pick<History, "streams">, stream: StreamName): ReadonlyArray<StoredCommit> => streams.get(stream) ?? []

/** What a stream's commits say, each fact read once however many laws ask: a history that is looked at changes no more. */
const readOnce = new WeakMap<ReadonlyArray<StoredCommit>, ReadonlyArray<Fact>>()

const allIn = (commits: ReadonlyArray<StoredCommit>): ReadonlyArray<Fact> => {
  let facts = readOnce.get(commits)
  if (facts === undefined) readOnce.set(commits, facts = commits.flatMap((commit) => readable(commit).facts))
  return facts
}

/** The facts of some names in a stream, in its order. */
export const factsIn = <Name extends MillFact["_tag"]>(
  history: Pick<History, "streams">,
  stream: StreamName,
  ...names: ReadonlyArray<Name>
): ReadonlyArray<Fact<Extract<MillFact, { readonly _tag: Name }>>> =>
  allIn(commitsIn(history, stream)).filter((fact): fact is Fact<Extract<MillFact, { readonly _tag: Name }>> => (names as ReadonlyArray<string>).includes(fact.event._tag))

/** What a commit of a decider had seen of a stream. */
export const sawOf = (commit: StoredCommit, stream: StreamName): number => (commit.decided?.saw as Cut | undefined)?.[stream] ?? 0

/** A task by name: of a plain job, which has one, the job's. */
export const taskOf = ({ jobId, task }: { readonly jobId: JobId; readonly task?: number | undefined }): string => task === undefined ? jobId : `${jobId}/${task}`

/** Where each attempt's first word of its end lies in the hosts' stream. */
export const endsOf = (history: History): ReadonlyMap<AttemptId, number> => {
  const ends = new Map<AttemptId, number>()
  for (const { commit, event: { attemptId } } of factsIn(history, "HOSTS", "AttemptExited", "AttemptRefused")) {
    if (!ends.has(attemptId)) ends.set(attemptId, commit.place.sequence)
  }
  return ends
}

/** How much of the hosts' stream the cell's order had seen by one of its commits; or of another stream. */
export const seenBy = (history: History, stream: StreamName = "HOSTS"): (commit: StoredCommit) => number => {
  const seen: Array<number> = []
  let most = 0
  for (const commit of commitsIn(history, "SCHEDULER")) seen[commit.place.sequence] = most = Math.max(most, sawOf(commit, stream))
  return ({ place }) => seen[place.sequence] ?? 0
}

/** One decision of the scheduler's. */
export interface DecidedRound {
  readonly term: number
  readonly atMs: number
  /** How much of the hosts' stream it had seen, and of the broker's. */
  readonly saw: number
  readonly sawBroker: number
  /** Where its last commit lies. */
  readonly last: number
}

/** The scheduler's decisions, in order. Of two of one term the first was said whole: the second lies behind it. */
export const roundsOf = (history: History): ReadonlyArray<DecidedRound> => {
  const rounds: Array<DecidedRound> = []
  const seen = seenBy(history)
  const seenOfBroker = seenBy(history, "BROKER")
  let term = 0
  let key = ""
  for (const commit of commitsIn(history, "SCHEDULER")) {
    if (commit.facts.length === 0) continue
    if (commit.facts.some(({ name }) => name === "SchedulerTookOver")) term += 1
    const now = `${term} ${commit.decided?.decidedAtMs} ${sawOf(commit, "HOSTS")} ${JSON.stringify(commit.decided?.saw)}`
    if (now === key) rounds.pop()
    key = now
    rounds.push({ term, atMs: commit.decided?.decidedAtMs ?? 0, saw: seen(commit), sawBroker: seenOfBroker(commit), last: commit.place.sequence })
  }
  return rounds
}
