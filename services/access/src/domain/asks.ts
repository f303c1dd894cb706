import { type Ask, belowOf, type Decision, decide, linksOf, resourceOf } from "@millrace/authority"
import { deriveId } from "@millrace/decider"
import type {
  AskFoundDone, AskRefused, CredentialAsked, CredentialRevocationAsked, DelegationAsked, DismissalAsked, EnrolmentAsked, GrantAsked, GrantId, MillFact,
  MissingCapability, RevocationAsked, ResumptionAsked, RoleAsked, RoleRemovalAsked, Subject, SuspensionAsked, WarrantChangeAsked
} from "@millrace/schemas"
import { Result } from "effect"
import { AdmissionDecider } from "./admission.ts"
import { beyondIssuer, beyondParent, foreignAccount, malformed, type Unfit } from "./issue.ts"
import type { Registry } from "./registry.ts"

/** What people ask of access. The asks of other services are theirs to answer. */
const own = [
  "GrantAsked", "DelegationAsked", "SuspensionAsked", "ResumptionAsked", "RevocationAsked", "WarrantChangeAsked", "ApprovalVoted", "RoleAsked",
  "RoleRemovalAsked", "CredentialAsked", "CredentialRevocationAsked", "PolicyAsked", "EnrolmentAsked", "DismissalAsked"
] as const
export type AccessAsk = Extract<MillFact, { readonly _tag: (typeof own)[number] }>

export const isAccessAsk = (fact: MillFact): fact is AccessAsk => (own as ReadonlyArray<string>).includes(fact._tag)

/** What an ask comes to: one commit, and the refusal of the gate where there was one. */
export interface Answer {
  readonly subject: Subject
  readonly fact: MillFact
  /** Asked of access as a decision point, and answered no. */
  readonly denied?: { readonly ask: Ask; readonly decision: Decision }
}

/** When and on what ground an ask is answered. */
export interface Ground {
  readonly atMs: number
  /** When the log stored the ask: a new grant's id carries it. */
  readonly askedAtMs: number
  /** Whether the account that the ask names is one of its workspace. */
  readonly accountKnown: boolean
}

/**
 * Answers an ask: with the fact that was asked for, a refusal, or the word that it is so already. Nothing
 * when it has been answered. Pure: the same registry and ground give the same answer.
 */
export const answer = (registry: Registry, ask: AccessAsk, ground: Ground): Answer | undefined =>
  registry.answered.has(ask.askId) ? undefined : answerOf(registry, ask, ground)

const answerOf = (registry: Registry, ask: AccessAsk, ground: Ground): Answer => {
  switch (ask._tag) {
    case "GrantAsked":
      return issue(registry, ask, ground)
    case "DelegationAsked":
      return delegate(registry, ask, ground)
    case "SuspensionAsked":
    case "ResumptionAsked":
    case "RevocationAsked":
      return change(registry, ask, ground)
    case "RoleAsked":
    case "RoleRemovalAsked":
      return bind(registry, ask, ground)
    case "CredentialAsked":
      return credential(registry, ask, ground)
    case "CredentialRevocationAsked":
      return revokeCredential(registry, ask, ground)
    case "EnrolmentAsked":
      return enrolment(registry, ask, ground)
    case "DismissalAsked":
      return dismissal(registry, ask, ground)
    case "ApprovalVoted":
      return refused(ask, { reason: "unknown", detail: `no request waits for approval under ${ask.approval}`, remedy: "look at what was decided with: millrace events" })
    case "PolicyAsked":
      return refused(ask, { reason: "invalid", detail: "this cell keeps no guard-rails: grants and roles decide alone", remedy: "narrow the grants instead" })
    case "WarrantChangeAsked":
      return refused(ask, warrantRemedy(ask))
    default:
      return ask satisfies never
  }
}

const issue = ({ view }: Registry, ask: GrantAsked, { accountKnown, askedAtMs, atMs }: Ground): Answer => {
  const { account, askId, askedBy, holder, reach, reason, workspace } = ask
  const gate = { principal: askedBy, workspace, action: "grant.issue", resource: resourceOf(workspace) } as const
  const no = denial(view, ask, gate, atMs)
  if (no !== undefined) return no
  const unfit = malformed(workspace, reach, atMs) ?? beyondIssuer(view, workspace, askedBy, reach) ?? (accountKnown ? undefined : noAccount(account))
  if (unfit !== undefined) return unfit.missing === undefined ? refused(ask, unfit) : tooWide(ask, gate, unfit)
  const grantId = deriveId<GrantId>("grt", askedAtMs, askId)
  return {
    subject: { kind: "grant", scope: workspace, story: grantId },
    fact: { _tag: "GrantIssued", workspace, tree: grantId, grantId, holder, issuer: askedBy, reach, durable: false, reason, answers: askId, ...(account === undefined ? {} : { account }) }
  }
}

