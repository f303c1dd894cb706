import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import { costReportOf, type Ec2Api } from "@millrace/sky"
import { Clock, Effect, type Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { reconcile } from "../domain/bill.ts"
import { broker, comparable } from "../domain/broker.ts"
import { type Life, type LifeOptions, livingAt, small } from "../testing/life.ts"
import { atAmazon as amazon } from "../testing/vendors.ts"
import { withBillsIn } from "./bill-folder.ts"
import type { Provider } from "./provider.ts"

const atAmazon = <A, E>(options: LifeOptions, story: (life: Life<Ec2Api>) => Effect.Effect<A, E, Scope.Scope>) => livingAt(amazon, { turns: 12, ...options }, story)

/** Nothing runs and nothing is left; each intent has bought one machine at most, and each lease is over once. */
const allOver = (life: Life<Ec2Api>): void => {
  assert.deepStrictEqual([life.books.running.map(({ name }) => name), life.api.left], [[], []])
  const names = life.books.all.map(({ name }) => name)
  assert.strictEqual(new Set(names).size, names.length, `bought twice: ${names.join(", ")}`)
  const over = [...life.said("LeaseEnded"), ...life.said("LeaseRefused")].map(({ leaseId }) => leaseId)
  assert.deepStrictEqual([...life.said("LeaseRequested"), ...life.said("OrphanFound")].filter(({ leaseId }) => !over.includes(leaseId)), [])
  assert.strictEqual(new Set(over).size, over.length, "a lease ended twice")
}

/** Two jobs wait, machines come and do them, are idle and are given back. */
const wholeLife = (life: Life<Ec2Api>) => Effect.andThen(life.waits({ ...small, waiting: 2 }), life.pass(200_000, 1_000))

describe("a lease of an instance", () => {
  it.effect("goes from what waits to the provider's last word, at the ledger's cost", () =>
    atAmazon({}, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      assert.isAtLeast(life.said("MachineEnrolled").length, 1)
      allOver(life)
      const cost = life.said("LeaseEnded").reduce((sum, { costPico }) => sum + costPico, 0n)
      const bills = life.books.bills(yield* Clock.currentTimeMillis)
      const bill = bills.reduce((sum, { costPico }) => sum + costPico, 0n)
      // The vendor charges from when it runs until it is asked to end; ours begins at the launch, and ends when its end is seen.
      assert.isTrue(cost >= bill && cost - bill <= BigInt(bills.length) * 30n * 6_000_000n, `ours ${cost}, the ledger's ${bill}`)
      assert.strictEqual(life.api.tooFast, 0)
      const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
      assert.deepStrictEqual(verdict.mismatches, [])
    })))

  it.effect("costs what the vendor's report of costs says, to the cent, with the cause of each difference", () =>
    atAmazon({}, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      const bills = life.books.bills(yield* Clock.currentTimeMillis)
      const folder = mkdtempSync(join(tmpdir(), "bills-"))
      writeFileSync(join(folder, "2026-11.csv"), costReportOf(bills))
      const provider = withBillsIn(folder, { name: amazon.name } as Provider)
      const told = yield* Effect.promise(() => Effect.runPromise(provider.bill!(0, Number.MAX_SAFE_INTEGER)))
      rmSync(folder, { recursive: true })
      const theirs = told._tag === "Told" ? told.value : []
      assert.isAbove(theirs.length, 0)
      const leases = new Map(life.said("LeaseGranted").map((one) => [one.leaseId, one]))
      const compared = reconcile(life.said("LeaseEnded").map(({ endedAtMs, leaseId }) => {
        const { billedSinceMs = 0, machine, pricePicoPerSecond, ...billing } = leases.get(leaseId)!
        return { leaseId, machine, sinceMs: billedSinceMs, untilMs: endedAtMs, pricePicoPerSecond, billing }
      }), theirs)
      const total = compared.reduce((sum, { theirsPico }) => sum + theirsPico, 0n)
      assert.strictEqual(total, bills.reduce((sum, { costPico }) => sum + costPico, 0n))
      for (const { differences, machine, oursPico, theirsPico } of compared) {
        assert.strictEqual(differences.reduce((sum, { pico }) => sum + pico, 0n), theirsPico - oursPico)
        // It runs a little later than it was asked for, and its end is seen a little late: time alone, and parts of a cent.
        assert.includeMembers(["time", "rounding"], differences.map(({ cause }) => cause), machine)
      }
    })))

  it.effect("is bought once and ended, wherever its broker dies", () => Effect.gen(function*() {
    const points = yield* atAmazon({}, (life) => Effect.map(wholeLife(life), () => [...life.points]))
    // Every kind of point, at its first and at its last time.
    const chosen = [...new Set(points)].flatMap((point) => [...new Set([points.indexOf(point) + 1, points.lastIndexOf(point) + 1])])
    assert.isAbove(chosen.length, 10)
    for (const dieAt of chosen) {
      yield* atAmazon({ dieAt, weather: { invisibleMs: 4_000 } }, (life) => Effect.gen(function*() {
        yield* wholeLife(life)
        yield* life.pass(60_000, 1_000)
        allOver(life)
      }))
    }
  }))

  it.effect("is found when the answer to its call was lost, and nothing is bought again", () =>
    atAmazon({ weather: { answersLost: 2, invisibleMs: 6_000, endAnswersLost: 1 } }, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      yield* life.pass(60_000, 1_000)
      assert.isAtLeast(life.books.all.length, 1)
      allOver(life)
    })))

  it.effect("that fails after it was promised is over, and what waits is bought for again", () =>
    atAmazon({ weather: { lateFailures: 1 } }, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      yield* life.pass(240_000, 1_000)
      assert.isAtLeast(life.said("MachineEnrolled").length, 1)
      allOver(life)
    })))

  it.effect("is spot also where the market has risen a little since it was looked at", () =>
    atAmazon({ works: false }, (life) => Effect.gen(function*() {
      yield* life.pass(30_000, 1_000)
      life.sky.set({ spotPricePermille: 1_050 })
      yield* life.waits({ ...small, where: { spot: "rather" } })
      yield* life.pass(12_000, 1_000)
      assert.deepStrictEqual([life.books.running.map(({ market }) => market), life.said("LeaseRefused")], [["spot"], []])
      yield* life.waits()
      yield* life.pass(240_000, 1_000)
      allOver(life)
    })))

  it.effect("is spot where that is tolerated: its notice is a deadline for everyone, and its end is the provider's", () =>
    atAmazon({ works: false }, (life) => Effect.gen(function*() {
      // So that it is there, and not yet idle for long, at the second look.
      yield* life.pass(30_000, 1_000)
      yield* life.waits({ ...small, where: { spot: "rather" } })
      yield* life.pass(12_000, 1_000)
      const [machine] = life.books.running
      assert.strictEqual(machine?.market, "spot")
      const atMs = yield* Clock.currentTimeMillis
      life.site.reclaim(machine!, { atMs, noticeMs: 120_000 })
      yield* life.pass(30_000, 1_000)
      assert.deepStrictEqual(life.said("ReclaimNoticed").map(({ deadlineAtMs }) => deadlineAtMs), [atMs + 120_000])
      yield* life.waits()
      yield* life.pass(240_000, 1_000)
      assert.strictEqual(life.said("LeaseEnded").length, life.said("LeaseGranted").length)
      allOver(life)
    })))
})
