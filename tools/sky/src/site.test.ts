import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Machine } from "./books.ts"
import { ec2Cloud } from "./ec2/ec2-api.ts"
import { lambdaCloud } from "./lambda/lambda-api.ts"
import type { Power } from "./machines.ts"
import { dollars, dollarsText, madeUp, type Ware } from "./prices.ts"
import { Site } from "./site.ts"
import { startSky } from "./sky.ts"
import { means, type Weather } from "./weather.ts"

const ware: Ware = { name: "small", gpu: undefined, gpus: 0, vcpus: 1, memoryGib: 1, picoPerHour: dollars("0.36"), source: madeUp }
const minutes = { stepMs: 60_000, minMs: 60_000, from: "asked", until: "gone" } as const

/** A site whose power says what is on. */
const siteIn = (weather: Partial<Weather> = {}) => {
  const lit = new Set<Machine>()
  const site = new Site({ cloud: "a", billing: minutes, bootMs: 1_000, endMs: 2_000, weather, power: { on: (machine) => void lit.add(machine), off: (machine) => void lit.delete(machine) } })
  let count = 0
  const make = (atMs = 0): Machine => site.make({ id: `m-${count += 1}`, name: `n-${count}`, ware, region: "r", zone: "r-a", market: "on_demand", tags: {}, userData: "", picoPerHour: ware.picoPerHour }, atMs)
  /** What is true, what is said of it, and whether anything runs there. */
  const of = (machine: Machine, atMs: number) => {
    site.settle(atMs)
    return [machine.stands, site.said(machine), lit.has(machine)] as const
  }
  return { site, make, of }
}

describe("a machine's life under the weather", () => {
  it("boots, ends when it is asked to, and is charged in whole minutes until it is gone", () => {
    const { make, of, site } = siteIn()
    const machine = make()
    assert.deepStrictEqual([of(machine, 999), of(machine, 1_000)], [["booting", "booting", true], ["active", "active", true]])
    assert.strictEqual(site.end(machine, 59_000), undefined)
    assert.deepStrictEqual([of(machine, 60_999), of(machine, 61_000)], [["terminating", "terminating", false], ["terminated", "terminated", false]])
    assert.strictEqual(site.end(machine, 70_000), undefined)
    assert.deepStrictEqual(site.books.bills(999_999).map(({ billedMs, costPico, endedAtMs }) => [billedMs, costPico, endedAtMs]), [[120_000, dollars("0.012"), 61_000]])
  })

  it("a zombie's end is confirmed, and it runs and costs on", () => {
    const { make, of, site } = siteIn({ zombies: 1 })
    const machine = make()
    site.end(machine, 5_000)
    assert.deepStrictEqual(of(machine, 3_600_000), ["active", "terminated", true])
    assert.deepStrictEqual([site.books.running.length, site.books.bills(3_600_000)[0]?.costPico], [1, ware.picoPerHour])
  })

  it("one that lies is said to run, is not there, and costs nothing", () => {
    const { make, of, site } = siteIn({ lies: 1 })
    const machine = make()
    assert.deepStrictEqual([of(machine, 5_000), site.books.running, site.books.bills(5_000)[0]?.costPico], [["terminated", "active", false], [], 0n])
    site.end(machine, 6_000)
    assert.strictEqual(site.said(machine), "terminated")
  })

  it("one that never boots is said to run, and costs money", () => {
    const { make, of, site } = siteIn({ neverBoots: 1 })
    assert.deepStrictEqual([of(make(), 5_000), site.books.bills(5_000)[0]?.costPico], [["active", "active", false], dollars("0.006")])
  })

  it("one that fails late was promised, and is gone when it should be up", () => {
    const { make, of, site } = siteIn({ lateFailures: 1 })
    const machine = make()
    assert.deepStrictEqual([of(machine, 0), of(machine, 1_000), machine.ended], [["booting", "booting", false], ["terminated", "terminated", false], "no_capacity"])
    assert.deepStrictEqual(of(make(), 5_000), ["active", "active", true])
    assert.strictEqual(site.books.running.length, 1)
  })

  it("its end is refused before its term, and as often as the weather says", () => {
    const { make, site } = siteIn({ minimumTermMs: 60_000, endsRefused: 2 })
    const machine = make()
    assert.deepStrictEqual([59_999, 60_000, 60_001, 60_002].map((atMs) => site.end(machine, atMs)), ["minimum_term", "refused", "refused", undefined])
  })

  it("is taken back at its deadline though nobody calls, and at once without notice", () => {
    const { make, of, site } = siteIn()
    const [told, untold] = [make(), make()]
    site.reclaim(told, { atMs: 10_000, noticeMs: 30_000 })
    site.reclaim(untold, { atMs: 10_000, noticeMs: 0 })
    assert.deepStrictEqual([of(told, 39_999)[0], of(untold, 10_000)[0], of(told, 40_000)[0], told.ended], ["active", "terminated", "terminated", "reclaimed"])
  })

  it("is missing from lists at first, or named twice, or given the id of one that has ended", () => {
    const { make, site } = siteIn({ invisibleMs: 500 })
    const first = make()
    assert.deepStrictEqual([site.listed(499), site.listed(500)], [[], [first]])
    site.sky.set({ listedTwice: true, duplicateIds: 1 })
    assert.deepStrictEqual(site.listed(500), [first, first])
    site.end(first, 1_000)
    site.settle(5_000)
    const second = make(5_000)
    assert.deepStrictEqual([second.id, site.books.get(first.id) === second, site.books.all.length], [first.id, true, 2])
  })
})

