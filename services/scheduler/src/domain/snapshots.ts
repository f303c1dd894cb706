import type { BlobRef, MillFact, WorkspaceName } from "@millrace/schemas"

/** A snapshot as far as a job that starts from it minds: on its way, there, or gone for good. */
export type Kept =
  | { readonly stands: "planned"; readonly workspace: WorkspaceName }
  | { readonly stands: "available"; readonly workspace: WorkspaceName; readonly blob: BlobRef }
  | { readonly stands: "gone"; readonly workspace: WorkspaceName }

/** Takes in what the snapshots' service said; gives the snapshot's id when something changed. */
export const evolveSnapshots = (snapshots: Map<string, Kept>, event: MillFact): string | undefined => {
  switch (event._tag) {
    case "SnapshotPlanned":
      if (snapshots.has(event.snapshotId)) return undefined
      snapshots.set(event.snapshotId, { stands: "planned", workspace: event.workspace })
      return event.snapshotId
    case "SnapshotAvailable":
      if (snapshots.get(event.snapshotId)?.stands === "gone") return undefined
      snapshots.set(event.snapshotId, { stands: "available", workspace: event.workspace, blob: event.blob })
      return event.snapshotId
    case "SnapshotAbandoned":
    case "SnapshotExpired":
      snapshots.set(event.snapshotId, { stands: "gone", workspace: event.workspace })
      return event.snapshotId
    default:
      return undefined
  }
}
