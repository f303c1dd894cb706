import type { Constraints, GrantDelegated, GrantId, GrantIssued, MillFact, Principal, Reach, Role, WorkspaceName } from "@millrace/schemas"
import { emptyView, evolve, type View } from "../view.ts"

export const acme = "acme" as WorkspaceName
export const owner = "user:ada" as Principal
export const agent = "agent:reviewer" as Principal

/** A grant's id from a short name. */
export const grantId = (name: number): GrantId => `grt_01K9${String(name).padStart(22, "0")}` as GrantId

/** A reach over everything in the workspace from 0 to 1,000 ms, unless said otherwise. */
export const reach = (terms: Partial<Reach> = {}): Reach => ({
  actions: ["*"] as never,
  resources: ["workspace/acme", "workspace/acme/*"] as never,
  constraints: {} as Constraints,
  notBeforeMs: 0,
  expiresAtMs: 1_000,
  depthMax: 3,
  ...terms
})

export const roleBound = (principal: Principal, role: Role): MillFact => ({ _tag: "RoleBound", workspace: acme, principal, role, boundBy: owner })

export const issued = (name: number, terms: Partial<GrantIssued> = {}): GrantIssued => ({
  _tag: "GrantIssued", workspace: acme, tree: grantId(name), grantId: grantId(name), holder: agent, issuer: owner, reach: reach(), durable: false, reason: "a test", ...terms
})

/** A link below another one of the tree whose root is `tree`. */
export const delegated = (name: number, parent: number, depth: number, tree: number, terms: Partial<GrantDelegated> = {}): GrantDelegated => ({
  _tag: "GrantDelegated", workspace: acme, tree: grantId(tree), grantId: grantId(name), parent: grantId(parent), depth,
  holder: agent, issuer: agent, reach: reach({ depthMax: 3 - depth }), reason: "a test", ...terms
})

/** The view after these facts. */
export const told = (...facts: ReadonlyArray<MillFact>): View => facts.reduce(evolve, emptyView())
