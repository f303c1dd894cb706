import { Schema } from "effect"
import { GrantId, Principal, WorkspaceName } from "./ids.ts"
import { Allowed } from "./job.ts"
import { BlobRef } from "./quantities.ts"
import { kind } from "./story.ts"

/**
 * Somebody of the workspace has put these bytes: from here on the workspace may read them by their digest.
 * Of one workspace and one digest it is said once; who else put the same bytes added nothing.
 */
export const BlobPut = Schema.TaggedStruct("BlobPut", {
  workspace: WorkspaceName,
  blob: BlobRef,
  putBy: Principal,
  grant: Schema.optionalKey(GrantId),
  decision: Allowed
})
export type BlobPut = typeof BlobPut.Type

/** Whose bytes are whose. The story is the digest's 64 hexadecimal digits. */
export const blob = kind({ kind: "blob", scope: "workspace", story: "digest", stream: "GATEWAY" }, BlobPut)
