import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import type { Allowed, BlobRef, Digest, FactId, GrantId, Principal, WorkspaceName } from "@millrace/schemas"
import { Clock, Effect } from "effect"

/** Somebody of a workspace who has put bytes. */
export interface Claim {
  readonly workspace: WorkspaceName
  readonly principal: Principal
  readonly grant?: GrantId
  readonly decision: Allowed
  readonly blob: BlobRef
}

const subjectOf = (workspace: WorkspaceName, digest: Digest) => ({ kind: "blob", scope: workspace, story: digest.slice("sha256:".length) })

/** Whether the workspace has put these bytes: asked of the log itself, so one's own put is in it. */
export const hasPut = (workspace: WorkspaceName, digest: Digest) =>
  Journal.use((journal) => journal.last(subjectOf(workspace, digest))).pipe(Effect.map((commit) => commit !== undefined))

/**
 * Writes down that a workspace holds bytes, which it has shown by putting them. The bytes are in the store
 * before: a crash in between leaves bytes that nobody's fact names, and they are collected. Said again it
 * finds its own word and adds nothing.
 */
export const claim = Effect.fnUntraced(function*({ blob, decision, grant, principal, workspace }: Claim) {
  const journal = yield* Journal
  if (yield* hasPut(workspace, blob.digest)) return
  const happenedAtMs = yield* Clock.currentTimeMillis
  const id = deriveId<FactId>("fct", happenedAtMs, workspace, blob.digest, "put")
  yield* journal.append({
    subject: subjectOf(workspace, blob.digest),
    actor: principal,
    happenedAtMs,
    facts: [{ id, partOf: id, ...(grant === undefined ? {} : { grant }), event: { _tag: "BlobPut", workspace, blob, putBy: principal, ...(grant === undefined ? {} : { grant }), decision } }]
  }, { last: "subject", sequence: 0 }).pipe(Effect.catchTag("Overtaken", () => Effect.void))
})
