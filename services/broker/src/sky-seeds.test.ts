import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import { Chance } from "@millrace/sim"
import type { CloudRoom, Weather } from "@millrace/sky"
import { Clock, Effect } from "effect"
import { reconcile } from "./domain/bill.ts"
import { broker, comparable } from "./domain/broker.ts"
import { type Life, type LifeOptions, livingAt, small, type Vendor } from "./testing/life.ts"
import { atAmazon, atCluster, atLambda, atMarket } from "./testing/vendors.ts"

const seedsOfEach = Number(process.env["SEEDS"] ?? 13)

/** Weather that a broker must live through without a machine too many, or a cent that nobody can explain. */
const weatherOf = (chance: Chance): Partial<Weather> => {
  const some = <A>(value: A): ReadonlyArray<A> => (chance.happens(0.4) ? [value] : [])
  return Object.assign({},
    ...some({ answersLost: chance.between(1, 2) }),
    ...some({ failing: chance.between(1, 6) }),
    ...some({ tooMany: chance.between(1, 6) }),
    ...some({ endsRefused: chance.between(1, 3) }),
    ...some({ endAnswersLost: chance.between(1, 2) }),
    ...some({ invisibleMs: chance.between(500, 6_000) }),
    ...some({ lateFailures: chance.between(1, 2) }),
    ...some({ neverBoots: 1 })
  ) as Partial<Weather>
}

/** Of one machine ours may differ from the ledger by when each side saw it begin and end, and by nothing else. */
const explained = Effect.fnUntraced(function*<Room extends CloudRoom>(life: Life<Room>) {
  const bills = life.books.bills(yield* Clock.currentTimeMillis)
  const granted = new Map(life.said("LeaseGranted").map((one) => [one.leaseId, one]))
  const ours = life.said("LeaseEnded").flatMap(({ costPico, endedAtMs, leaseId }) => {
    const lease = granted.get(leaseId)
    return lease === undefined ? [] : [{ costPico, leaseId, machine: lease.machine, sinceMs: lease.billedSinceMs ?? 0, untilMs: endedAtMs, pricePicoPerSecond: lease.pricePicoPerSecond, billing: lease }]
  })
  // A declared pool is known to us by the pool's name, and to the ledger by its machine's.
  const known = new Set(ours.map(({ machine }) => machine))
  const compared = reconcile(ours, bills.map(({ billedMs, costPico, machine, name, sinceMs }) => ({ machine: known.has(machine) ? machine : name, fromMs: sinceMs, untilMs: sinceMs + billedMs, amountPico: costPico })))
  // What failed before it ran is charged by nobody, and we cannot know that it never ran.
  const neverRan = new Set(bills.filter(({ costPico }) => costPico === 0n).map(({ machine }) => machine))
  for (const { differences, machine, oursPico, theirsPico } of compared) {
    assert.strictEqual(differences.reduce((sum, { pico }) => sum + pico, 0n), theirsPico - oursPico)
    assert.strictEqual(ours.find((one) => one.machine === machine)?.costPico ?? 0n, oursPico, `${machine} is written down otherwise than it follows`)
    // A market charges less for a machine that is there and does not run yet.
    const truly = life.books.get(machine)
    const reduced = truly?.tariff.some(({ picoPerHour }) => picoPerHour !== truly.soldPicoPerHour) === true
    const may = neverRan.has(machine) ? ["not_billed"] : ["began", "ended", "rounding", ...(reduced ? ["price"] : [])]
    for (const { cause, detail } of differences) assert.include(may, cause, `${machine}: ${detail}`)
  }
  return ours.length
})

const through = <Room extends CloudRoom>(vendor: Vendor<Room>, options: LifeOptions & { readonly waitMs?: number; readonly stepMs?: number; readonly wants?: object }, seed: string) => {
  const chance = new Chance(`sky ${vendor.name} ${seed}`)
  const { stepMs = 1_000, waitMs = 240_000, wants = {}, ...rest } = options
  return livingAt(vendor, { ...rest, weather: weatherOf(chance), ...(chance.happens(0.5) ? { dieAt: chance.between(5, 60) } : {}) }, (life) => Effect.gen(function*() {
    yield* life.waits({ ...small, waiting: chance.between(1, 3), ...wants })
    yield* life.pass(waitMs, stepMs)
    yield* life.waits()
    yield* life.pass(waitMs, stepMs)
    const says = `seed ${seed} at ${vendor.name}`
    assert.deepStrictEqual(life.books.running.map(({ name }) => name), [], says)
    const names = life.books.all.map(({ name }) => name)
    assert.strictEqual(new Set(names).size, names.length, `${says}: bought twice: ${names.join(", ")}`)
    const over = [...life.said("LeaseEnded"), ...life.said("LeaseRefused")].map(({ leaseId }) => leaseId)
    assert.deepStrictEqual([...life.said("LeaseRequested"), ...life.said("OrphanFound")].filter(({ leaseId }) => !over.includes(leaseId)).map(({ leaseId }) => leaseId), [], says)
    const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
    assert.deepStrictEqual(verdict.mismatches, [], says)
    return yield* explained(life)
  }))
}

describe("through the vendors' own clients, whatever the sky is like", () => {
  const of = <Room extends CloudRoom>(vendor: Vendor<Room>, options: Parameters<typeof through>[1]) =>
    it.effect(`at ${vendor.name} nothing is left, nothing is bought twice, and every cent of the ledger is explained`, () =>
      Effect.gen(function*() {
        let machines = 0
        for (let seed = 0; seed < seedsOfEach; seed += 1) machines += yield* through(vendor, options, String(seed))
        assert.isAbove(machines, seedsOfEach / 3)
      }), 240_000)
  of(atLambda, {})
  of(atAmazon, { turns: 12 })
  of(atCluster(60_000), { turns: 12, stepMs: 2_000, waitMs: 300_000 })
  of(atMarket(Number.POSITIVE_INFINITY), { wants: { own: true } })
})
