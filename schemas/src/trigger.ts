import { Schema } from "effect"
import { GrantId, JobId, Principal, TriggerName, WorkspaceName } from "./ids.ts"
import { Allowed, JobSpec } from "./job.ts"
import { BlobRef, Count, Digest, EpochMillis, Sealed } from "./quantities.ts"
import { kind } from "./story.ts"

/** A field of what happened, by its path from the top (`outcome`, `data.repository.name`), and what it must be. */
export const Condition = Schema.Struct({
  path: Schema.String.pipe(Schema.check(Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+){0,7}$/u))),
  is: Schema.Literals(["equal", "not_equal", "prefix", "exists"]),
  value: Schema.optionalKey(Schema.Union([Schema.String, Schema.Number, Schema.Boolean]))
})
export type Condition = typeof Condition.Type

/** What starts a job: a fact of the log, an event from outside, or a time. */
export const Cause = Schema.Union([
  Schema.TaggedStruct("fact", { name: Schema.NonEmptyString, where: Schema.Array(Condition).pipe(Schema.check(Schema.isMaxLength(16))) }),
  Schema.TaggedStruct("event", { type: Schema.NonEmptyString, where: Schema.Array(Condition).pipe(Schema.check(Schema.isMaxLength(16))) }),
  /** Five fields of cron in a zone of the IANA time zone database. */
  Schema.TaggedStruct("cron", { expression: Schema.NonEmptyString, timeZone: Schema.NonEmptyString })
])
export type Cause = typeof Cause.Type

/** From here on whatever matches starts a job from the template, under the grant. A definition replaces the one before it. */
export const TriggerDefined = Schema.TaggedStruct("TriggerDefined", {
  workspace: WorkspaceName,
  trigger: TriggerName,
  on: Cause,
  /** The template's program is sealed for `trigger/<name>`; each job gets its own seal. */
  spec: JobSpec,
  grant: Schema.optionalKey(GrantId),
  /** It fires as this principal. */
  definedBy: Principal,
  /** More firings than this within a minute are refused, and told. */
  perMinuteMax: Count,
  /** How many steps of programs that submitted programs lie above it: what it starts lies as deep, and grants bound that. */
  depth: Schema.optionalKey(Count),
  requestDigest: Digest,
  decision: Allowed
})
export type TriggerDefined = typeof TriggerDefined.Type

/** The trigger starts nothing more. */
export const TriggerRemoved = Schema.TaggedStruct("TriggerRemoved", {
  workspace: WorkspaceName,
  trigger: TriggerName,
  removedBy: Principal,
  decision: Allowed
})
export type TriggerRemoved = typeof TriggerRemoved.Type

/** Something matched, and this job came of it. Each event fires a trigger once. */
export const TriggerFired = Schema.TaggedStruct("TriggerFired", {
  workspace: WorkspaceName,
  trigger: TriggerName,
  /** What happened: a fact's id, an event's source and id, or the time that was due. */
  event: Schema.NonEmptyString,
  jobId: JobId
})
export type TriggerFired = typeof TriggerFired.Type

/** Something matched, and no job came of it. */
export const TriggerRefused = Schema.TaggedStruct("TriggerRefused", {
  workspace: WorkspaceName,
  trigger: TriggerName,
  event: Schema.NonEmptyString,
  reason: Schema.Literals(["loop", "rate", "not_allowed", "invalid", "missed"]),
  detail: Schema.String
})
export type TriggerRefused = typeof TriggerRefused.Type

/** Rules that start jobs, and what came of them. */
export const trigger = kind(
  { kind: "trigger", scope: "workspace", stream: "GATEWAY" },
  TriggerDefined,
  TriggerRemoved,
  TriggerFired,
  TriggerRefused
)

/**
 * Something happened outside, and somebody who may say so told us: a CloudEvent
 * (https://github.com/cloudevents/spec, 1.0.2). Source and id together are its name; it is told once.
 */
export const EventReceived = Schema.TaggedStruct("EventReceived", {
  workspace: WorkspaceName,
  source: Schema.NonEmptyString,
  eventId: Schema.NonEmptyString,
  eventType: Schema.NonEmptyString,
  subject: Schema.optionalKey(Schema.String),
  timeAtMs: Schema.optionalKey(EpochMillis),
  /** Small JSON as it came; more than 16 KiB lies in the blob store. */
  json: Schema.optionalKey(Schema.String),
  blob: Schema.optionalKey(BlobRef),
  tellsFor: Principal,
  grant: Schema.optionalKey(GrantId),
  decision: Allowed
})
export type EventReceived = typeof EventReceived.Type

/** What happened outside, as we were told. */
export const event = kind({ kind: "event", scope: "workspace", story: "event", stream: "GATEWAY" }, EventReceived)

/** Whoever signs with this secret tells us events from here on, in this principal's name. */
export const HookOpened = Schema.TaggedStruct("HookOpened", {
  workspace: WorkspaceName,
  hook: TriggerName,
  /** What signatures are proven with, sealed for `<workspace>/hook/<name>`; its opener saw it once. */
  proof: Sealed,
  tellsFor: Principal,
  grant: Schema.optionalKey(GrantId),
  decision: Allowed
})
export type HookOpened = typeof HookOpened.Type

/** Nobody tells us events through this hook any more. */
export const HookClosed = Schema.TaggedStruct("HookClosed", {
  workspace: WorkspaceName,
  hook: TriggerName,
  closedBy: Principal,
  decision: Allowed
})
export type HookClosed = typeof HookClosed.Type

/** Where events from outside come in, signed. */
export const hook = kind({ kind: "hook", scope: "workspace", stream: "GATEWAY" }, HookOpened, HookClosed)
