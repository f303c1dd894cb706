import { Pulse } from "@millrace/journal"
import { newSeed, signingKey } from "@millrace/journal/admission"
import { deriveId } from "@millrace/decider"
import type { AskId, FactId, GrantId, HostId, MillFact, Principal } from "@millrace/schemas"
import { Authority, digestOfToken, warrantBearer } from "@millrace/service"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { acme, ada, answerTo, ask, askIs, digestOf, factIn, factsIn, heard, newAskId, ownerToken, placementUnder, type Running, say, World } from "./testing/cell.ts"

const agent = "agent:reviewer" as Principal
const host = "hst_01K900000000000000000000A1" as HostId
const endsAtMs = Date.now() + 600_000
const soon = () => endsAtMs
const reach = (terms: object = {}) => ({
  actions: ["job.*", "grant.delegate", "grant.read"], resources: ["workspace/acme", "workspace/acme/*"],
  constraints: { gpusMax: 0, egress: [], spendPicoMax: "50000000000" }, notBeforeMs: 0, expiresAtMs: soon(), depthMax: 2, ...terms
})
const grantTo = (holder: string, terms: object = {}) => ({ holder, reach: reach(terms), reason: "a test" })

/** A grant that is in the log. */
const granted = Effect.fnUntraced(function*(terms: object = {}, holder: string = agent) {
  const answer = yield* ask(askIs("GrantAsked", grantTo(holder, terms)))
  assert.strictEqual(answer._tag, "GrantIssued", JSON.stringify(answer, plain))
  return (answer as Extract<MillFact, { _tag: "GrantIssued" }>).grantId
})
const plain = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value)

const get = Effect.fnUntraced(function*({ url }: Running, path: string, authorization = `Bearer ${ownerToken}`) {
  return yield* Effect.promise(async () => {
    const answer = await fetch(`${url}${path}`, { headers: { authorization } })
    return { status: answer.status, body: await answer.json() as any }
  })
})

const running = <A, E>(work: (access: Running) => Effect.Effect<A, E, World>) =>
  Effect.gen(function*() {
    const world = yield* World
    const access = yield* world.start()
    return yield* Effect.ensuring(work(access), access.stop)
  })

