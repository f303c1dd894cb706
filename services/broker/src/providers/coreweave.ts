import type { ConfigurationOptions, V1DaemonSet, V1Secret } from "@kubernetes/client-node"
import type { Offer, ProviderName } from "@millrace/schemas"
import { Clock, Effect, type Redacted, Schema } from "effect"
import { readFile } from "node:fs/promises"
import type { Listed } from "../domain/sweep.ts"
import { checksOf } from "./checks.ts"
import { daemonFor, filesOf, poolFor, secretFor } from "./coreweave-objects.ts"
import { picoPerSecondOf, type Priced, priced } from "./coreweave-prices.ts"
import {
  cellLabel, CoreWeaveSettings, endedMark, isReady, isSpot, type Node, NodePool, nodeMark, nodeSinceMark, noOf, poolLabel, poolsOf, tokenLabel
} from "./coreweave-words.ts"
import { opening } from "./entry.ts"
import { type Answered, type Apis, type ClusterOptions, type Denied, openCluster, type Page, refusalOf } from "./kubernetes.ts"
import { type Bought, type Capabilities, type Coming, type Provider, ProviderUnclear, type Refusal, type Told, type Wish } from "./provider.ts"
import { requestBudget } from "./request-budget.ts"

/** One cluster of CoreWeave's Kubernetes Service, and as whom we speak to it. */
export interface CoreWeaveOptions {
  readonly name: ProviderName
  /** The cluster's API server. */
  readonly endpoint: string
  readonly apiKey: Redacted.Redacted
  /** Who signed the server's certificate, as PEM, where that is none of the usual ones. */
  readonly ca?: string
  readonly settings: Omit<CoreWeaveSettings, "caFile">
  readonly can?: Partial<Pick<Capabilities, "requestsEvery" | "visibleWithinMs">>
  /** How requests travel, where that is not over a connection of the client's own. */
  readonly http?: ClusterOptions["http"]
}

export const coreWeaveCapabilities: Capabilities = {
  manner: "pool",
  sells: "machines",
  spot: true,
  // "CoreWeave can reclaim them at any time": nobody says how long before.
  noticeMs: undefined,
  fabric: true,
  deadManMs: undefined,
  endsWhenOff: false,
  userData: true,
  // The pool is named by the token, and there is one of a name.
  idempotent: true,
  // What the API server has accepted it lists at once; the margin is for two clocks.
  visibleWithinMs: 2_000,
  // No limit is documented; this is what Kubernetes' own clients keep to.
  requestsEvery: { anyMs: 200, createMs: 200 },
  billedStepMs: 60_000,
  billedMsMin: 60_000,
  writtenFrom: "CKS Node Pool reference compute.coreweave.com/v1alpha1 (docs.coreweave.com, 2026); Kubernetes API 1.35"
}

