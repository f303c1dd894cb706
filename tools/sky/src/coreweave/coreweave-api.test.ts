import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { request } from "node:https"
import { type RunningCloud, startSky } from "../sky.ts"
import { type CoreWeaveApi, coreWeaveCloud } from "./coreweave-api.ts"

type Sky = RunningCloud<CoreWeaveApi>

interface Told {
  readonly status: number
  readonly body: any
}

/** A request as any program makes it: over TLS, trusting the cluster's authority alone. */
const asks = (sky: Sky) => (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Effect.Effect<Told, Error> =>
  Effect.callback<Told, Error>((resume) => {
    const text = body === undefined ? "" : JSON.stringify(body)
    const sent = request(`${sky.url}${path}`, { method, ca: sky.api.ca, agent: false, headers: { authorization: "Bearer right", ...(body === undefined ? {} : { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }), ...headers } }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () => {
        const got = Buffer.concat(chunks).toString("utf8")
        resume(Effect.succeed({ status: response.statusCode ?? 0, body: response.headers["content-type"] === "application/json" && !path.includes("watch=") ? JSON.parse(got) : got }))
      })
    })
    sent.once("error", (error) => resume(Effect.fail(error)))
    sent.end(text)
  })

const on = (says: string, holds: (ask: ReturnType<typeof asks>, sky: Sky) => Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(says, () => Effect.scoped(Effect.gen(function*() {
    const { coreweave } = yield* startSky({ clouds: { coreweave: coreWeaveCloud({ token: "right", endMs: 200 }) } })
    yield* holds(asks(coreweave), coreweave)
  })))

const pools = "/apis/compute.coreweave.com/v1alpha1/nodepools"
const pool = (name: string, spec: Record<string, unknown> = {}, labels: Record<string, string> = {}) =>
  ({ apiVersion: "compute.coreweave.com/v1alpha1", kind: "NodePool", metadata: { name, labels }, spec: { instanceType: "cd-small", targetNodes: 1, ...spec } })

describe("the pretend cluster", () => {
  on("knows one token, and says which resources there are", (ask) => Effect.gen(function*() {
    assert.deepInclude(yield* ask("GET", pools, undefined, { authorization: "Bearer wrong" }), { status: 401 })
    const { body } = yield* ask("GET", "/apis")
    assert.deepStrictEqual(body.groups.map(({ name }: { name: string }) => name), ["compute.coreweave.com", "apps", "authorization.k8s.io"])
    const here = yield* ask("GET", "/apis/compute.coreweave.com/v1alpha1")
    assert.deepInclude(here.body.resources[0], { name: "nodepools", kind: "NodePool", namespaced: false })
    assert.deepInclude(yield* ask("GET", "/apis/compute.coreweave.com/v2/nodepools"), { status: 404 })
  }))

  on("takes what the description allows, and says which field it does not", (ask, sky) => Effect.gen(function*() {
    const wrong = (body: unknown) => Effect.map(ask("POST", pools, body), ({ body, status }) => [status, body.reason, body.details?.causes?.map(({ field }: { field: string }) => field)])
    assert.deepStrictEqual(yield* wrong(pool("Upper")), [422, "Invalid", ["metadata.name"]])
    assert.deepStrictEqual(yield* wrong(pool("a", { instanceType: undefined })), [422, "Invalid", ["spec.instanceType"]])
    assert.deepStrictEqual(yield* wrong(pool("a", { targetNodes: "1" })), [422, "Invalid", ["spec.targetNodes"]])
    assert.deepStrictEqual(yield* wrong(pool("a", { targetRacks: 1 })), [422, "Invalid", ["spec"]])
    assert.deepStrictEqual(yield* wrong(pool("a", { computeClass: "cheap" })), [422, "Invalid", ["spec.computeClass"]])
    assert.deepStrictEqual(yield* wrong(pool("a", { nodeLabels: { key: "x".repeat(64) } })), [422, "Invalid", ["spec.nodeLabels"]])
    assert.deepStrictEqual(yield* wrong(pool("a", {}, { "a b": "c" })), [422, "Invalid", ["metadata.labels"]])
    assert.deepStrictEqual((yield* wrong({ ...pool("a"), kind: "Pool" })).slice(0, 2), [400, "BadRequest"])
    assert.deepInclude(yield* ask("POST", `${pools}?fieldValidation=Strict`, pool("a", { nodes: 1 })), { status: 400 })
    assert.deepInclude(yield* ask("POST", pools, pool("a", { nodes: 1 })), { status: 201 })
    assert.deepStrictEqual(sky.api.warnings, [`unknown field "spec.nodes"`])
    assert.isUndefined((yield* ask("GET", `${pools}/a`)).body.spec.nodes)
    assert.deepStrictEqual(yield* wrong(pool("a")), [409, "AlreadyExists", undefined])
  }))

  on("refuses a change of what somebody else has changed, and of what nobody may", (ask) => Effect.gen(function*() {
    const { body: made } = yield* ask("POST", pools, pool("a"))
    const { body: now } = yield* ask("GET", `${pools}/a`)
    assert.notStrictEqual(now.metadata.resourceVersion, made.metadata.resourceVersion)
    const merge = (body: unknown) => Effect.map(ask("PATCH", `${pools}/a`, body, { "content-type": "application/merge-patch+json" }), ({ body, status }) => [status, body.reason])
    assert.deepStrictEqual(yield* merge({ metadata: { resourceVersion: made.metadata.resourceVersion }, spec: { targetNodes: 0 } }), [409, "Conflict"])
    assert.deepStrictEqual(yield* merge({ spec: { instanceType: "b200-8x" } }), [422, "Invalid"])
    assert.deepStrictEqual(yield* merge({ metadata: { resourceVersion: now.metadata.resourceVersion, annotations: { a: "b" } } }), [200, undefined])
    assert.deepStrictEqual([(yield* ask("PATCH", `${pools}/a`, {}, { "content-type": "application/strategic-merge-patch+json" })).status], [415])
    assert.deepInclude(yield* ask("DELETE", `${pools}/a`, { preconditions: { resourceVersion: now.metadata.resourceVersion } }), { status: 409 })
    assert.deepInclude(yield* ask("DELETE", `${pools}/a`, { preconditions: { uid: now.metadata.uid } }), { status: 200 })
  }))

  on("brings a pool to its target, says how it stands, and lets it go when its nodes have gone", (ask, sky) => Effect.gen(function*() {
    yield* ask("POST", pools, pool("a", { targetNodes: 2, nodeLabels: { mine: "yes" } }))
    const { body: up } = yield* ask("GET", `${pools}/a`)
    assert.deepInclude(up.status, { currentNodes: 2, queuedNodes: 0 })
    assert.deepStrictEqual(up.status.conditions.map(({ reason, status, type }: Record<string, string>) => [type, status, reason]), [["Validated", "True", "Valid"], ["Quota", "True", "Under"], ["Capacity", "True", "Sufficient"], ["AtTarget", "True", "TargetMet"]])
    const { body: nodes } = yield* ask("GET", "/api/v1/nodes?labelSelector=compute.coreweave.com%2Fnode-pool%3Da,mine")
    assert.lengthOf(nodes.items, 2)
    sky.weather.set({ noCapacity: ["*"] })
    sky.site.reclaim(sky.books.get(nodes.items[0].metadata.name)!, { atMs: Date.now(), noticeMs: 0 })
    const { body: down } = yield* ask("GET", `${pools}/a`)
    assert.deepInclude(down.status, { currentNodes: 1, queuedNodes: 1 })
    assert.deepInclude(down.status.conditions[2], { type: "Capacity", status: "False", reason: "QueuedAwaitingCapacity" })
    sky.weather.set({ noCapacity: [] })
    assert.strictEqual((yield* ask("GET", `${pools}/a`)).body.status.currentNodes, 2)
    assert.strictEqual((yield* ask("DELETE", `${pools}/a`)).body.metadata.deletionTimestamp.length, 20)
    assert.deepInclude(yield* ask("GET", `${pools}/a`), { status: 200 })
    yield* Effect.sleep(600)
    assert.deepInclude(yield* ask("GET", `${pools}/a`), { status: 404 })
    assert.deepStrictEqual([sky.books.running, (yield* ask("GET", "/api/v1/nodes")).body.items], [[], []])
  }))

  on("lists in pages that end with a token, and forgets an old one", (ask, sky) => Effect.gen(function*() {
    for (const name of ["a", "b", "c", "d", "e"]) sky.api.declare({ name, labels: { half: name < "c" ? "first" : "second" }, instanceType: "cd-small", targetNodes: 0 }, Date.now())
    const names = ({ body }: Told) => body.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)
    const first = yield* ask("GET", `${pools}?limit=2`)
    assert.deepStrictEqual([names(first), first.body.metadata.remainingItemCount], [["a", "b"], 3])
    const second = yield* ask("GET", `${pools}?limit=3&continue=${first.body.metadata.continue}`)
    assert.deepStrictEqual([names(second), second.body.metadata.continue, second.body.metadata.resourceVersion], [["c", "d", "e"], undefined, first.body.metadata.resourceVersion])
    assert.deepStrictEqual(names(yield* ask("GET", `${pools}?labelSelector=half%3Dfirst`)), ["a", "b"])
    assert.deepStrictEqual(names(yield* ask("GET", `${pools}?labelSelector=half%20in%20(second),half!%3Dfirst`)), ["c", "d", "e"])
    assert.deepStrictEqual(names(yield* ask("GET", `${pools}?fieldSelector=metadata.name%3Dd`)), ["d"])
    assert.deepInclude(yield* ask("GET", `${pools}?limit=2&continue=junk`), { status: 400 })
    const old = sky.api.answer({ method: "GET", path: pools, url: pools, query: new URLSearchParams({ limit: "2", continue: first.body.metadata.continue }), headers: { authorization: "Bearer right" }, body: "", atMs: Date.now() + 301_000 })
    assert.strictEqual(old.status, 410)
  }))

  on("tells a watcher what happens from a version on, and one that comes too late to list again", (ask, sky) => Effect.gen(function*() {
    const { body } = yield* ask("GET", pools)
    const watching = yield* Effect.forkScoped(ask("GET", `${pools}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=${body.metadata.resourceVersion}`))
    yield* ask("POST", pools, pool("a", { targetNodes: 0 }))
    yield* ask("DELETE", `${pools}/a`)
    const told = yield* Effect.flatMap(Effect.sleep(1_300), () => Effect.sync(() => watching.pollUnsafe()))
    const lines = (told?._tag === "Success" ? String(told.value.body) : "").trim().split("\n").map((line) => JSON.parse(line) as { readonly type: string })
    const types = lines.map(({ type }) => type)
    assert.deepStrictEqual([types[0], types.at(-2), types.at(-1)], ["ADDED", "DELETED", "BOOKMARK"])
    for (let at = 0; at < 2_100; at += 1) sky.api.declare({ name: `p${at}`, labels: {}, instanceType: "cd-small", targetNodes: 0 }, Date.now())
    const late = yield* ask("GET", `${pools}?watch=true&resourceVersion=${body.metadata.resourceVersion}`)
    assert.deepInclude(JSON.parse(late.body), { type: "ERROR" })
  }))

  on("keeps secrets to themselves where only their names are asked for", (ask) => Effect.gen(function*() {
    const secrets = "/api/v1/namespaces/millrace/secrets"
    yield* ask("POST", secrets, { apiVersion: "v1", kind: "Secret", metadata: { name: "s" }, stringData: { key: "told" }, immutable: true })
    assert.strictEqual((yield* ask("GET", `${secrets}/s`)).body.data.key, Buffer.from("told").toString("base64"))
    const names = yield* ask("GET", secrets, undefined, { accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io" })
    assert.deepStrictEqual([names.body.kind, Object.keys(names.body.items[0]).sort()], ["PartialObjectMetadataList", ["apiVersion", "kind", "metadata"]])
    assert.deepInclude(yield* ask("POST", "/api/v1/namespaces/nowhere/secrets", { apiVersion: "v1", kind: "Secret", metadata: { name: "s" } }), { status: 404 })
    assert.deepInclude(yield* ask("PATCH", `${secrets}/s`, { stringData: { key: "other" } }, { "content-type": "application/merge-patch+json" }), { status: 422 })
  }))

  on("asks of a daemon set that it chooses its own pods and mounts what it has", (ask) => Effect.gen(function*() {
    const daemons = "/apis/apps/v1/namespaces/millrace/daemonsets"
    const daemon = (labels: Record<string, string>, mount: string) => ({
      apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name: "d" },
      spec: { selector: { matchLabels: { of: "d" } }, template: { metadata: { labels }, spec: { containers: [{ name: "c", image: "i", volumeMounts: [{ name: mount, mountPath: "/m" }] }], volumes: [{ name: "v", emptyDir: {} }] } } }
    })
    assert.deepInclude(yield* ask("POST", daemons, daemon({ of: "other" }, "v")), { status: 422 })
    assert.deepInclude(yield* ask("POST", daemons, daemon({ of: "d" }, "w")), { status: 422 })
    assert.deepInclude(yield* ask("POST", daemons, daemon({ of: "d" }, "v")), { status: 201 })
  }))

  on("answers 429 and 503 as Kubernetes does, and what its weather forbids", (ask, sky) => Effect.gen(function*() {
    sky.weather.set({ tooMany: 1, failing: 1, forbidden: ["create nodepools"] })
    assert.deepInclude((yield* ask("GET", pools)).body, { code: 429, reason: "TooManyRequests" })
    assert.deepInclude((yield* ask("GET", pools)).body, { code: 503, reason: "ServiceUnavailable" })
    assert.deepInclude((yield* ask("POST", pools, pool("a"))).body, { code: 403, reason: "Forbidden" })
    const review = (verb: string) => Effect.map(ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
      apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes: { verb, group: "compute.coreweave.com", resource: "nodepools" } }
    }), ({ body }) => body.status.allowed)
    assert.deepStrictEqual([yield* review("create"), yield* review("list")], [false, true])
    sky.weather.set({ zombies: 1, forbidden: [] })
    yield* ask("POST", pools, pool("a"))
    yield* ask("DELETE", `${pools}/a`)
    assert.deepStrictEqual([(yield* ask("GET", `${pools}/a`)).status, sky.books.running.length], [404, 1])
  }))
})
