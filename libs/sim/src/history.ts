import { type Fact, readable, type StoredCommit } from "@millrace/journal"
import { type AttemptId, type Cut, type HostId, type JobId, type MillFact, type Resources, type StreamName, streamNames } from "@millrace/schemas"
import type { Broker } from "./broker.ts"

/** Work as it truly was on a machine, written by the machine itself: no agent can lie about it. */
export interface WorkMark {
  readonly atMs: number
  readonly hostId: HostId
  readonly jobId: JobId
  readonly attempt: number
  readonly attemptId: AttemptId
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
}

/** The streams of a log, whole. */
export const streamsOf = (broker: Broker): History["streams"] =>
  new Map(streamNames.map((stream) => [stream, broker.range(stream, 0, broker.log.head(stream), undefined)]))

/** The commits of a stream, in its order. */
export const commitsIn = ({ streams }: Pick<History, "streams">, stream: StreamName): ReadonlyArray<StoredCommit> => streams.get(stream) ?? []

/** The facts of one name in a stream, in its order. */
export const factsIn = <Name extends MillFact["_tag"]>(
  history: Pick<History, "streams">,
  stream: StreamName,
  ...names: ReadonlyArray<Name>
): ReadonlyArray<Fact<Extract<MillFact, { readonly _tag: Name }>>> => {
  const found: Array<Fact<Extract<MillFact, { readonly _tag: Name }>>> = []
  for (const commit of commitsIn(history, stream)) {
    for (const fact of readable(commit).facts) {
      if ((names as ReadonlyArray<string>).includes(fact.event._tag)) found.push(fact as Fact<Extract<MillFact, { readonly _tag: Name }>>)
    }
  }
  return found
}

/** What a commit of a decider had seen of a stream. */
export const sawOf = (commit: StoredCommit, stream: StreamName): number => (commit.decided?.saw as Cut | undefined)?.[stream] ?? 0