/** "Scaling up takes between 20 and 30 minutes": machines are bare metal. */
const arrivesMs = 30 * 60_000
const askAgainMs = 15_000
/** What outlived its machine is removed when it is so old: a create that is under way makes its secret first. */
const keptMs = 10 * 60_000
/** Names of secrets are all that we want of them: what is in them stays there. */
const namesAlone = { Accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io" }

const decodePool = Schema.decodeUnknownEffect(NodePool)
const mergePatch = { "Content-Type": "application/merge-patch+json" }

/**
 * CoreWeave: capacity is declared as a Kubernetes NodePool, here one pool for one machine. It comes in half an hour,
 * later, or never, and a failure is a condition of the pool; so `create` is asked again until there is a machine.
 * The machine is marked on its pool before it is told: a pool that loses its node orders another, which is not what
 * was rented and could not enrol either. `tend` puts such a pool's target to zero.
 */
export const coreWeave = Effect.fnUntraced(function*(options: CoreWeaveOptions): Effect.fn.Return<Provider> {
  const { apiKey, ca, endpoint, http, name, settings } = options
  const { namespace = "millrace", queuedSMax = 300, region, ...agent } = settings
  const can: Capabilities = { ...coreWeaveCapabilities, ...options.can }
  const budget = yield* requestBudget(can.requestsEvery)
  const { all, call } = yield* openCluster({ name, endpoint, token: apiKey, ...(ca === undefined ? {} : { ca }), ...(http === undefined ? {} : { http }) }, budget.any)
  const sold = soldBy(settings)
  const unclear = (doing: string, detail: string) => new ProviderUnclear({ provider: name, doing, detail })

  /** A denial in a broker's words. What says only that two came at once is unclear: whoever asks looks again. */
  const refusal = Effect.fnUntraced(function*(doing: string, denied: Denied): Effect.fn.Return<Refusal, ProviderUnclear> {
    return refusalOf(denied, yield* Clock.currentTimeMillis) ?? (yield* unclear(doing, `${denied.reason}: ${denied.message}`))
  })

  const poolIn = (doing: string, raw: unknown) => Effect.mapError(decodePool(raw), (error) => unclear(doing, `a pool of another form: ${error.message}`))

  const nodesOf = (selector: string) =>
    all<Node>("listing nodes", (apis, paging, how) => apis.core.listNode({ ...paging, labelSelector: selector }, how) as Promise<Page<Node>>)
  const poolsWith = (selector: string) =>
    all<unknown>("listing pools", (apis, paging, how) => apis.custom.listClusterCustomObject({ ...poolsOf, ...paging, labelSelector: selector }, how) as Promise<Page<unknown>>)
  const secretsWith = (selector: string) =>
    all<V1Secret>("listing secrets", (apis, paging, how) => apis.core.listNamespacedSecret({ namespace, ...paging, labelSelector: selector }, how) as Promise<Page<V1Secret>>, namesAlone)
  const daemonsWith = (selector: string) =>
    all<V1DaemonSet>("listing daemon sets", (apis, paging, how) => apis.apps.listNamespacedDaemonSet({ namespace, ...paging, labelSelector: selector }, how) as Promise<Page<V1DaemonSet>>)

  const patchPool = (doing: string, pool: NodePool, patch: { readonly annotations: Readonly<Record<string, string>>; readonly targetNodes?: number }) =>
    call(doing, (apis, how) => apis.custom.patchClusterCustomObject({
      ...poolsOf,
      name: pool.metadata.name,
      body: {
        // As it was seen: who has changed it meanwhile has the word.
        metadata: { resourceVersion: pool.metadata.resourceVersion, annotations: patch.annotations },
        ...(patch.targetNodes === undefined ? {} : { spec: { targetNodes: patch.targetNodes } })
      }
    }, how), mergePatch)

  const remove = (what: string, made: (apis: Apis, how: ConfigurationOptions) => Promise<unknown>) => call(`removing ${what}`, made)
  const removeBoot = Effect.fnUntraced(function*(token: string) {
    const daemon = yield* remove("a daemon set", (apis, how) => apis.apps.deleteNamespacedDaemonSet({ namespace, name: token }, how))
    const secret = yield* remove("a secret", (apis, how) => apis.core.deleteNamespacedSecret({ namespace, name: token }, how))
    return [daemon, secret] as const
  })

  const removeAll = Effect.fnUntraced(function*(token: string, unless?: { readonly uid: string; readonly resourceVersion: string }): Effect.fn.Return<Told<"ending" | "not_there"> | Denied, ProviderUnclear> {
    const pool = yield* remove("a pool", (apis, how) => apis.custom.deleteClusterCustomObject({ ...poolsOf, name: token, ...(unless === undefined ? {} : { body: { preconditions: unless } }) }, how))
    if (pool._tag === "Denied" && pool.status !== 404) return pool
    const answers = [pool, ...(yield* removeBoot(token))]
    const denied = answers.find((answer): answer is Denied => answer._tag === "Denied" && answer.status !== 404)
    return denied ?? { _tag: "Told", value: answers.some(({ _tag }) => _tag === "Told") ? "ending" : "not_there" }
  })

  /** Makes what boots the agent, then the pool: only the pool costs money, and once it is there nothing else is missing. */
  const declare = Effect.fnUntraced(function*(wish: Wish, files: Readonly<Record<string, string>>): Effect.fn.Return<Answered<unknown>, ProviderUnclear> {
    const secret = yield* call("making a secret", (apis, how) => apis.core.createNamespacedSecret({ namespace, body: secretFor(wish, files) }, how))
    if (secret._tag === "Denied" && secret.status !== 409) return secret
    const daemon = yield* call("making a daemon set", (apis, how) => apis.apps.createNamespacedDaemonSet({ namespace, body: daemonFor(wish, agent) }, how))
    if (daemon._tag === "Denied" && daemon.status !== 409) return daemon
    yield* budget.create(wish.maySend)
    return yield* call("declaring a pool", (apis, how) => apis.custom.createClusterCustomObject({ ...poolsOf, body: poolFor(wish) }, how))
  })

  const create = Effect.fnUntraced(function*(wish: Wish): Effect.fn.Return<Bought | Coming | Refusal, ProviderUnclear> {
    const doing = "buying a machine"
    const { column, token } = wish
    const files = filesOf(wish.userData)
    const offered = sold.get(column.machineType)
    if (offered === undefined || column.region !== region || (column.market === "spot" && offered.spotDollarsPerHour === undefined)) {
      return { _tag: "Refusal", reason: "offer_gone", narrows: "type", detail: `${column.machineType} is not sold in ${column.region} as ${column.market}` }
    }
    if (files === undefined) return { _tag: "Refusal", reason: "invalid", narrows: "provider", detail: "an agent is started from a cloud-config in JSON whose files lie in /etc/millrace, and from nothing else" }
    const read = () => call("reading a pool", (apis, how) => apis.custom.getClusterCustomObject({ ...poolsOf, name: token }, how) as Promise<unknown>)
    let answer: Answered<unknown> = yield* read()
    if (answer._tag === "Denied" && answer.status === 404) answer = yield* declare(wish, files)
    if (answer._tag === "Denied" && answer.status === 409) answer = yield* read()
    if (answer._tag === "Told") return yield* standing(wish, yield* poolIn(doing, answer.value))
    const refused = yield* refusal(doing, answer)
    // Nothing was bought, so nothing stays; where that fails too, the sweep finds it.
    if (refused.reason !== "rate_limited") yield* Effect.ignore(removeBoot(token))
    return refused
  })

  /** How far a pool is that was declared under this token. */
  const standing = Effect.fnUntraced(function*(wish: Wish, pool: NodePool): Effect.fn.Return<Bought | Coming | Refusal, ProviderUnclear> {
    const { annotations = {}, deletionTimestamp, labels = {} } = pool.metadata
    if (pool.spec.instanceType !== wish.column.machineType || isSpot(pool) !== (wish.column.market === "spot") || labels[cellLabel] !== wish.cell || labels[tokenLabel] !== wish.token) {
      return { _tag: "Refusal", reason: "invalid", narrows: "provider", detail: `a pool named ${wish.token} is there already, and it is another` }
    }
    if (deletionTimestamp !== undefined) return { _tag: "Coming", detail: "a pool of this name is being removed", askAgainMs }
    if (annotations[nodeMark] !== undefined) return bought(wish.token, annotations[nodeSinceMark])
    const nodes = yield* nodesOf(`${poolLabel}=${pool.metadata.name}`)
    if (nodes._tag === "Denied") return yield* refusal("listing nodes", nodes)
    const node = oldest(nodes.value)
    if (node !== undefined) {
      const since = String(node.metadata?.creationTimestamp?.getTime() ?? (yield* Clock.currentTimeMillis))
      const marked = yield* patchPool("marking a machine", pool, { annotations: { [nodeMark]: node.metadata?.uid ?? "", [nodeSinceMark]: since } })
      return marked._tag === "Told" ? bought(wish.token, since) : yield* againOr(marked, "marking a machine")
    }
    const no = noOf(pool)
    const nowMs = yield* Clock.currentTimeMillis
    if (no === undefined || (no.about === "Capacity" && nowMs - (no.sinceMs ?? nowMs) < queuedSMax * 1000)) {
      return { _tag: "Coming", detail: no?.detail ?? "the pool has no node yet", askAgainMs }
    }
    // Given up as it was seen: should a node have come in this moment, the removal conflicts and it is looked at again.
    const removed = yield* removeAll(wish.token, { uid: pool.metadata.uid, resourceVersion: pool.metadata.resourceVersion })
    if (removed._tag === "Denied") return yield* againOr(removed, "giving up a pool")
    return { _tag: "Refusal", ...meaning[no.about], detail: no.detail }
  })

  const againOr = (denied: Denied, doing: string): Effect.Effect<Coming | Refusal, ProviderUnclear> =>
    denied.status === 409 || denied.status === 404 ? Effect.succeed({ _tag: "Coming", detail: "it changed while it was looked at", askAgainMs: 1_000 }) : refusal(doing, denied)

  /** What our label is on, in an order in which nothing that is being made looks left over: what boots, then pools, then nodes. */
  const look = Effect.fnUntraced(function*(selector: string): Effect.fn.Return<Told<Seen> | Denied, ProviderUnclear> {
    const secrets = yield* secretsWith(selector)
    if (secrets._tag === "Denied") return secrets
    const daemons = yield* daemonsWith(selector)
    if (daemons._tag === "Denied") return daemons
    const raw = yield* poolsWith(selector)
    if (raw._tag === "Denied") return raw
    const nodes = yield* nodesOf(selector)
    if (nodes._tag === "Denied") return nodes
    const pools = yield* Effect.forEach(raw.value, (one) => poolIn("listing pools", one))
    const boots = [...secrets.value, ...daemons.value].flatMap(({ metadata }): ReadonlyArray<Boot> =>
      metadata?.name === undefined ? [] : [{ name: metadata.name, labels: metadata.labels ?? {}, createdAtMs: metadata.creationTimestamp?.getTime() ?? 0 }])
    const there = new Set(pools.map(({ metadata }) => metadata.name))
    const left = new Map(boots.filter(({ name: of }) => !there.has(of)).map((boot) => [boot.name, boot]))
    return { _tag: "Told", value: { pools, nodes: Map.groupBy(nodes.value, ({ metadata }) => metadata?.labels?.[poolLabel] ?? ""), left: [...left.values()] } }
  })

  const tend = Effect.fnUntraced(function*(cell: string) {
    const seen = yield* look(`${cellLabel}=${cell}`)
    if (seen._tag === "Denied") return yield* unclear("tending pools", `${seen.reason}: ${seen.message}`)
    const nowMs = yield* Clock.currentTimeMillis
    for (const pool of seen.value.pools) {
      const { annotations = {}, deletionTimestamp, name: token } = pool.metadata
      if (deletionTimestamp !== undefined || annotations[nodeMark] === undefined) continue
      if (annotations[endedMark] !== undefined) {
        if (nowMs - Number(annotations[endedMark]) >= keptMs) yield* removeAll(token)
      } else if (markedNode(pool, seen.value.nodes.get(token)) === undefined) {
        yield* patchPool("wanting no other machine", pool, { annotations: { [endedMark]: String(nowMs) }, targetNodes: 0 })
      }
    }
    for (const { createdAtMs, name: token } of seen.value.left) if (nowMs - createdAtMs >= keptMs) yield* removeBoot(token)
  })

  const mayDo = (verb: string, resource: string, group: string, inNamespace?: string): readonly [string, Effect.Effect<Told<unknown> | Refusal, ProviderUnclear>] => {
    const of = `${group === "" ? "" : `${group}/`}${resource}`
    return [`${verb} ${of}`, Effect.gen(function*() {
      const answer = yield* call("asking what we may do", (apis, how) => apis.authorization.createSelfSubjectAccessReview({
        body: { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes: { verb, group, resource, ...(inNamespace === undefined ? {} : { namespace: inNamespace }) } } }
      }, how))
      if (answer._tag === "Denied") return yield* refusal("asking what we may do", answer)
      if (answer.value.status?.allowed === true) return { _tag: "Told", value: true } satisfies Told<unknown>
      const why = answer.value.status?.reason ?? ""
      return { _tag: "Refusal", reason: "unauthorised", narrows: "provider", detail: `it may not ${verb} ${of}${inNamespace === undefined ? "" : ` in ${inNamespace}`}${why === "" ? "" : ` (${why})`}; bind a role that may to whose token this is` } satisfies Refusal
    })]
  }

  const inWords = <A, B>(doing: string, answered: Effect.Effect<Told<A> | Denied, ProviderUnclear>, say: (value: A) => B): Effect.Effect<Told<B> | Refusal, ProviderUnclear> =>
    Effect.flatMap(answered, (answer): Effect.Effect<Told<B> | Refusal, ProviderUnclear> =>
      answer._tag === "Denied" ? refusal(doing, answer) : Effect.succeed({ _tag: "Told", value: say(answer.value) }))

  return {
    name,
    can,
    // Prices are in no API; the look at the pools tells whether the cluster knows us at all.
    offers: inWords("reading pools", call("reading pools", (apis, how) => apis.custom.listClusterCustomObject({ ...poolsOf, limit: 1 }, how)), () => ({
      rows: [...sold.values()].flatMap((type) => offersOf(type, region)),
      source: [...new Set([...sold.values()].map(({ source }) => source))].join("; ") || endpoint
    })),
    create,
    list: inWords("listing machines", look(cellLabel), ({ left, nodes, pools }) => [
      ...pools.map((pool) => listedOf(pool, nodes.get(pool.metadata.name) ?? [], sold, region)),
      ...left.map((boot) => leftOf(boot, region))
    ]),
    terminate: (machine) => inWords("ending a machine", removeAll(machine), (value) => value),
    check: checksOf([
      ...["create", "get", "list", "patch", "delete"].map((verb) => mayDo(verb, poolsOf.plural, poolsOf.group)),
      mayDo("list", "nodes", ""),
      ...["create", "list", "delete"].map((verb) => mayDo(verb, "secrets", "", namespace)),
      ...["create", "list", "delete"].map((verb) => mayDo(verb, "daemonsets", "apps", namespace))
    ]),
    tend
  }
})

