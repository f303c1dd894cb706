import { deriveId, timeOfId } from "@millrace/decider"
import type { AttemptId, SnapshotId } from "@millrace/schemas"

/**
 * The snapshot of the files that an attempt leaves behind. Its id follows from the attempt's, so that the host
 * that writes it speaks of the same one without having been asked.
 */
export const snapshotAtEndOf = ({ attemptId }: { readonly attemptId: AttemptId }): SnapshotId =>
  deriveId<SnapshotId>("snp", timeOfId(attemptId), attemptId, "end")
