import { accountOf, actionWithin, resourceOf, roles, rolesOf, type View, within } from "@millrace/authority"
import type { AccountId, GrantId, MissingCapability, Principal, Reach, WorkspaceName } from "@millrace/schemas"

/** Why a reach cannot be given, and what was missing where something was. */
export interface Unfit {
  readonly reason: "wider_than_parent" | "invalid" | "over" | "unknown"
  readonly detail: string
  readonly remedy: string
  readonly missing?: MissingCapability
}

/** How many links there may be from a root, whatever the grants say: chains are walked at every decision. */
export const depthMax = 16

/** What is wrong with a reach by itself, in this workspace and at this moment. */
export const malformed = (workspace: WorkspaceName, reach: Reach, atMs: number): Unfit | undefined => {
  const home = resourceOf(workspace)
  const outside = reach.resources.find((pattern) => pattern !== (home as string) && !pattern.startsWith(`${home}/`))
  if (outside !== undefined) return invalid(`the resource ${outside} is not in the workspace ${workspace}`, `name resources under ${home}`)
  if (reach.actions.length === 0 || reach.resources.length === 0) return invalid("it gives no action on no resource", "name at least one action and one resource")
  if (reach.expiresAtMs <= atMs || reach.expiresAtMs <= reach.notBeforeMs) return invalid("it would be over before it begins", "choose a later end")
  return reach.depthMax > depthMax ? invalid(`it could be handed on ${reach.depthMax} times, and ${depthMax} is the most`, `choose a depthMax of at most ${depthMax}`) : undefined
}

/** Nobody gives by a role what no role of theirs holds. */
export const beyondIssuer = (view: View, workspace: WorkspaceName, issuer: Principal, reach: Reach): Unfit | undefined => {
  const may = rolesOf(view, workspace, issuer).filter((role) => roles[role].some((pattern) => actionWithin("grant.issue" as never, pattern))).flatMap((role) => roles[role])
  const missing = within(reach, { ...reach, actions: may, depthMax: reach.depthMax + 1 })
  return missing === undefined ? undefined : {
    reason: "wider_than_parent",
    detail: `${issuer} may not give ${missing.needs ?? missing.action}: its own roles do not hold it`,
    remedy: `leave ${missing.needs ?? missing.action} out, or let somebody issue it who may do so`,
    missing
  }
}

/** A child stays within its parent, in every respect. */
export const beyondParent = (view: View, parent: GrantId, reach: Reach): Unfit | undefined => {
  const above = view.grants.get(parent)
  if (above === undefined) return { reason: "unknown", detail: `there is no grant ${parent}`, remedy: "list your grants with: millrace grants" }
  const missing = within(reach, above.reach)
  return missing === undefined ? undefined : {
    reason: "wider_than_parent",
    detail: `the grant would reach further than ${parent}: ${missing.limit ?? "it"} asks for ${missing.needs ?? "more"}, and ${parent} has ${missing.has ?? "less"}`,
    remedy: "narrow it to what its parent gives, or ask the issuer of the parent for more",
    missing: { ...missing, narrowedBy: parent }
  }
}

/** A part of a grant spends from where the grant spends. */
export const foreignAccount = (view: View, workspace: WorkspaceName, parent: GrantId, account: AccountId | undefined): Unfit | undefined =>
  account === undefined || account === accountOf(view, workspace, parent)
    ? undefined
    : { reason: "invalid", detail: `${account} is not the account that ${parent} spends from`, remedy: "leave the account out: a delegated grant spends from its parent's" }

const invalid = (detail: string, remedy: string): Unfit => ({ reason: "invalid", detail, remedy })
