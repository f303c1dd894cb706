import { assert, describe, it } from "@effect/vitest"
import type { ProviderName } from "@millrace/schemas"
import { Effect, Logger, type Scope } from "effect"
import type { Listed } from "./domain/sweep.ts"
import { atLambda, type Life, livingAt, type LifeOptions, small } from "./testing/life.ts"

/** A life whose broker gets each list as `seen` changes it. */
const livingWithLists = <A, E>(options: LifeOptions, seen: (listed: ReadonlyArray<Listed>) => ReadonlyArray<Listed>, story: (life: Life) => Effect.Effect<A, E, Scope.Scope>) =>
  livingAt({
    ...atLambda,
    client: (room) => Effect.map(atLambda.client(room), (provider) => ({
      ...provider,
      list: Effect.map(provider.list, (told) => (told._tag === "Told" ? { ...told, value: seen(told.value) } : told))
    }))
  }, options, story)

describe("a list that is late", () => {
  it.effect("and misses a machine once does not end its lease: its end is asked for, and told when it has come", () => {
    let missed = 0
    let life: Life | undefined
    return livingWithLists({}, (listed) => {
      if (missed > 0 || (life?.said("LeaseReleased").length ?? 0) === 0) return listed
      missed += 1
      return []
    }, (one) => Effect.gen(function*() {
      life = one
      yield* one.waits(small)
      yield* one.pass(240_000)
      assert.strictEqual(missed, 1)
      assert.deepStrictEqual(one.said("LeaseEnded").map(({ confirmed }) => confirmed), ["terminated"])
      assert.deepStrictEqual(one.said("OrphanFound"), [])
      assert.deepStrictEqual(one.books.running, [])
    }))
  })

  it.effect("a machine that two looks in a row miss is gone", () => {
    let life: Life | undefined
    return livingWithLists({}, (listed) => ((life?.said("LeaseReleased").length ?? 0) === 0 ? listed : []), (one) => Effect.gen(function*() {
      life = one
      yield* one.waits(small)
      yield* one.pass(240_000)
      assert.strictEqual(one.said("LeaseEnded").length, 1)
      assert.deepStrictEqual(one.books.running, [])
    }))
  })
})

describe("a host that is lost", () => {
  it.effect("has its provider looked at at once: what was taken back without notice is told so within seconds, and not at the next sweep", () =>
    livingAt(atLambda, { works: false, machinesMax: 1 }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      for (let waited = 0; waited < 200 && life.said("MachineEnrolled").length === 0; waited += 1) yield* life.pass(500)
      const { hostId, leaseId } = life.said("MachineEnrolled")[0]!
      yield* life.pass(6_000)
      life.reclaim(([machine]) => machine!, 0)
      yield* life.hear({ kind: "fleet", scope: "cell" }, { _tag: "HostDeclaredLost", hostId, lastHeardAtMs: 0, leaseEndedAtMs: 1 }, { HOSTS: life.log.head("HOSTS") })
      yield* life.pass(3_000)
      assert.deepStrictEqual(life.said("ReclaimNoticed").map((one) => [one.leaseId, one.hostId]), [[leaseId, hostId]])
      assert.deepStrictEqual(life.said("LeaseEnded").map((one) => [one.leaseId, one.confirmed]), [[leaseId, "reclaimed"]])
    })))
})

describe("a provider that is named no more", () => {
  it.effect("while machines of ours are there is told by the next broker, which cannot end them", () => Effect.gen(function*() {
    const lines: Array<unknown> = []
    const kept = Logger.make(({ message }) => void lines.push(message))
    let gone = false
    yield* livingAt({ ...atLambda, client: (room) => Effect.map(atLambda.client(room), (provider) => (gone ? { ...provider, name: "another" as ProviderName } : provider)) }, { dieAt: 40 }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      for (let waited = 0; waited < 400 && life.said("LeaseGranted").length === 0; waited += 1) yield* life.pass(500)
      assert.deepStrictEqual(lines.flat().filter((line) => String(line).includes("no entry")), [])
      gone = true
      for (let waited = 0; waited < 400 && life.lives < 2; waited += 1) {
        yield* life.waits({ ...small, waiting: waited % 2 })
        yield* life.pass(1_000)
      }
      yield* life.pass(2_000)
      assert.deepStrictEqual([life.lives, lines.flat().filter((line) => String(line).includes("no entry")).length], [2, 1])
    })).pipe(Effect.provide(Logger.layer([kept])))
  }))
})

describe("a machine that is found in its provider's list", () => {
  const priceOfFound = (listedPrice: bigint) =>
    livingWithLists({ weather: { answersLost: 1 } }, (listed) => listed.map((one) => ({ ...one, pricePicoPerSecond: listedPrice })), (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(30_000)
      const [{ pricePicoPerSecond, quote }] = life.said("LeaseGranted") as [ReturnType<typeof life.said<"LeaseGranted">>[number]]
      return { pricePicoPerSecond, source: quote.source, max: life.said("LeaseRequested")[0]!.pricePicoPerSecondMax }
    }))

  it.effect("costs what the list says of it", () => Effect.gen(function*() {
    const { pricePicoPerSecond, source } = yield* priceOfFound(12_345n)
    assert.strictEqual(pricePicoPerSecond, 12_345n)
    assert.strictEqual(source, "lambda: its list of machines")
  }))

  it.effect("costs what its offer said where the list does not know", () => Effect.gen(function*() {
    const { max, pricePicoPerSecond, source } = yield* priceOfFound(0n)
    assert.isTrue(pricePicoPerSecond > 12_345n && pricePicoPerSecond <= max)
    assert.strictEqual(source, "lambda: its list of offers")
  }))
})
