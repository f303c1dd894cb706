import { Schema } from "effect"

/** What every error says: a stable code, what is wrong, where, and one remedy. */
const fields = {
  code: Schema.NonEmptyString,
  what: Schema.NonEmptyString,
  where: Schema.String,
  remedy: Schema.NonEmptyString
}

export class BadRequest extends Schema.TaggedError<BadRequest>()("BadRequest", fields, { httpApiStatus: 400 }) {}
export class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", fields, { httpApiStatus: 401 }) {}
export class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", fields, { httpApiStatus: 403 }) {}
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", fields, { httpApiStatus: 404 }) {}
export class Conflict extends Schema.TaggedError<Conflict>()("Conflict", fields, { httpApiStatus: 409 }) {}
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", fields, { httpApiStatus: 413 }) {}
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", fields, { httpApiStatus: 503 }) {}

/** The log did not answer in time: whether it holds the request is not known. */
export const logSilent = new Unavailable({
  code: "log_unavailable",
  what: "the log did not confirm this in time, so it may or may not hold it",
  where: "the cell's log",
  remedy: "send the same request again with the same Idempotency-Key: it will be submitted once"
})

export const noSuchJob = (jobId: string): NotFound =>
  new NotFound({ code: "job_unknown", what: `there is no job ${jobId}`, where: "this workspace", remedy: "list the jobs you have with: millrace ls" })