/** A secret or daemon set of ours. */
interface Boot {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly createdAtMs: number
}

interface Seen {
  readonly pools: ReadonlyArray<NodePool>
  /** By the pool that they belong to. */
  readonly nodes: ReadonlyMap<string, ReadonlyArray<Node>>
  /** What boots the machine of a pool that is not there. */
  readonly left: ReadonlyArray<Boot>
}

const meaning: Readonly<Record<"Validated" | "Quota" | "Capacity", Pick<Refusal, "reason" | "narrows">>> = {
  Validated: { reason: "invalid", narrows: "type" },
  // Quota is given by type and place.
  Quota: { reason: "quota", narrows: "type" },
  // What waits on demand and what is left for spot are two things.
  Capacity: { reason: "out_of_capacity", narrows: "market" }
}

const soldBy = ({ instanceTypes, prices = [] }: CoreWeaveOptions["settings"]): ReadonlyMap<string, Priced> =>
  new Map([...priced, ...prices].filter(({ instanceType }) => instanceTypes?.includes(instanceType) ?? true).map((one) => [one.instanceType, one]))

const offersOf = ({ diskGib, dollarsPerHour, fabric, gpuMemoryGib, gpuModel, gpus, instanceType, memoryGib, spotDollarsPerHour, vcpus }: Priced, region: string): ReadonlyArray<Offer> => {
  const offer = (market: Offer["market"], dollars: string): Offer => ({
    machineType: instanceType,
    market,
    resources: { cpuMilli: vcpus * 1000, memoryMib: memoryGib * 1024, diskMib: diskGib * 1024, gpus },
    ...(gpuModel === undefined ? {} : { gpuModel }),
    ...(gpuMemoryGib === undefined ? {} : { gpuMemoryMib: gpuMemoryGib * 1024 }),
    pricePicoPerSecond: picoPerSecondOf(dollars),
    regions: [region],
    arrivesMs,
    fabric
  })
  return [offer("on_demand", dollarsPerHour), ...(spotDollarsPerHour === undefined ? [] : [offer("spot", spotDollarsPerHour)])]
}

