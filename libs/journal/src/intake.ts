import { WorkspaceName } from "@millrace/schemas"
import { Context, type Effect, Schema, type Scope } from "effect"

/** Something that was published for a workspace instead of being sent over HTTP. Nothing in it is trusted. */
export const Submission = Schema.Struct({
  workspace: WorkspaceName,
  /** What its sender showed, as in HTTP: `Bearer mill_...`. */
  authorization: Schema.optionalKey(Schema.String),
  idempotencyKey: Schema.optionalKey(Schema.String),
  body: Schema.String
})
export type Submission = typeof Submission.Type

/** The largest message that is looked at, in bytes. */
export const submissionBytesMax = 256 * 1024

/**
 * Where messages come in from NATS itself. A message is answered once the log has what it asked for, or with
 * the reason why not; one that is not answered may be published again under the same idempotency key.
 */
export class Intake extends Context.Service<Intake, {
  /**
   * Takes messages for as long as the scope lives, several at a time and each by one of the processes that
   * take. What `handle` gives is the answer, as JSON.
   */
  readonly take: (handle: (submission: Submission) => Effect.Effect<unknown>) => Effect.Effect<void, never, Scope.Scope>
}>()("millrace/Intake") {}
