import { KubeConfig, KubernetesObjectApi, Watch } from "@kubernetes/client-node"
import { assert, describe, it } from "@effect/vitest"
import type { ProviderName } from "@millrace/schemas"
import { type CoreWeaveApi, coreWeaveCloud, type RunningCloud, startSky } from "@millrace/sky"
import { Effect, Redacted, type Scope } from "effect"
import { answered, keepsItsPromises, wish } from "../testing/promises.ts"
import { underWeather } from "../testing/under-weather.ts"
import { coreWeave, type CoreWeaveOptions } from "./coreweave.ts"
import type { Priced } from "./coreweave-prices.ts"
import type { Provider } from "./provider.ts"

const region = "US-EAST-04A"
const small: Priced = { instanceType: "cd-small", vcpus: 1, memoryGib: 1, diskGib: 10, gpus: 0, fabric: false, dollarsPerHour: "0.06", spotDollarsPerHour: "0.03", source: "made up" }
const column = { region, machineType: "cd-small", market: "on_demand" } as const
const spot = { ...column, market: "spot" } as const

const client = (sky: RunningCloud<CoreWeaveApi>, settings: Partial<CoreWeaveOptions["settings"]> = {}, options: Partial<CoreWeaveOptions> = {}) =>
  coreWeave({
    name: "coreweave" as ProviderName, endpoint: sky.url, apiKey: Redacted.make("right"), ca: sky.api.ca, can: { requestsEvery: { anyMs: 0, createMs: 0 } },
    settings: { region, image: "docker.io/millrace/host", prices: [small], queuedSMax: 0, ...settings }, ...options
  })

const cluster = (options: Partial<Parameters<typeof coreWeaveCloud>[0]> = {}) =>
  Effect.map(startSky({ clouds: { coreweave: coreWeaveCloud({ token: "right", ...options }) } }), ({ coreweave }) => coreweave)

const paid = ({ books, site }: RunningCloud<CoreWeaveApi>) => books.running.filter((machine) => site.said(machine) !== "terminating").map(({ name }) => name)

keepsItsPromises("CoreWeave's client", underWeather(coreWeaveCloud({ token: "right" }), client, {
  column, noneLeft: { reason: "out_of_capacity", narrows: "market" }, overQuota: { reason: "quota", narrows: "type" }
}))

const listedIn = Effect.fnUntraced(function*(provider: Provider) {
  const told = yield* provider.list
  return told._tag === "Told" ? told.value : []
})

/** Everything of ours that a cluster holds, by kind and name. */
const held = ({ api }: RunningCloud<CoreWeaveApi>) => ["nodepools", "secrets", "daemonsets"].flatMap((plural) => api.named(plural).map((name) => `${plural}/${name}`))

const on = (says: string, holds: (sky: RunningCloud<CoreWeaveApi>, provider: Provider) => Effect.Effect<void, unknown, Scope.Scope>, options?: Partial<Parameters<typeof coreWeaveCloud>[0]>) =>
  it.live(says, () => Effect.scoped(Effect.gen(function*() {
    const sky = yield* cluster(options)
    yield* holds(sky, yield* client(sky))
    // Whatever was sent, the API knew every field of it.
    assert.deepStrictEqual(sky.api.warnings, [])
  })))

