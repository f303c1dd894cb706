import type { Action, Constraints, Cut, DecisionMade, DecisionPoint, Digest, GrantId, MissingCapability, Principal, Resource, WorkspaceName } from "@millrace/schemas"
import { type ActionName, isOfCell } from "./actions.ts"
import { exceeded, type Needs } from "./limits.ts"
import { actionMatches, resourceMatches } from "./patterns.ts"
import { roles } from "./roles.ts"
import { type Link, linksOf, rolesOf, type View } from "./view.ts"

/** What is asked at a gate. */
export interface Ask {
  readonly principal: Principal
  /** Where it is asked. A resource or grant of another workspace is as good as unknown. */
  readonly workspace: WorkspaceName
  readonly action: ActionName | Action
  readonly resource: Resource
  /** The grant that the action names. Without one a person or service acts by its roles, and an agent not at all. */
  readonly grant?: GrantId
  readonly needs?: Needs
  /** The grant that the bearer's token is bound to: it or one below it must be named. */
  readonly bound?: GrantId
  /** The bearer shows a warrant: it acts under a grant or not at all, and within these limits too. */
  readonly warrant?: { readonly constraints?: Constraints }
}

/** The answer, and what would have been needed for another one. */
export interface Decision {
  readonly verdict: "allow" | "deny"
  /** The rule that decided, by its stable name. */
  readonly rule: string
  readonly reason: DecisionMade["reason"]
  /** There whenever the verdict is no and a capability could cure it. */
  readonly missing?: MissingCapability
  /** From the root of the delegation to the grant that was named. */
  readonly grantPath: ReadonlyArray<GrantId>
}

/**
 * Whether a principal may do something at a moment, as far as this view knows. Pure: every gate and every
 * replay decides the same. Nothing is allowed that no role or grant allows: a named grant holds only while
 * each link from its root holds, reaches as far, and its issuer still may do the same of itself.
 */
export const decide = (view: View, ask: Ask, atMs: number): Decision => {
  const { resource, workspace } = ask
  if (!isIn(workspace, resource)) return deny(ask, "other-workspace", "resource")
  const grant = ask.grant ?? ask.bound
  if (isOfCell(ask.action) && grant === undefined && workspace !== view.home) {
    return deny(ask, "not-the-cells-workspace", "no_role", { limit: "workspace", needs: view.home ?? "the one that the cell began with", has: workspace })
  }
  if (grant === undefined && ask.warrant !== undefined) return deny(ask, "warrant-without-grant", "no_grant")
  const decision = grant === undefined ? byRole(view, ask) : byGrant(view, ask, grant, atMs)
  if (isOfCell(ask.action) && grant !== undefined && decision.verdict === "allow") return deny(ask, "acts-under-grant", "no_role", {}, decision.grantPath)
  return decision.verdict === "deny" && mayTakeBack(view, ask) ? { verdict: "allow", rule: "giver", reason: "allowed", grantPath: decision.grantPath } : decision
}

const root = "workspace/"

const isIn = (workspace: WorkspaceName, resource: Resource): boolean => {
  const end = root.length + workspace.length
  return resource.startsWith(root) && resource.startsWith(workspace, root.length) && (resource.length === end || resource[end] === "/")
}

/**
 * Whoever gave a grant, or a grant above it, may let it rest or end it, and a holder may give its own back.
 * A token that is bound to a grant takes back nothing above that.
 */
const mayTakeBack = (view: View, { action, bound, principal, resource, workspace }: Ask): boolean => {
  if (action !== "grant.revoke" && action !== "grant.suspend") return false
  const links = linksOf(view, resource.split("/")[3] as GrantId)
  const target = links?.at(-1)
  if (links === undefined || target?.workspace !== workspace || resource !== `workspace/${workspace}/grant/${target.grantId}`) return false
  const under = bound === undefined ? 0 : links.findIndex(({ grantId }) => grantId === bound)
  if (under === -1) return false
  return links.slice(under).some(({ grantId, holder, issuer }) =>
    (issuer === principal && grantId !== bound) || (holder === principal && (grantId !== target.grantId || action === "grant.revoke")))
}

