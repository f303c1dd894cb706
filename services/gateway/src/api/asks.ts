import { type ActionName, linksOf, widened } from "@millrace/authority"
import { namedId } from "@millrace/decider"
import type { Journal } from "@millrace/journal"
import { Database, read } from "@millrace/readmodel"
import type { AccountId, AskId, Constraints, Cut, Digest, GrantId, Reach, WorkspaceName } from "@millrace/schemas"
import { Authority, Caller } from "@millrace/service"
import { Clock, Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { hash, randomBytes } from "node:crypto"
import type { Question } from "../domain/asks.ts"
import { digestOf, type IdempotencyKey } from "../domain/request.ts"
import { tables } from "../projections/tables.ts"
import { type AskSaid, Asks, type Remembered } from "../reactors/asks.ts"
import { Gate, type Refusal } from "../reactors/gate.ts"
import { Submissions } from "../reactors/submissions.ts"
import { Api } from "./api.ts"
import type { ReachAsked } from "./ask-endpoints.ts"
import { BadRequest, cellTrouble, Conflict, Forbidden, logSilent, NotFound, noSuchJob, type Unavailable } from "./errors.ts"
import { keyFrom } from "./jobs.ts"
import { unreadable } from "./reading.ts"
import { refusalOf } from "./refusals.ts"

/** How long it may take to write an ask down, in ms; waiting for its answer is bounded by itself. */
const sayMsMax = 20_000
/** How long a token lives when nobody says, in ms. */
const credentialLifeMs = 90 * 24 * 3_600_000

interface Asking {
  readonly action: ActionName
  readonly within: ReadonlyArray<string>
  readonly grant?: GrantId
  readonly key: string | undefined
  /** A rule of the gateway's own against it, of what its owner cannot see. */
  readonly against?: (caller: Caller["Service"]) => Refusal | undefined
  readonly question: (workspace: WorkspaceName, key: IdempotencyKey) => Effect.Effect<Question, BadRequest | NotFound | Unavailable, Caller>
}

/** What people ask of the services behind the gateway. */
export const AsksLive = HttpApiBuilder.group(Api, "asks", Effect.fn(function*(handlers) {
  const stores = yield* Effect.context<Database | Journal>()
  const asks = yield* Asks
  const authority = yield* Authority
  const gate = yield* Gate
  const submissions = yield* Submissions

  const ask = Effect.fnUntraced(function*({ action, against, grant, key: given, question, within }: Asking) {
    const caller = yield* Caller
    const key = yield* keyFrom(given)
    const asked = yield* question(caller.workspace, key)
    const acted = { action, within, argumentsDigest: digestOf(asked), ...(grant === undefined ? {} : { grant }) }
    const acting = yield* Effect.mapError(gate.pass(caller, acted), refusalOf)
    const refusal = against?.(caller)
    if (refusal !== undefined) yield* Effect.mapError(gate.refuse(caller, acted, refusal), refusalOf)
    const said = yield* asks.ask(acting, given === undefined ? undefined : key, asked, (askId, after) =>
      Effect.provideContext(rememberedAsk(caller.workspace, askId, after), stores)).pipe(
      Effect.timeoutOrElse({ duration: sayMsMax, orElse: () => Effect.fail(logSilent) }),
      Effect.catchTags({
        QuestionMismatch: ({ askId }) => Effect.fail(new Conflict({
          code: "idempotency_mismatch",
          what: `this Idempotency-Key already names ${askId}, which asked for something else`,
          where: "the Idempotency-Key header",
          remedy: "send the first request again unchanged, or choose another key"
        })),
        CommitRefused: (error) => Effect.fail(cellTrouble(error.reason, error.message)),
        JournalUnavailable: () => Effect.fail(logSilent)
      })
    )
    return yield* answered(said)
  })

  /** Whoever hands a part of a grant on acts under that grant: one that its token or warrant does not reach is not its to give. */
  const heldBy = (caller: Caller["Service"], grant: GrantId): GrantId | undefined => {
    if (caller.grant !== undefined) return grant
    const link = linksOf(authority.view, grant)?.at(-1)
    return link?.workspace === caller.workspace && link.holder === caller.principal ? grant : undefined
  }

  const onGrant = (action: ActionName, tag: "SuspensionAsked" | "ResumptionAsked" | "RevocationAsked") =>
  ({ headers, params: { grantId }, payload: { cause } }: { readonly headers: KeyHeader; readonly params: { readonly grantId: GrantId }; readonly payload: { readonly cause: string } }) =>
    ask({ action, within: ["grant", grantId], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: tag, grantId, cause }) })

  return handlers.handleAll({
    issueGrant: ({ headers, payload: { account, holder, reach, reason } }) =>
      ask({
        action: "grant.issue",
        within: [],
        against: byRoleAlone,
        key: headers["idempotency-key"],
        question: (workspace) => Effect.map(reachOf(workspace, reach), (whole) => ({ _tag: "GrantAsked", holder, reach: whole, reason, ...(account === undefined ? {} : { account }) }))
      }),
    delegateGrant: ({ headers, params: { grantId }, payload: { account, holder, reach, reason } }) =>
      Effect.flatMap(Caller, (caller) => {
        const grant = heldBy(caller, grantId)
        return ask({
          action: "grant.delegate",
          within: ["grant", grantId],
          ...(grant === undefined ? {} : { grant }),
          against: ({ constraints = {} }) => beyondWarrant(reach.constraints ?? {}, constraints),
          key: headers["idempotency-key"],
          question: (workspace) => Effect.map(reachOf(workspace, reach), (whole) => ({ _tag: "DelegationAsked", parent: grantId, holder, reach: whole, reason, ...(account === undefined ? {} : { account }) }))
        })
      }),
    suspendGrant: onGrant("grant.suspend", "SuspensionAsked"),
    resumeGrant: onGrant("grant.suspend", "ResumptionAsked"),
    revokeGrant: onGrant("grant.revoke", "RevocationAsked"),
    issueCredential: ({ headers, payload: { expiresAtMs, grant, lifeMs, principal } }) => {
      const token = `mill_${randomBytes(32).toString("base64url")}`
      return ask({
        action: "principal.write",
        within: [],
        against: byRoleAlone,
        key: headers["idempotency-key"],
        question: () => Effect.map(Clock.currentTimeMillis, (nowMs) => ({
          _tag: "CredentialAsked",
          principal,
          credentialDigest: digestOfSecret(token),
          expiresAtMs: expiresAtMs ?? nowMs + (lifeMs ?? credentialLifeMs),
          ...(grant === undefined ? {} : { grant })
        }))
      }).pipe(Effect.map((answer) => (answer.repeated ? answer : { ...answer, secret: token })))
    },
    revokeCredential: ({ headers, params: { digest } }) =>
      ask({ action: "principal.write", within: [], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "CredentialRevocationAsked", credentialDigest: digest, cause: "" }) }),
    bindRole: ({ headers, payload }) =>
      ask({ action: "principal.write", within: [], against: byRoleAlone, key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "RoleAsked", ...payload }) }),
    unbindRole: ({ headers, query }) =>
      ask({ action: "principal.write", within: [], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "RoleRemovalAsked", ...query }) }),
    openBudget: ({ headers, payload: { account, ...terms } }) =>
      ask({
        action: "budget.write",
        within: [],
        key: headers["idempotency-key"],
        question: (workspace, key) => Effect.succeed({ _tag: "BudgetAsked", account: account ?? namedId<AccountId>("acc", workspace, key), terms })
      }),
    changeLimit: ({ headers, params: { account }, payload: { limitPico, reason } }) =>
      ask({ action: "budget.write", within: ["account", account], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "LimitAsked", account, limitPico, reason }) }),
    openEnrolment: ({ headers, payload: { lifeMs } }) => {
      const oneTimeKey = randomBytes(32).toString("base64url")
      return ask({
        // A host is the whole cell's, whoever asks for its key: it is offered the work of every workspace.
        action: "cell.operate",
        within: ["host"],
        against: byRoleAlone,
        key: headers["idempotency-key"],
        question: () => Effect.map(Clock.currentTimeMillis, (nowMs) => ({ _tag: "EnrolmentAsked", oneTimeKeyDigest: digestOfSecret(oneTimeKey), expiresAtMs: nowMs + lifeMs }))
      }).pipe(Effect.map((answer) => (answer.repeated ? answer : { ...answer, secret: oneTimeKey })))
    },
    dismissHost: ({ headers, params: { hostId }, query: { cause = "" } }) =>
      ask({ action: "host.dismiss", within: ["host", hostId], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "DismissalAsked", hostId, cause }) }),
    takeSnapshot: ({ headers, payload }) =>
      ask({
        action: "snapshot.take",
        within: ["job", payload.jobId],
        key: headers["idempotency-key"],
        question: (workspace) =>
          submissions.find(workspace, payload.jobId).pipe(
            Effect.as({ _tag: "SnapshotAsked" as const, ...payload }),
            Effect.catchTags({ JobUnknown: () => Effect.fail(noSuchJob(payload.jobId)), JournalUnavailable: () => Effect.fail(logSilent) })
          )
      }),
    expireSnapshot: ({ headers, params: { snapshotId }, query: { cause = "" } }) =>
      ask({ action: "snapshot.expire", within: ["snapshot", snapshotId], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "SnapshotExpiryAsked", snapshotId, cause }) }),
    setQuota: ({ headers, payload: { node, ...terms } }) =>
      ask({ action: "cell.operate", within: ["quota", ...node.split("/")], against: byRoleAlone, key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "QuotaAsked", node, terms }) }),
    liftQuota: ({ headers, query: { node } }) =>
      ask({ action: "cell.operate", within: ["quota", ...node.split("/")], against: byRoleAlone, key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "QuotaAsked", node }) }),
    changePriority: ({ headers, params: { jobId }, payload: { priority } }) =>
      // Who may end a job may let it wait; who may only submit does neither to what others submitted.
      ask({ action: "job.cancel", within: ["job", jobId], key: headers["idempotency-key"], question: () => Effect.succeed({ _tag: "PriorityAsked", jobId, priority }) }),
    showAsk: Effect.fnUntraced(function*({ params: { askId } }) {
      const caller = yield* Caller
      const { cut, value } = yield* askRow(caller.workspace, askId, {}).pipe(Effect.provideContext(stores))
      if (value === undefined || value.name === null) return yield* noSuchAsk(askId)
      // Whoever asked may know the answer; others are told what the audit tells.
      if (value.asked_by !== caller.principal) {
        yield* Effect.mapError(gate.pass(caller, { action: "decision.read", within: [], argumentsDigest: digestOf({ askId }) }), refusalOf)
      }
      return {
        askId,
        name: value.name,
        askedBy: value.asked_by ?? "",
        askedAtMs: value.asked_at_ms ?? 0,
        ...(value.answer === null ? {} : { answer: { name: value.answer, body: value.answer_body ?? {} } }),
        cut
      }
    })
  })
}))