describe("CoreWeave's client", () => {
  on("a pool is declared once, however often it is asked for, and is told as bought when its machine is there", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", column)
    const first = yield* provider.create(asked)
    assert.deepInclude(first, { _tag: "Coming" })
    assert.deepInclude((yield* listedIn(provider))[0], { stands: "declared", token: asked.token })
    assert.strictEqual((yield* provider.create(asked))._tag, "Coming")
    yield* Effect.sleep(400)
    assert.deepInclude(yield* provider.create(asked), { _tag: "Bought", machine: asked.token })
    assert.deepInclude(yield* provider.create(asked), { _tag: "Bought", machine: asked.token })
    assert.deepStrictEqual(paid(sky), [asked.token])
    assert.deepInclude((yield* listedIn(provider))[0], { stands: "running", market: "on_demand" })
  }), { bootMs: 300 })

  on("two that ask at once under one token get one machine", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", column)
    const both = yield* Effect.all([provider.create(asked), provider.create(asked)], { concurrency: 2 })
    assert.notInclude(both.map(({ _tag }) => _tag), "Refusal")
    assert.deepInclude(yield* answered(provider, asked), { _tag: "Bought", machine: asked.token })
    assert.deepStrictEqual(paid(sky), [asked.token])
  }))

  on("a pool of that name that is another's is refused, and left alone", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", column)
    yield* answered(provider, asked)
    assert.deepInclude(yield* provider.create({ ...asked, column: spot }), { reason: "invalid" })
    assert.deepInclude(yield* provider.create({ ...asked, cell: "other" }), { reason: "invalid" })
    assert.deepStrictEqual(paid(sky), [asked.token])
  }))

  on("nothing outlives the end of a machine, or a refusal that came late", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", column)
    yield* answered(provider, asked)
    assert.deepStrictEqual(held(sky), [`nodepools/${asked.token}`, `secrets/${asked.token}`, `daemonsets/${asked.token}`])
    assert.deepStrictEqual(yield* provider.terminate(asked.token), { _tag: "Told", value: "ending" })
    assert.deepStrictEqual(held(sky), [])
    assert.deepStrictEqual(yield* provider.terminate(asked.token), { _tag: "Told", value: "not_there" })
    sky.weather.set({ noQuota: ["cd-small"] })
    assert.deepInclude(yield* answered(provider, wish("eve", column)), { reason: "quota" })
    assert.deepStrictEqual(held(sky), [])
  }))

  on("a pool whose machine was reclaimed wants no other, and says so until it is removed", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", spot)
    assert.deepInclude(yield* answered(provider, asked), { _tag: "Bought" })
    const [machine] = sky.books.running
    sky.site.reclaim(machine!, { atMs: Date.now(), noticeMs: 0 })
    // The cloud fills the pool again at once: until somebody says otherwise that costs money, and is not what was rented.
    yield* listedIn(provider)
    assert.deepStrictEqual(sky.books.running.map(({ id }) => id === machine!.id), [false])
    assert.deepInclude((yield* listedIn(provider))[0], { stands: "ending" })
    yield* provider.tend!("other")
    assert.lengthOf(sky.books.running, 1)
    yield* provider.tend!("test")
    assert.deepStrictEqual([sky.books.running.length, (yield* listedIn(provider)).map(({ market, stands }) => [stands, market])], [0, [["reclaimed", "spot"]]])
    yield* provider.tend!("test")
    assert.lengthOf(yield* listedIn(provider), 1)
    assert.strictEqual((yield* provider.terminate(asked.token))._tag, "Told")
    assert.deepStrictEqual([held(sky), yield* listedIn(provider)], [[], []])
  }))

  on("what was made to boot a machine that is not there is listed as declared, and removed", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", column)
    yield* answered(provider, asked)
    byHand(sky, asked.token)
    assert.deepInclude((yield* listedIn(provider))[0], { machine: asked.token, token: asked.token, cell: "test", stands: "declared", pricePicoPerSecond: 0n })
    yield* provider.terminate(asked.token)
    assert.deepStrictEqual(held(sky), [])
  }))

  on("the agent finds on its machine what the user data says, and nowhere else", (sky, provider) => Effect.gen(function*() {
    const config = { write_files: [{ path: "/etc/millrace/one-time-key", content: "k\n" }, { path: "/etc/millrace/host.env", content: "A=b\n" }], runcmd: [["true"]] }
    yield* answered(provider, { ...wish("ada", column), userData: `#cloud-config\n${JSON.stringify(config)}\n` })
    const told = JSON.parse((sky.books.running[0]?.userData ?? "").split("\n").slice(1).join("\n")) as typeof config
    assert.deepStrictEqual(told.write_files, config.write_files)
    assert.deepInclude(yield* provider.create({ ...wish("eve", column), userData: "#!/bin/sh\n" }), { reason: "invalid" })
    assert.notInclude(JSON.stringify(yield* listedIn(provider), (_, value: unknown) => (typeof value === "bigint" ? Number(value) : value)), "k\\n")
  }))

  on("eleven hundred pools are listed over more pages than one", (sky, provider) => Effect.gen(function*() {
    sky.weather.set({ noQuota: ["*"] })
    const names = Array.from({ length: 1_100 }, (_, at) => `pool-${String(at).padStart(4, "0")}`)
    for (const name of names) sky.api.declare({ name, labels: { "millrace-cell": "test", "millrace-token": name }, instanceType: "cd-small" }, Date.now())
    assert.deepStrictEqual((yield* listedIn(provider)).map(({ machine }) => machine), names)
  }))

  on("a pool that waits for capacity is waited for, and given up in the end", (sky) => Effect.gen(function*() {
    const patient = yield* client(sky, { queuedSMax: 60 })
    sky.weather.set({ noCapacity: ["cd-small/on_demand"] })
    const asked = wish("ada", column)
    assert.deepInclude(yield* answered(patient, asked), { _tag: "Coming" })
    sky.weather.set({ noCapacity: [] })
    assert.deepInclude(yield* answered(patient, asked), { _tag: "Bought" })
    sky.weather.set({ lateFailures: 1 })
    const impatient = yield* client(sky)
    assert.deepInclude(yield* answered(impatient, wish("eve", column)), { reason: "out_of_capacity", narrows: "market" })
    assert.deepStrictEqual(paid(sky), [asked.token])
  }))

  on("what a token may not do is told by its verb", (sky, provider) => Effect.gen(function*() {
    sky.weather.set({ forbidden: ["create secrets", "nodes"] })
    const checks = yield* provider.check
    assert.deepStrictEqual(checks.filter(({ allowed }) => !allowed).map(({ permission }) => permission), ["list nodes", "create secrets"])
    assert.deepInclude(yield* provider.create(wish("ada", column)), { reason: "unauthorised" })
    sky.weather.set({ forbidden: ["create nodepools"] })
    assert.deepInclude(yield* provider.create(wish("eve", column)), { reason: "unauthorised" })
    // What was made before the pool that may not be is taken away again.
    assert.deepStrictEqual(held(sky), [])
  }))

  on("an end whose answer is lost has happened, and one that breaks is asked for again", (sky, provider) => Effect.gen(function*() {
    const asked = wish("ada", column)
    yield* answered(provider, asked)
    sky.weather.set({ endsRefused: 1 })
    assert.strictEqual((yield* Effect.flip(provider.terminate(asked.token)))._tag, "ProviderUnclear")
    assert.deepStrictEqual(paid(sky), [asked.token])
    sky.weather.set({ endAnswersLost: 1 })
    assert.strictEqual((yield* Effect.flip(provider.terminate(asked.token)))._tag, "ProviderUnclear")
    assert.deepStrictEqual(paid(sky), [])
    assert.strictEqual((yield* provider.terminate(asked.token))._tag, "Told")
    assert.deepStrictEqual(held(sky), [])
  }))

  on("a server whose certificate somebody else signed is not spoken to", (sky) => Effect.gen(function*() {
    const stranger = yield* client(sky, {}, { ca: (yield* cluster()).api.ca })
    assert.strictEqual((yield* Effect.flip(stranger.list))._tag, "ProviderUnclear")
  }))

  on("another's token opens nothing, and an expired one neither", (sky) => Effect.gen(function*() {
    const other = yield* client(sky, {}, { apiKey: Redacted.make("wrong") })
    assert.deepInclude(yield* other.offers, { reason: "unauthorised" })
    sky.weather.set({ expired: true })
    assert.deepInclude(yield* (yield* client(sky)).offers, { reason: "unauthorised" })
  }))

  on("offers are the price list's, with where and when it was read, as far as the cluster may have them", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky, { prices: [], instanceTypes: ["gd-8xh100ib-i128"] })
    const told = yield* provider.offers
    assert.strictEqual(told._tag, "Told")
    if (told._tag !== "Told") return
    assert.deepStrictEqual(told.value.rows.map(({ gpuModel, market, pricePicoPerSecond, regions, resources }) => [market, gpuModel, resources.gpus, pricePicoPerSecond * 3600n / 10_000_000_000n, regions]),
      [["on_demand", "H100", 8, 4924n, [region]], ["spot", "H100", 8, 1971n, [region]]])
    assert.include(told.value.source, "2026-09-20")
    assert.deepInclude(yield* provider.create(wish("ada", column)), { reason: "offer_gone" })
  }))
})

