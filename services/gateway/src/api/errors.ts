import { MissingCapability } from "@millrace/schemas"
import { Schema } from "effect"

/** What every error says: a stable code, what is wrong, where, and one remedy. */
const fields = {
  code: Schema.NonEmptyString,
  what: Schema.NonEmptyString,
  where: Schema.String,
  remedy: Schema.NonEmptyString
}

export class BadRequest extends Schema.TaggedError<BadRequest>()("BadRequest", fields, { httpApiStatus: 400 }) {}
/** `missing` names the capability that would have been needed, so that somebody can ask for just that. */
export class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", { ...fields, missing: Schema.optionalKey(MissingCapability) }, { httpApiStatus: 403 }) {}
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", fields, { httpApiStatus: 404 }) {}
export class Conflict extends Schema.TaggedError<Conflict>()("Conflict", fields, { httpApiStatus: 409 }) {}
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", fields, { httpApiStatus: 413 }) {}
/** The answer's `Retry-After` says when there is room again, in whole seconds. */
export class TooMany extends Schema.TaggedError<TooMany>()("TooMany", { ...fields, retryAfterMs: Schema.Int }, { httpApiStatus: 429 }) {}
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", fields, { httpApiStatus: 503 }) {}

/** The log did not answer in time: whether it holds the request is not known. */
export const logSilent = new Unavailable({
  code: "log_unavailable",
  what: "the log did not confirm this in time, so it may or may not hold it",
  where: "the cell's log",
  remedy: "send the same request again with the same Idempotency-Key: it will be submitted once"
})

export const noSuchJob = (jobId: string): NotFound =>
  new NotFound({ code: "job_unknown", what: `there is no job ${jobId.slice(0, 100)}`, where: "this workspace", remedy: "list the jobs you have with: millrace ls" })

/** Something behind the gateway cannot do its part now. */
export const cellTrouble = (code: string, what: string): Unavailable =>
  new Unavailable({ code, what, where: "the cell", remedy: "ask whoever runs the cell to look at millrace doctor, then send the request again" })
