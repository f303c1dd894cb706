/** One attempt, as far as its bytes go. */
export interface Try {
  readonly attempt: number
  readonly started: boolean
  /** It will say nothing more: it has ended, was refused, or its host is lost. */
  readonly over: boolean
  readonly kept: { readonly sizeBytes: number } | undefined
}

/** What is known of one task. */
export interface Known {
  /** Oldest first. */
  readonly tries: ReadonlyArray<Try>
  /** The task (or its job) is settled. */
  readonly ended: boolean
  /** Nothing that hosts had said by the time it was asked is missing. */
  readonly complete: boolean
}

/** How far a follower has come. */
export interface Follower {
  /** The attempt that it reads, if it has begun with one. */
  readonly attempt: number | undefined
  /** All bytes of that attempt are told. */
  readonly done: boolean
  /** The host has given all that it has of that attempt: what may be missing is in what is kept. */
  readonly liveDone: boolean
}

/** What a follower does next. */
export type Next =
  | { readonly do: "kept" | "live" | "turn"; readonly attempt: number }
  /** Everything of its attempt is told; it may go on. */
  | { readonly do: "done" }
  /** Ask again, this time for all that hosts have said by now. */
  | { readonly do: "complete" }
  | { readonly do: "wait" }
  | { readonly do: "end" }

/**
 * Where the next bytes of a log come from. What is kept comes before what a host still has: both are the
 * same bytes at the same offsets, so a follower may change from one to the other anywhere. The facts of
 * hosts and of the scheduler come in no order between them: before an attempt that others have gone past
 * is passed by, all that hosts have said is asked for.
 */
export const nextBytes = ({ complete, ended, tries }: Known, { attempt, done, liveDone }: Follower): Next => {
  if (attempt === undefined) {
    const newest = tries.at(-1)
    return newest === undefined ? atRest(ended) : { do: "turn", attempt: newest.attempt }
  }
  const later = tries.find((other) => other.attempt > attempt)
  if (done) return later === undefined ? atRest(ended) : { do: "turn", attempt: later.attempt }
  const here = tries.find((other) => other.attempt === attempt)
  if (here?.kept !== undefined) return { do: "kept", attempt }
  if (here?.over === true) return { do: "done" }
  if (later !== undefined || ended) return complete ? { do: "done" } : { do: "complete" }
  return here?.started === true && !liveDone ? { do: "live", attempt } : { do: "wait" }
}

const atRest = (ended: boolean): Next => ended ? { do: "end" } : { do: "wait" }
