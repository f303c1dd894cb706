import { namedId } from "@millrace/decider"
import type { AccountId, Constraints, Digest, GrantId, MillFact, Principal, Reach, Role, WarrantId, WorkspaceName } from "@millrace/schemas"

/** One grant: a link of a delegation, or its root. */
export interface Link {
  readonly grantId: GrantId
  readonly workspace: WorkspaceName
  /** The grant at the root. */
  readonly tree: GrantId
  readonly parent?: GrantId
  /** Links from the root, which has depth 0. */
  readonly depth: number
  readonly holder: Principal
  readonly issuer: Principal
  readonly reach: Reach
  readonly account?: AccountId
  /** It stays when its issuer loses the role that it was issued by. */
  readonly durable: boolean
  /** Taken back for good by its own name; what is above it may be over all the same. */
  readonly revoked: boolean
  /** Resting by its own name. */
  readonly suspended: boolean
  /** Who let it rest, while it rests. */
  readonly suspendedBy?: Principal
}

/** Who speaks when a bearer token is shown. */
export interface Credential {
  readonly principal: Principal
  readonly workspace: WorkspaceName
  /** The grant that every action under this token names. */
  readonly grant?: GrantId
  readonly expiresAtMs: number
  readonly revoked: boolean
}

/** What was taken from one warrant since it was signed. */
export interface WarrantChange {
  readonly revoked: boolean
  readonly constraints?: Constraints
  readonly expiresAtMs?: number
}

/** Who there is and what they may do: the fold of access's facts. Changed in place by `evolve` alone. */
export interface View {
  /** The workspace that the cell began with: whoever operates the cell has that role there. */
  home: WorkspaceName | undefined
  readonly owners: Map<WorkspaceName, Principal>
  /** By workspace, then by principal. */
  readonly roles: Map<WorkspaceName, Map<Principal, ReadonlyArray<Role>>>
  readonly credentials: Map<Digest, Credential>
  readonly grants: Map<GrantId, Link>
  readonly children: Map<GrantId, Array<GrantId>>
  readonly warrants: Map<WarrantId, WarrantChange>
}

/** The view before anything was said: it allows nobody anything. */
export const emptyView = (): View => ({
  home: undefined, owners: new Map(), roles: new Map(), credentials: new Map(), grants: new Map(), children: new Map(), warrants: new Map()
})

/**
 * Takes in one fact, in place, and gives the same view back. Facts that are not about authority are passed
 * over, and a fact that is told twice changes nothing the second time.
 */
export const evolve = (view: View, fact: MillFact): View => {
  switch (fact._tag) {
    case "WorkspaceOpened":
      view.home ??= fact.workspace
      view.owners.set(fact.workspace, fact.owner)
      return view
    case "RoleBound":
      return withRoles(view, fact.workspace, fact.principal, (held) => (held.includes(fact.role) ? held : [...held, fact.role].sort()))
    case "RoleUnbound":
      return withRoles(view, fact.workspace, fact.principal, (held) => held.filter((role) => role !== fact.role))
    case "CredentialIssued": {
      const { credentialDigest, expiresAtMs, grant, principal, workspace } = fact
      if (!view.credentials.has(credentialDigest)) {
        view.credentials.set(credentialDigest, { principal, workspace, expiresAtMs, revoked: false, ...(grant === undefined ? {} : { grant }) })
      }
      return view
    }
    case "CredentialRevoked": {
      const known = view.credentials.get(fact.credentialDigest)
      if (known !== undefined && known.workspace === fact.workspace) view.credentials.set(fact.credentialDigest, { ...known, revoked: true })
      return view
    }
    case "GrantIssued": {
      const { account, durable, grantId, holder, issuer, reach, tree, workspace } = fact
      return linked(view, { grantId, workspace, tree, depth: 0, holder, issuer, reach, durable, revoked: false, suspended: false, ...(account === undefined ? {} : { account }) })
    }
    case "GrantDelegated": {
      const { account, depth, grantId, holder, issuer, parent, reach, tree, workspace } = fact
      return linked(view, { grantId, workspace, tree, parent, depth, holder, issuer, reach, durable: false, revoked: false, suspended: false, ...(account === undefined ? {} : { account }) })
    }
    case "GrantSuspended":
      return changed(view, fact.grantId, (link) => ({ ...link, suspended: true, suspendedBy: fact.suspendedBy }))
    case "GrantResumed":
      return changed(view, fact.grantId, ({ suspendedBy: _, ...link }) => ({ ...link, suspended: false }))
    case "GrantRevoked":
      return changed(view, fact.grantId, (link) => ({ ...link, revoked: true }))
    case "WarrantRevoked":
      view.warrants.set(fact.warrantId, { ...view.warrants.get(fact.warrantId), revoked: true })
      return view
    case "WarrantNarrowed": {
      const { constraints, expiresAtMs, warrantId } = fact
      const revoked = view.warrants.get(warrantId)?.revoked ?? false
      view.warrants.set(warrantId, { revoked, constraints, ...(expiresAtMs === undefined ? {} : { expiresAtMs }) })
      return view
    }
    default:
      return view
  }
}