const delegate = ({ view }: Registry, ask: DelegationAsked, { askedAtMs, atMs }: Ground): Answer => {
  const { account, askId, askedBy, holder, parent, reach, reason, workspace } = ask
  const above = view.grants.get(parent)
  if (above === undefined || above.workspace !== workspace) return refused(ask, unknownGrant(parent))
  const gate = { principal: askedBy, workspace, action: "grant.delegate", resource: resourceOf(workspace, "grant", parent), grant: parent } as const
  const no = denial(view, ask, gate, atMs)
  if (no !== undefined) return no
  const unfit = malformed(workspace, reach, atMs) ?? beyondParent(view, parent, reach) ?? foreignAccount(view, workspace, parent, account)
  if (unfit !== undefined) return unfit.missing === undefined ? refused(ask, unfit) : tooWide(ask, gate, unfit, linksOf(view, parent)?.map((link) => link.grantId))
  const grantId = deriveId<GrantId>("grt", askedAtMs, askId)
  return {
    subject: { kind: "grant", scope: workspace, story: above.tree },
    fact: {
      _tag: "GrantDelegated", workspace, tree: above.tree, grantId, parent, depth: above.depth + 1, holder, issuer: askedBy, reach, reason, answers: askId,
      ...(account === undefined ? {} : { account })
    }
  }
}

const change = (registry: Registry, ask: SuspensionAsked | ResumptionAsked | RevocationAsked, { atMs }: Ground): Answer => {
  const { view } = registry
  const { askId, askedBy, cause, grantId, workspace } = ask
  const link = view.grants.get(grantId)
  if (link === undefined || link.workspace !== workspace) return refused(ask, unknownGrant(grantId))
  const action = ask._tag === "RevocationAsked" ? "grant.revoke" : "grant.suspend"
  const gate = { principal: askedBy, workspace, action, resource: resourceOf(workspace, "grant", grantId), ...(askedBy.startsWith("agent:") && link.holder === askedBy ? { grant: grantId } : {}) } as const
  const no = denial(view, ask, gate, atMs)
  if (no !== undefined) return no
  const subject = { kind: "grant", scope: workspace, story: link.tree }
  const which = { workspace, tree: link.tree, grantId, cause, answers: askId }
  switch (ask._tag) {
    case "SuspensionAsked":
      if (link.revoked) return refused(ask, overGrant(grantId))
      return link.suspended ? found(ask, `${grantId} rests already`) : { subject, fact: { _tag: "GrantSuspended", ...which, suspendedBy: askedBy } }
    case "ResumptionAsked":
      if (link.revoked) return refused(ask, overGrant(grantId))
      if (!link.suspended) return found(ask, `${grantId} does not rest`)
      // Whoever may only take back what they gave does not undo what somebody above them did.
      return link.suspendedBy === askedBy || mayByRole(registry, ask)
        ? { subject, fact: { _tag: "GrantResumed", ...which, resumedBy: askedBy } }
        : refused(ask, { reason: "not_allowed", detail: `${link.suspendedBy} let ${grantId} rest`, remedy: `ask ${link.suspendedBy}, or an owner of the workspace` })
    case "RevocationAsked":
      return link.revoked ? found(ask, `${grantId} is revoked already`) : { subject, fact: { _tag: "GrantRevoked", ...which, revokedBy: askedBy, below: belowOf(view, grantId).length } }
  }
}

const mayByRole = ({ view }: Registry, { askedBy, workspace }: ResumptionAsked): boolean =>
  decide(view, { principal: askedBy, workspace, action: "grant.suspend", resource: resourceOf(workspace) }, 0).verdict === "allow"

