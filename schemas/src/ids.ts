import { Schema } from "effect"

/**
 * Ids name their kind: `job_01K9...`. Seen alone in a log line they still say what they are.
 * Behind the prefix stand 26 characters of Crockford's base 32 (a ULID: 48 bits of time in ms, then
 * 80 bits), so ids of one kind sort by age. Derived ids take their time from their cause and their
 * 80 bits from a hash, so saying something again says it under the same id.
 *
 * Source of the form: https://github.com/ulid/spec
 */
const id = (prefix: string) =>
  Schema.String.pipe(Schema.check(Schema.isPattern(new RegExp(`^${prefix}_[0-9A-HJKMNP-TV-Z]{26}$`, "u"))))

/**
 * A name that people choose and that stands as one token in a subject: lower-case letters, digits and
 * dashes, at most 40 characters. No `.`, `*`, `>`, space or control character can enter a subject here.
 */
const name = Schema.String.pipe(Schema.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,39}$/u)))

export const FactId = id("fct").pipe(Schema.brand("FactId"))
export type FactId = typeof FactId.Type

export const JobId = id("job").pipe(Schema.brand("JobId"))
export type JobId = typeof JobId.Type

export const HostId = id("hst").pipe(Schema.brand("HostId"))
export type HostId = typeof HostId.Type

/** One try of a job on one host. A job that is tried again gets another attempt. */
export const AttemptId = id("att").pipe(Schema.brand("AttemptId"))
export type AttemptId = typeof AttemptId.Type

export const AskId = id("ask").pipe(Schema.brand("AskId"))
export type AskId = typeof AskId.Type

export const SessionId = id("ses").pipe(Schema.brand("SessionId"))
export type SessionId = typeof SessionId.Type

/** A machine lease: capacity rented from a provider. */
export const LeaseId = id("lse").pipe(Schema.brand("LeaseId"))
export type LeaseId = typeof LeaseId.Type

export const SnapshotId = id("snp").pipe(Schema.brand("SnapshotId"))
export type SnapshotId = typeof SnapshotId.Type

export const ImageId = id("img").pipe(Schema.brand("ImageId"))
export type ImageId = typeof ImageId.Type

export const GrantId = id("grt").pipe(Schema.brand("GrantId"))
export type GrantId = typeof GrantId.Type

export const WarrantId = id("wrt").pipe(Schema.brand("WarrantId"))
export type WarrantId = typeof WarrantId.Type

/** A leased part of a budget. */
export const SliceId = id("slc").pipe(Schema.brand("SliceId"))
export type SliceId = typeof SliceId.Type

export const AccountId = id("acc").pipe(Schema.brand("AccountId"))
export type AccountId = typeof AccountId.Type

/** Where work, facts and keys of one tenant's team live. A name, because people type it. */
export const WorkspaceName = name.pipe(Schema.brand("WorkspaceName"))
export type WorkspaceName = typeof WorkspaceName.Type

/** A rule that starts jobs. A name, because people type it. */
export const TriggerName = name.pipe(Schema.brand("TriggerName"))
export type TriggerName = typeof TriggerName.Type

/** What people call a job. It need not be its only one. */
export const JobName = name.pipe(Schema.brand("JobName"))
export type JobName = typeof JobName.Type

/** A cloud. An open name, so that a fourteenth provider does not touch the schemas. */
export const ProviderName = name.pipe(Schema.brand("ProviderName"))
export type ProviderName = typeof ProviderName.Type

/** Who acts: `user:ada`, `agent:reviewer-7`, `service:scheduler`, `host:hst_...`. */
export const Principal = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^(user|agent|service|host):[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/u)),
  Schema.brand("Principal")
)
export type Principal = typeof Principal.Type
