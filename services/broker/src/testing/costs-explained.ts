import { assert } from "@effect/vitest"
import type { CloudRoom, Machine } from "@millrace/sky"
import { Clock, Effect } from "effect"
import { type Ours, reconcile } from "../domain/bill.ts"
import { usualBilling } from "../domain/lease.ts"
import type { Life } from "./life.ts"

/** Less than this is how amounts were rounded: a hundredth of a cent. */
const roundingPico = 100_000_000n

/** What nobody accounts for is found within so long. */
const foundMsMax = 60_000

/** What we have written down of each machine, as the log has it. */
const oursIn = <Room extends CloudRoom>(life: Life<Room>): ReadonlyArray<Ours & { readonly costPico: bigint }> => {
  const granted = new Map(life.said("LeaseGranted").map((one) => [one.leaseId, one]))
  // An orphan's price is what the last look has said of it.
  const found = new Map(life.said("OrphanFound").map((one) => [one.leaseId, one]))
  return life.said("LeaseEnded").flatMap(({ costPico, endedAtMs: untilMs, leaseId }) => {
    const [lease, orphan] = [granted.get(leaseId), found.get(leaseId)]
    if (lease !== undefined) return [{ costPico, leaseId, machine: lease.machine, sinceMs: lease.billedSinceMs ?? 0, untilMs, pricePicoPerSecond: lease.pricePicoPerSecond, billing: lease }]
    return orphan === undefined ? [] : [{
      costPico, leaseId, machine: orphan.machine, sinceMs: orphan.runningSinceMs, untilMs, pricePicoPerSecond: orphan.pricePicoPerSecond ?? 0n,
      billing: { billedStepMs: orphan.billedStepMs ?? usualBilling.billedStepMs, billedMsMin: orphan.billedMsMin ?? usualBilling.billedMsMin }
    }]
  })
}

/** What it would cost at the price that it was sold for, for as long as it was billed; a market charges less while it is there and does not run. */
const atSoldPrice = ({ soldPicoPerHour }: Machine, billedMs: number): bigint => (soldPicoPerHour * BigInt(Math.round(billedMs)) + 3_599_999n) / 3_600_000n

/**
 * Holds what a broker has written down against the ledger of its cloud, to the cent: of each machine the differences add up to
 * exactly the ledger's less ours, and each has a cause that is true of that machine. Answers how many machines there were.
 */
export const costsExplained = Effect.fnUntraced(function*<Room extends CloudRoom>(life: Life<Room>, says: string) {
  const bills = life.books.bills(yield* Clock.currentTimeMillis)
  const ours = oursIn(life)
  // A declared pool is known to us by the pool's name, and to the ledger by its machine's.
  const known = new Set(ours.map(({ machine }) => machine))
  const theirs = bills.map((bill, at) => ({ ...bill, truly: life.books.all[at]!, own: known.has(bill.machine) || !known.has(bill.name) ? bill.machine : bill.name }))
  const compared = reconcile(ours, theirs.map(({ billedMs, costPico, own, sinceMs }) => ({ machine: own, fromMs: sinceMs, untilMs: sinceMs + billedMs, amountPico: costPico })))
  const ledgerPico = bills.reduce((sum, { costPico }) => sum + costPico, 0n)
  const oursPico = ours.reduce((sum, { costPico }) => sum + costPico, 0n)
  const explainedPico = compared.flatMap(({ differences }) => differences).reduce((sum, { pico }) => sum + pico, 0n)
  assert.strictEqual(oursPico + explainedPico, ledgerPico, `${says}: the causes do not add up to the ledger`)
  for (const { differences, leaseId, machine, oursPico: own, theirsPico } of compared) {
    const about = `${says}: ${machine}`
    assert.strictEqual(differences.reduce((sum, { pico }) => sum + pico, 0n), theirsPico - own, about)
    assert.strictEqual(ours.find((one) => one.leaseId === leaseId)?.costPico ?? 0n, own, `${about} is written down otherwise than it follows`)
    const sinceMs = ours.find((one) => one.leaseId === leaseId)?.sinceMs
    // Of machines with one number it is the one that began when this lease did.
    const [bill] = theirs.filter((one) => one.own === machine).sort((x, y) => sinceMs === undefined ? 0 : Math.abs(x.sinceMs - sinceMs) - Math.abs(y.sinceMs - sinceMs))
    const truly = bill?.truly
    for (const { cause, detail, pico } of differences) {
      switch (cause) {
        case "began":
        case "ended":
        case "rounding":
          continue
        case "not_billed":
          // It failed before it ran, or never was: nobody charges it, and we cannot know that.
          assert.strictEqual(bill?.costPico ?? 0n, 0n, `${about}: ${detail}`)
          continue
        case "price": {
          assert.isDefined(truly, `${about}: ${detail}`)
          const reducedPico = bill!.costPico - atSoldPrice(truly!, bill!.billedMs)
          assert.isTrue(reducedPico < 0n && pico - reducedPico < roundingPico && reducedPico - pico < roundingPico, `${about}: ${detail}; the ledger's price changed by ${reducedPico}, not ${pico}`)
          continue
        }
        case "unknown_to_us":
          // One whose cloud said that it was gone, or one that ended by itself before anybody had to have found it.
          assert.isTrue(truly !== undefined && truly.ended !== "asked" && (truly.says === "terminated" || (truly.endedAtMs ?? Infinity) - truly.bornAtMs <= foundMsMax), `${about}: ${detail}`)
      }
    }
  }
  return ours.length
})
