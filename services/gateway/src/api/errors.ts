import { BadRequest, Forbidden, NotFound, refusalFields, Unavailable } from "@millrace/service"
import { Schema } from "effect"

export { BadRequest, Forbidden, NotFound, Unavailable }

export class Conflict extends Schema.TaggedError<Conflict>()("Conflict", refusalFields, { httpApiStatus: 409 }) {}
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", refusalFields, { httpApiStatus: 413 }) {}
/** The answer's `Retry-After` says when there is room again, in whole seconds. */
export class TooMany extends Schema.TaggedError<TooMany>()("TooMany", { ...refusalFields, retryAfterMs: Schema.Int }, { httpApiStatus: 429 }) {}

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