const bind = ({ view }: Registry, ask: RoleAsked | RoleRemovalAsked, { atMs }: Ground): Answer => {
  const { askId, askedBy, principal, role, workspace } = ask
  const no = denial(view, ask, { principal: askedBy, workspace, action: "principal.write", resource: resourceOf(workspace, "principal", principal) }, atMs)
  if (no !== undefined) return no
  const subject = { kind: "principal", scope: workspace }
  const held = view.roles.get(workspace)?.get(principal) ?? []
  if (ask._tag === "RoleAsked") {
    if (!/^(user|service):/u.test(principal)) return refused(ask, { reason: "invalid", detail: `${principal} cannot have a role`, remedy: "issue a grant to it instead" })
    if (role === "operator" && workspace !== view.home) {
      return refused(ask, { reason: "invalid", detail: `operator is a role of the cell, and counts in workspace ${view.home ?? "that it began with"} alone`, remedy: "bind it there" })
    }
    return held.includes(role) ? found(ask, `${principal} is ${role} already`) : { subject, fact: { _tag: "RoleBound", workspace, principal, role, boundBy: askedBy, answers: askId } }
  }
  if (!held.includes(role)) return found(ask, `${principal} is not ${role}`)
  const owners = [...view.roles.get(workspace)?.values() ?? []].filter((roles) => roles.includes("owner")).length
  return role === "owner" && owners === 1
    ? refused(ask, { reason: "invalid", detail: `${principal} is the only owner of ${workspace}, and nobody could be let in any more`, remedy: "make somebody else an owner first" })
    : { subject, fact: { _tag: "RoleUnbound", workspace, principal, role, unboundBy: askedBy, answers: askId } }
}

const credential = ({ view }: Registry, ask: CredentialAsked, { atMs }: Ground): Answer => {
  const { askId, askedBy, credentialDigest, expiresAtMs, grant, principal, workspace } = ask
  const no = denial(view, ask, { principal: askedBy, workspace, action: "principal.write", resource: resourceOf(workspace, "principal", principal) }, atMs)
  if (no !== undefined) return no
  const known = view.credentials.get(credentialDigest)
  if (known !== undefined) {
    return !known.revoked && known.workspace === workspace && known.principal === principal && known.grant === grant
      ? found(ask, `this token speaks for ${principal} already`)
      : refused(ask, { reason: "invalid", detail: "this token has been used before", remedy: "make another one" })
  }
  if (principal.startsWith("host:")) return refused(ask, { reason: "invalid", detail: "hosts do not speak by tokens", remedy: "enrol the host with a one-time key" })
  if (expiresAtMs <= atMs) return refused(ask, { reason: "invalid", detail: "the token would be over before it is shown", remedy: "choose a later end" })
  if (grant === undefined && principal.startsWith("agent:")) return refused(ask, { reason: "invalid", detail: `${principal} can do nothing without a grant`, remedy: "issue a grant to it, and name that grant here" })
  if (grant !== undefined) {
    const link = view.grants.get(grant)
    if (link === undefined || link.workspace !== workspace) return refused(ask, unknownGrant(grant))
    if (link.holder !== principal) return refused(ask, { reason: "invalid", detail: `${grant} is held by ${link.holder}, not by ${principal}`, remedy: "name a grant that the token's principal holds" })
  }
  return {
    subject: { kind: "principal", scope: workspace },
    fact: { _tag: "CredentialIssued", workspace, principal, credentialDigest, expiresAtMs, issuedBy: askedBy, answers: askId, ...(grant === undefined ? {} : { grant }) }
  }
}

const revokeCredential = ({ view }: Registry, ask: CredentialRevocationAsked, { atMs }: Ground): Answer => {
  const { askId, askedBy, cause, credentialDigest, workspace } = ask
  const known = view.credentials.get(credentialDigest)
  if (known === undefined || known.workspace !== workspace) {
    return refused(ask, { reason: "unknown", detail: `no token of ${workspace} has the digest ${credentialDigest}`, remedy: "list the tokens with: millrace grants --tokens" })
  }
  const no = known.principal === askedBy
    ? undefined
    : denial(view, ask, { principal: askedBy, workspace, action: "principal.write", resource: resourceOf(workspace, "principal", known.principal) }, atMs)
  if (no !== undefined) return no
  return known.revoked
    ? found(ask, "this token stands for nobody already")
    : { subject: { kind: "principal", scope: workspace }, fact: { _tag: "CredentialRevoked", workspace, credentialDigest, revokedBy: askedBy, cause, answers: askId } }
}

const cell = { kind: "admission", scope: "cell" } as const