const bought = (machine: string, since: string | undefined): Bought => {
  const sinceMs = Number(since ?? "")
  return { _tag: "Bought", machine, ...(Number.isSafeInteger(sinceMs) && sinceMs > 0 ? { billedSinceMs: sinceMs } : {}) }
}

const oldest = (nodes: ReadonlyArray<Node>): Node | undefined =>
  [...nodes].sort((a, b) => (a.metadata?.creationTimestamp?.getTime() ?? 0) - (b.metadata?.creationTimestamp?.getTime() ?? 0) || ((a.metadata?.uid ?? "") < (b.metadata?.uid ?? "") ? -1 : 1))[0]

const markedNode = ({ metadata }: NodePool, nodes: ReadonlyArray<Node> = []): Node | undefined =>
  nodes.find((node) => node.metadata?.uid === metadata.annotations?.[nodeMark])

const standsOf = (pool: NodePool, nodes: ReadonlyArray<Node>): Listed["stands"] => {
  const { annotations = {}, deletionTimestamp } = pool.metadata
  // What nobody has been told of is nobody's machine, and goes as it came.
  if (annotations[nodeMark] === undefined) return deletionTimestamp !== undefined && nodes.length > 0 ? "ending" : "declared"
  if (deletionTimestamp !== undefined) return "ending"
  const node = markedNode(pool, nodes)
  if (node !== undefined) return isReady(node) ? "running" : "coming"
  // Over only when nothing can come of the pool any more.
  return annotations[endedMark] !== undefined && nodes.length === 0 ? "reclaimed" : "ending"
}

