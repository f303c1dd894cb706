import { Schema } from "effect"
import { AttemptId, GrantId, HostId, JobId, Principal, SessionId, WorkspaceName } from "./ids.ts"
import { Allowed } from "./job.ts"
import { Bytes, Count, EpochMillis } from "./quantities.ts"
import { kind } from "./story.ts"

/** Somebody who may do so reaches into running work. The bytes flow beside the log, over the relay. */
export const SessionOpened = Schema.TaggedStruct("SessionOpened", {
  sessionId: SessionId,
  workspace: WorkspaceName,
  jobId: JobId,
  hostId: HostId,
  attempt: Count,
  attemptId: AttemptId,
  form: Schema.Literals(["exec", "port", "files", "output"]),
  openedBy: Principal,
  grant: Schema.optionalKey(GrantId),
  decision: Allowed,
  expiresAtMs: EpochMillis
})
export type SessionOpened = typeof SessionOpened.Type

/** No byte of the session flows any more. */
export const SessionClosed = Schema.TaggedStruct("SessionClosed", {
  sessionId: SessionId,
  workspace: WorkspaceName,
  jobId: JobId,
  /** Bytes towards the work. */
  inBytes: Bytes,
  /** Bytes from the work. */
  outBytes: Bytes,
  cause: Schema.Literals(["closed", "expired", "revoked", "work_ended", "connection_lost", "gateway_stopped"])
})
export type SessionClosed = typeof SessionClosed.Type

/** Who reached into whose work. */
export const session = kind(
  { kind: "session", scope: "workspace", stream: "GATEWAY" },
  SessionOpened,
  SessionClosed
)