/** Somebody takes the pool away by hand. */
const byHand = (sky: RunningCloud<CoreWeaveApi>, name: string) =>
  sky.api.answer({ method: "DELETE", path: `/apis/compute.coreweave.com/v1alpha1/nodepools/${name}`, url: "", query: new URLSearchParams(), headers: { authorization: "Bearer right" }, body: "", atMs: Date.now() })

describe("the pretend cluster", () => {
  it.live("serves Kubernetes' own client whatever that finds out by itself: which resources there are, and what happens to them", () =>
    Effect.scoped(Effect.gen(function*() {
      const sky = yield* cluster()
      const config = new KubeConfig()
      config.loadFromClusterAndUser({ name: "sky", server: sky.url, caData: Buffer.from(sky.api.ca).toString("base64"), skipTLSVerify: false }, { name: "sky", token: "right" })
      const api = KubernetesObjectApi.makeApiClient(config)
      const pool = { apiVersion: "compute.coreweave.com/v1alpha1", kind: "NodePool", metadata: { name: "a" }, spec: { instanceType: "cd-small", targetNodes: 1 } }
      const seen: Array<string> = []
      yield* Effect.promise(async () => {
        const controller = await new Watch(config).watch("/apis/compute.coreweave.com/v1alpha1/nodepools", { timeoutSeconds: 30 }, (phase, object: { readonly metadata: { readonly name: string } }) => void seen.push(`${phase} ${object.metadata.name}`), () => undefined)
        await api.create(pool)
        const list = await api.list("v1", "Node")
        assert.strictEqual(list.items[0]?.metadata?.labels?.["compute.coreweave.com/node-pool"], "a")
        await api.delete(pool)
        while (!seen.includes("DELETED a")) await new Promise((resolve) => setTimeout(resolve, 20))
        controller.abort()
      }).pipe(Effect.timeout(10_000))
      assert.strictEqual(seen[0], "ADDED a")
    })))
})
