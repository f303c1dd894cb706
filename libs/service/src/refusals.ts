import { MissingCapability } from "@millrace/schemas"
import { Schema } from "effect"

/** What every error of every API says: a stable code, what is wrong, where, and one remedy. */
export const refusalFields = {
  code: Schema.NonEmptyString,
  what: Schema.NonEmptyString,
  where: Schema.String,
  remedy: Schema.NonEmptyString
}

/** 400: the request cannot be read as one, or asks for what cannot be. */
export class BadRequest extends Schema.TaggedError<BadRequest>()("BadRequest", refusalFields, { httpApiStatus: 400 }) {}

/** 403: the caller may not. `missing` names the capability that would have been needed, so that somebody can ask for just that. */
export class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", { ...refusalFields, missing: Schema.optionalKey(MissingCapability) }, { httpApiStatus: 403 }) {}

/** 404: there is none of that name in the caller's workspace; what is another workspace's is not found either. */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", refusalFields, { httpApiStatus: 404 }) {}

/** 503: it cannot be answered now, and the same request may be answered later. */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", refusalFields, { httpApiStatus: 503 }) {}
