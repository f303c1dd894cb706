import { assert, describe, it } from "@effect/vitest"
import type { MillFact } from "@millrace/schemas"
import { type Ask, decide } from "./decide.ts"
import { acme, agent, delegated, grantId, issued, owner, reach, roleBound, told } from "./testing/given.ts"
import { actionOf, resourceOf } from "./actions.ts"
import { loadView, saveView } from "./save.ts"

const ask = (terms: Partial<Ask> = {}): Ask => ({
  principal: agent, workspace: acme, action: "job.submit", resource: resourceOf(acme, "job", "job_1"), grant: grantId(1), ...terms
})
const said = (facts: ReadonlyArray<MillFact>, terms: Partial<Ask> = {}, atMs = 10) => decide(told(roleBound(owner, "owner"), ...facts), ask(terms), atMs)
const owned = { principal: owner, grant: undefined } as unknown as Partial<Ask>
const suspended: MillFact = { _tag: "GrantSuspended", workspace: acme, tree: grantId(1), grantId: grantId(1), suspendedBy: owner, cause: "a test" }

describe("decide", () => {
  it("an empty view allows nobody anything", () => assert.strictEqual(decide(told(), ask(), 10).verdict, "deny"))

  it("an owner may do everything in its own workspace, and nothing in another", () => {
    const { grant: _, ...rest } = ask()
    const view = told(roleBound(owner, "owner"))
    assert.deepStrictEqual(decide(view, { ...rest, principal: owner }, 10), { verdict: "allow", rule: "role.owner", reason: "allowed", grantPath: [] })
    const elsewhere = decide(view, { ...rest, principal: owner, resource: resourceOf("other" as never, "job", "job_1") }, 10)
    assert.deepInclude(elsewhere, { verdict: "deny", rule: "other-workspace", reason: "resource" })
  })

  it("what concerns all workspaces takes a role in the workspace that the cell began with, and no grant gives it", () => {
    const [other, grace, joe] = ["other", "user:grace", "user:joe"] as [never, never, never]
    const opened = (workspace: never, by: never): MillFact => ({ _tag: "WorkspaceOpened", workspace, organisation: workspace, owner: by })
    const bound = (workspace: never, principal: never, role: "owner" | "manager" | "operator"): MillFact => ({ _tag: "RoleBound", workspace, principal, role, boundBy: owner })
    const facts = [opened(acme as never, owner as never), roleBound(owner, "owner"), opened(other, grace), bound(other, grace, "owner"), bound(other, grace, "operator"), roleBound(joe, "manager"), issued(1)]
    const may = (principal: unknown, workspace: typeof acme, more: Partial<Ask> = {}, view = told(...facts)) => {
      const { grant: _, ...rest } = ask()
      return decide(view, { ...rest, principal: principal as never, workspace, action: "cell.operate", resource: resourceOf(workspace, "quota", "workspace", "other"), ...more }, 10)
    }
    assert.deepInclude(may(owner, acme), { verdict: "allow", rule: "role.owner" })
    assert.deepInclude(may(grace, other), { verdict: "deny", rule: "not-the-cells-workspace", reason: "no_role" })
    assert.deepInclude(may(grace, other).missing, { limit: "workspace", needs: acme, has: other })
    assert.deepInclude(may(joe, acme), { verdict: "deny", rule: "default-deny", reason: "no_role" })
    assert.deepInclude(may(joe, acme, {}, told(...facts, roleBound(joe, "operator"))), { verdict: "allow", rule: "role.operator" })
    assert.deepInclude(may(agent, acme, { grant: grantId(1) }), { verdict: "deny", rule: "acts-under-grant" })
    assert.deepInclude(may(owner, acme, {}, loadView(JSON.parse(JSON.stringify(saveView(told(...facts)))))), { verdict: "allow" })
  })

  it("an agent has no role, whatever is bound to it", () => {
    const { grant: _, ...rest } = ask()
    assert.deepInclude(decide(told(roleBound(agent, "owner")), rest, 10), { rule: "agent-needs-grant", reason: "no_grant", missing: { action: actionOf("job.submit"), resource: rest.resource } })
  })

  it("a held grant allows, and the decision names its path", () =>
    assert.deepStrictEqual(said([issued(1), delegated(2, 1, 1, 1)], { grant: grantId(2) }), {
      verdict: "allow", rule: "grant", reason: "allowed", grantPath: [grantId(1), grantId(2)]
    }))

  it("a grant of somebody else or another workspace is of no use", () => {
    assert.deepInclude(said([issued(1)], { principal: "agent:other" as never }), { rule: "grant-of-another", reason: "no_grant" })
    assert.deepInclude(said([issued(1, { workspace: "other" as never })]), { rule: "grant-unknown", reason: "no_grant" })
  })

  it("a link that rests, is over, is revoked or has not begun is named", () => {
    const chain = [issued(1), delegated(2, 1, 1, 1)]
    const leaf = { grant: grantId(2) }
    assert.deepInclude(said([...chain, suspended], leaf), { rule: "link-suspended", reason: "grant_suspended" })
    assert.strictEqual(said([...chain, suspended], leaf).missing?.narrowedBy, grantId(1))
    assert.deepInclude(said([...chain, suspended, { ...suspended, _tag: "GrantResumed", resumedBy: owner } as MillFact], leaf), { verdict: "allow" })
    assert.deepInclude(said([...chain, { _tag: "GrantRevoked", workspace: acme, tree: grantId(1), grantId: grantId(1), revokedBy: owner, cause: "", below: 1 }], leaf), { rule: "link-revoked", reason: "grant_over" })
    assert.deepInclude(said(chain, leaf, 1_000), { rule: "link-expired", reason: "grant_over" })
    assert.deepInclude(said([issued(1, { reach: reach({ notBeforeMs: 11 }) })]), { rule: "link-not-yet", reason: "grant_not_yet" })
  })

  it.each([
    ["an action", { actions: ["job.read"] }, {}, { rule: "link-action", reason: "action" }, {}],
    ["a resource", { resources: ["workspace/acme/snapshot/*"] }, {}, { rule: "link-resource", reason: "resource" }, {}],
    ["a GPU", { constraints: { gpusMax: 0 } }, { gpus: 1 }, { rule: "link-limit", reason: "constraint" }, { limit: "gpusMax", needs: "1", has: "0" }],
    ["a connection", { constraints: { egress: [] } }, { egress: ["example.org:443"] }, { rule: "link-limit", reason: "constraint" }, { limit: "egress", needs: "example.org:443", has: "none" }],
    ["money", { constraints: { spendPicoMax: 5n } }, { spendPico: 6n }, { rule: "link-limit", reason: "budget" }, { limit: "spendPicoMax", needs: "6", has: "5" }],
    ["one use more", { constraints: { usesMax: 1 } }, { uses: 2 }, { rule: "link-limit", reason: "uses" }, { limit: "usesMax", needs: "2", has: "1" }],
    ["one more at once", { constraints: { concurrencyMax: 1 } }, { concurrency: 2 }, { rule: "link-limit", reason: "concurrency" }, { limit: "concurrencyMax", needs: "2", has: "1" }],
    ["a further link", { depthMax: 0 }, { depth: 1 }, { rule: "link-depth", reason: "depth" }, { limit: "depthMax", needs: "1", has: "0" }]
  ] as const)("%s that a grant does not reach is refused by name", (_, terms, needs, denial, missing) => {
    const decision = said([issued(1, { reach: reach(terms as never) })], { needs: needs as never })
    assert.deepInclude(decision, { verdict: "deny", ...denial })
    assert.deepInclude(decision.missing, { action: "job.submit" as never, narrowedBy: grantId(1), ...missing as object })
  })

  it("grants rest when their issuer loses its role, unless they are durable", () => {
    const gone: MillFact = { _tag: "RoleUnbound", workspace: acme, principal: owner, role: "owner", unboundBy: owner }
    assert.deepInclude(said([issued(1), gone]), { rule: "issuer-without-role", reason: "grant_suspended" })
    assert.deepInclude(said([issued(1, { durable: true }), gone]), { verdict: "allow" })
  })

  it("a token that is bound to a grant is good for that one and those below it", () => {
    const facts = [issued(1), delegated(2, 1, 1, 1), issued(3)]
    assert.deepInclude(said(facts, { grant: grantId(2), bound: grantId(1) }), { verdict: "allow" })
    assert.deepInclude(said(facts, { grant: grantId(3), bound: grantId(1) }), { rule: "token-bound" })
    assert.deepInclude(said(facts, { grant: grantId(1), bound: grantId(2) }), { rule: "token-bound" })
  })

  it("a warrant acts under a grant, within its own limits, or not at all", () => {
    assert.deepInclude(said([issued(1)], { warrant: { constraints: { cpuMilliMax: 500 } }, needs: { cpuMilli: 501 } }), { rule: "warrant-limit", reason: "constraint" })
    const { grant: _, ...rest } = { ...ask(), ...owned, warrant: {} }
    assert.deepInclude(decide(told(roleBound(owner, "owner")), rest, 10), { rule: "warrant-without-grant", reason: "no_grant" })
  })
})
