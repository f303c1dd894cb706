import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import { type Answer, type CoreWeaveApi, dark, type Request, Site } from "@millrace/sky"
import { Clock, Effect, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { broker, comparable } from "../domain/broker.ts"
import { type Life, type LifeOptions, livingAt, small } from "../testing/life.ts"
import { answered, wish } from "../testing/promises.ts"
import { atCluster as cluster } from "../testing/vendors.ts"

const bootMs = 20 * 60_000

const clustered = <A, E>({ arrivesMs = bootMs, ...options }: LifeOptions & { readonly arrivesMs?: number }, story: (life: Life<CoreWeaveApi>, api: CoreWeaveApi) => Effect.Effect<A, E, Scope.Scope>) =>
  livingAt(cluster(arrivesMs), { turns: 12, ...options }, (life) => story(life, life.api))

const minutes = 60_000

const held = (api: CoreWeaveApi) => ["nodepools", "secrets", "daemonsets"].flatMap((plural) => api.named(plural).map((name) => `${plural}/${name}`))

/** Nothing runs and nothing is left; each intent has bought one machine at most, and each lease is over once. */
const allOver = (life: Life<CoreWeaveApi>, api: CoreWeaveApi): void => {
  assert.deepStrictEqual([life.books.running.map(({ name }) => name), held(api)], [[], []])
  const names = life.books.all.map(({ name }) => name)
  assert.strictEqual(new Set(names).size, names.length, `bought twice: ${names.join(", ")}`)
  const over = [...life.said("LeaseEnded"), ...life.said("LeaseRefused")].map(({ leaseId }) => leaseId)
  assert.deepStrictEqual([...life.said("LeaseRequested"), ...life.said("OrphanFound")].filter(({ leaseId }) => !over.includes(leaseId)), [])
  assert.strictEqual(new Set(over).size, over.length, "a lease ended twice")
}

/** Two jobs wait, two machines come after two minutes and do them, are idle and are given back. */
const wholeLife = (life: Life<CoreWeaveApi>) => Effect.andThen(life.waits({ ...small, waiting: 2 }), life.pass(6 * minutes, 2_000))
const arrivesMs = 2 * minutes

/** The client of a cluster in this process, and no broker: `meanwhile` happens right before each request is answered, or answers it. */
const alone = Effect.fnUntraced(function*(meanwhile: (request: Request) => Answer | undefined = () => undefined) {
  const { client, cloud: { open, ...cloud } } = cluster(0)
  const site = new Site({ ...cloud, cloud: "coreweave", power: dark })
  const api = open(site)
  const answer: CoreWeaveApi["answer"] = (request) => meanwhile(request) ?? api.answer(request)
  return { site, api, provider: yield* Effect.provide(client({ answer } as CoreWeaveApi), FetchHttpClient.layer) }
})

const asked = wish("ada", { region: "US-EAST-04A", machineType: "cd-small", market: "on_demand" })

describe("CoreWeave's client in time", () => {
  it.effect("gives up no pool that has got its machine in this moment", () => Effect.gen(function*() {
    let come: (atMs: number) => void = () => undefined
    const { api, provider, site } = yield* alone(({ atMs, method, path }) => {
      if (method === "DELETE" && path.includes("nodepools")) come(atMs)
      return undefined
    })
    site.sky.set({ noCapacity: ["*"] })
    assert.deepInclude(yield* answered(provider, asked), { _tag: "Coming" })
    yield* TestClock.adjust("6 minutes")
    come = (atMs) => {
      site.sky.set({ noCapacity: [] })
      api.settle(atMs)
    }
    assert.deepInclude(yield* provider.create(asked), { _tag: "Coming" })
    assert.deepInclude(yield* provider.create(asked), { _tag: "Bought" })
    assert.lengthOf(site.books.running, 1)
  }))

  it.effect("begins a list anew whose continuation is too old, and says nothing of one that never ends", () => Effect.gen(function*() {
    let expire = 1
    const { api, provider } = yield* alone(({ path, query }) => {
      if (!path.includes("nodepools") || !query.has("continue") || expire === 0) return undefined
      expire -= 1
      return { status: 410, body: { kind: "Status", reason: "Expired", code: 410 } }
    })
    for (let at = 0; at < 501; at += 1) api.declare({ name: `p${at}`, labels: { "millrace-cell": "test" }, instanceType: "cd-small", targetNodes: 0 }, 0)
    const told = yield* provider.list
    assert.strictEqual(told._tag === "Told" ? new Set(told.value.map(({ machine }) => machine)).size : 0, 501)
    expire = 100
    assert.strictEqual((yield* Effect.flip(provider.list))._tag, "ProviderUnclear")
  }))

  it.effect("takes away what would boot a machine when its pool has been gone for long, and not while it is made", () => Effect.gen(function*() {
    const { api, provider } = yield* alone()
    yield* answered(provider, asked)
    api.answer({ method: "DELETE", path: `/apis/compute.coreweave.com/v1alpha1/nodepools/${asked.token}`, url: "", query: new URLSearchParams(), headers: { authorization: "Bearer right" }, body: "", atMs: 4_000 })
    yield* TestClock.adjust("9 minutes")
    yield* provider.tend!("test")
    assert.deepStrictEqual(held(api), [`secrets/${asked.token}`, `daemonsets/${asked.token}`])
    yield* TestClock.adjust("1 minute")
    yield* provider.tend!("test")
    assert.deepStrictEqual(held(api), [])
  }))
})

describe("a lease of a declared pool", () => {
  it.effect("is granted when its machine is there, and costs what the ledger says", () =>
    clustered({}, (life, api) => Effect.gen(function*() {
      yield* life.waits({ ...small, waiting: 2 })
      yield* life.pass(15 * minutes, 2_000)
      assert.deepStrictEqual([life.said("LeaseRequested").length, life.said("LeaseGranted").length, api.named("nodepools").length], [2, 0, 2])
      yield* life.pass(11 * minutes, 2_000)
      assert.strictEqual(life.said("MachineEnrolled").length, 2)
      for (const { billedSinceMs = 0 } of life.said("LeaseGranted")) assert.isAtLeast(billedSinceMs, bootMs)
      allOver(life, api)
      const cost = life.said("LeaseEnded").reduce((sum, { costPico }) => sum + costPico, 0n)
      const bill = life.books.bills(yield* Clock.currentTimeMillis).reduce((sum, { costPico }) => sum + costPico, 0n)
      // Times of the API are whole seconds and a sweep is every minute: at most a step of a minute more, each.
      assert.isTrue(cost >= bill && cost - bill <= 2n * 1_000_000_000n, `ours ${cost}, the ledger's ${bill}`)
      assert.deepStrictEqual(api.warnings, [])
      const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
      assert.deepStrictEqual(verdict.mismatches, [])
    })))

  it.effect("is bought once and ended, wherever its broker dies", () => Effect.gen(function*() {
    const points = yield* clustered({ arrivesMs }, (life) => Effect.map(wholeLife(life), () => life.points))
    const chosen = pick(points)
    assert.isAbove(chosen.length, 8)
    for (const dieAt of chosen) {
      yield* clustered({ dieAt, arrivesMs }, (life, api) => Effect.gen(function*() {
        yield* wholeLife(life)
        yield* life.pass(5 * minutes, 2_000)
        assert.strictEqual(life.lives, 2, `it did not die at ${points[dieAt - 1]}`)
        allOver(life, api)
      }))
    }
  }), 120_000)

  it.effect("that is wanted no longer before its machine comes leaves nothing, and has cost nothing", () =>
    clustered({}, (life, api) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(5 * minutes, 2_000)
      assert.lengthOf(api.named("nodepools"), 1)
      yield* life.waits({ ...small, waiting: 0 })
      yield* life.pass(3 * minutes, 2_000)
      allOver(life, api)
      assert.deepStrictEqual([life.books.all.filter(({ tariff }) => tariff.length > 0), life.said("LeaseEnded").map(({ costPico }) => costPico)], [[], [0n]])
    })))

  it.effect("whose pool never gets a machine is refused for what stands in its way", () =>
    clustered({ weather: { noCapacity: ["*"] } }, (life, api) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(8 * minutes, 2_000)
      assert.deepInclude(life.said("LeaseRefused")[0], { reason: "out_of_capacity", narrows: "market" })
      life.sky.set({ noCapacity: [], quotaExceeded: true })
      yield* life.waits({ ...small, waiting: 0 })
      yield* life.pass(3 * minutes, 2_000)
      assert.deepStrictEqual([life.books.all, held(api)], [[], []])
    })))

  it.effect("ends when its machine is taken back, and does not go on with the next", () =>
    clustered({ works: false }, (life, api) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(bootMs + 16_000, 2_000)
      const [machine] = life.books.running
      life.site.reclaim(machine!, { atMs: yield* Clock.currentTimeMillis, noticeMs: 0 })
      yield* life.waits({ ...small, waiting: 0 })
      yield* life.pass(5 * minutes, 2_000)
      assert.deepInclude(life.said("LeaseEnded")[0], { confirmed: "reclaimed" })
      // The cloud ordered another, which has never come and costs nothing.
      assert.deepStrictEqual([life.books.all.length, life.books.running.length, life.books.all.filter(({ tariff }) => tariff.length > 0).length], [2, 0, 1])
      yield* life.pass(12 * minutes, 2_000)
      assert.deepStrictEqual(held(api), [])
    })))
})

/** One place of each kind where a broker may die, and the first and last of the calls. */
const pick = (points: ReadonlyArray<string>): ReadonlyArray<number> => {
  const first = new Map<string, number>()
  const last = new Map<string, number>()
  points.forEach((point, at) => {
    if (!first.has(point)) first.set(point, at + 1)
    last.set(point, at + 1)
  })
  return [...new Set([...first.values(), ...[...last].filter(([point]) => point.includes("machine")).map(([, at]) => at)])].sort((a, b) => a - b)
}