const deny = (
  { action, resource }: Ask,
  rule: string,
  reason: DecisionMade["reason"],
  missing: Omit<MissingCapability, "action" | "resource"> = {},
  grantPath: ReadonlyArray<GrantId> = []
): Decision => ({ verdict: "deny", rule, reason, missing: { action: action as Action, resource, ...missing }, grantPath })

const byRole = (view: View, ask: Ask): Decision => {
  const { action, principal, workspace } = ask
  if (principal.startsWith("agent:") || principal.startsWith("host:")) return deny(ask, "agent-needs-grant", "no_grant")
  const role = rolesOf(view, workspace, principal).find((held) => roles[held].some((pattern) => actionMatches(pattern, action)))
  return role === undefined ? deny(ask, "default-deny", "no_role") : { verdict: "allow", rule: `role.${role}`, reason: "allowed", grantPath: [] }
}

const byGrant = (view: View, ask: Ask, grant: GrantId, atMs: number): Decision => {
  const links = linksOf(view, grant)
  const leaf = links?.at(-1)
  if (links === undefined || leaf === undefined || leaf.workspace !== ask.workspace) return deny(ask, "grant-unknown", "no_grant")
  const path = links.map(({ grantId }) => grantId)
  if (leaf.holder !== ask.principal) return deny(ask, "grant-of-another", "no_grant", { narrowedBy: grant }, path)
  if (ask.bound !== undefined && !path.includes(ask.bound)) return deny(ask, "token-bound", "no_grant", { narrowedBy: ask.bound }, path)
  const over = notInForce(ask, links, path, atMs)
  if (over !== undefined) return over
  for (const link of links) {
    const short = tooNarrow(ask, link, path)
    if (short !== undefined) return short
  }
  const issuer = withoutIssuer(view, ask, links[0]!, path)
  if (issuer !== undefined) return issuer
  const depth = ask.needs?.depth
  if (depth !== undefined && depth > leaf.reach.depthMax) {
    return deny(ask, "link-depth", "depth", { limit: "depthMax", needs: String(depth), has: String(leaf.reach.depthMax), narrowedBy: leaf.grantId }, path)
  }
  const narrowed = ask.warrant?.constraints === undefined || ask.needs === undefined ? undefined : exceeded(ask.warrant.constraints, ask.needs)
  if (narrowed !== undefined) {
    const { reason, ...limit } = narrowed
    return deny(ask, "warrant-limit", reason, limit, path)
  }
  return { verdict: "allow", rule: "grant", reason: "allowed", grantPath: path }
}

/** A link that does not hold right now, by the rule that says so. */
export interface BrokenLink {
  readonly grantId: GrantId
  readonly rule: "link-revoked" | "link-expired" | "link-suspended" | "link-not-yet" | "issuer-without-role"
}

/**
 * The link nearest to the root for which a known grant does not hold at a moment, whatever is asked under it;
 * undefined while all of them hold.
 */
export const brokenLink = (view: View, grant: GrantId, atMs: number): BrokenLink | undefined => {
  const links = linksOf(view, grant) ?? []
  const over = links.map((link) => ({ grantId: link.grantId, rule: ruleAgainst(link, atMs) })).find(({ rule }) => rule !== undefined)
  if (over?.rule !== undefined) return { grantId: over.grantId, rule: over.rule }
  const root = links[0]
  return root === undefined || root.durable || mayIssue(view, root) ? undefined : { grantId: root.grantId, rule: "issuer-without-role" }
}

const ruleAgainst = ({ reach, revoked, suspended }: Link, atMs: number): Exclude<BrokenLink["rule"], "issuer-without-role"> | undefined => {
  if (revoked) return "link-revoked"
  if (atMs >= reach.expiresAtMs) return "link-expired"
  if (suspended) return "link-suspended"
  return atMs < reach.notBeforeMs ? "link-not-yet" : undefined
}