/** The owner decides these by the roles of whoever asks. A token or a warrant that is bound to a grant has none of them. */
const byRoleAlone = ({ grant }: Caller["Service"]): Refusal | undefined => (grant === undefined ? undefined : { rule: "acts-under-grant" })

/** Access knows the grant that is handed on; that a warrant is narrower than it is known here. */
const beyondWarrant = (asked: Constraints, warrant: Constraints): Refusal | undefined => {
  const missing = widened(asked, warrant)
  return missing === undefined ? undefined : { rule: "warrant-limit", missing }
}

type KeyHeader = { readonly "idempotency-key"?: string }

const digestOfSecret = (secret: string): Digest => `sha256:${hash("sha256", secret, "hex")}` as Digest

/** A reach as the log holds it: with its end, and without a resource named, the whole workspace. */
const reachOf = (workspace: WorkspaceName, { actions, constraints = {}, depthMax, expiresAtMs, lifeMs, notBeforeMs, resources }: ReachAsked): Effect.Effect<Reach, BadRequest> =>
  Effect.flatMap(Clock.currentTimeMillis, (nowMs) => {
    const endMs = expiresAtMs ?? (lifeMs === undefined ? undefined : nowMs + lifeMs)
    return endMs === undefined
      ? Effect.fail(new BadRequest({ code: "end_missing", what: "there is no grant without an end", where: "reach", remedy: "give it expiresAtMs, a moment, or lifeMs, a length of time" }))
      : Effect.succeed({
        actions,
        resources: resources ?? ([`workspace/${workspace}`, `workspace/${workspace}/*`] as unknown as Reach["resources"]),
        constraints,
        notBeforeMs: notBeforeMs ?? nowMs,
        expiresAtMs: endMs,
        depthMax
      })
  })