layer(World.layer, { timeout: "120 seconds", excludeTestServices: true })("access", (it) => {
  it.effect("a cell gets its first owner once, however often access starts", () => Effect.gen(function*() {
    yield* running(() => Effect.void)
    yield* running(() => Effect.void)
    const names = (yield* factsIn("ACCESS")).map(({ event }) => event._tag)
    assert.deepStrictEqual(names, ["WorkspaceOpened", "RoleBound", "CredentialIssued", "WorkspaceKeyTurned"])
  }))

  it.effect.each([
    ["append GrantIssued before"], ["append GrantIssued after"], ["ack access-asks GrantAsked handled"]
  ])("an ask that a crash left behind is answered once: %s", ([point]) => Effect.gen(function*() {
    const world = yield* World
    const askId = newAskId()
    const dying = yield* world.start(point)
    yield* say("gateway", { kind: "ask", scope: acme }, askIs("GrantAsked", grantTo(agent), ada, askId))
    yield* Effect.timeout(dying.died, "20 seconds")
    yield* dying.stop
    // It comes again, since it was in hand.
    yield* running(({ passes }) => Effect.andThen(answerTo(askId), passes("ack access-asks GrantAsked handled")))
    yield* answeredOnce(askId)
  }))

  it.effect.each([["append DecisionMade after"], ["append AskRefused before"], ["append AskRefused after"]])(
    "a refusal that a crash interrupts is in the audit once and answered once: %s", ([point]) => Effect.gen(function*() {
      const world = yield* World
      const askId = newAskId()
      const dying = yield* world.start(point)
      const id = yield* say("gateway", { kind: "ask", scope: acme }, askIs("GrantAsked", grantTo("user:bob"), "user:mallory" as Principal, askId))
      yield* Effect.timeout(dying.died, "20 seconds")
      yield* dying.stop
      const answer = yield* running(({ passes }) => Effect.tap(answerTo(askId), passes("ack access-asks GrantAsked handled")))
      assert.strictEqual(answer._tag === "AskRefused" ? answer.missing?.action : undefined, "grant.issue" as never)
      const judged = (yield* factsIn("ACCESS")).filter(({ causedBy, event }) => causedBy === id && event._tag === "DecisionMade")
      assert.strictEqual(judged.length, 1)
      yield* answeredOnce(askId)
    }))

  it.effect("every ask has its answer: the fact asked for, that it was so already, or why not", () => running(() => Effect.gen(function*() {
    const root = yield* granted()
    const tag = (answer: MillFact) => answer._tag === "AskRefused" ? answer.reason : answer._tag
    const said = Effect.fnUntraced(function*(name: MillFact["_tag"], terms: object, by: Principal = ada) {
      return tag(yield* ask(askIs(name, terms, by) as never))
    })
    const child = yield* ask(askIs("DelegationAsked", { parent: root, ...grantTo("agent:helper", { depthMax: 1 }) }, agent))
    assert.strictEqual(child._tag, "GrantDelegated", JSON.stringify(child, plain))
    const childId = (child as Extract<MillFact, { _tag: "GrantDelegated" }>).grantId
    const key = digestOf("a one-time key")
    const token = { principal: agent, credentialDigest: digestOfToken("mill_agent"), grant: root, expiresAtMs: soon() }
    assert.deepStrictEqual(yield* Effect.forEach([
      said("SuspensionAsked", { grantId: root, cause: "lunch" }),
      said("SuspensionAsked", { grantId: root, cause: "lunch" }),
      said("DelegationAsked", { parent: root, ...grantTo("agent:helper", { depthMax: 1 }) }, agent),
      said("ResumptionAsked", { grantId: root, cause: "done" }, agent),
      said("ResumptionAsked", { grantId: root, cause: "done" }),
      said("RevocationAsked", { grantId: childId, cause: "given back" }, agent),
      said("RevocationAsked", { grantId: childId, cause: "given back" }),
      said("SuspensionAsked", { grantId: childId, cause: "late" }),
      said("RevocationAsked", { grantId: "grt_01K9000000000000000000ZZZZ", cause: "nothing" }),
      said("RoleAsked", { principal: "user:bob", role: "viewer" }),
      said("RoleAsked", { principal: "user:bob", role: "viewer" }),
      said("RoleAsked", { principal: agent, role: "owner" }),
      said("RoleAsked", { principal: "user:bob", role: "owner" }, "user:bob" as Principal),
      said("RoleRemovalAsked", { principal: "user:bob", role: "viewer" }),
      said("RoleRemovalAsked", { principal: ada, role: "owner" }),
      said("CredentialAsked", token),
      said("CredentialAsked", token),
      said("CredentialAsked", { ...token, principal: "user:bob" }),
      said("CredentialAsked", { principal: agent, credentialDigest: digestOf("unbound"), expiresAtMs: soon() }),
      said("CredentialRevocationAsked", { credentialDigest: token.credentialDigest, cause: "lost" }),
      said("CredentialRevocationAsked", { credentialDigest: digestOf("never seen"), cause: "lost" }),
      said("EnrolmentAsked", { oneTimeKeyDigest: key, expiresAtMs: soon() }),
      said("EnrolmentAsked", { oneTimeKeyDigest: key, expiresAtMs: soon() }),
      said("DismissalAsked", { hostId: host, cause: "gone" }),
      said("GrantAsked", { ...grantTo(agent), account: "acc_01K9000000000000000000ZZZZ" }),
      said("PolicyAsked", { bundle: { digest: key, sizeBytes: 1 }, reason: "try" }),
      said("ApprovalVoted", { approval: deriveId<FactId>("fct", 1, "none"), vote: "give", reason: "why not" }),
      said("WarrantChangeAsked", { warrantId: "wrt_01K9000000000000000000ZZZZ", hostId: host, cause: "no" })
    ], (answer) => answer), [
      "GrantSuspended", "AskFoundDone", "not_allowed", "not_allowed", "GrantResumed", "GrantRevoked", "AskFoundDone", "over", "unknown",
      "RoleBound", "AskFoundDone", "invalid", "not_allowed", "RoleUnbound", "invalid",
      "CredentialIssued", "AskFoundDone", "invalid", "invalid", "CredentialRevoked", "unknown",
      "EnrolmentOpened", "AskFoundDone", "unknown", "unknown", "invalid", "unknown", "invalid"
    ])
  })))

  it.effect("a grandchild with more rights than its parent is refused, and the audit names what was missing", () => running((access) => Effect.gen(function*() {
    const parent = yield* granted()
    const asked = askIs("DelegationAsked", { parent, ...grantTo("agent:helper", { depthMax: 0, constraints: { gpusMax: 1, egress: [], spendPicoMax: "1" } }) }, agent)
    const answer = yield* ask(asked)
    assert.deepInclude(answer, { _tag: "AskRefused", reason: "wider_than_parent" })
    assert.deepInclude((answer as Extract<MillFact, { _tag: "AskRefused" }>).missing, { limit: "gpusMax", needs: "1", has: "0", narrowedBy: parent })
    const head = yield* (yield* World).as("gateway").head("ACCESS")
    const { body } = yield* get(access, `/v1/decisions?verdict=deny&principal=${agent}&after=ACCESS=${head}&limit=1`)
    assert.deepInclude(body.decisions[0], { point: "access", action: "grant.delegate", rule: "wider-than-parent", grantPath: [parent] })
    assert.deepInclude(body.decisions[0].missing, { limit: "gpusMax", needs: "1", has: "0", narrowedBy: parent })
  })))

  it.effect("what runs under a grant ends when the grant is revoked, rests or is over, once for each attempt", () => running(() => Effect.gen(function*() {
    const [revoked, over, kept] = [yield* granted(), yield* granted({ expiresAtMs: Date.now() + 1_500 }), yield* granted()]
    const place = (name: string, path: ReadonlyArray<GrantId>) =>
      say("scheduler", { kind: "placement", scope: host }, placementUnder(name, path, host))
    yield* place("revoked", [revoked])
    yield* place("over", [over])
    yield* place("kept", [kept])
    yield* place("settled", [revoked])
    const jobOf = (name: string) => deriveId("job", 1, name)
    yield* say("scheduler", { kind: "schedule", scope: acme }, factIn("JobSettled", { jobId: jobOf("settled"), workspace: acme, outcome: "succeeded", attempt: 1, cause: "exited" }))
    // Streams order nothing between them: what has ended must be known before the grant is taken back.
    yield* World.use(({ keptPlacements }) => keptPlacements)
    const asked = askIs("RevocationAsked", { grantId: revoked, cause: "enough" })
    const answer = yield* ask(asked)
    const ended = (name: string) => heard((fact): fact is Extract<MillFact, { _tag: "WarrantRevoked" }> => fact._tag === "WarrantRevoked" && fact.jobId === jobOf(name))
    const first = yield* ended("revoked")
    const because = (yield* factsIn("ACCESS")).find(({ event }) => event === answer || ("answers" in event && event.answers === asked.askId))
    assert.strictEqual(first.because, because?.id)
    yield* ended("over")
    // The scheduler had not heard of it yet.
    yield* place("late", [revoked])
    yield* ended("late")
    assert.deepStrictEqual(
      (yield* factsIn("ACCESS")).flatMap(({ event }) => (event._tag === "WarrantRevoked" ? [event.jobId as string] : [])),
      ["revoked", "over", "late"].map(jobOf)
    )
  })))

  it.effect("work that lost its grant while access was down is ended when it is back", () => Effect.gen(function*() {
    const world = yield* World
    const root = yield* running(() => granted())
    const dying = yield* world.start("append WarrantRevoked before")
    yield* say("scheduler", { kind: "placement", scope: host }, placementUnder("orphan", [root], host))
    yield* ask(askIs("SuspensionAsked", { grantId: root, cause: "a pause" }))
    yield* Effect.timeout(dying.died, "20 seconds")
    yield* dying.stop
    yield* running(() => heard((fact): fact is Extract<MillFact, { _tag: "WarrantRevoked" }> => fact._tag === "WarrantRevoked" && fact.jobId === deriveId("job", 1, "orphan")))
  }))

  it.effect("a stranger fills nobody's memory: what is too large is read no further", () => running(({ url }) => Effect.gen(function*() {
    const body = JSON.stringify({ oneTimeKey: "x".repeat(1_000_000), publicKey: "U" })
    const headers = { "content-type": "application/json" }
    const told = yield* Effect.promise(() => fetch(`${url}/v1/hosts/enrol`, { method: "POST", headers, body }))
    assert.strictEqual(told.status, 413)
    assert.deepInclude(yield* Effect.promise(() => told.json()), { code: "body_too_large" })
    const pieces = new ReadableStream({ start: (into) => { into.enqueue(Buffer.from(body)); into.close() } })
    const untold = yield* Effect.promise(() => fetch(`${url}/v1/hosts/enrol`, { method: "POST", headers, body: pieces, duplex: "half" } as RequestInit))
    assert.include([400, 413], untold.status)
    const malformed = yield* Effect.promise(() => fetch(`${url}/v1/hosts/enrol`, { method: "POST", headers, body: JSON.stringify({ oneTimeKey: "x", publicKey: "U" }) }))
    assert.strictEqual(malformed.status, 400)
    assert.deepInclude(yield* Effect.promise(() => malformed.json()), { code: "request_malformed" })
  })))

  it.effect("a rented machine enrols with the key that its lease names", () => running(({ url }) => Effect.gen(function*() {
    yield* say("broker", { kind: "machine", scope: "sky", story: "lse_01K900000000000000000000B1" }, factIn("LeaseRequested", {
      leaseId: "lse_01K900000000000000000000B1", provider: "sky", column: { region: "here", machineType: "small", market: "on_demand" },
      resources: { cpuMilli: 1000, memoryMib: 1024 }, pricePicoPerSecondMax: "1", token: "t", cell: "local", oneTimeKeyDigest: digestOf("of the lease"), answerByMs: soon()
    }))
    yield* heard((fact): fact is Extract<MillFact, { _tag: "EnrolmentOpened" }> => fact._tag === "EnrolmentOpened" && fact.oneTimeKeyDigest === digestOf("of the lease"))
    const { publicKey } = signingKey(newSeed("user"))
    const answer = yield* Effect.promise(() => fetch(`${url}/v1/hosts/enrol`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ oneTimeKey: "of the lease", publicKey })
    }))
    assert.strictEqual(answer.status, 200)
    const { hostId } = yield* Effect.promise(() => answer.json() as Promise<{ hostId: HostId }>)
    assert.strictEqual((yield* ask(askIs("DismissalAsked", { hostId, cause: "given back" })))._tag, "HostDismissed")
  })))

  it.effect("the past is read as it was, and another workspace's grants are not found", () => running((access) => Effect.gen(function*() {
    const gateway = (yield* World).as("gateway")
    const root = yield* granted()
    const before = yield* gateway.head("ACCESS")
    yield* ask(askIs("RevocationAsked", { grantId: root, cause: "over and out" }))
    const after = yield* gateway.head("ACCESS")
    const then = yield* get(access, `/v1/grants/${root}?at=ACCESS=${before}&after=ACCESS=${after}`)
    assert.deepInclude({ holds: then.body.holds, state: then.body.grant?.state }, { holds: true, state: "in_force" }, JSON.stringify(then.body))
    const now = yield* get(access, `/v1/grants/${root}?after=ACCESS=${after}`)
    assert.deepInclude(now.body.grant, { state: "revoked", cause: "over and out", changedBy: ada })
    assert.deepInclude((yield* get(access, "/v1/grants/grt_01K9000000000000000000ZZZZ")), { status: 404 })
    const people = yield* get(access, "/v1/principals")
    assert.strictEqual(people.status, 200, JSON.stringify(people.body))
    assert.deepInclude(people.body.principals.find(({ principal }: { principal: string }) => principal === ada), { roles: ["owner"] })
    assert.strictEqual((yield* get(access, "/v1/grants?limit=0")).body.code, "request_malformed")
  })))

  it.effect("strangers are not let in, agents see what their grant lets them, and each refusal is in the audit", () => running((access) => Effect.gen(function*() {
    const root = yield* granted({ actions: ["grant.read"] })
    yield* ask(askIs("CredentialAsked", { principal: agent, credentialDigest: digestOfToken("mill_looker"), grant: root, expiresAtMs: soon() }))
    assert.deepInclude((yield* get(access, "/v1/grants", "Bearer mill_guess")).body, { code: "token_unknown" })
    assert.strictEqual((yield* get(access, "/v1/grants", "Bearer mill_looker")).status, 200)
    const refused = yield* get(access, "/v1/decisions", "Bearer mill_looker")
    assert.deepInclude(refused.body, { code: "capability_missing" })
    assert.deepInclude(refused.body.missing, { action: "decision.read", narrowedBy: root })
    const told = (yield* factsIn("ACCESS")).map(({ event }) => event).filter((event) => event._tag === "DecisionMade" && event.request.action === "decision.read")
    assert.strictEqual(told.length, 1)
  })))

  it.effect("a program in a sandbox speaks by its warrant, under its grant and never without one", () => running((access) => Effect.gen(function*() {
    const { signer } = yield* World
    const root = yield* granted({ actions: ["grant.read"] })
    const shown = (terms: object) => {
      const made = placementUnder("warranted", [root], host)
      const warrant = { ...(made as Extract<MillFact, { _tag: "PlacementMade" }>).warrant, workspace: acme, holder: agent, constraints: { spendPicoMax: 5n }, ...terms }
      return { warrant, bearer: `Warrant ${warrantBearer(warrant as never, signer.sign(warrant as never))}` }
    }
    assert.strictEqual((yield* get(access, "/v1/grants", shown({}).bearer)).status, 200)
    assert.strictEqual((yield* get(access, "/v1/grants", shown({ grantPath: [], holder: ada }).bearer)).status, 403)
    assert.strictEqual((yield* get(access, "/v1/grants", shown({ expiresAtMs: 1 }).bearer)).body.code, "warrant_refused")
    const { bearer } = shown({})
    assert.strictEqual((yield* get(access, "/v1/grants", `${bearer.slice(0, -4)}AAAA`)).body.code, "warrant_refused")
  })))

  it.effect("access beats how far its stream is, and other services hear it", () => running(() => Effect.gen(function*() {
    const world = yield* World
    const beats = yield* Effect.scoped(Effect.gen(function*() {
      const heard = yield* Pulse.use((pulse) => pulse.heard("access"))
      return yield* Effect.timeout(Stream.runCollect(Stream.take(heard, 2)), "20 seconds")
    })).pipe(Effect.provide(world.logOf("gateway")), Effect.orDie)
    const head = yield* world.as("gateway").head("ACCESS")
    assert.deepStrictEqual([...beats].map(({ headSeq }) => headSeq), [head, head])
  })))

  it.effect("a view is as old as the last beat of access that it had reached", () => Effect.gen(function*() {
    const world = yield* World
    const asked = { principal: ada, workspace: acme, action: "job.submit", resource: "workspace/acme" as never } as const
    yield* Effect.scoped(Effect.gen(function*() {
      const authority = yield* Authority
      yield* running(() => Effect.gen(function*() {
        const decided = yield* authority.decide(asked, 2_000)
        assert.strictEqual(decided.decision.verdict, "allow", JSON.stringify(decided))
        const root = yield* granted()
        assert.deepInclude((yield* authority.decide({ ...asked, principal: agent, grant: root })).decision, { verdict: "allow" })
      }))
      assert.strictEqual((yield* authority.decide(asked, 30_000)).decision.verdict, "allow")
    })).pipe(Effect.provide(Authority.layer.pipe(Layer.provide(world.logOf("gateway")))))
  }))
})

const answeredOnce = Effect.fnUntraced(function*(askId: AskId) {
  const answers = (yield* factsIn("ACCESS")).filter(({ event }) => "answers" in event && event.answers === askId)
  assert.strictEqual(answers.length, 1, answers.map(({ event }) => event._tag).join(", "))
})
