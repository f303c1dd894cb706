import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import { Chance, Sometimes } from "@millrace/sim"
import type { CloudRoom, Weather } from "@millrace/sky"
import { Effect } from "effect"
import { broker, comparable } from "./domain/broker.ts"
import { costsExplained } from "./testing/costs-explained.ts"
import { type Life, type LifeOptions, livingAt, small, type Vendor } from "./testing/life.ts"
import { atAmazon, atCluster, atLambda, atMarket } from "./testing/vendors.ts"

const seedsOfEach = Number(process.env["SEEDS"] ?? 13)
const stormMs = 240_000

/** Something that happens to a cloud at some time of the storm. */
interface Turn {
  readonly atMs: number
  readonly happen: (life: Life<CloudRoom>) => void
}

/** A cloud is so for a while, and then fair again. */
const spell = (chance: Chance, [worst, best]: readonly [Partial<Weather>, Partial<Weather>], msMax: number): ReadonlyArray<Turn> => {
  const atMs = chance.between(5_000, stormMs - msMax)
  return [{ atMs, happen: ({ sky }) => void sky.set(worst) }, { atMs: atMs + chance.between(msMax / 4, msMax), happen: ({ sky }) => void sky.set(best) }]
}

/**
 * What a broker must live through without a machine too many, or a cent that nobody can explain. `numbers`: its machines
 * have numbers of the vendor's, one of which may be given again; pools have names of our own.
 */
const weatherOf = (chance: Chance, seed: number, sometimes: Sometimes, numbers: boolean): { readonly first: Partial<Weather>; readonly turns: ReadonlyArray<Turn> } => {
  let number = 0
  /** Each kind comes to one seed in three by its number, so that a dozen of seeds have met all; some come together. */
  const some = <A>(name: string, value: () => A): ReadonlyArray<A> => {
    number += 1
    if ((number + seed) % 3 !== 0 && !chance.happens(0.1)) return []
    sometimes.saw(name)
    return [value()]
  }
  const first = Object.assign({},
    ...some("answers lost", () => ({ answersLost: chance.between(1, 2) })),
    ...some("failing", () => ({ failing: chance.between(1, 6) })),
    ...some("too many", () => ({ tooMany: chance.between(1, 6) })),
    ...some("ends refused", () => ({ endsRefused: chance.between(1, 3) })),
    ...some("answers to ends lost", () => ({ endAnswersLost: chance.between(1, 2) })),
    ...some("invisible", () => ({ invisibleMs: chance.between(500, 6_000) })),
    ...some("late failures", () => ({ lateFailures: chance.between(1, 2) })),
    ...some("never boots", () => ({ neverBoots: 1 })),
    ...some("doubled", () => ({ doubled: 1 })),
    ...some("listed twice", () => ({ listedTwice: true })),
    ...(numbers ? some("number given again", () => ({ duplicateIds: 1 })) : []),
    ...some("zombie", () => ({ zombies: 1 })),
    ...some("lie", () => ({ lies: 1 }))
  ) as Partial<Weather>
  const turns = [
    ...some("down", () => spell(chance, [{ down: true }, { down: false }], 60_000)),
    ...some("expired key", () => spell(chance, [{ expired: true }, { expired: false }], 60_000)),
    ...some("no capacity", () => spell(chance, [{ noCapacity: ["*"] }, { noCapacity: [] }], 90_000)),
    ...some("reclaimed", () => [0, 1].map((): Turn => ({
      atMs: chance.between(10_000, stormMs),
      happen: (life) => void life.reclaim((several) => chance.oneOf(several), chance.oneOf([0, 30_000, 120_000]))
    })))
  ].flat().sort((a, b) => a.atMs - b.atMs)
  return { first, turns }
}

const through = <Room extends CloudRoom>(vendor: Vendor<Room>, options: LifeOptions & { readonly stepMs?: number; readonly wants?: object; readonly refills?: boolean }, seed: number, sometimes: Sometimes) => {
  const chance = new Chance(`sky ${vendor.name} ${seed}`)
  const { refills = false, stepMs = 1_000, wants = {}, ...rest } = options
  const { first, turns } = weatherOf(chance, seed, sometimes, !refills)
  return livingAt(vendor, { ...rest, weather: first, ...(chance.happens(0.5) ? { dieAt: chance.between(5, 60) } : {}) }, (life) => Effect.gen(function*() {
    yield* life.waits({ ...small, waiting: chance.between(1, 3), ...wants })
    let passedMs = 0
    for (const { atMs, happen } of turns) {
      yield* life.pass(atMs - passedMs, stepMs)
      passedMs = Math.max(passedMs, atMs)
      happen(life as unknown as Life<CloudRoom>)
    }
    yield* life.pass(stormMs - passedMs, stepMs)
    yield* life.waits()
    yield* life.pass(stormMs, stepMs)
    const says = `seed ${seed} at ${vendor.name} (${JSON.stringify(first)})`
    // What its cloud has said to be gone runs on unknown to everybody: the bill alone tells of it.
    const left = life.books.running.filter((machine) => life.site.said(machine) !== "terminated")
    assert.deepStrictEqual(left.map(({ id, name }) => `${name} ${id}`), [], says)
    // A pool whose machine was taken back is kept for ten minutes, wanting none, so that its end can be seen.
    const told = life.books.all.filter(({ ended }) => ended === "reclaimed" || ended === "no_capacity").map(({ name }) => name)
    assert.deepStrictEqual(life.api.left.filter((one) => !told.some((name) => one.endsWith(`/${name}`))), [], says)
    const names = life.books.all.map(({ name }) => name)
    const twice = names.filter((name, at) => names.indexOf(name) !== at)
    const beside = (first.doubled ?? 0) - life.sky.now.doubled
    // A pool that loses its machine orders another before anybody can say that none is wanted.
    const again = refills ? life.books.all.filter(({ ended }) => ended === "reclaimed" || ended === "no_capacity").length : 0
    assert.isAtMost(twice.length, beside + again, `${says}: bought twice: ${twice.join(", ")}`)
    const over = [...life.said("LeaseEnded"), ...life.said("LeaseRefused")].map(({ leaseId }) => leaseId)
    assert.deepStrictEqual([...life.said("LeaseRequested"), ...life.said("OrphanFound")].filter(({ leaseId }) => !over.includes(leaseId)).map(({ leaseId }) => leaseId), [], says)
    const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
    assert.deepStrictEqual(verdict.mismatches, [], says)
    return yield* costsExplained(life, says)
  }))
}

describe("through the vendors' own clients, whatever the sky is like", () => {
  const of = <Room extends CloudRoom>(vendor: Vendor<Room>, options: Parameters<typeof through>[1]) =>
    it.effect(`at ${vendor.name} nothing is left, nothing is bought twice, and every cent of the ledger is explained`, () =>
      Effect.gen(function*() {
        const sometimes = new Sometimes()
        let machines = 0
        for (let seed = 0; seed < seedsOfEach; seed += 1) machines += yield* through(vendor, options, seed, sometimes)
        assert.isAbove(machines, seedsOfEach / 3)
        assert.deepStrictEqual(seedsOfEach < 3 ? [] : sometimes.missing(["zombie", "lie", "doubled", "reclaimed", "no capacity", "expired key", "down"]), [])
      }), 240_000)
  of(atLambda, {})
  of(atAmazon, { turns: 12 })
  of(atCluster(60_000), { turns: 12, stepMs: 2_000, refills: true })
  of(atMarket(Number.POSITIVE_INFINITY), { wants: { own: true } })
})