const withRoles = (view: View, workspace: WorkspaceName, principal: Principal, change: (held: ReadonlyArray<Role>) => ReadonlyArray<Role>): View => {
  const here = view.roles.get(workspace) ?? new Map<Principal, ReadonlyArray<Role>>()
  view.roles.set(workspace, here)
  const held = change(here.get(principal) ?? [])
  if (held.length === 0) here.delete(principal)
  else here.set(principal, held)
  return view
}

const linked = (view: View, link: Link): View => {
  if (view.grants.has(link.grantId)) return view
  view.grants.set(link.grantId, link)
  if (link.parent === undefined) return view
  const siblings = view.children.get(link.parent)
  if (siblings === undefined) view.children.set(link.parent, [link.grantId])
  else siblings.push(link.grantId)
  return view
}

const changed = (view: View, grantId: GrantId, change: (link: Link) => Link): View => {
  const link = view.grants.get(grantId)
  if (link !== undefined) view.grants.set(grantId, change(link))
  return view
}

/** The roles that a principal holds in a workspace. Agents and hosts hold none. */
export const rolesOf = (view: View, workspace: WorkspaceName, principal: Principal): ReadonlyArray<Role> =>
  principal.startsWith("user:") || principal.startsWith("service:") ? view.roles.get(workspace)?.get(principal) ?? [] : []

/**
 * The links from the root to a grant; undefined when one of them is unknown or of another workspace. Every
 * one of them must hold for the grant to hold.
 */
export const linksOf = (view: View, grantId: GrantId): ReadonlyArray<Link> | undefined => {
  let at = view.grants.get(grantId)
  if (at === undefined) return undefined
  const links = new Array<Link>(at.depth + 1)
  for (let depth = at.depth; depth >= 0; depth -= 1) {
    if (at === undefined || at.depth !== depth || (depth < links.length - 1 && at.workspace !== links[depth + 1]!.workspace)) return undefined
    links[depth] = at
    if (at.parent === undefined) return depth === 0 ? links : undefined
    at = view.grants.get(at.parent)
  }
  return undefined
}

/** The ids of `linksOf`, as warrants and decisions carry them; empty when the grant is unknown. */
export const grantPathOf = (view: View, grantId: GrantId): ReadonlyArray<GrantId> => linksOf(view, grantId)?.map((link) => link.grantId) ?? []

/** Every grant below one, at any depth. */
export const belowOf = (view: View, grantId: GrantId): ReadonlyArray<GrantId> => {
  const below = [...view.children.get(grantId) ?? []]
  for (let at = 0; at < below.length; at += 1) below.push(...view.children.get(below[at]!) ?? [])
  return below
}

/** The account of a workspace that names none: it is opened when the workspace is. */
export const accountOfWorkspace = (workspace: WorkspaceName): AccountId => namedId<AccountId>("acc", workspace)

/** Whose money a job spends: the account of the nearest link that has one, else the workspace's own. */
export const accountOf = (view: View, workspace: WorkspaceName, grantId: GrantId | undefined): AccountId =>
  (grantId === undefined ? undefined : linksOf(view, grantId)?.findLast(({ account }) => account !== undefined)?.account) ?? accountOfWorkspace(workspace)

/** When the first link of a delegation ends, in ms since 1970; undefined when the grant is unknown. */
export const endOf = (view: View, grantId: GrantId): number | undefined => {
  const links = linksOf(view, grantId)
  return links === undefined ? undefined : Math.min(...links.map(({ reach }) => reach.expiresAtMs))
}