/** The link nearest to the root that does not hold at all right now, as a refusal. */
const notInForce = (ask: Ask, links: ReadonlyArray<Link>, path: ReadonlyArray<GrantId>, atMs: number): Decision | undefined => {
  for (const link of links) {
    const rule = ruleAgainst(link, atMs)
    if (rule === undefined) continue
    const by = { narrowedBy: link.grantId }
    switch (rule) {
      case "link-revoked":
        return deny(ask, rule, "grant_over", by, path)
      case "link-expired":
        return deny(ask, rule, "grant_over", { limit: "expiresAtMs", needs: String(atMs), has: String(link.reach.expiresAtMs), ...by }, path)
      case "link-suspended":
        return deny(ask, rule, "grant_suspended", by, path)
      case "link-not-yet":
        return deny(ask, rule, "grant_not_yet", { limit: "notBeforeMs", needs: String(atMs), has: String(link.reach.notBeforeMs), ...by }, path)
    }
  }
  return undefined
}

const tooNarrow = (ask: Ask, { grantId, reach }: Link, path: ReadonlyArray<GrantId>): Decision | undefined => {
  if (!reach.actions.some((pattern) => actionMatches(pattern, ask.action))) return deny(ask, "link-action", "action", { narrowedBy: grantId }, path)
  if (!reach.resources.some((pattern) => resourceMatches(pattern, ask.resource))) return deny(ask, "link-resource", "resource", { narrowedBy: grantId }, path)
  if (ask.needs === undefined) return undefined
  const short = exceeded(reach.constraints, ask.needs)
  if (short === undefined) return undefined
  const { reason, ...limit } = short
  return deny(ask, "link-limit", reason, { ...limit, narrowedBy: grantId }, path)
}

const mayIssue = (view: View, root: Link, action = "grant.issue"): boolean =>
  rolesOf(view, root.workspace, root.issuer).some((role) =>
    roles[role].some((pattern) => actionMatches(pattern, "grant.issue")) && roles[role].some((pattern) => actionMatches(pattern, action)))

/** Nobody can lend what they have not: the grants of an issuer that lost its role rest, unless they are durable. */
const withoutIssuer = (view: View, ask: Ask, root: Link, path: ReadonlyArray<GrantId>): Decision | undefined =>
  root.durable || mayIssue(view, root, ask.action) ? undefined : deny(ask, "issuer-without-role", "grant_suspended", { narrowedBy: root.grantId }, path)

/** Where, on what ground and when a decision was made. */
export interface Deciding {
  readonly point: DecisionPoint
  readonly ask: Ask
  readonly decision: Decision
  /** SHA-256 of exactly what was asked. */
  readonly argumentsDigest: Digest
  readonly view: Cut
  readonly viewAgeMs: number
  readonly decidedAtMs: number
  readonly jobId?: DecisionMade["jobId"]
  readonly hostId?: DecisionMade["hostId"]
  readonly attemptId?: DecisionMade["attemptId"]
}

/** A decision as the audit keeps it, in the stream of the point that made it. */
export const decisionMade = ({ argumentsDigest, ask, attemptId, decidedAtMs, decision, hostId, jobId, point, view, viewAgeMs }: Deciding): DecisionMade => {
  const grant = ask.grant ?? ask.bound
  return {
    _tag: "DecisionMade",
    point,
    workspace: ask.workspace,
    request: { principal: ask.principal, action: ask.action as Action, resource: ask.resource, argumentsDigest, ...(grant === undefined ? {} : { grant }) },
    verdict: decision.verdict,
    rule: decision.rule,
    reason: decision.reason,
    ...(decision.missing === undefined ? {} : { missing: decision.missing }),
    grantPath: decision.grantPath,
    policies: [],
    errors: [],
    view,
    viewAgeMs,
    decidedAtMs,
    ...(jobId === undefined ? {} : { jobId }),
    ...(hostId === undefined ? {} : { hostId }),
    ...(attemptId === undefined ? {} : { attemptId })
  }
}

/** The answer of a gate whose view is older than it may be: not knowing is no. */
export const staleView = (ask: Ask): Decision => {
  const { missing: _, ...decision } = deny(ask, "stale-view", "stale_view")
  return decision
}

