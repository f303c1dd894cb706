import { assert, describe, it } from "@effect/vitest"
import type { Constraints, MillFact, Reach } from "@millrace/schemas"
import fc from "fast-check"
import { actions, resourceOf } from "./actions.ts"
import { authenticate } from "./authenticate.ts"
import { type Ask, brokenLink, decide } from "./decide.ts"
import { exceeded, narrowed, type Needs, widened } from "./limits.ts"
import { actionMatches, actionWithin, resourceMatches, resourceWithin } from "./patterns.ts"
import { loadView, saveView } from "./save.ts"
import { acme, agent, delegated, grantId, issued, owner, roleBound, told } from "./testing/given.ts"
import { belowOf, emptyView, evolve } from "./view.ts"
import { within } from "./within.ts"

const few = (max: number) => fc.integer({ min: 0, max })
const pattern = fc.constantFrom("*", "job.*", "job.submit", "job.read", "grant.*", "grant.delegate", "session.open")
const resource = fc.constantFrom("workspace/acme", "workspace/acme/*", "workspace/acme/job/*", "workspace/acme/job/a", "workspace/acme/job/b")
const names = fc.uniqueArray(fc.constantFrom("a", "b", "c"), { maxLength: 3 })
const constraints: fc.Arbitrary<Constraints> = fc.record(
  { cpuMilliMax: few(3), gpusMax: few(2), spendPicoMax: fc.bigInt({ min: 0n, max: 3n }), usesMax: few(3), egress: names, gpuModels: names },
  { requiredKeys: [] }
) as fc.Arbitrary<Constraints>
const reach: fc.Arbitrary<Reach> = fc.record({
  actions: fc.uniqueArray(pattern, { minLength: 1, maxLength: 3 }),
  resources: fc.uniqueArray(resource, { minLength: 1, maxLength: 3 }),
  constraints,
  notBeforeMs: few(4),
  expiresAtMs: few(9),
  depthMax: few(4)
}) as unknown as fc.Arbitrary<Reach>
/** Mostly `one`, now and then `other`: so that most of a thing fits, and each part of it sometimes does not. */
const mostly = <A>(one: fc.Arbitrary<A>, other: fc.Arbitrary<A>): fc.Arbitrary<A> => fc.oneof({ arbitrary: one, weight: 7 }, { arbitrary: other, weight: 1 })
const without = (limits: Constraints): fc.Arbitrary<Constraints> =>
  fc.subarray(Object.keys(limits)).map((kept) => Object.fromEntries(Object.entries(limits).filter(([limit]) => kept.includes(limit))) as Constraints)
/** A reach made from its parent's, that exceeds it in one respect or another, or in none. */
const childOf = (parent: Reach): fc.Arbitrary<Reach> => fc.record({
  actions: mostly<ReadonlyArray<string>>(fc.subarray([...parent.actions], { minLength: 1 }), fc.array(pattern, { minLength: 1, maxLength: 2 })),
  resources: mostly<ReadonlyArray<string>>(fc.subarray([...parent.resources], { minLength: 1 }), fc.array(resource, { minLength: 1, maxLength: 2 })),
  constraints: mostly(constraints.map((own) => narrowed(own, parent.constraints)), fc.oneof(constraints, without(parent.constraints))),
  notBeforeMs: mostly(few(2).map((more) => parent.notBeforeMs + more), few(4)),
  expiresAtMs: mostly(few(2).map((less) => Math.max(0, parent.expiresAtMs - less)), few(9)),
  depthMax: mostly(few(1).map((less) => Math.max(0, parent.depthMax - 1 - less)), few(4))
}) as unknown as fc.Arbitrary<Reach>
/** A reach that allows much, as long as it lasts. */
const wide: fc.Arbitrary<Reach> = fc.record({
  actions: fc.constant(["*"]), resources: fc.constant(["workspace/acme", "workspace/acme/*"]), constraints: mostly(fc.constant({}), constraints),
  notBeforeMs: few(2), expiresAtMs: fc.integer({ min: 3, max: 9 }), depthMax: few(4)
}) as unknown as fc.Arbitrary<Reach>
const needs: fc.Arbitrary<Needs> = fc.record(
  { depth: few(3), cpuMilli: few(4), gpus: few(3), spendPico: fc.bigInt({ min: 0n, max: 4n }), uses: few(4), egress: names, gpuModels: names },
  { requiredKeys: [] }
) as fc.Arbitrary<Needs>
const request = fc.record({
  action: fc.oneof(fc.constantFrom("job.submit" as const, "job.read" as const, "grant.delegate" as const), fc.constantFrom(...actions)),
  resource: fc.constantFrom(resourceOf(acme), resourceOf(acme, "job", "a"), resourceOf(acme, "job", "b"), resourceOf(acme, "grant", "c")),
  needs,
  atMs: few(10)
})
const asked = ({ action, needs, resource }: { readonly action: Ask["action"]; readonly resource: Ask["resource"]; readonly needs: Needs }, name: number): Ask =>
  ({ principal: agent, workspace: acme, action, resource, needs, grant: grantId(name) })
