import type { Fact } from "@millrace/journal"
import type {
  AskId, AttemptId, BlobRef, FactId, HostId, ImageAsked, JobId, MillFact, SnapshotAbandoned, SnapshotAsked, SnapshotExpiryAsked, SnapshotForm, SnapshotId, WorkspaceName
} from "@millrace/schemas"
import { snapshotAtEndOf } from "./snapshot-id.ts"

/** How an attempt went without having written its snapshot. */
export interface Gone {
  readonly cause: Exclude<SnapshotAbandoned["cause"], "not_whole">
  readonly detail: string
  readonly causedBy: FactId
}

/** One snapshot, from the placement that will make it to its end. */
export interface Kept {
  readonly snapshotId: SnapshotId
  readonly workspace: WorkspaceName
  readonly jobId: JobId
  readonly hostId: HostId
  readonly attemptId: AttemptId
  readonly form: SnapshotForm
  readonly runtime: string
  readonly partOf: FactId
  readonly causedBy: FactId
  readonly stands: "wanted" | "planned" | "available" | "abandoned" | "expired"
  readonly written?: { readonly blob: BlobRef; readonly causedBy: FactId }
  readonly gone?: Gone
  readonly untilMs?: number
}

export type Asked = SnapshotAsked | SnapshotExpiryAsked | ImageAsked

export interface PendingAsk {
  readonly asked: Asked
  readonly partOf: FactId
  readonly causedBy: FactId
}

/** Everything that the service decides from. Changes in place. */
export interface State {
  readonly snapshots: Map<SnapshotId, Kept>
  /** Those that will change: wanted, planned, or available for a time. */
  readonly open: Set<SnapshotId>
  /** Of each job the snapshot of its newest attempt. */
  readonly ofJob: Map<JobId, SnapshotId>
  readonly asks: Map<AskId, PendingAsk>
  /** Answers that were read before their question: the two lie in different streams. */
  readonly answeredEarly: Set<AskId>
  /** What was found when the bytes were read. Seen, not said: it is found again after a crash. */
  readonly whole: Map<SnapshotId, boolean>
  /** Workspaces of which something could not be read: nothing more is decided there. */
  readonly frozen: Set<string>
}

export const emptyState = (): State => ({ snapshots: new Map(), open: new Set(), ofJob: new Map(), asks: new Map(), answeredEarly: new Set(), whole: new Map(), frozen: new Set() })

/**
 * What a fact changes. A host's words are told after the placements that they speak of; what they say of
 * anything else than their own attempts is nobody's word.
 */
export const evolve = (state: State, { causedBy, event, id, partOf }: Pick<Fact, "event" | "id" | "partOf" | "causedBy">): State => {
  switch (event._tag) {
    case "PlacementMade": {
      if (event.spec.snapshotAtEnd === undefined) return state
      const { attemptId, hostId, jobId, spec: { runtime, snapshotAtEnd: form }, workspace } = event
      const snapshotId = snapshotAtEndOf(event)
      const known = state.snapshots.get(snapshotId)
      if (known === undefined || known.stands === "planned") {
        put(state, { snapshotId, workspace, jobId, hostId, attemptId, form, runtime, partOf, causedBy: id, stands: known?.stands ?? "wanted", ...(known?.untilMs === undefined ? {} : { untilMs: known.untilMs }) })
      }
      state.ofJob.set(jobId, snapshotId)
      return state
    }
    case "SnapshotWritten": {
      const kept = ofAttempt(state, event)
      if (kept === undefined || kept.snapshotId !== event.snapshotId || kept.form !== event.form || kept.written !== undefined || kept.gone !== undefined) return state
      return put(state, { ...kept, written: { blob: event.blob, causedBy: id } })
    }
    case "AttemptExited":
      return went(state, ofAttempt(state, event), { cause: "not_written", detail: `the attempt ended (${event.cause}) and its host had written none`, causedBy: id })
    case "AttemptRefused":
      return went(state, ofAttempt(state, event), { cause: "work_ended", detail: `the host did not run it: ${event.reason}`, causedBy: id })
    case "HostDeclaredLost": {
      for (const snapshotId of state.open) {
        const kept = state.snapshots.get(snapshotId)
        if (kept?.hostId === event.hostId) went(state, kept, { cause: "host_lost", detail: `${event.hostId} was lost before it had written it`, causedBy: id })
      }
      return state
    }
    case "SnapshotAsked":
    case "SnapshotExpiryAsked":
    case "ImageAsked":
      if (!state.answeredEarly.delete(event.askId)) state.asks.set(event.askId, { asked: event, partOf, causedBy: id })
      return state
    case "SnapshotPlanned":
      return planned(state, event, causedBy ?? id, partOf)
    case "SnapshotAvailable":
      return settled(state, event.snapshotId, "available")
    case "SnapshotAbandoned":
      return settled(state, event.snapshotId, "abandoned")
    case "SnapshotExpired":
      return answered(settled(state, event.snapshotId, "expired"), event.answers)
    case "ImageKnown":
      return answered(state, event.answers)
    case "AskRefused":
    case "AskFoundDone":
      return answered(state, event.answers)
    default:
      return state
  }
}

const put = (state: State, kept: Kept): State => {
  state.snapshots.set(kept.snapshotId, kept)
  const mayChange = kept.stands === "wanted" || kept.stands === "planned" || (kept.stands === "available" && kept.untilMs !== undefined)
  if (mayChange) state.open.add(kept.snapshotId)
  else state.open.delete(kept.snapshotId)
  return state
}

const ofAttempt = (state: State, said: { readonly attemptId: AttemptId; readonly hostId: HostId; readonly workspace: WorkspaceName }): Kept | undefined => {
  const kept = state.snapshots.get(snapshotAtEndOf(said))
  return kept?.hostId === said.hostId && kept.workspace === said.workspace ? kept : undefined
}

const went = (state: State, kept: Kept | undefined, gone: Gone): State =>
  kept === undefined || kept.written !== undefined || kept.gone !== undefined ? state : put(state, { ...kept, gone })

const planned = (state: State, event: Extract<MillFact, { _tag: "SnapshotPlanned" }>, causedBy: FactId, partOf: FactId): State => {
  const { answers, attemptId, form, hostId, jobId, retention, snapshotId, workspace } = event
  const known = state.snapshots.get(snapshotId)
  const until = retention.untilMs === undefined ? {} : { untilMs: retention.untilMs }
  if (known === undefined && (hostId === undefined || attemptId === undefined)) return answered(state, answers)
  // Read before its placement, which lies in another stream and adds what is missing here.
  const kept: Kept = known ?? { snapshotId, workspace, jobId, hostId: hostId!, attemptId: attemptId!, form, runtime: "sandbox", partOf, causedBy, stands: "planned" }
  return answered(put(state, { ...kept, ...until, stands: kept.stands === "wanted" ? "planned" : kept.stands }), answers)
}

const settled = (state: State, snapshotId: SnapshotId, stands: "available" | "abandoned" | "expired"): State => {
  const kept = state.snapshots.get(snapshotId)
  state.whole.delete(snapshotId)
  return kept === undefined ? state : put(state, { ...kept, stands })
}

const answered = (state: State, ask: AskId | undefined): State => {
  if (ask !== undefined && !state.asks.delete(ask)) state.answeredEarly.add(ask)
  return state
}
