import { Schema } from "effect"
import { AskId, Principal, WorkspaceName } from "./ids.ts"
import { BlobRef, Count, Digest } from "./quantities.ts"
import { kind } from "./story.ts"

/** These guard-rails hold from here on. The bundle before them stays, for the decisions it made. */
export const PolicyPublished = Schema.TaggedStruct("PolicyPublished", {
  workspace: WorkspaceName,
  /** The bundle: schema and rules in one canonical text. Its digest is its name in every decision. */
  bundle: BlobRef,
  replaces: Schema.optionalKey(Digest),
  rules: Count,
  /** The language and version that read it, such as `cedar/4.13.0`. */
  engine: Schema.NonEmptyString,
  publishedBy: Principal,
  /** What it would have changed over past decisions, looked at before publishing. */
  whatIf: Schema.optionalKey(BlobRef),
  answers: Schema.optionalKey(AskId)
})
export type PolicyPublished = typeof PolicyPublished.Type

/** Guard-rails of a workspace: what may happen at all. */
export const policy = kind({ kind: "policy", scope: "workspace", stream: "ACCESS" }, PolicyPublished)
