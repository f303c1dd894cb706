import { MissingCapability } from "@millrace/schemas"
import { Schema } from "effect"

/** What every error says: a stable code, what is wrong, where, and one remedy. */
export const fields = { code: Schema.NonEmptyString, what: Schema.NonEmptyString, where: Schema.String, remedy: Schema.NonEmptyString }

export class BadRequest extends Schema.TaggedError<BadRequest>()("BadRequest", fields, { httpApiStatus: 400 }) {}
/** `missing` names the capability that would have been needed, so that somebody can ask for just that. */
export class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", { ...fields, missing: Schema.optionalKey(MissingCapability) }, { httpApiStatus: 403 }) {}
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", fields, { httpApiStatus: 404 }) {}
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", fields, { httpApiStatus: 503 }) {}