const listedOf = (pool: NodePool, nodes: ReadonlyArray<Node>, sold: ReadonlyMap<string, Priced>, region: string): Listed => {
  const { annotations = {}, labels = {}, name } = pool.metadata
  const type = sold.get(pool.spec.instanceType)
  const dollars = isSpot(pool) ? type?.spotDollarsPerHour : type?.dollarsPerHour
  const sinceMs = Number(annotations[nodeSinceMark] ?? oldest(nodes)?.metadata?.creationTimestamp?.getTime() ?? "")
  return {
    machine: name,
    region,
    machineType: pool.spec.instanceType,
    market: isSpot(pool) ? "spot" : "on_demand",
    stands: standsOf(pool, nodes),
    pricePicoPerSecond: dollars === undefined ? 0n : picoPerSecondOf(dollars),
    ...whose(labels),
    // A pool without a node costs nothing.
    ...(Number.isSafeInteger(sinceMs) && sinceMs > 0 ? { sinceMs } : {})
  }
}

/** What would boot a machine, and there is none: either its pool is still to be declared, or it is left over. It costs nothing, and `terminate` removes it. */
const leftOf = ({ labels, name }: Boot, region: string): Listed =>
  ({ machine: name, region, machineType: "none", stands: "declared", pricePicoPerSecond: 0n, ...whose(labels) })

const whose = (labels: Readonly<Record<string, string>>): Pick<Listed, "token" | "cell"> => ({
  ...(labels[tokenLabel] === undefined ? {} : { token: labels[tokenLabel] }),
  ...(labels[cellLabel] === undefined ? {} : { cell: labels[cellLabel] })
})

/** What an entry of CoreWeave's says besides: its endpoint is a cluster's API server, its key a token. */
export const coreWeaveEntry = opening({ coreweave: CoreWeaveSettings }, ({ can, endpoint, key, name }, { coreweave: { caFile, ...settings } }) => {
  const trust = caFile === undefined ? Effect.succeed({}) : Effect.tryPromise({ try: async () => ({ ca: await readFile(caFile, "utf8") }), catch: () => `its certificate file ${caFile} cannot be read` })
  return Effect.flatMap(trust, (trusted) => coreWeave({ name, endpoint, apiKey: key, settings, can, ...trusted }))
})