const askRow = (workspace: WorkspaceName, askId: AskId, options: { readonly after?: Cut }) =>
  Effect.mapError(read(tables, ({ db }) =>
    db.selectFrom("asks").selectAll().where("ask_id", "=", askId).where("workspace", "=", workspace).executeTakeFirst(), options), unreadable)

const rememberedAsk = (workspace: WorkspaceName, askId: AskId, after: Cut): Effect.Effect<Remembered | undefined, Unavailable, Database> =>
  Effect.map(askRow(workspace, askId, { after }), ({ value }) =>
    value?.name == null || value.asked === null ? undefined : {
      name: value.name,
      asked: value.asked,
      cut: { GATEWAY: value.asked_sequence ?? 0 },
      ...(value.answer === null ? {} : {
        answer: { name: value.answer, body: value.answer_body ?? {}, cut: { [value.answer_stream!]: value.answer_sequence ?? 0 } }
      })
    })

const answered = ({ answer, askId, cut, repeated }: AskSaid) => {
  if (answer === undefined) return Effect.succeed({ askId, repeated, cut })
  const { body, name } = answer
  return name === "AskRefused" ? Effect.fail(refusedAsk(body as never)) : Effect.succeed({ askId, repeated, cut, answer: { name, body } })
}

interface Refused {
  readonly answers: string
  readonly reason: string
  readonly detail: string
  readonly remedy: string
  readonly missing?: Forbidden["missing"]
}

/** The owner's no, in its own words. */
const refusedAsk = ({ answers, detail, missing, reason, remedy }: Refused): BadRequest | Forbidden | NotFound | Conflict => {
  const said = { code: `ask_${reason}`, what: detail === "" ? reason : detail, where: answers, remedy: remedy === "" ? "ask for something else" : remedy }
  switch (reason) {
    case "unknown":
      return new NotFound(said)
    case "invalid":
      return new BadRequest(said)
    case "not_allowed":
    case "wider_than_parent":
    case "needs_approval":
      return new Forbidden({ ...said, ...(missing == null ? {} : { missing }) })
    default:
      return new Conflict(said)
  }
}

const noSuchAsk = (askId: string) =>
  new NotFound({ code: "ask_unknown", what: `there is no ask ${askId}`, where: "this workspace", remedy: "an ask that was just made is known in a moment: ask again" })
