import { JournalUnavailable } from "@millrace/journal"
import type { Digest, WorkspaceName } from "@millrace/schemas"
import { Context, Effect } from "effect"

/**
 * Which bytes are whose: a workspace holds what it has put, and what its own jobs have made. A digest says
 * nothing of that; who may name bytes as a job's files, or read them, is decided here alone.
 */
export class Holdings extends Context.Service<Holdings, {
  readonly holds: (workspace: WorkspaceName, digest: Digest) => Effect.Effect<boolean, JournalUnavailable>
}>()("millrace/gateway/Holdings") {}
