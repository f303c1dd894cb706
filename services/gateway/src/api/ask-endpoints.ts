import {
  AccountId, ActionPattern, AskId, BudgetTerms, Constraints, Count, Cut, Digest, EpochMillis, GrantId, HostId, JobId, PicoDollars, Principal, Priority, QuotaNodeName, QuotaTerms,
  ResourcePattern, Retention, Role, SnapshotForm, SnapshotId
} from "@millrace/schemas"
import { Authentication, Wellformed } from "@millrace/service"
import { Effect, Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { Life } from "../domain/request.ts"
import { BadRequest, Conflict, Forbidden, NotFound, Unavailable } from "./errors.ts"
import { Metered } from "./metered.ts"

/** The owner has answered, and this is the fact that it wrote. */
export const Answered = Schema.Struct({
  askId: AskId,
  /** The fact that answers, by its name, and what it says. */
  answer: Schema.Struct({ name: Schema.String, body: Schema.Record(Schema.String, Schema.Unknown) }),
  repeated: Schema.Boolean,
  cut: Cut
})

/** The log holds the ask; its owner will answer. Look with `GET /v1/asks/<askId>`. */
export const Pending = Schema.Struct({ askId: AskId, repeated: Schema.Boolean, cut: Cut })

/** What is shown this once and kept nowhere. Absent when the same was asked before: then it was shown then. */
const Shown = { secret: Schema.optionalKey(Schema.String) }

const answers = [Answered, Pending.pipe(HttpApiSchema.status(202))] as const
const answersShowing = [
  Answered.mapFields((fields) => ({ ...fields, ...Shown })),
  Pending.mapFields((fields) => ({ ...fields, ...Shown })).pipe(HttpApiSchema.status(202))
] as const
const error = [BadRequest, Forbidden, NotFound, Conflict, Unavailable] as const
const headers = { "idempotency-key": Schema.optionalKey(Schema.String) }
const reason = Schema.String.pipe(Schema.check(Schema.isMaxLength(500)), Schema.withDecodingDefaultKey(Effect.succeed("")))

/** What a grant is to give. Its end is a moment (`expiresAtMs`) or a length of time (`lifeMs`): there is none without. */
export const ReachAsked = Schema.Struct({
  actions: Schema.Array(ActionPattern),
  /** Without it the whole workspace. */
  resources: Schema.optionalKey(Schema.Array(ResourcePattern)),
  constraints: Schema.optionalKey(Constraints),
  notBeforeMs: Schema.optionalKey(EpochMillis),
  expiresAtMs: Schema.optionalKey(EpochMillis),
  lifeMs: Schema.optionalKey(Life),
  /** How many links may follow it: 0 is for its holder alone. */
  depthMax: Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0)))
})
export type ReachAsked = typeof ReachAsked.Type

const GrantTerms = Schema.Struct({ holder: Principal, reach: ReachAsked, account: Schema.optionalKey(AccountId), reason })
const Because = Schema.Struct({ cause: reason })
const grantId = { params: { grantId: GrantId }, headers, success: answers, error }

const summed = (summary: string) => OpenApi.annotations({ summary })

/**
 * Questions to the services behind the gateway. Each is written down, once for each `Idempotency-Key`, and
 * waits 10 s for its answer: 200 with the fact that was asked for, 202 when the answer is still to come, or
 * the refusal with its remedy.
 */
