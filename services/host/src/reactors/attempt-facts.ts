import { deriveId, timeOfId } from "@millrace/decider"
import type { NewFact } from "@millrace/journal"
import type { AttemptExited, AttemptRefused, BlobRef, FactId, MillFact, PhaseEntered, PlacementMade } from "@millrace/schemas"
import { snapshotAtEndOf } from "../domain/snapshot.ts"
import type { Moment } from "../machine/runtime.ts"

/** What an attempt's facts share. */
export interface Story {
  readonly made: PlacementMade
  readonly causedBy: FactId
  readonly partOf: FactId
}

const which = ({ made: { attempt, attemptId, fence, hostId, jobId, task, workspace } }: Story) => ({
  jobId, workspace, hostId, ...(task === undefined ? {} : { task }), attempt, attemptId, fence
})

/** The id of what is said of an attempt. It derives from the placement, so whoever tells it again tells the same. */
const factOf = ({ causedBy, made: { fence } }: Story, what: string): FactId =>
  deriveId<FactId>("fct", timeOfId(causedBy), causedBy, "host", what, fence.epoch, fence.sequence)

const about = (story: Story, what: string, event: MillFact): NewFact => ({
  id: factOf(story, what),
  partOf: story.partOf,
  causedBy: story.causedBy,
  event
})

export const started = (story: Story, at: Moment): NewFact => about(story, "started", { _tag: "AttemptStarted", ...which(story), ...at })

export const entered = (story: Story, at: Moment, phase: PhaseEntered["phase"]): NewFact =>
  about(story, `entered ${phase}`, { _tag: "PhaseEntered", ...which(story), ...at, phase })

export const exited = (
  story: Story,
  at: Moment,
  { cause, code, signal }: { readonly cause: AttemptExited["cause"]; readonly code?: number; readonly signal?: string }
): NewFact =>
  about(story, "exited", {
    _tag: "AttemptExited",
    ...which(story),
    bootId: at.bootId,
    hostMs: at.hostMs,
    ...(code === undefined ? {} : { code }),
    ...(signal === undefined ? {} : { signal }),
    cause
  })

export const refused = (story: Story, reason: AttemptRefused["reason"], detail: string): NewFact =>
  about(story, "refused", { _tag: "AttemptRefused", ...which(story), reason, detail })

export const artefactKept = (story: Story, { blob, droppedBytes, name }: { readonly name: string; readonly blob: BlobRef; readonly droppedBytes: number }): NewFact =>
  about(story, name, { _tag: "ArtefactKept", ...which(story), name, blob, droppedBytes })

/** The files that the attempt left, under an id that derives from it: whoever waits for them knows it beforehand. */
export const snapshotWritten = (story: Story, blob: BlobRef): NewFact =>
  about(story, "snapshot written", { _tag: "SnapshotWritten", ...which(story), snapshotId: snapshotAtEndOf(story.made), blob, form: "files" })