const enrolment = ({ roster, view }: Registry, ask: EnrolmentAsked, { atMs }: Ground): Answer => {
  const { askId, askedBy, expiresAtMs, oneTimeKeyDigest, workspace } = ask
  const no = denial(view, ask, { principal: askedBy, workspace, action: "host.admit", resource: resourceOf(workspace) }, atMs)
  if (no !== undefined) return no
  if (expiresAtMs <= atMs) return refused(ask, { reason: "invalid", detail: "the key would be over before it is used", remedy: "choose a later end" })
  const opened = AdmissionDecider.decide(roster, { _tag: "Open", workspace, oneTimeKeyDigest, openedBy: askedBy, expiresAtMs, answers: askId })
  const fact = Result.isSuccess(opened) ? opened.success[0] : undefined
  return fact === undefined ? found(ask, "a host may enrol with this key already") : { subject: cell, fact }
}

const dismissal = ({ roster, view }: Registry, ask: DismissalAsked, { atMs }: Ground): Answer => {
  const { askId, askedBy, cause, hostId, workspace } = ask
  const no = denial(view, ask, { principal: askedBy, workspace, action: "host.dismiss", resource: resourceOf(workspace, "host", hostId) }, atMs)
  if (no !== undefined) return no
  if (roster.hosts.get(hostId)?.workspace !== workspace) return refused(ask, { reason: "unknown", detail: `there is no host ${hostId}`, remedy: "list the hosts with: millrace hosts" })
  const dismissed = AdmissionDecider.decide(roster, { _tag: "Dismiss", hostId, dismissedBy: askedBy, cause, answers: askId })
  const fact = Result.isSuccess(dismissed) ? dismissed.success[0] : undefined
  return fact === undefined ? found(ask, `${hostId} is dismissed already`) : { subject: cell, fact }
}

const denial = (view: Registry["view"], ask: AccessAsk, gate: Ask, atMs: number): Answer | undefined => {
  const decision = decide(view, gate, atMs)
  if (decision.verdict === "allow") return undefined
  const remedy = decision.missing === undefined ? "ask an owner of the workspace" : `ask for ${decision.missing.action} on ${decision.missing.resource}`
  return { ...refused(ask, { reason: "not_allowed", detail: `${gate.principal} may not do ${gate.action} on ${gate.resource} (${decision.rule})`, remedy, missing: decision.missing }), denied: { ask: gate, decision } }
}

/** More is asked for than can be given: a refusal of the gate too, with what is missing named. */
const tooWide = (ask: AccessAsk, gate: Ask, unfit: Unfit, grantPath: ReadonlyArray<GrantId> = []): Answer => ({
  ...refused(ask, unfit),
  denied: { ask: gate, decision: { verdict: "deny", rule: "wider-than-parent", reason: unfit.missing?.limit === "depthMax" ? "depth" : "constraint", grantPath, ...(unfit.missing === undefined ? {} : { missing: unfit.missing }) } }
})

const noAnswer = (ask: AccessAsk): Subject => ({ kind: "answer", scope: "access", story: ask.workspace })

const refused = (ask: AccessAsk, { detail, missing, reason, remedy }: { readonly reason: AskRefused["reason"]; readonly detail: string; readonly remedy: string; readonly missing?: MissingCapability | undefined }): Answer => ({
  subject: noAnswer(ask),
  fact: { _tag: "AskRefused", answers: ask.askId, workspace: ask.workspace, reason, detail, remedy, ...(missing === undefined ? {} : { missing }) }
})

const found = (ask: AccessAsk, detail: string): Answer => ({
  subject: noAnswer(ask),
  fact: { _tag: "AskFoundDone", answers: ask.askId, workspace: ask.workspace, detail } satisfies AskFoundDone
})

const unknownGrant = (grantId: GrantId) => ({ reason: "unknown", detail: `there is no grant ${grantId}`, remedy: "list your grants with: millrace grants" }) as const
const overGrant = (grantId: GrantId) => ({ reason: "over", detail: `${grantId} is revoked for good`, remedy: "issue another grant" }) as const
const noAccount = (account: GrantAsked["account"]): Unfit => ({ reason: "unknown", detail: `there is no account ${account}`, remedy: "list the accounts with: millrace usage" })
const warrantRemedy = ({ warrantId }: WarrantChangeAsked) =>
  ({ reason: "invalid", detail: `single warrants such as ${warrantId} are not changed by name here`, remedy: "cancel the job, or suspend or revoke the grant that it runs under" }) as const
