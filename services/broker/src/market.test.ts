import { assert, describe, it } from "@effect/vitest"
import type { VastApi } from "@millrace/sky"
import { Clock, Effect } from "effect"
import { type Life, livingAt, small } from "./testing/life.ts"
import { atMarket } from "./testing/vendors.ts"

const still = atMarket(Number.POSITIVE_INFINITY)
const seconds = atMarket(20_000)

const own = { ...small, own: true }
const bidding = { ...own, where: { spot: "rather" as const } }

const costOf = (life: Life<VastApi>) => life.said("LeaseEnded").reduce((sum, { costPico }) => sum + costPico, 0n)
const billOf = (life: Life<VastApi>) => Effect.map(Clock.currentTimeMillis, (atMs) => life.books.bills(atMs).reduce((sum, { costPico }) => sum + costPico, 0n))

describe("a lease on a market", () => {
  it.effect("names the one machine that it is for, and goes on to its end within the market's limits", () =>
    livingAt(still, {}, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(180_000)
      const [requested] = life.said("LeaseRequested")
      assert.isDefined(requested?.column.offer)
      assert.strictEqual(life.said("LeaseGranted").length, 1)
      assert.strictEqual(life.said("LeaseEnded").length, 1)
      assert.deepStrictEqual([life.books.running, life.books.all.length, life.api.tooFast], [[], 1, 0])
      // The market charges for its storage alone until a machine runs, and until its end is asked for; we count from the call to the list that misses it.
      const over = costOf(life) - (yield* billOf(life))
      assert.isTrue(over >= 0n && over <= (requested!.pricePicoPerSecondMax * 15n), `${over} of ${costOf(life)}`)
    })))

  it.effect("is for a whole machine where the work is of others, and for a container only where it is our own", () =>
    livingAt(still, {}, (life) => Effect.gen(function*() {
      // Of the small hosts one runs virtual machines: the second machine is a larger one.
      yield* life.waits({ ...small, waiting: 2 })
      yield* life.pass(60_000)
      const hosts = new Map(life.said("OffersObserved").flatMap(({ rows = [] }) => rows.map((row) => [row.offer, row.sells])))
      assert.deepStrictEqual(life.said("LeaseRequested").map(({ column }) => hosts.get(column.offer)), ["machines", "machines"])
    })))

  it.effect("is for an offer that was seen just now: the market rests while nothing is sought, and is looked at again before anything is asked for", () =>
    livingAt(seconds, { works: false }, (life) => Effect.gen(function*() {
      yield* life.pass(250_000)
      assert.strictEqual(life.said("OffersObserved").length, 1)
      yield* life.waits(own)
      yield* life.pass(30_000)
      const [, second] = life.said("OffersObserved")
      const offered = new Set(second?.rows?.map(({ offer }) => offer))
      const [requested] = life.said("LeaseRequested")
      assert.isTrue(offered.has(requested?.column.offer), "it asks for what it saw in its first look")
    })))

  it.effect("that comes too late for its offer is refused for that offer alone, and the next one is asked for", () =>
    livingAt(seconds, { works: false }, (life) => Effect.gen(function*() {
      yield* life.pass(50_000)
      yield* life.waits({ ...own, waiting: 3 })
      yield* life.pass(180_000)
      const refused = life.said("LeaseRefused")
      assert.isAbove(refused.length, 0)
      assert.deepStrictEqual([...new Set(refused.map(({ narrows, reason }) => `${reason} ${narrows}`))], ["offer_gone offer"])
      assert.isAbove(life.said("LeaseGranted").length, 0)
      assert.strictEqual(life.api.tooFast, 0)
    })))

  it.effect("that is outbid is told as taken back, and nothing of it stays, stopped or not", () =>
    livingAt(still, { works: false }, (life) => Effect.gen(function*() {
      // Right before a look at the market's list, which is due after fifty seconds.
      yield* life.pass(35_000)
      yield* life.waits(bidding)
      yield* life.pass(13_000)
      assert.deepStrictEqual(life.said("LeaseRequested").map(({ column }) => column.market), ["spot"])
      assert.strictEqual(life.books.running.length, 1)
      life.sky.set({ spotPricePermille: 20_000 })
      yield* life.waits()
      yield* life.pass(20_000)
      assert.strictEqual(life.said("ReclaimNoticed").length, 1)
      assert.deepStrictEqual(life.said("LeaseReleased").map(({ cause }) => cause), ["reclaimed"])
      assert.strictEqual(life.said("LeaseEnded").length, 1)
      assert.deepStrictEqual(life.books.running, [])
    })))

  it.effect("that is outbid before its host is there is given back then, not when its host is too late", () =>
    livingAt(still, { weather: { neverBoots: 1 } }, (life) => Effect.gen(function*() {
      yield* life.pass(35_000)
      yield* life.waits(bidding)
      yield* life.pass(10_000)
      assert.strictEqual(life.books.running.length, 1)
      life.sky.set({ spotPricePermille: 20_000, noCapacity: ["*"] })
      yield* life.pass(15_000)
      assert.deepStrictEqual(life.said("LeaseReleased").map(({ cause }) => cause), ["reclaimed"])
    })))

  it.effect("is bought once and ended, wherever between the intent and the last word its broker dies", () => Effect.gen(function*() {
    const whole = (life: Life<VastApi>) => Effect.andThen(life.waits(small), life.pass(240_000))
    const passed = yield* livingAt(still, {}, (life) => Effect.as(whole(life), life.points))
    const points = passed.flatMap((point, at) => (/machine|Lease(Requested|Granted|Released|Ended)/u.test(point) && passed.indexOf(point) === at ? [at + 1] : []))
    assert.isAbove(points.length, 8)
    for (const dieAt of points) {
      yield* livingAt(still, { dieAt, weather: { invisibleMs: 4_000 } }, (life) => Effect.gen(function*() {
        yield* whole(life)
        yield* life.pass(60_000)
        assert.deepStrictEqual([life.lives, life.books.all.length, life.books.running], [2, 1, []], life.points[dieAt - 1])
        assert.deepStrictEqual([life.said("LeaseRequested").length, life.said("LeaseEnded").length], [1, 1], life.points[dieAt - 1])
      }))
    }
  }))

  it.effect("whose answer is lost is found by its label, and bought once", () =>
    livingAt(still, { weather: { answersLost: 1 } }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(180_000)
      assert.deepStrictEqual([life.books.all.length, life.books.running, life.said("LeaseGranted").length], [1, [], 1])
    })))

  it.effect("is not left alone where the market makes two of one: the second is found and ended", () =>
    livingAt(still, { weather: { doubled: 1 } }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(300_000)
      assert.deepStrictEqual([life.books.all.length, life.books.running], [2, []])
      assert.isAbove(life.said("OrphanFound").length, 0)
    })))
})
