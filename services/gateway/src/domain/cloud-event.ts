import { DateTime, Option, Result, Schema } from "effect"

/**
 * An event as CloudEvents 1.0 describes it, as far as we read it: its name is its source and id together.
 * Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
 */
export interface CloudEvent {
  readonly id: string
  readonly source: string
  readonly type: string
  readonly subject?: string
  readonly timeAtMs?: number
  /** JSON, or other text as a JSON string. */
  readonly data?: string
}

/** What was sent is no event, or not one that we read. */
export class EventMalformed extends Schema.TaggedError<EventMalformed>()("EventMalformed", { what: Schema.String, where: Schema.String }) {}

/** The largest data of one event, in characters. */
export const dataCharsMax = 64 * 1024
/** The most events of one batch. */
export const batchMax = 100

const malformed = (what: string, where: string) => Result.fail(new EventMalformed({ what, where }))
const text = (value: unknown, max: number): string | undefined =>
  typeof value === "string" && value.length > 0 && value.length <= max && !/\p{Cc}/u.test(value) ? value : undefined

/**
 * Reads events from a request in any of the three modes of the HTTP binding: `application/cloudevents+json`,
 * `application/cloudevents-batch+json`, or attributes in `ce-` headers and the data as the body.
 * Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
 */
export const eventsIn = (headers: Readonly<Record<string, string | undefined>>, body: string): Result.Result<ReadonlyArray<CloudEvent>, EventMalformed> => {
  const type = (headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase()
  if (type === "application/cloudevents+json") return Result.flatMap(json(body), (value) => Result.map(eventOf(value, ""), (event) => [event]))
  if (type === "application/cloudevents-batch+json") {
    return Result.flatMap(json(body), (values) => {
      if (!Array.isArray(values)) return malformed("a batch is a list of events", "the body")
      if (values.length > batchMax) return malformed(`the batch has ${values.length} events, and ${batchMax} are the most`, "the body")
      return Result.all(values.map((value, at) => eventOf(value, `[${at}].`)))
    })
  }
  if (headers["ce-specversion"] === undefined) {
    return malformed("it is no CloudEvent: neither its content type nor a ce-specversion header says so", "the Content-Type header")
  }
  const attributes = Object.fromEntries(["id", "source", "type", "subject", "time", "specversion"].map((name) => [name, decoded(headers[`ce-${name}`])]))
  const data = body === "" ? {} : type === "application/json" || type.endsWith("+json") ? Result.map(json(body), (data) => ({ data })) : { data: body }
  if (Result.isResult(data)) return Result.flatMap(data, (held) => Result.map(eventOf({ ...attributes, ...held }, "ce-"), (event) => [event]))
  return Result.map(eventOf({ ...attributes, ...data }, "ce-"), (event) => [event])
}

/** Header values carry other characters than ASCII percent-encoded. */
const decoded = (value: string | undefined): string | undefined => {
  if (value === undefined) return undefined
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

const json = (body: string): Result.Result<unknown, EventMalformed> => {
  try {
    return Result.succeed(JSON.parse(body))
  } catch {
    return malformed("it is no JSON", "the body")
  }
}

const eventOf = (value: unknown, at: string): Result.Result<CloudEvent, EventMalformed> => {
  if (typeof value !== "object" || value === null) return malformed("an event is an object", at === "" ? "the body" : `the body, ${at}`)
  const fields = value as Record<string, unknown>
  if (fields["specversion"] !== "1.0") return malformed("events of specversion 1.0 are read", `${at}specversion`)
  const [id, source, type] = [text(fields["id"], 256), text(fields["source"], 512), text(fields["type"], 256)]
  if (id === undefined) return malformed("an event has an id of 1 to 256 characters", `${at}id`)
  if (source === undefined) return malformed("an event has a source of 1 to 512 characters", `${at}source`)
  if (type === undefined) return malformed("an event has a type of 1 to 256 characters", `${at}type`)
  // A space ends the source where source and id are told as one name: with one inside, two events would have one name.
  if (/\s/u.test(source)) return malformed("a source is a URI reference, which has no spaces", `${at}source`)
  const subject = fields["subject"] === undefined || fields["subject"] === null ? undefined : text(fields["subject"], 512)
  if (fields["subject"] !== undefined && fields["subject"] !== null && subject === undefined) return malformed("a subject has 1 to 512 characters", `${at}subject`)
  const timeAtMs = typeof fields["time"] === "string" ? momentOf(fields["time"]) : undefined
  if (typeof fields["time"] === "string" && (timeAtMs === undefined || timeAtMs < 0)) return malformed("a time is written as 2026-03-01T12:00:00Z", `${at}time`)
  const data = fields["data"] !== undefined ? JSON.stringify(fields["data"]) : typeof fields["data_base64"] === "string" ? JSON.stringify(fields["data_base64"]) : undefined
  if (data !== undefined && data.length > dataCharsMax) return malformed(`the data has ${data.length} characters, and ${dataCharsMax} are the most`, `${at}data`)
  return Result.succeed({ id, source, type, ...(subject === undefined ? {} : { subject }), ...(timeAtMs === undefined ? {} : { timeAtMs }), ...(data === undefined ? {} : { data }) })
}

const momentOf = (text: string): number | undefined => Option.getOrUndefined(Option.map(DateTime.make(text), DateTime.toEpochMillis))
