import { Effect } from "effect"
import { readFile } from "node:fs/promises"
import type { BillView } from "../../../services/broker/src/api/api.ts"
import { Trouble } from "./trouble.ts"

export type Bill = typeof BillView.Type

/** Our account of one provider's machines, held against a bill in a file instead of what the provider says. Fails where the file cannot be read as one. */
export const heldAgainst = Effect.fnUntraced(function*(bill: Bill, file: string): Effect.fn.Return<Bill, Trouble> {
  const trouble = (what: string) => new Trouble({ code: "bill_unreadable", what, where: file, remedy: "take a CSV file with the columns machine, from, until and amount, or a cost and usage report of AWS", ending: "usage" })
  const text = yield* Effect.tryPromise({ try: () => readFile(file, "utf8"), catch: (cause) => trouble(String(cause)) })
  const { billIn, reconcile } = yield* Effect.promise(() => import("@millrace/broker/billing"))
  const lines = yield* Effect.mapError(Effect.fromResult(billIn(text)), (error) => trouble(error.message))
  const ours = bill.machines.flatMap(({ leaseId, machine, terms }) =>
    terms === null || leaseId === null ? [] : [{ leaseId, machine, sinceMs: terms.sinceMs, untilMs: terms.untilMs, pricePicoPerSecond: BigInt(terms.pricePicoPerSecond), billing: terms }])
  const compared = reconcile(ours, lines.filter((line) => line.fromMs < bill.untilMs && line.untilMs > bill.fromMs))
  const termsOf = new Map(bill.machines.map(({ leaseId, terms }) => [leaseId, terms]))
  return {
    ...bill,
    detail: null,
    oursPico: compared.reduce((sum, { oursPico }) => sum + oursPico, 0n).toString(),
    theirsPico: compared.reduce((sum, { theirsPico }) => sum + theirsPico, 0n).toString(),
    machines: compared.map(({ differences, leaseId = null, machine, oursPico, theirsPico }) => ({
      machine, leaseId, oursPico: oursPico.toString(), theirsPico: theirsPico.toString(), terms: termsOf.get(leaseId) ?? null,
      differences: differences.map((one) => ({ ...one, pico: one.pico.toString() }))
    }))
  }
})