const owned = roleBound(owner, "owner")

/** A tree of grants, each below one that was there before, and what happened to some of them. */
const history = fc.array(fc.record({ parent: few(5), own: mostly(wide, reach), then: fc.constantFrom("nothing", "nothing", "nothing", "suspend", "resume", "revoke") }), { minLength: 1, maxLength: 6 })
  .map((links): ReadonlyArray<MillFact> => {
    const depths: Array<number> = []
    return [owned, ...links.flatMap(({ own, parent, then }, name): ReadonlyArray<MillFact> => {
      const above = name === 0 ? undefined : parent % name
      depths.push(above === undefined ? 0 : depths[above]! + 1)
      const made = above === undefined ? issued(name, { reach: own }) : delegated(name, above, depths[name]!, 0, { reach: own })
      const which = { workspace: acme, tree: grantId(0), grantId: grantId(name), cause: "a law" }
      const suspended: MillFact = { _tag: "GrantSuspended", ...which, suspendedBy: owner }
      switch (then) {
        case "suspend":
          return [made, suspended]
        case "resume":
          return [made, suspended, { _tag: "GrantResumed", ...which, resumedBy: owner }]
        case "revoke":
          return [made, { _tag: "GrantRevoked", ...which, revokedBy: owner, below: 0 }]
        default:
          return [made]
      }
    })]
  })

const law = <Ts extends [unknown, ...Array<unknown>]>(says: string, property: fc.IPropertyWithHooks<Ts>) =>
  it(says, () => fc.assert(property, { numRuns: 1_000, maxSkipsPerRun: 1_000 }))

