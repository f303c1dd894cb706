import type { Round, Said, SaidFact } from "@millrace/journal"
import type { AskRefused, MillFact, WorkspaceName } from "@millrace/schemas"
import type { Asked, Kept, PendingAsk, State } from "./state.ts"

/** How long a snapshot is kept when nobody says otherwise, in ms; without it, until somebody asks for its end. */
export interface Keeping {
  readonly keepMs?: number
}

/**
 * What follows from the state now. Said once each: what was said changes the state, and the same state
 * leads to nothing more.
 */
export const decide = (keeping: Keeping) => (state: State, { atMs }: Pick<Round, "atMs">): ReadonlyArray<Said> => [
  ...[...state.open].sort().flatMap((snapshotId) => {
    const kept = state.snapshots.get(snapshotId)
    const event = kept === undefined || state.frozen.has(kept.workspace) ? undefined : next(state, kept, atMs, keeping)
    return kept === undefined || event === undefined ? [] : [aboutSnapshot(kept.workspace, { event: event.event, partOf: kept.partOf, causedBy: event.causedBy })]
  }),
  ...[...state.asks.values()].filter(({ asked }) => !state.frozen.has(asked.workspace)).map((pending) => answerTo(state, pending))
]

/** When time alone leads to something: the first retention that ends. */
export const dueAtMs = (state: State): number | undefined => {
  let due: number | undefined
  for (const snapshotId of state.open) {
    const { stands, untilMs } = state.snapshots.get(snapshotId) ?? {}
    if (stands === "available" && untilMs !== undefined && (due === undefined || untilMs < due)) due = untilMs
  }
  return due
}

/** Written, and nobody has looked yet whether the bytes are whole. */
export const toVerify = (state: State): ReadonlyArray<Kept & { readonly written: NonNullable<Kept["written"]> }> =>
  [...state.open].flatMap((snapshotId) => {
    const kept = state.snapshots.get(snapshotId)
    return kept?.stands === "planned" && kept.written !== undefined && !state.whole.has(snapshotId) ? [{ ...kept, written: kept.written }] : []
  })

const aboutSnapshot = (workspace: WorkspaceName, fact: SaidFact): Said => ({ subject: { kind: "snapshot", scope: workspace }, facts: [fact] })

const next = (state: State, kept: Kept, atMs: number, { keepMs }: Keeping): { readonly event: MillFact; readonly causedBy: Kept["causedBy"] } | undefined => {
  const { attemptId, causedBy, form, gone, hostId, jobId, runtime, snapshotId, stands, untilMs, workspace, written } = kept
  if (stands === "wanted") {
    const retention = keepMs === undefined ? {} : { untilMs: atMs + keepMs }
    return { causedBy, event: { _tag: "SnapshotPlanned", snapshotId, workspace, jobId, hostId, attemptId, form, retention, cause: "finished" } }
  }
  if (stands === "planned" && written !== undefined) {
    const whole = state.whole.get(snapshotId)
    if (whole === undefined) return undefined
    return {
      causedBy: written.causedBy,
      event: whole
        ? { _tag: "SnapshotAvailable", snapshotId, workspace, jobId, attemptId, form, blob: written.blob, runtime }
        : { _tag: "SnapshotAbandoned", snapshotId, workspace, jobId, cause: "not_whole", detail: `the store does not hold ${written.blob.sizeBytes} bytes named ${written.blob.digest}` }
    }
  }
  if (stands === "planned" && gone !== undefined) {
    return { causedBy: gone.causedBy, event: { _tag: "SnapshotAbandoned", snapshotId, workspace, jobId, cause: gone.cause, detail: gone.detail } }
  }
  if (stands === "available" && untilMs !== undefined && untilMs <= atMs) {
    return { causedBy, event: { _tag: "SnapshotExpired", snapshotId, workspace, cause: "retention" } }
  }
  return undefined
}

const answerTo = (state: State, { asked, causedBy, partOf }: PendingAsk): Said => {
  const event = answer(state, asked)
  const fact = { event, partOf, causedBy }
  return event._tag === "SnapshotExpired"
    ? aboutSnapshot(asked.workspace, fact)
    : { subject: { kind: "answer", scope: "snapshots", story: asked.workspace }, facts: [fact] }
}

const answer = (state: State, asked: Asked): MillFact => {
  switch (asked._tag) {
    case "ImageAsked":
      return refused(asked, "invalid", `no registry of images is served: work sees the programs of its host, and ${asked.reference} is none of them`, "submit the job without an image")
    case "SnapshotExpiryAsked":
      return expiry(state, asked)
    case "SnapshotAsked":
      return asking(state, asked)
  }
}

const refused = ({ askId, workspace }: Asked, reason: AskRefused["reason"], detail: string, remedy: string): AskRefused =>
  ({ _tag: "AskRefused", answers: askId, workspace, reason, detail, remedy })

const foundDone = ({ askId, workspace }: Asked, detail: string): MillFact => ({ _tag: "AskFoundDone", answers: askId, workspace, detail })

const expiry = (state: State, asked: Extract<Asked, { _tag: "SnapshotExpiryAsked" }>): MillFact => {
  const { askId, snapshotId, workspace } = asked
  const kept = state.snapshots.get(snapshotId)
  if (kept === undefined || kept.workspace !== workspace) return refused(asked, "unknown", `there is no snapshot ${snapshotId} in ${workspace}`, "list them with GET /v1/snapshots")
  switch (kept.stands) {
    case "available":
      return { _tag: "SnapshotExpired", snapshotId, workspace, cause: "asked", answers: askId }
    case "abandoned":
    case "expired":
      return foundDone(asked, `${snapshotId} is kept no longer`)
    case "wanted":
    case "planned":
      return refused(asked, "invalid", `${snapshotId} has not been written yet`, "ask again when its job has ended")
  }
}

const asking = (state: State, asked: Extract<Asked, { _tag: "SnapshotAsked" }>): MillFact => {
  const { form, jobId, workspace } = asked
  if (form === "memory") return refused(asked, "invalid", "the memory of work is not kept: hosts here keep its files, when it ends", "submit the job with snapshotAtEnd: files")
  const newest = state.snapshots.get(state.ofJob.get(jobId) ?? ("" as never))
  if (newest === undefined || newest.workspace !== workspace) {
    return refused(asked, "invalid", `${jobId} has no attempt whose files are kept when it ends`, "submit the job with snapshotAtEnd: files")
  }
  switch (newest.stands) {
    case "available":
      return foundDone(asked, `${newest.snapshotId} holds its files`)
    case "wanted":
    case "planned":
      return foundDone(asked, `${newest.snapshotId} will hold its files when it has ended`)
    case "abandoned":
    case "expired":
      return refused(asked, "over", `${newest.snapshotId} is kept no longer, and the job's files are gone with it`, "submit the job again")
  }
}
