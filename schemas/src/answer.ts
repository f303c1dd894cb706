import { Schema } from "effect"
import { MissingCapability } from "./authority.ts"
import { AskId, WorkspaceName } from "./ids.ts"
import { kind, type StreamName } from "./story.ts"

/** What was asked for will not be done. Asking the same again is another ask. */
export const AskRefused = Schema.TaggedStruct("AskRefused", {
  answers: AskId,
  workspace: WorkspaceName,
  reason: Schema.Literals(["unknown", "not_allowed", "wider_than_parent", "over", "overtaken", "invalid", "needs_approval", "no_room"]),
  detail: Schema.String,
  remedy: Schema.String,
  missing: Schema.optionalKey(MissingCapability)
})
export type AskRefused = typeof AskRefused.Type

/** What was asked for was already so. Nothing has changed. */
export const AskFoundDone = Schema.TaggedStruct("AskFoundDone", {
  answers: AskId,
  workspace: WorkspaceName,
  detail: Schema.String
})
export type AskFoundDone = typeof AskFoundDone.Type

const answer = <const Stream extends StreamName>(stream: Stream, service: string) =>
  kind({ kind: "answer", scope: "service", only: service, story: "workspace", stream }, AskRefused, AskFoundDone)

/** Answers that change nothing. The other answers are the facts that were asked for, in their own stories. */
export const answerSnapshots = answer("SNAPSHOTS", "snapshots")
export const answerAccess = answer("ACCESS", "access")
export const answerScheduler = answer("SCHEDULER", "scheduler")
export const answerMetering = answer("METERING", "metering")