describe("what can be had", () => {
  it("is named by type, place and market", () => {
    const wanted = { type: "small", region: "r", zone: "r-a", market: "spot" }
    assert.deepStrictEqual(["*", "small", "small@r", "*@r-a/spot", "small/spot"].map((name) => means(name, wanted)), [true, true, true, true, true])
    assert.deepStrictEqual(["large", "small@r-b", "*/on_demand", "*@r-a/on_demand"].map((name) => means(name, wanted)), [false, false, false, false])
  })

  it("ends with its stock, and comes back with what is given back", () => {
    const { make, site } = siteIn({ stock: { "small@r-a": 1 } })
    const here = { type: "small", region: "r", zone: "r-a", market: "on_demand" }
    const machine = make()
    assert.deepStrictEqual([site.hasCapacity(here), site.hasCapacity({ ...here, zone: "r-b" })], [false, true])
    site.end(machine, 0)
    site.settle(2_000)
    assert.isTrue(site.hasCapacity(here))
  })

  it("costs what the list says, or what the market says, or by mistake nothing", () => {
    const { sky } = siteIn({ spotPricePermille: 1_500, priceZero: ["free"] }).site
    assert.deepStrictEqual([
      sky.priceOf(100n, { type: "small", region: "r", market: "on_demand" }), sky.priceOf(100n, { type: "small", region: "r", market: "spot" }), sky.priceOf(100n, { type: "free", region: "r" })
    ], [100n, 150n, 0n])
    assert.deepStrictEqual(["0.0441", "55", "21.957642"].map((text) => dollarsText(dollars(text))), ["0.0441", "55.0000", "21.957642"])
  })
})

describe("a sky of several clouds", () => {
  const asked = (url: string, body?: unknown) => Effect.promise(async () => {
    const answer = await fetch(url, body === undefined ? {} : { method: "POST", body: JSON.stringify(body) })
    return { status: answer.status, body: await answer.json() as Record<string, any> }
  })

  it.live("has an endpoint, a weather and a ledger for each, and is asked for any of them at any", () =>
    Effect.scoped(Effect.gen(function*() {
      const crashed: Array<string> = []
      const power: Power = { on: () => undefined, off: () => undefined, crash: (id) => crashed.push(id) > 0, allOff: () => Promise.resolve() }
      const { aws, lambda } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "key" }), aws: ec2Cloud({ accessKeyId: "a", secretAccessKey: "s" }) }, power })
      const machine = aws.site.make({ id: "i-1", name: "n", ware, region: "us-east-1", market: "spot", tags: {}, userData: "", picoPerHour: 1n }, Date.now())
      assert.deepStrictEqual((yield* asked(`${lambda.url}/sky`)).body, { clouds: { lambda: lambda.url, aws: aws.url } })
      yield* asked(`${lambda.url}/sky/weather/aws`, { failing: 2 })
      assert.deepStrictEqual([aws.weather.now.failing, lambda.weather.now.failing, (yield* asked(`${aws.url}/sky/weather`)).body["failing"]], [2, 0, 2])
      assert.deepStrictEqual([(yield* asked(`${lambda.url}/sky/ledger`)).body["running"].length, (yield* asked(`${lambda.url}/sky/ledger/aws`)).body["running"][0].said], [0, "active"])
      assert.deepStrictEqual([(yield* asked(`${lambda.url}/sky/crash`, { machine: "i-1" })).status, crashed], [200, ["i-1"]])
      assert.deepStrictEqual([
        (yield* asked(`${lambda.url}/sky/reclaim`, { machine: "i-2" })).status, (yield* asked(`${lambda.url}/sky/weather/azure`)).status,
        (yield* asked(`${lambda.url}/sky/weather`, { rain: 3 })).status, (yield* asked(`${lambda.url}/sky/weather`, { failing: -1 })).status
      ], [404, 404, 400, 400])
      yield* asked(`${lambda.url}/sky/reclaim`, { machine: "i-1", noticeMs: 50 })
      // Nobody asks that cloud anything: its time passes all the same.
      while (machine.stands !== "terminated") yield* Effect.sleep(20)
      assert.strictEqual(machine.ended, "reclaimed")
      lambda.weather.set({ down: true })
      assert.isTrue(yield* Effect.promise(() => fetch(`${lambda.url}/api/v1/instances`).then(() => false, () => true)))
    })))
})
