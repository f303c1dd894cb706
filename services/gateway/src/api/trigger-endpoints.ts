import { Cause, Count, Cut, EpochMillis, TriggerName } from "@millrace/schemas"
import { Authentication, Wellformed } from "@millrace/service"
import { Effect, Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { JobRequest } from "../domain/request.ts"
import { BadRequest, Conflict, Forbidden, NotFound, TooLarge, TooMany, Unavailable } from "./errors.ts"
import { Metered } from "./metered.ts"

/** One time that a trigger matched: the job that came of it, or why none did. */
export const FiringView = Schema.Struct({
  event: Schema.String,
  atMs: EpochMillis,
  jobId: Schema.optionalKey(Schema.String),
  refused: Schema.optionalKey(Schema.Struct({ reason: Schema.String, detail: Schema.String }))
})

export const TriggerView = Schema.Struct({
  name: TriggerName,
  on: Cause,
  definedBy: Schema.String,
  grant: Schema.optionalKey(Schema.String),
  perMinuteMax: Count,
  sinceMs: EpochMillis,
  /** When it is due next, by the clock. */
  nextAtMs: Schema.optionalKey(EpochMillis),
  /** The newest first, at most 20 in a list. */
  firings: Schema.Array(FiringView)
})
export type TriggerView = typeof TriggerView.Type

export const TriggerTerms = Schema.Struct({
  on: Cause,
  /** What it starts. Its program finds what happened in `MILLRACE_EVENT` (JSON of up to 8 KiB) and its name in `MILLRACE_EVENT_NAME`. */
  job: JobRequest,
  perMinuteMax: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 10_000 })), Schema.withDecodingDefaultKey(Effect.succeed(60)))
})

const named = { params: { name: TriggerName } }
const Done = Schema.Struct({ cut: Cut })
const summed = (summary: string) => OpenApi.annotations({ summary })

/**
 * Rules that start jobs. A trigger waits for a fact (`{"_tag":"fact","name":"JobSettled","where":[...]}`), for an
 * event from outside (`{"_tag":"event","type":"push","where":[...]}`) or for a time
 * (`{"_tag":"cron","expression":"0 9 * * 1-5","timeZone":"Europe/Berlin"}`); it fires once for each, in the
 * name of whoever defined it, and never for what it caused itself.
 */
export class TriggerGroup extends HttpApiGroup.make("triggers")
  .add(
    HttpApiEndpoint.put("define", "/:name", { ...named, payload: TriggerTerms, success: Done, error: [BadRequest, Forbidden, Conflict, TooLarge, Unavailable] })
      .annotateMerge(summed("define a trigger, or replace it")),
    HttpApiEndpoint.get("list", "/", { success: Schema.Struct({ triggers: Schema.Array(TriggerView) }), error: [Forbidden, Unavailable] })
      .annotateMerge(summed("triggers, and what they did lately")),
    HttpApiEndpoint.get("show", "/:name", { ...named, success: Schema.Struct({ trigger: TriggerView }), error: [NotFound, Forbidden, Unavailable] })
      .annotateMerge(summed("one trigger, with up to 1,000 firings")),
    HttpApiEndpoint.delete("remove", "/:name", { ...named, success: Done, error: [NotFound, Forbidden, BadRequest, Conflict, TooLarge, Unavailable] })
      .annotateMerge(summed("let a trigger start nothing more"))
  )
  .middleware(Metered)
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1/triggers")
{}

export const EventAnswer = Schema.Struct({
  events: Schema.Array(Schema.Struct({ event: Schema.String, repeated: Schema.Boolean, cut: Cut }))
})

const cloudEvents = HttpApiSchema.StreamUint8Array()

/**
 * Events from outside, as CloudEvents 1.0 in any mode of its HTTP binding; the same source and id is told once.
 */
export class EventGroup extends HttpApiGroup.make("events")
  .add(
    HttpApiEndpoint.post("tell", "/events", { payload: cloudEvents, success: EventAnswer, error: [BadRequest, Forbidden, TooLarge, Unavailable] })
      .annotateMerge(summed("tell events, with a token")),
    HttpApiEndpoint.put("open", "/hooks/:name", {
      ...named,
      success: Schema.Struct({ secret: Schema.String, path: Schema.String, cut: Cut }),
      error: [BadRequest, Forbidden, Unavailable]
    }).annotateMerge(summed("open a hook: its secret is shown this once; opening it again replaces the secret")),
    HttpApiEndpoint.delete("close", "/hooks/:name", { ...named, success: Done, error: [NotFound, BadRequest, Forbidden, Unavailable] })
      .annotateMerge(summed("close a hook"))
  )
  .middleware(Metered)
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** Where whoever has no token of ours tells events: signed as Standard Webhooks says (webhook-id, webhook-timestamp, webhook-signature). */
export class HookGroup extends HttpApiGroup.make("hooks")
  .add(
    HttpApiEndpoint.post("receive", "/:workspace/:name", {
      params: { workspace: Schema.String, name: Schema.String },
      payload: cloudEvents,
      success: EventAnswer,
      error: [BadRequest, Forbidden, NotFound, TooLarge, TooMany, Unavailable]
    }).annotateMerge(summed("tell events through a hook, signed with its secret: the event is the body, as application/cloudevents+json or a batch"))
  )
  .middleware(Wellformed)
  .prefix("/v1/hooks")
{}