describe("laws of authority", () => {
  law("whatever a reach within another allows, the other allows", fc.property(
    mostly(reach, wide).chain((parent) => fc.tuple(fc.constant(parent), childOf(parent))), request, ([parent, child], asks) => {
      fc.pre(within(child, parent) === undefined)
      const view = told(owned, issued(1, { reach: child }), issued(2, { reach: parent }))
      if (decide(view, asked(asks, 1), asks.atMs).verdict === "allow") assert.strictEqual(decide(view, asked(asks, 2), asks.atMs).verdict, "allow")
      assert.isBelow(child.depthMax, parent.depthMax)
    }))

  law("a child never exceeds its parent, whatever its own reach says", fc.property(history, request, few(5), (facts, asks, name) => {
    const view = told(...facts)
    const link = view.grants.get(grantId(name))
    fc.pre(link?.parent !== undefined)
    if (decide(view, asked(asks, name), asks.atMs).verdict === "allow") {
      const { depth: _, ...rest } = asks.needs
      assert.strictEqual(decide(view, { ...asked({ ...asks, needs: rest }, name), grant: link!.parent! }, asks.atMs).verdict, "allow")
    }
  }))

  law("what is revoked, over or rests anywhere above allows nothing, and the refusal names that link", fc.property(history, request, few(5), few(5), (facts, asks, name, taken) => {
    const view = told(...facts)
    fc.pre(view.grants.has(grantId(name)) && (taken === name || belowOf(view, grantId(taken)).includes(grantId(name))))
    evolve(view, { _tag: "GrantRevoked", workspace: acme, tree: grantId(0), grantId: grantId(taken), revokedBy: owner, cause: "a law", below: 0 })
    const decision = decide(view, asked(asks, name), asks.atMs)
    assert.strictEqual(decision.verdict, "deny")
    assert.include(decision.grantPath, decision.missing?.narrowedBy)
    assert.isDefined(brokenLink(view, grantId(name), asks.atMs))
  }))

  law("nothing is allowed at or after the end of any link, nor before its beginning", fc.property(history, request, few(5), (facts, asks, name) => {
    const view = told(...facts)
    const decision = decide(view, asked(asks, name), asks.atMs)
    if (decision.verdict === "deny") return
    for (const link of decision.grantPath.map((id) => view.grants.get(id)!)) {
      assert.isBelow(asks.atMs, link.reach.expiresAtMs)
      assert.isAtLeast(asks.atMs, link.reach.notBeforeMs)
    }
  }))

  law("every no names what was missing", fc.property(history, request, few(6), (facts, asks, name) => {
    const decision = decide(told(...facts), asked(asks, name), asks.atMs)
    if (decision.verdict === "deny") assert.deepInclude(decision.missing, { action: asks.action as never, resource: asks.resource })
  }))

  law("a replay decides what was decided live, also from a checkpoint at any place", fc.property(history, request, few(5), few(20), (facts, asks, name, place) => {
    const live = told(...facts)
    const at = place % (facts.length + 1)
    const resumed = loadView(JSON.parse(JSON.stringify(saveView(told(...facts.slice(0, at))))))
    for (const fact of facts.slice(at)) evolve(resumed, fact)
    assert.deepStrictEqual(saveView(resumed), saveView(live))
    assert.deepStrictEqual(decide(resumed, asked(asks, name), asks.atMs), decide(live, asked(asks, name), asks.atMs))
  }))

  law("being told twice changes nothing", fc.property(history, few(20), (facts, place) => {
    const grants = facts.filter(({ _tag }) => _tag === "GrantIssued" || _tag === "GrantDelegated")
    const view = told(...facts)
    const before = JSON.stringify(saveView(view))
    evolve(view, grants[place % grants.length]!)
    assert.strictEqual(JSON.stringify(saveView(view)), before)
    assert.strictEqual(emptyView().grants.size, 0)
  }))

  law("what fits two sets of limits together fits both, and the other way round", fc.property(constraints, constraints, needs, (one, other, wanted) => {
    const both = narrowed(one, other)
    assert.strictEqual(exceeded(both, wanted) === undefined, exceeded(one, wanted) === undefined && exceeded(other, wanted) === undefined)
    assert.isUndefined(widened(both, one))
    assert.isUndefined(widened(both, other))
  }))

  const limits = constraints.chain((parent) =>
    fc.tuple(fc.oneof(constraints.map((own) => narrowed(own, parent)), without(parent), constraints), fc.constant(parent)))
  law("whatever fits limits that are no wider fits the wider ones", fc.property(limits, needs, ([child, parent], wanted) => {
    if (widened(child, parent) === undefined && exceeded(child, wanted) === undefined) assert.isUndefined(exceeded(parent, wanted))
  }))

  law("whatever a pattern within another matches, the other matches", fc.property(pattern, pattern, fc.constantFrom(...actions), (child, parent, action) => {
    if (actionWithin(child as never, parent as never) && actionMatches(child, action)) assert.isTrue(actionMatches(parent, action))
  }))

  law("whatever resources a pattern within another covers, the other covers", fc.property(resource, resource, resource.filter((one) => !one.endsWith("*")), (child, parent, one) => {
    if (resourceWithin(child as never, parent as never) && resourceMatches(child, one)) assert.isTrue(resourceMatches(parent, one))
  }))

  it("everything below a resource is not the resource itself", () => {
    assert.isFalse(resourceMatches("workspace/acme/*", "workspace/acme"))
    assert.isFalse(resourceMatches("workspace/acme/*", "workspace/acmes/job/a"))
    assert.isTrue(resourceMatches("workspace/acme/*", "workspace/acme/job/a"))
  })

  law("a token stands for nobody once it is revoked or over", fc.property(few(10), few(10), fc.boolean(), (expiresAtMs, atMs, revoked) => {
    const digest = `sha256:${"a".repeat(64)}` as never
    const view = told({ _tag: "CredentialIssued", workspace: acme, principal: owner, credentialDigest: digest, expiresAtMs, issuedBy: owner })
    if (revoked) evolve(view, { _tag: "CredentialRevoked", workspace: acme, credentialDigest: digest, revokedBy: owner, cause: "a law" })
    assert.deepStrictEqual(authenticate(view, digest, atMs), revoked || atMs >= expiresAtMs ? undefined : { principal: owner, workspace: acme })
  }))
})