export class AskGroup extends HttpApiGroup.make("asks")
  .add(
    HttpApiEndpoint.post("issueGrant", "/grants", { headers, payload: GrantTerms, success: answers, error }).annotateMerge(summed("Issue a grant")),
    HttpApiEndpoint.post("delegateGrant", "/grants/:grantId/delegate", { ...grantId, payload: GrantTerms }).annotateMerge(summed("Hand a part of a grant on")),
    HttpApiEndpoint.post("suspendGrant", "/grants/:grantId/suspend", { ...grantId, payload: Because }).annotateMerge(summed("Let a grant rest, and all below it")),
    HttpApiEndpoint.post("resumeGrant", "/grants/:grantId/resume", { ...grantId, payload: Because }).annotateMerge(summed("Let a resting grant hold again")),
    HttpApiEndpoint.post("revokeGrant", "/grants/:grantId/revoke", { ...grantId, payload: Because }).annotateMerge(summed("End a grant for good, and all below it")),
    HttpApiEndpoint.post("issueCredential", "/credentials", {
      headers,
      payload: Schema.Struct({ principal: Principal, grant: Schema.optionalKey(GrantId), expiresAtMs: Schema.optionalKey(EpochMillis), lifeMs: Schema.optionalKey(Life) }),
      success: answersShowing,
      error
    }).annotateMerge(summed("Make a bearer token for a principal; it is shown this once")),
    HttpApiEndpoint.delete("revokeCredential", "/credentials/:digest", { params: { digest: Digest }, headers, success: answers, error }).annotateMerge(summed("End a bearer token, by its digest")),
    HttpApiEndpoint.post("bindRole", "/roles", { headers, payload: Schema.Struct({ principal: Principal, role: Role }), success: answers, error }).annotateMerge(summed("Give a principal a role")),
    HttpApiEndpoint.delete("unbindRole", "/roles", { headers, query: { principal: Principal, role: Role }, success: answers, error }).annotateMerge(summed("Take a role from a principal")),
    HttpApiEndpoint.post("openBudget", "/budgets", {
      headers,
      payload: Schema.Struct({
        /** Without it one of its own is made up from the Idempotency-Key. */
        account: Schema.optionalKey(AccountId),
        ...BudgetTerms.fields,
        atLimit: BudgetTerms.fields.atLimit.pipe(Schema.withDecodingDefaultKey(Effect.succeed("refuse_new" as const)))
      }),
      success: answers,
      error
    }).annotateMerge(summed("Open an account with a limit, in pico-dollars")),
    HttpApiEndpoint.post("changeLimit", "/budgets/:account/limit", {
      params: { account: AccountId },
      headers,
      payload: Schema.Struct({ limitPico: PicoDollars, reason }),
      success: answers,
      error
    }).annotateMerge(summed("Give an account another limit")),
    HttpApiEndpoint.post("openEnrolment", "/hosts/enrolments", {
      headers,
      payload: Schema.Struct({ lifeMs: Life.pipe(Schema.withDecodingDefaultKey(Effect.succeed(3_600_000))) }),
      success: answersShowing,
      error
    }).annotateMerge(summed("Make a one-time key that a host enrols with; it is shown this once")),
    HttpApiEndpoint.delete("dismissHost", "/hosts/:hostId", { params: { hostId: HostId }, headers, query: { cause: Schema.optionalKey(Schema.String) }, success: answers, error }).annotateMerge(summed("Let a host belong to the cell no more")),
    HttpApiEndpoint.post("takeSnapshot", "/snapshots", {
      headers,
      payload: Schema.Struct({
        jobId: JobId,
        form: SnapshotForm.pipe(Schema.withDecodingDefaultKey(Effect.succeed("files" as const))),
        retention: Retention.pipe(Schema.withDecodingDefaultKey(Effect.succeed({})))
      }),
      success: answers,
      error
    }).annotateMerge(summed("Keep a job's files as a snapshot")),
    HttpApiEndpoint.delete("expireSnapshot", "/snapshots/:snapshotId", { params: { snapshotId: SnapshotId }, headers, query: { cause: Schema.optionalKey(Schema.String) }, success: answers, error }).annotateMerge(summed("Keep a snapshot no longer")),
    HttpApiEndpoint.post("setQuota", "/quotas", { headers, payload: Schema.Struct({ node: QuotaNodeName, ...QuotaTerms.fields, limits: QuotaTerms.fields.limits.pipe(Schema.withDecodingDefaultKey(Effect.succeed([]))) }), success: answers, error })
      .annotateMerge(summed("Say what a workspace or a cohort is due, and how far it borrows and lends")),
    HttpApiEndpoint.delete("liftQuota", "/quotas", { headers, query: { node: QuotaNodeName }, success: answers, error }).annotateMerge(summed("Say nothing more of what a workspace or a cohort is due")),
    HttpApiEndpoint.post("changePriority", "/jobs/:jobId/priority", { params: { jobId: JobId }, headers, payload: Schema.Struct({ priority: Priority }), success: answers, error })
      .annotateMerge(summed("Let a job count as more or less urgent than it was submitted")),
    HttpApiEndpoint.get("showAsk", "/asks/:askId", {
      params: { askId: AskId },
      success: Schema.Struct({
        askId: AskId,
        name: Schema.String,
        askedBy: Schema.String,
        askedAtMs: EpochMillis,
        answer: Schema.optionalKey(Answered.fields.answer),
        cut: Cut
      }),
      error: [NotFound, Forbidden, Unavailable]
    }).annotateMerge(summed("See what became of an ask"))
  )
  .middleware(Metered)
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}
